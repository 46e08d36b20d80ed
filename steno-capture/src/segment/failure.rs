//! What happens when a write fails, or a file can't be opened.
//!
//! The segment ends before the first block that failed; that block and those behind it, whose memory is still ours, are
//! given a place in a new file. A block that fails twice is lost. When nothing can be written at all, blocks are counted and
//! given back to the kernel, so that the ring never stands still, and writing is tried again each second. The time of what
//! was lost goes into the next index as a gap.

use std::{io, time::Duration};

use steno_core::{
    TimestampNs,
    block::{Block, BlockHeader},
};
use steno_index::Gap;

use super::{
    SegmentWriter,
    open::FailedBlock,
    writer::{Attempt, PATIENCE},
};
use crate::{
    console::{error, warning},
    error::words,
    sys::BlockMemory,
};

/// How long until the next attempt when nothing can be written.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Where a writer stands.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// Whether a write has failed, and none has succeeded since.
    struck: bool,
    /// When writing is tried again; nothing is written until then.
    until: Option<TimestampNs>,
    /// What was last said about it.
    said: String,
    lost: Option<Lost>,
}

/// What could not be written, from the first to the last packet.
#[derive(Debug)]
struct Lost {
    from: TimestampNs,
    to: TimestampNs,
    packets: u64,
}

/// A block that needs another place.
#[derive(Debug)]
struct Redo {
    memory: BlockMemory,
    /// Whether its write had failed before.
    again: bool,
    /// Why it failed now; `None` for one that was written behind one that failed.
    error: Option<io::Error>,
}

impl Failure {
    /// Whether a file may be opened now.
    pub(super) fn lets_try(&mut self, now: TimestampNs) -> bool {
        let wait = self.until.is_some_and(|until| now < until && until.as_ns() - now.as_ns() <= nanos(TRY_AGAIN));
        if !wait {
            self.until = None;
        }
        !wait
    }

    /// Gives up until later, and says why, once.
    pub(super) fn strike_out(&mut self, now: TimestampNs, why: &str) {
        self.struck = true;
        self.until = Some(now.saturating_add_ns(nanos(TRY_AGAIN)));
        if self.said != why {
            error!("{why}; packets are dropped and counted, and writing is tried again each second");
            why.clone_into(&mut self.said);
        }
    }

    /// Counts a block that is lost.
    pub(super) fn lose(&mut self, header: &BlockHeader) {
        let time = |(secs, nanos)| TimestampNs::from_parts(secs, nanos);
        let (from, to) = (time(header.ts_first), time(header.ts_last));
        let lost = self.lost.get_or_insert(Lost { from, to, packets: 0 });
        (lost.from, lost.to) = (lost.from.min(from), lost.to.max(to));
        lost.packets += u64::from(header.num_pkts);
    }
}

impl SegmentWriter {
    /// Gives blocks that could not be written, and those behind them, a place in another file.
    pub(super) fn recover(&mut self) {
        while self.has_failed() {
            self.drain();
            let now = self.clock.now();
            let redo = self.take_failed();
            let why = redo.iter().find_map(|block| block.error.as_ref()).map(words).unwrap_or_default();
            if self.failure.struck {
                self.failure.strike_out(now, &format!("failed to write: {why}"));
            } else {
                self.failure.struck = true;
                error!("failed to write a block: {why}; its segment ends before it, and a new one begins");
            }
            for Redo { memory, again, error } in redo {
                // Its own second failure, or nothing can be written at all.
                if (again && error.is_some()) || self.failure.until.is_some() {
                    self.lose_block(&memory);
                } else {
                    self.store(memory, if error.is_some() { Attempt::AfterFailure } else { Attempt::Moved });
                }
            }
        }
    }

    /// A write has succeeded: what was lost until now is told.
    pub(super) fn end_failure(&mut self) {
        self.failure.struck = false;
        self.failure.said.clear();
        if let Some(lost) = self.failure.lost.take() {
            let reason = format!("{} packets could not be written", lost.packets);
            warning!("{reason}, of the time from {} to {}", lost.from, lost.to);
            self.lost.gap(Gap { from: lost.from, to: lost.to, reason });
        }
    }

    fn has_failed(&self) -> bool {
        self.open.iter().chain(self.closing.iter().map(|(_, s)| s)).any(|s| !s.failed.is_empty())
    }

    /// Waits until no write is under way.
    fn drain(&mut self) {
        while self.sink.in_flight() > 0 {
            self.reap(Some(PATIENCE));
        }
    }

    /// Closes the segments that have failed, and takes from each what lies behind its last whole block, in order.
    fn take_failed(&mut self) -> Vec<Redo> {
        if self.open.as_ref().is_some_and(|open| !open.failed.is_empty()) {
            self.close();
        }
        let mut redo = Vec::new();
        for (_, segment) in self.closing.iter_mut().filter(|(_, s)| !s.failed.is_empty()) {
            let ahead = std::mem::take(&mut segment.ahead).into_iter();
            let failed = std::mem::take(&mut segment.failed).into_iter();
            let ahead = ahead.map(|(number, memory)| (number, Redo { memory, again: false, error: None }));
            let failed = failed.map(|(number, FailedBlock { memory, again, error })| {
                (number, Redo { memory, again, error: Some(error) })
            });
            let mut blocks: Vec<(u32, Redo)> = ahead.chain(failed).collect();
            blocks.sort_by_key(|(number, _)| *number);
            redo.extend(blocks.into_iter().map(|(_, block)| block));
        }
        redo
    }

    fn lose_block(&mut self, memory: &BlockMemory) {
        if let Ok(block) = Block::parse(memory.bytes()) {
            let header = *block.header();
            self.lose(&header);
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
