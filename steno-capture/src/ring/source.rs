//! Where a packet thread gets its blocks from: the kernel's ring, or AF_XDP sockets.

use std::{io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use super::{Backlog, QueueWatch, TapPlan, open_taps, xdp};
use crate::{
    CaptureError,
    console::{debug, warning},
    filter::Filter,
    flags::SourceChoice,
    ring::Stop,
    sys::{PacketSocket, RingMemory, RingStatistics},
};

/// A thread's share of an interface's packets, in blocks.
pub(crate) trait PacketSource: Send {
    /// The next block, where one is ready.
    fn next(&mut self) -> Option<BlockMemory>;

    /// Sleeps until a block may be ready, a stop is asked for, the link has an error, or the time is up.
    fn wait(&mut self, wait: &Wait<'_>) -> Waited;

    /// Whether [`Self::wait`] is to be called also while writes are under way: packets would be lost else.
    fn takes_packets_itself(&self) -> bool;

    /// Lets in what `filter` accepts, or everything.
    ///
    /// # Errors
    /// What the kernel says.
    fn let_in(&mut self, filter: Option<&Filter>) -> io::Result<()>;

    /// Lets nothing in any more. [`Self::next`] goes on to give what was received, the last block too, until
    /// [`Self::is_drained`]. `false` where packets go on coming, for a time that is bounded.
    fn shut(&mut self) -> bool;

    /// After [`Self::shut`], and after a [`Self::next`] that gave nothing: whether nothing comes any more.
    fn is_drained(&mut self) -> bool;

    /// A packet socket of the interface: tells when the link goes down.
    fn socket(&self) -> &Arc<PacketSocket>;

    /// The memory that its blocks lie in.
    fn memory(&self) -> &Arc<RingMemory>;

    /// The index of the interface.
    fn interface(&self) -> u32;

    /// Tells whether it is behind.
    fn backlog(&self) -> Arc<dyn Backlog>;

    /// What it loses.
    fn drops(&self) -> Arc<dyn DropCounter>;
}

/// What a thread waits for.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    pub(crate) stop: &'a Stop,
    /// Readable when a write has ended, where writes are under way.
    pub(crate) writes: Option<BorrowedFd<'a>>,
    pub(crate) most: Duration,
}

/// What a wait has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Nothing out of the ordinary.
    Well,
    /// An error at the socket.
    Error,
}

/// Tells what a source has lost.
pub(crate) trait DropCounter: Send + Sync {
    /// Counts since the last call.
    ///
    /// # Errors
    /// What the kernel says.
    fn statistics(&self) -> io::Result<RingStatistics>;
}

pub(crate) use crate::sys::BlockMemory;

/// What takes an interface's packets, a source a thread, and what to call it in the facts of an index.
pub(crate) struct Sources {
    pub(crate) sources: Vec<Box<dyn PacketSource>>,
    /// Empty for AF_PACKET, which needs no mention.
    pub(crate) kind: String,
    /// Those that AF_XDP takes packets from. By AF_PACKET they come from all.
    pub(crate) queues: Option<QueueWatch>,
}

/// Opens a source a thread. With AF_PACKET none lets anything in yet.
///
/// # Errors
/// Each step that the system refuses, in a sentence that says what to do. Where only AF_XDP is not to be had, AF_PACKET takes
/// its place, and a line says why.
pub(crate) fn open_sources(choice: SourceChoice, plan: &TapPlan<'_>) -> Result<Sources, CaptureError> {
    if choice == SourceChoice::AfXdp {
        match xdp::open(plan) {
            Ok(sources) => return Ok(sources),
            Err(refused) => {
                warning!(
                    "AF_XDP is not to be had on {}: {refused}; its packets are taken by AF_PACKET",
                    plan.interface
                );
            }
        }
    }
    let taps = open_taps(plan)?;
    debug!("packets of {} come by AF_PACKET", plan.interface);
    let sources = taps.into_iter().map(|tap| Box::new(tap) as Box<dyn PacketSource>).collect();
    Ok(Sources { sources, kind: String::new(), queues: None })
}
