//! What is served over plain HTTP besides gRPC, under the names of stenographer 1.0.1: `POST /query` and `GET /debug/stats`.
//!
//! - `request` reads what a client sends: the query text and the limits among the headers; it refuses the rest.
//! - `body` is the answer on its way: packets, and then a trailer with the receipt (`receipt`), or a broken-off body.
//! - `stats` are the counters.
//!
//! Queries are admitted, run and bounded by [`Answers`](super::Answers), as those of gRPC.

mod body;
mod receipt;
mod request;
mod routes;
mod stats;

pub(crate) use request::pass_over;
pub(crate) use routes::routes;
#[cfg(fuzzing)]
pub(crate) use stats::capture_counts;
