//! Bounds and sizes of connections.

use std::time::Duration;

/// Bounds and sizes of connections. The default is for a sensor; tests want shorter times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A client that has not come through the handshake by then is dropped.
    pub handshake_within: Duration,
    /// Handshakes at once; with one more, the oldest is dropped. Who holds them is not known yet, so that they must not take
    /// the room of those who are.
    pub most_handshakes: usize,
    /// Connections at once; one more is dropped. Any one client has three quarters of them at the most.
    pub most_connections: usize,
    /// The header of an HTTP/1.1 request must have come by then; so long may a connection be idle.
    pub header_within: Duration,
    /// A request must have come by then, to its end.
    pub request_within: Duration,
    /// So long may a connection be without a request, once it had one.
    pub idle_after: Duration,
    /// How often a client of HTTP/2 is asked whether it is there.
    pub ping_every: Duration,
    /// And by when it must have answered.
    pub pong_within: Duration,
    /// A connection takes no more requests after this time. Whether a client may still come is decided anew with the next.
    pub connection_age: Duration,
    /// How often it is looked whether the files of certificates, keys and revocation lists have changed.
    pub look_at_certificates_every: Duration,
    /// Requests at once on a connection of HTTP/2.
    pub most_streams: u32,
    /// A client that takes nothing of an answer for so long loses it.
    pub stall_after: Duration,
    /// What answers get to come to their end when the daemon stops.
    pub drain_within: Duration,
    /// What receipts get to be delivered after that.
    pub finish_within: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            handshake_within: Duration::from_secs(10),
            most_handshakes: 128,
            most_connections: 1_024,
            header_within: Duration::from_secs(30),
            // After what `POST /query` waits for by itself.
            request_within: Duration::from_secs(40),
            idle_after: Duration::from_secs(300),
            ping_every: Duration::from_secs(20),
            pong_within: Duration::from_secs(20),
            connection_age: Duration::from_secs(3_600),
            look_at_certificates_every: Duration::from_secs(1),
            most_streams: 128,
            stall_after: Duration::from_secs(60),
            drain_within: Duration::from_secs(10),
            finish_within: Duration::from_secs(3),
        }
    }
}

/// What a client may send on a stream of HTTP/2 before it is read, in bytes. Requests are small; how much of an answer may be
/// under way is the client's to say.
pub(super) const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The same on a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// The largest frame; a chunk goes in one.
pub(super) const FRAME_BYTES: u32 = 1 << 20;
/// What a stream may have waiting to be sent; the rest waits with who makes it.
pub(super) const SEND_BUFFER_BYTES: usize = 1 << 20;
/// The headers of a request, uncompressed.
pub(super) const HEADER_BYTES: u32 = 16 << 10;
/// A message to the sensor: a query has 64 KiB at the most.
pub(super) const MESSAGE_BYTES: usize = 256 << 10;
/// What the requests of a connection may hold together that are still coming, or have no answer yet.
pub(super) const REQUEST_BYTES: usize = 1 << 20;
