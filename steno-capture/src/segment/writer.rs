//! What a packet thread does with a block: note it, have it written, rotate the file when it is due.

use std::{
    collections::VecDeque,
    os::fd::BorrowedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use steno_core::{
    Clock, TimestampNs,
    block::{Block, BlockHeader},
};
use steno_index::{BlockChecksums, Cause, Facts, Gap, Log, note_block};

use super::{
    LossSource, Losses, OpenSegment, Place, Rotation, SealJob, Sealer, Shares, failure::Failure, names::Names,
    open::FailedBlock, rotation::Due, stall::WriteProgress,
};
use crate::{
    console::{debug, error, warning},
    counters::Counters,
    error::words,
    io::{BlockSink, BlockWrite, Ended, Ticket},
    sandbox,
    sys::BlockMemory,
    watchdog::Work,
};

/// How long a single wait for a write lasts before it is looked around again.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How soon it is looked whether the index thread takes more, where files wait for it.
const SEALER_PATIENCE: Duration = Duration::from_millis(20);

/// What a [`SegmentWriter`] is told once.
#[derive(Clone, Debug)]
pub(crate) struct WriterOptions {
    pub(crate) rotation: Rotation,
    pub(crate) preallocate_bytes: u64,
    pub(crate) block_crc: bool,
    pub(crate) with_index: bool,
    /// How long nothing may be published: then an empty file is. A daemon of 1.0.1 takes a capture that shows no file for
    /// five minutes for dead, and kills it; its own capture shows an empty one at each rotation.
    pub(crate) sign_of_life: Option<Duration>,
    /// Writes under way at most.
    pub(crate) in_flight_max: usize,
    /// How logs are shared with the daemon, if there is one and logs are kept.
    pub(crate) shares: Option<Shares>,
    /// What every index of the thread says; losses are added.
    pub(crate) facts: Facts,
}

/// What a [`SegmentWriter`] works with.
pub(crate) struct Means {
    pub(crate) sink: Box<dyn BlockSink>,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) losses: Box<dyn LossSource>,
}

/// How often a block has had a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It comes from the ring.
    First,
    /// It had one behind a block that could not be written.
    Moved,
    /// It could not be written there.
    AfterFailure,
}

/// Takes blocks and makes published segments of them.
pub(crate) struct SegmentWriter {
    place: Place,
    names: Names,
    pub(super) options: WriterOptions,
    pub(super) sink: Box<dyn BlockSink>,
    sealer: Sealer,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    losses: Box<dyn LossSource>,
    pub(super) open: Option<OpenSegment>,
    /// The number of the open segment; tickets name it.
    number: u64,
    /// Segments that get no more blocks, with their numbers, oldest first.
    pub(super) closing: VecDeque<(u64, OpenSegment)>,
    pub(super) failure: Failure,
    /// What this thread itself has seen lost, for the next index.
    pub(super) lost: Losses,
    progress: WriteProgress,
    /// Those of the block at hand, in memory that is used again.
    checksums: BlockChecksums,
    /// When a segment was last handed over, or the capture began.
    shown: TimestampNs,
    /// Until when was captured, once no more is.
    ended: Option<TimestampNs>,
}

impl SegmentWriter {
    /// A writer that goes on with `open`, the first file.
    pub(crate) fn new(place: Place, options: WriterOptions, mut open: OpenSegment, means: Means) -> Self {
        let Means { sink, sealer, clock, counters, losses } = means;
        preallocate(&open, options.preallocate_bytes);
        open.share(options.shares.as_ref());
        let shown = open.opened;
        Self {
            place,
            names: Names::after(open.paths.id()),
            options,
            sink,
            sealer,
            clock,
            counters,
            losses,
            open: Some(open),
            number: 0,
            closing: VecDeque::new(),
            failure: Failure::default(),
            lost: Losses::default(),
            progress: WriteProgress::default(),
            checksums: BlockChecksums::default(),
            shown,
            ended: None,
        }
    }

    /// Takes a block. It is noted, and its write is under way when this returns; its memory goes back once it is written.
    pub(crate) fn take(&mut self, memory: BlockMemory) {
        let header = match Block::parse(memory.bytes()) {
            Ok(block) => *block.header(),
            Err(e) => return self.malformed(&e),
        };
        if header.num_pkts == 0 {
            return;
        }
        self.counters.blocks.add(1);
        self.counters.packets.add(header.num_pkts.into());
        self.store(memory, Attempt::First);
        self.settle(None);
    }

    /// Takes note of writes that have ended, and does what follows from it. Where none has ended but some are under way,
    /// waits for one as long as `wait` says.
    pub(crate) fn settle(&mut self, wait: Option<Duration>) {
        self.reap(wait);
        self.recover();
        self.hand_over();
    }

