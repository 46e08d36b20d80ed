//! Listens: one port for gRPC and HTTPS behind client certificates, and, where it is configured, one for 1.0.1's service
//! (step 13 of the data flow).
//!
//! ```text
//!   listener ──TCP──> connection: handshake ──who?──> Peer
//!                          │   └──no──> refusal (logged with the reason and the peer)
//!                          v
//!                     HTTP/2 or HTTP/1.1 ──> router ──> answer's services, health, reflection, /metrics
//! ```
//!
//! - [`Server`] is all of it; it binds before it answers, and ends in order (`stopping`).
//! - [`Certificates`] are the certificates that it listens with; they are read again while it runs, and who is connected is
//!   held against them again (`standing`).
//! - [`Peer`] is who is at the other end of a connection; what they may have is the business of [`crate::access`].
//!
//! What is answered is the business of [`crate::answer`]; nothing here knows a query.

mod certificates;
mod connection;
mod error;
mod flight;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod health;

mod listener;
mod peer;
mod refusal;
mod room;
mod router;
mod server;
mod standing;
mod stopping;
mod tuning;
mod watched;

pub use certificates::Certificates;
pub use error::ServeError;
pub use health::{CAPTURE, Health};
pub use peer::Peer;
pub(crate) use refusal::RefusalLog;
pub use server::{Ports, Server};
pub use tuning::Tuning;
