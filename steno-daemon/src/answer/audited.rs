//! What the audit log has of a request and of its answer.

use steno_proto::{
    audit::{Asked, Cut, Limits},
    v1,
};

use super::{Failed, ask::Held, convert};
use crate::{access::Asker, audit::Outcome, metrics, metrics::Method};

/// Bytes of a query as it is understood; of a longer one the log has the hash.
const QUERY_BYTES: usize = 16 << 10;
/// Bytes of a query as it was sent, likewise.
const TEXT_BYTES: usize = 4 << 10;
/// Bytes of a path.
const PATH_BYTES: usize = 200;

/// A request of which nothing more is known than who makes it, and perhaps a text.
pub(super) fn asker(method: Method, asker: &Asker, text: Option<&str>) -> Asked {
    let text = text.map(|text| Cut::to(text, TEXT_BYTES));
    let (text, text_cut) = text.map_or((None, None), |(text, cut)| (Some(text), cut));
    Asked {
        principal: asker.principal().name().to_owned(),
        serial: asker.principal().serial().to_owned(),
        address: asker.address().to_string(),
        method: method.name().to_owned(),
        text,
        text_cut,
        ..Asked::default()
    }
}

/// Something that was asked for by its path, and perhaps is none.
pub(super) fn path(path: &str, asker: &Asker) -> Asked {
    let (method, _) = Cut::to(path, PATH_BYTES);
    Asked { method, ..self::asker(Method::Query, asker, None) }
}

/// A question.
pub(super) fn held(held: &Held) -> Asked {
    let ask = &held.ask;
    let (query, query_cut) = Cut::to(&ask.query.to_string(), QUERY_BYTES);
    let limits = Limits {
        max_packets: ask.max_packets,
        max_bytes: ask.max_bytes,
        deadline_ms: ask.deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
        follow: ask.follow,
    };
    let text = Some(ask.text.as_str()).filter(|text| !text.is_empty());
    let scope = held.scope.as_ref().map(|scope| format!("{}: {}", scope.name(), scope.expr()));
    Asked { query: Some(query), query_cut, limits, scope, ..asker(ask.method, &ask.asker, text) }
}

/// The end of an answer, as its receipt tells it.
pub(super) fn outcome(outcome: metrics::Outcome, receipt: &v1::Receipt, failed: Option<&Failed>) -> Outcome {
    let why = failed.map(ToString::to_string);
    Outcome {
        name: outcome.name(),
        packets: receipt.packets,
        bytes: receipt.bytes,
        blake3: Some(receipt.blake3.clone()).filter(|digest| !digest.is_empty()),
        complete: receipt.complete,
        why: why.or_else(|| convert::truncation_name(receipt.truncated_by()).map(str::to_owned)),
    }
}
