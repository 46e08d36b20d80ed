//! The services: what clients ask, and how answers reach them (step 13 of the data flow).
//!
//! ```text
//!   request ──> SensorService / LegacyService ──Ask──> Answers ──worker thread──> steno_query::Answer
//!                        │                                │                             │
//!   response <── Replies (messages) <── Parts (stream) <──┴── two chunks at most ───────┘
//! ```
//!
//! - [`Answers`] admits queries ([`Ask`]) within [`Bounds`], runs each on a thread of its own (`below`) behind `limits`' gate, and
//!   hands out what `search` finds, or why that is not all ([`Failed`]). It knows nothing of gRPC's messages, so that other transports can be served by it.
//! - [`SensorService`] is `steno.v1.Sensor`, [`LegacyService`] is `steno.Stenographer` of 1.0.1; [`services`] makes both. `http` is
//!   what is served without gRPC.
//! - `convert` turns what steno-query says into messages, `status` and `segments` say how the sensor fares and what it holds.
//!
//! Nothing here listens: connections, TLS and certificates are the business of who adds the services to a router.

mod answers;
mod ask;
mod audited;
mod below;
mod convert;
mod diagnostic;
mod failed;
mod http;
mod legacy;
mod limits;
mod messages;
mod part;
mod place;
mod readings;
mod replies;
mod search;
mod segments;
mod sensor;
mod status;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

pub use answers::Answers;
pub use ask::Ask;
pub use failed::Failed;
#[cfg(fuzzing)]
pub(crate) use http::capture_counts;
pub(crate) use http::{pass_over, routes as http_routes};
pub use legacy::{LegacyLimits, LegacyService};
pub use limits::{Bounds, Refused, Unread};
pub use part::{Ending, Part, Parts};
pub use place::{HangUp, Turn};
pub use sensor::{SensorService, Services, services};
pub use status::{Certificates, Host};
