//! From the interface to blocks (step 1 of the data flow), and the thread that takes them.
//!
//! A [`PacketSource`] gives blocks: `tap` is a packet socket whose ring the kernel fills with them, `xdp` fills them itself
//! from AF_XDP sockets. The sources of all threads share an interface's packets. [`PacketThread`] takes the blocks of one and
//! hands them to a [`crate::segment::SegmentWriter`]. Nothing here knows files.

mod backlog;
mod budget;
mod consumer;
mod cut;
mod meter;
mod source;
mod stop;
mod tap;
mod thread;
mod xdp;

pub(crate) use backlog::Backlog;
pub(crate) use budget::Budget;
pub(crate) use meter::{LinkMeter, LossMeter};
pub(crate) use source::{PacketSource, Sources, open_sources};
pub(crate) use stop::Stop;
pub(crate) use tap::TapPlan;
use tap::open_taps;
pub(crate) use thread::{PacketThread, ThreadPlan, statistics_line};
pub(crate) use xdp::QueueWatch;
