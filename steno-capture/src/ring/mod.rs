//! From the interface to blocks (step 1 of the data flow), and the thread that takes them.
//!
//! [`Tap`] is a socket with its ring; the taps of all threads share an interface's packets. [`PacketThread`] reads the ring
//! of one by a [`Consumer`] and hands each block to a [`crate::segment::SegmentWriter`]. Nothing here knows files.

mod budget;
mod consumer;
mod cut;
mod meter;
mod stop;
mod tap;
mod thread;

pub(crate) use budget::Budget;
pub(crate) use meter::{LinkMeter, LossMeter};
pub(crate) use stop::Stop;
pub(crate) use tap::{Tap, TapPlan, open_taps};
pub(crate) use thread::{PacketThread, ThreadPlan, statistics_line};
