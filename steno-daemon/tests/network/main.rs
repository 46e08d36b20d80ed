//! The sensor's ports over real sockets with real TLS: who is let in, who is not and why, what is served where, and how it
//! ends.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod api;
mod audit;
mod cut_off;
mod end;
mod http_client;
mod limits;
mod ports;
mod query;
mod refused;
mod stalled;
mod support;
mod welcome;
