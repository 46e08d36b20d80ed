//! Bounds and sizes of connections.

use std::time::Duration;

/// Bounds and sizes of connections. The default is for a sensor; tests want shorter times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// A client that has not come through the handshake by then is dropped.
    pub handshake_within: Duration,
    /// Handshakes at once; one more is dropped. Who holds them is not known yet, so that they must not take the room of
    /// those who are.
    pub most_handshakes: usize,
    /// Connections at once; one more is dropped.
    pub most_connections: usize,
    /// The header of an HTTP/1.1 request must have come by then; so long may a connection be idle.
    pub header_within: Duration,
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

/// Window of a stream of HTTP/2, in bytes. With its default of 64 KiB, a stream waits for the client's word at every turn.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Window of a connection.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest frame; a chunk goes in one.
pub(super) const FRAME_BYTES: u32 = 1 << 20;
/// What a stream may have waiting to be sent; the rest waits with who makes it.
pub(super) const SEND_BUFFER_BYTES: usize = 1 << 20;
/// The headers of a request, uncompressed.
pub(super) const HEADER_BYTES: u32 = 16 << 10;
/// A message to the sensor: a query has 64 KiB at the most.
pub(super) const MESSAGE_BYTES: usize = 256 << 10;
