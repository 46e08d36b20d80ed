//! Looks whether an interface has got more receive queues than there are sockets: the host gets what comes by the others, and
//! nobody counts it.

use steno_core::TimestampNs;
use steno_index::Gap;

use crate::{
    CaptureError,
    sys::{self, PacketSocket},
};

/// The queues of an interface that is captured by AF_XDP.
#[derive(Debug)]
pub(crate) struct QueueWatch {
    socket: PacketSocket,
    interface: String,
    sockets: u32,
    /// When there last were no more queues than sockets.
    enough: TimestampNs,
}

impl QueueWatch {
    /// Of an interface of whose queues as many have a socket. `socket` is any that can be asked about it.
    pub(super) fn new(socket: PacketSocket, interface: &str, sockets: u32, now: TimestampNs) -> Self {
        Self { socket, interface: interface.to_owned(), sockets, enough: now }
    }

    /// Where there are more queues than sockets now: what is to be said of it, and since when packets may be missing. Never on a
    /// packet thread: it may have to wait for who changes links.
    pub(crate) fn look(&mut self, now: TimestampNs) -> Option<(CaptureError, Gap)> {
        let queues = sys::receive_queues(&self.socket, &self.interface).filter(|&queues| queues > self.sockets);
        let Some(queues) = queues else {
            self.enough = now;
            return None;
        };
        let (interface, sockets) = (self.interface.clone(), self.sockets);
        let reason = format!("{interface} had {queues} receive queues, and {sockets} of them were captured");
        let gap = Gap { from: self.enough.min(now), to: now, reason };
        Some((CaptureError::MoreQueues { interface, queues, sockets }, gap))
    }
}
