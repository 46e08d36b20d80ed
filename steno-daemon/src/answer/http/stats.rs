//! `GET /debug/stats`: counters as text, a line `name<TAB>value` each, in the order of their names.
//!
//! Those that stenographer 1.0.1 has bear its names, where they count the same thing; what it counts and is not done here (its
//! look-ups in a LevelDB of its own, the files that it deletes at its start) is not shown. `/metrics` has more.

use std::{collections::BTreeMap, fmt::Write};

use crate::{
    answer::Answers,
    capture::{CaptureStatus, Counters},
    metrics::Method,
};

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
    let [packets, dropped, restarts] = capture_counts(&captures);
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
        ("capture_dropped", dropped),
        ("capture_packets", packets),
        ("capture_restarts", restarts),
        ("queries_finished", queries.finished),
        ("queries_refused", queries.refused),
        ("queries_running", queries.running),
        ("queries_truncated", queries.truncated),
        ("unreadable_files", view.store().unreadable()),
    ])
}

/// Packets captured, packets dropped or not written, and restarts of all capture processes together. These processes say what
/// they like: a sum that is too large stays at the largest.
pub(crate) fn capture_counts(captures: &[CaptureStatus]) -> [u64; 3] {
    let captured = |count: fn(&Counters) -> u64| {
        captures.iter().flat_map(|capture| capture.counters.values()).map(count).fold(0, u64::saturating_add)
    };
    let restarts = captures.iter().map(|capture| capture.restarts).fold(0, u64::saturating_add);
    [captured(|c| c.packets), captured(|c| c.drops.saturating_add(c.lost)), restarts]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{ChildState, Kind};

    #[test]
    fn counts_that_no_capture_can_have_do_not_overflow() {
        let counters = Counters { packets: u64::MAX, drops: u64::MAX, lost: 1, ..Counters::default() };
        let status = CaptureStatus {
            source: "eth0".into(),
            threads: vec![0, 1],
            state: ChildState::Starting,
            kind: Kind::Own,
            restarts: u64::MAX,
            last_exit: None,
            counters: [(0, counters), (1, counters)].into(),
            heard: None,
            bad_messages: 0,
            outages: Vec::new(),
            clock_steps: Vec::new(),
            clock_steps_total: 0,
        };
        assert_eq!(capture_counts(&[status.clone(), status]), [u64::MAX; 3]);
        assert_eq!(capture_counts(&[]), [0; 3]);
    }
}
