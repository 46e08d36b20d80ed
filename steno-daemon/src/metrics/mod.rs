//! What the sensor counts, for Prometheus: `GET /metrics`.
//!
//! Every name, label and meaning is described in `docs/METRICS.md`, and a test holds the two together. Nothing here is
//! touched for each packet: capture and retention keep counts of their own, which are copied when someone asks
//! ([`Metrics::encode`]); queries count as they begin and end.

mod labels;
mod query;
mod registry;

pub use labels::{Method, Outcome};
pub use query::QueryMeter;
pub use registry::{CONTENT_TYPE, Metrics};
