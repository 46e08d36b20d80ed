//! One request, measured from its beginning to its end.

use std::time::Instant;

use super::{
    Method, Metrics, Outcome,
    labels::{OfMethod, OfOutcome},
};

/// Counts one request; it is over when this is dropped. Dropped without [`QueryMeter::finish`], it counts as cancelled:
/// the future that answered it was thrown away.
#[derive(Debug)]
pub struct QueryMeter {
    metrics: Metrics,
    method: Method,
    began: Instant,
    sent_first: bool,
    outcome: Outcome,
}

impl QueryMeter {
    pub(super) fn begin(metrics: Metrics, method: Method) -> Self {
        let _ = metrics.families().streams_active.get_or_create(&OfMethod { method }).inc();
        Self { metrics, method, began: Instant::now(), sent_first: false, outcome: Outcome::Cancelled }
    }

    /// Packets and bytes (or conversations and bytes) were handed to the client.
    pub fn sent(&mut self, packets: u64, bytes: u64) {
        let (families, of) = (self.metrics.families(), OfMethod { method: self.method });
        if !std::mem::replace(&mut self.sent_first, true) {
            families.query_first_byte.get_or_create(&of).observe(self.began.elapsed().as_secs_f64());
        }
        let _ = families.query_packets.get_or_create(&of).inc_by(packets);
        let _ = families.query_bytes.get_or_create(&of).inc_by(bytes);
    }

    /// The request is over, in this way.
    pub fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for QueryMeter {
    fn drop(&mut self) {
        let (families, method) = (self.metrics.families(), self.method);
        let of = OfMethod { method };
        let _ = families.streams_active.get_or_create(&of).dec();
        families.query_duration.get_or_create(&of).observe(self.began.elapsed().as_secs_f64());
        let _ = families.queries.get_or_create(&OfOutcome { method, outcome: self.outcome }).inc();
    }
}
