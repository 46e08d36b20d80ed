//! The sensor's ports over real sockets with real TLS: who is let in, who is not and why, what is served where, and how it
//! ends.

mod end;
mod ports;
mod refused;
mod support;
mod welcome;