    /// Writes under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.sink.in_flight()
    }

    /// What becomes readable when one of them ends, where there is such a thing.
    pub(crate) fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.sink.wakes()
    }

    /// Does what the time asks for: rotates or renames the file, opens one where there is none. To be called now and then.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        match self.open.as_mut().map(|open| self.options.rotation.due(open.opened, now, open.blocks)) {
            Some(Due::Nothing) => {}
            Some(Due::Rotate) => self.close(),
            Some(Due::Rename) if self.owes_a_sign_of_life(now) => self.close_empty(),
            Some(Due::Rename) => self.rename(),
            None => {}
        }
        let _ = self.ready(now);
        self.settle(None);
        self.sealer.go_on();
    }

    /// How long until [`Self::tick`] has something to do.
    pub(crate) fn wait(&self) -> Duration {
        let open = self.open.as_ref();
        let due = open.map_or(PATIENCE, |open| self.options.rotation.wait(open.opened, self.clock.now()));
        if self.sealer.keeps_some_waiting() { due.min(SEALER_PATIENCE) } else { due }
    }

    /// Notes a time in which nothing could be captured.
    pub(crate) fn note_gap(&mut self, gap: Gap) {
        self.lost.gap(gap);
    }

    /// Waits for all writes, and publishes everything. The last index says until when was captured.
    pub(crate) fn finish(mut self, ended: TimestampNs) {
        self.ended = Some(ended);
        self.close();
        loop {
            self.settle(Some(PATIENCE));
            self.close();
            if self.sink.in_flight() == 0 && self.closing.is_empty() {
                break;
            }
        }
        self.end_failure();
        // From here on it only waits for the index thread.
        self.counters.pulse.turn_to(Work::Rest);
        self.sealer.finish();
    }

    /// Gives a block its place in the open file.
    pub(super) fn store(&mut self, memory: BlockMemory, attempt: Attempt) {
        let Ok(block) = Block::parse(memory.bytes()) else { return };
        let header = *block.header();
        let now = self.clock.now();
        // Counted with the note where there is one: another walk through the block would be felt.
        let is_first = attempt == Attempt::First;
        if !self.ready(now) {
            if is_first {
                self.count(&block, walk(&block));
            }
            return self.lose(&header);
        }
        let (rotation, number) = (self.options.rotation, self.number);
        let Some(open) = &mut self.open else { return self.lose(&header) };
        let offset_bytes = rotation.offset(open.blocks);
        let noted = if self.options.with_index {
            let checksums = self.options.block_crc.then(|| self.checksums.renew(block.used()));
            let noted = match note_block(&mut open.log, offset_bytes, &block, checksums) {
                Ok(noted) => noted,
                Err(e) => {
                    self.malformed(&e);
                    return self.lose(&header);
                }
            };
            if let Some(share) = &mut open.share {
                share.noted(open.log.bytes());
            }
            (noted.captured_bytes, noted.cut_packets)
        } else {
            walk(&block)
        };
        let ticket = Ticket { segment: number, block: open.blocks, again: attempt == Attempt::AfterFailure };
        let len_bytes = open.file.write_bytes(header.blk_len, rotation.block_bytes) as usize;
        open.blocks += 1;
        open.pending += 1;
        let file = Arc::clone(&open.file);
        let full = open.blocks >= rotation.blocks_max;
        if is_first {
            self.count(&block, noted);
        }
        self.progress.begins(Instant::now());
        self.sink.start(BlockWrite { ticket, file, memory, len_bytes, offset_bytes });
        if full {
            self.close();
        }
        while self.sink.in_flight() >= self.options.in_flight_max {
            self.reap(Some(PATIENCE));
        }
    }

    /// Makes sure that there is a file that takes a block; `false` where there can't be one now.
    fn ready(&mut self, now: TimestampNs) -> bool {
        if let Some(open) = &self.open
            && open.failed.is_empty()
        {
            if self.options.rotation.due(open.opened, now, open.blocks) != Due::Rotate {
                return true;
            }
            self.close();
        }
        if !self.failure.lets_try(now) {
            return false;
        }
        self.close();
        let log = if self.options.with_index { self.sealer.empty_log() } else { Log::default() };
        match OpenSegment::create(&self.place, &mut self.names, &*self.clock, log) {
            Ok(mut open) => {
                debug!("opened {}", open.paths.hidden_packet_file().display());
                preallocate(&open, self.options.preallocate_bytes);
                open.share(self.options.shares.as_ref());
                self.open = Some(open);
                true
            }
            Err(e) => {
                self.failure.strike_out(now, &format!("failed to open a packet file: {e}"));
                sandbox::look_at(&self.place.packets_dir);
                false
            }
        }
    }

    /// Gives the open file no more blocks. Without any, it is removed.
    pub(super) fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.blocks == 0 {
            discard(open);
        } else {
            self.closing.push_back((self.number, open));
        }
        self.number += 1;
    }

    fn owes_a_sign_of_life(&self, now: TimestampNs) -> bool {
        let silent = Duration::from_nanos(now.as_ns().saturating_sub(self.shown.as_ns()));
        self.options.sign_of_life.is_some_and(|most| silent >= most)
    }

    /// Publishes a file without blocks.
    fn close_empty(&mut self) {
        self.closing.extend(self.open.take().map(|open| (self.number, open)));
        self.number += 1;
    }

    fn rename(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Err(e) = open.rename(&self.place, &mut self.names, &*self.clock) {
            warning!("failed to rename an empty packet file: {}", words(&e));
            self.close();
        } else if let (Some(shares), Some(share)) = (&self.options.shares, &open.share) {
            shares.tell(share, open.paths.id());
        }
    }

    /// Takes note of the writes that have ended.
    pub(super) fn reap(&mut self, wait: Option<Duration>) {
        self.sink.wait(wait);
        while let Some(Ended { ticket, memory, result }) = self.sink.ended() {
            let segment = match &mut self.open {
                Some(open) if ticket.segment == self.number => Some(open),
                _ => self.closing.iter_mut().find(|(number, _)| *number == ticket.segment).map(|(_, s)| s),
            };
            if let Some(stood) = self.progress.ended(Instant::now(), self.sink.in_flight() > 0) {
                self.counters.write_stall_ns.add(u64::try_from(stood.as_nanos()).unwrap_or(u64::MAX));
                self.lost.stalled(self.clock.now(), stood);
            }
            let Some(segment) = segment else { continue };
            self.counters.pulse.beat();
            match result {
                Ok(()) => {
                    segment.written(ticket.block, memory);
                    self.end_failure();
                }
                Err(error) => {
                    self.counters.write_errors.add(1);
                    segment.not_written(ticket.block, FailedBlock { memory, again: ticket.again, error });
                }
            }
        }
    }

    /// Hands segments whose writes have all ended to the index thread, oldest first.
    fn hand_over(&mut self) {
        while let Some((_, segment)) = self.closing.pop_front_if(|(_, s)| s.pending == 0 && s.failed.is_empty()) {
            if segment.whole == 0 && segment.blocks > 0 {
                discard(segment);
                continue;
            }
            self.shown = self.clock.now();
            let lost = std::mem::take(&mut self.lost).and(self.losses.take());
            let mut facts = lost.into_facts(&self.options.facts);
            facts.ended = self.ended.filter(|_| self.open.is_none() && self.closing.is_empty());
            let exact = segment.whole == segment.blocks;
            self.sealer.hand_over(SealJob {
                paths: segment.paths,
                file: segment.file,
                blocks: segment.whole,
                log: exact.then_some(segment.log),
                facts,
            });
        }
    }

    /// A block that the kernel would never write. It can't be indexed, so it is not kept.
    fn malformed(&self, error: &steno_core::block::BlockError) {
        error!("a block of the ring is malformed, and is dropped: {error}");
    }

    pub(super) fn lose(&mut self, header: &BlockHeader) {
        self.counters.lost_packets.add(header.num_pkts.into());
        self.lost.add(header.ts_first.0.into(), Cause::NotWritten, header.num_pkts.into());
        self.failure.lose(header);
    }

    /// Counts what was captured of a block's packets, and how many of them were cut, by the second where that is known.
    fn count(&mut self, block: &Block<'_>, (captured_bytes, cut_packets): (u64, u32)) {
        self.counters.bytes.add(captured_bytes);
        if cut_packets == 0 {
            return;
        }
        self.counters.cut_packets.add(cut_packets.into());
        let (first, last) = (block.header().ts_first.0, block.header().ts_last.0);
        if first == last {
            return self.lost.add(first.into(), Cause::Cut, cut_packets.into());
        }
        for packet in block.packets().map_while(Result::ok).filter(|packet| packet.header.snaplen < packet.header.len) {
            self.lost.add(packet.timestamp().secs(), Cause::Cut, 1);
        }
    }
}

/// What was captured of a block's packets, in bytes, and how many of them were cut, as far as they hold.
fn walk(block: &Block<'_>) -> (u64, u32) {
    block.packets().map_while(Result::ok).fold((0, 0), |(bytes, cut), packet| {
        let header = packet.header;
        (bytes + u64::from(header.snaplen), cut + u32::from(header.snaplen < header.len))
    })
}

/// Removes a file that holds nothing.
fn discard(segment: OpenSegment) {
    let path = segment.paths.hidden_packet_file();
    if let Err(e) = segment.discard() {
        warning!("failed to remove {}, which is empty: {}", path.display(), words(&e));
    }
}

/// Sets disk space aside, where it is asked for and to be had.
fn preallocate(segment: &OpenSegment, bytes: u64) {
    if let Err(e) = segment.file.preallocate(bytes) {
        warning!("--preallocate_file_mb has no effect on this file: {}", words(&e));
    }
}
