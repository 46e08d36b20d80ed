//! `GET /debug/stats`: counters as text, a line `name<TAB>value` each, in the order of their names.
//!
//! Those that stenographer 1.0.1 has bear its names, where they count the same thing; what it counts and is not done here (its
//! look-ups in a LevelDB of its own, the files that it deletes at its start) is not shown. `/metrics` has more.

use std::{collections::BTreeMap, fmt::Write};

use crate::{answer::Answers, metrics::Method};

/// All counters.
pub(super) fn text(answers: &Answers) -> String {
    let mut text = String::new();
    for (name, value) in counters(answers) {
        let _ = writeln!(text, "{name}\t{value}");
    }
    text
}

fn counters(answers: &Answers) -> BTreeMap<&'static str, u64> {
    let view = answers.view();
    let (storage, captures, queries) = (view.storage(), view.captures(), answers.queries());
    let total = |count: &dyn Fn(&crate::retention::ThreadStatus) -> u64| storage.iter().map(count).sum::<u64>();
    let oldest = storage.iter().filter_map(|thread| thread.oldest).map(|id| id.opened_at().as_ns()).min();
    let captured = || captures.iter().flat_map(|capture| capture.counters.values());
    let (posts, post_bytes) = answers.metrics().ended(Method::HttpQuery);
    BTreeMap::from([
        // As 1.0.1 has them.
        ("aged_files", total(&|thread| thread.removed.values().sum())),
        ("current_files", total(&|thread| thread.segments)),
        ("http_request_query_POST_bytes", post_bytes),
        ("http_request_query_POST_completed", posts),
        // Nanoseconds since 1970, by the name of the file.
        ("oldest_timestamp", oldest.unwrap_or(0)),
        ("packets_read", queries.packets),
        // What it does not count.
        ("capture_dropped", captured().map(|counters| counters.drops + counters.lost).sum()),
        ("capture_packets", captured().map(|counters| counters.packets).sum()),
        ("capture_restarts", captures.iter().map(|capture| capture.restarts).sum()),
        ("queries_finished", queries.finished),
        ("queries_refused", queries.refused),
        ("queries_running", queries.running),
        ("queries_truncated", queries.truncated),
        ("unreadable_files", view.store().unreadable()),
    ])
}
