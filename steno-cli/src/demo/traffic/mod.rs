//! Real conversations by the kernel's own sockets: name look-ups, web pages, an echo service.
//!
//! Servers run on threads in the sensor's namespace, clients on the peer's thread. Each client
//! returns what went each way, byte for byte, so that [`super::check`] can compare it with what the
//! sensor stored. Every socket has a time-out.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) use self::servers::Servers;
use super::story::grouped;

pub(super) mod dns;
pub(super) mod echo;
mod servers;
pub(super) mod web;

/// How long any one send or receive may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// What one client said and heard.
#[derive(Debug)]
pub(super) struct Conversation {
    /// For people: "look-up of www.example.org".
    pub(super) what: String,
    pub(super) transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    /// Payload from the client to the server.
    pub(super) to_server: Vec<u8>,
    /// Payload from the server to the client.
    pub(super) to_client: Vec<u8>,
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out_bytes, back_bytes) = (grouped(self.to_server.len() as u64), grouped(self.to_client.len() as u64));
        write!(f, "{:<30} {out_bytes:>7} bytes out, {back_bytes:>7} bytes back", self.what)
    }
}
