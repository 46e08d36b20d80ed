//! The packet thread: takes blocks from the ring, notes their packets, writes them, and rotates the file (steps 1 to 4).
//!
//! It never waits but for packets, or for writes when as many as may be are under way. What cannot be written is counted
//! and dropped; the ring is drained whatever happens.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use steno_core::{
    Clock, Position, SystemClock,
    block::{Block as BlockView, BlockHeader},
    packet::{Tag, decode},
};
use steno_index::{BlockNote, Drops, Facts, Log};

use crate::{
    counters::Counters,
    io::Writer,
    log::{error, info, warning},
    segment::{OpenSegment, Place, Rotation, SealJob, Sealer, WrittenBlock},
    sys::{Block, PacketSocket, Ring},
};

/// How often statistics are read, a new file is tried after a failure, and a request to stop is looked for.
const TICK: Duration = Duration::from_millis(200);
/// How long a stop waits for the block timer; after that the open block is taken from the kernel.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// How often the ring is looked at while writes are under way.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Writes between two calls into the kernel, when blocks come faster than it is asked.
const BATCH: u32 = 8;

/// What the threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stop: AtomicBool,
    /// Packets that may still be captured; below zero: any number.
    pub(crate) remaining: Option<AtomicI64>,
    pub(crate) rotation: Rotation,
    pub(crate) block_crc: bool,
    pub(crate) facts: Facts,
    pub(crate) stats_blocks: u64,
    pub(crate) stats_every: Option<Duration>,
    pub(crate) retire_after: Duration,
}

/// A packet thread's own things.
pub(crate) struct PacketThread {
    pub(crate) number: u16,
    pub(crate) socket: PacketSocket,
    pub(crate) ring: Ring,
    pub(crate) writer: Writer,
    pub(crate) sealer: Sealer,
    pub(crate) place: Place,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) segment: Option<OpenSegment>,
}

impl PacketThread {
    /// Captures until it is told to stop, then brings what the ring holds to the disk.
    pub(crate) fn run(self) {
        let mut state = Running {
            closing: VecDeque::new(),
            ready: VecDeque::new(),
            tags: Vec::new(),
            next_tag: 0,
            unsubmitted: 0,
            last_seq: 0,
            last_tick: Instant::now(),
            last_stats: Instant::now(),
            own: self,
        };
        state.capture();
        state.drain();
        state.close();
    }
}

/// A segment that gets no more blocks.
struct Closing {
    segment: OpenSegment,
    ordinal: u64,
}

struct Running {
    own: PacketThread,
    closing: VecDeque<Closing>,
    /// Files to be sealed, while the index thread has no room for them.
    ready: VecDeque<SealJob>,
    tags: Vec<Tag>,
    /// Ordinal of the open segment; the upper half of the tags of its writes.
    next_tag: u64,
    unsubmitted: u32,
    last_seq: u64,
    last_tick: Instant,
    last_stats: Instant,
}

impl Running {
    fn capture(&mut self) {
        while !self.own.shared.stop.load(Ordering::Relaxed) {
            self.take_blocks();
            self.flush();
            self.tick();
            self.wait(TICK);
        }
    }

    /// All blocks that are ready.
    fn take_blocks(&mut self) {
        while let Some(block) = self.own.ring.next(self.own.writer.busy()) {
            self.block(block);
            if self.own.shared.stop.load(Ordering::Relaxed) && self.own.shared.remaining.is_some() {
                return;
            }
        }
    }

    /// After a stop: what the kernel has handed over, and what it was filling.
    fn drain(&mut self) {
        if let Err(e) = self.own.socket.shut() {
            error!("failed to stop receiving: {e}");
        }
        let counted_out = self.own.shared.remaining.as_ref().is_some_and(|r| r.load(Ordering::Relaxed) <= 0);
        if counted_out {
            return;
        }
        let patience = (self.own.shared.retire_after + TICK).min(STOP_PATIENCE);
        let begun = Instant::now();
        loop {
            self.take_blocks();
            self.flush();
            if begun.elapsed() >= patience {
                break;
            }
            self.wait(Duration::from_millis(20));
        }
        if let Some(block) = self.own.ring.take_open(self.own.writer.busy(), self.last_seq) {
            self.block(block);
        }
    }

    /// Finishes every file.
    fn close(mut self) {
        self.statistics();
        self.retire_segment();
        while !self.closing.is_empty() {
            self.flush();
            if self.own.writer.busy() > 0
                && let Err(e) = self.own.writer.submit(1)
            {
                error!("failed to wait for writes: {e}");
                break;
            }
            self.reap();
            self.hand_over(true);
        }
        let Self { own, .. } = self;
        drop(own.writer);
        own.sealer.finish();
    }

    fn block(&mut self, mut block: Block) {
        if !self.within_count(&mut block) {
            return;
        }
        let Ok(view) = BlockView::parse(block.bytes()) else {
            // The kernel writes no such block.
            error!("a block of the ring is malformed and is dropped");
            return;
        };
        let header = *view.header();
        self.last_seq = header.seq_num;
        self.own.counters.blocks.add(1);
        self.make_room();
        let shared = Arc::clone(&self.own.shared);
        let Some(segment) = &mut self.own.segment else {
            self.own.counters.packets_lost.add(u64::from(header.num_pkts));
            return;
        };
        let offset = segment.next_offset(&shared.rotation);
        let (packets, bytes) = note(&mut segment.log, &view, offset, shared.block_crc, &mut self.tags);
        self.own.counters.packets.add(u64::from(packets));
        self.own.counters.bytes.add(bytes);
        let block_bytes = u32::try_from(shared.rotation.block_bytes).unwrap_or(u32::MAX);
        let len = segment.file.write_bytes(header.blk_len, block_bytes);
        let tag = self.next_tag << 32 | segment.blocks.len() as u64;
        segment.blocks.push(WrittenBlock { packets, len_bytes: len });
        segment.in_flight += 1;
        self.write(block, len, offset, tag);
        if shared.stats_blocks > 0 && self.own.counters.blocks.get().is_multiple_of(shared.stats_blocks) {
            self.statistics_line();
        }
    }

    /// Cuts the block to as many packets as `--count` leaves; `false` where that is none.
    fn within_count(&self, block: &mut Block) -> bool {
        let Some(remaining) = &self.own.shared.remaining else { return true };
        let Ok(view) = BlockView::parse(block.bytes()) else { return true };
        let announced = i64::from(view.header().num_pkts);
        let before = remaining.fetch_sub(announced, Ordering::Relaxed).max(0);
        if before <= announced {
            self.own.shared.stop.store(true, Ordering::Relaxed);
        }
        if before >= announced {
            return true;
        }
        let keep = u32::try_from(before).unwrap_or_default();
        if let Some(Ok(first_left_out)) = view.packets().nth(keep as usize) {
            let header = BlockHeader { num_pkts: keep, blk_len: first_left_out.offset_bytes, ..*view.header() };
            block.set_header(&header);
        }
        keep > 0
    }

    fn write(&mut self, mut block: Block, len: u32, offset: u64, tag: u64) {
        loop {
            let Some(segment) = &self.own.segment else { return };
            match self.own.writer.write(&segment.file, block, len, offset, tag) {
                Ok(()) => break,
                Err(back) => block = back,
            }
            if let Err(e) = self.own.writer.submit(1) {
                error!("failed to wait for a write: {e}");
                std::thread::sleep(Duration::from_millis(1));
            }
            self.unsubmitted = 0;
            self.reap();
        }
        self.unsubmitted += 1;
        if self.unsubmitted >= BATCH {
            self.flush();
        }
    }

    /// Makes sure that the open segment takes a block, if there can be one.
    fn make_room(&mut self) {
        let full = self.own.segment.as_ref().is_some_and(|s| s.is_full(&self.own.shared.rotation));
        if full {
            self.rotate();
        }
    }

    fn rotate(&mut self) {
        self.retire_segment();
        self.open_segment();
    }

    fn retire_segment(&mut self) {
        let Some(segment) = self.own.segment.take() else { return };
        if segment.blocks.is_empty() {
            if let Err(e) = segment.discard() {
                warning!("failed to remove an empty file: {e}");
            }
        } else {
            self.closing.push_back(Closing { segment, ordinal: self.next_tag });
        }
        self.next_tag += 1;
    }

    fn open_segment(&mut self) {
        let log = self.own.sealer.empty_log();
        match OpenSegment::create(&self.own.place, &self.own.shared.rotation, log) {
            Ok(segment) => self.own.segment = Some(segment),
            Err(e) => error!("failed to open a packet file: {e}. Packets are dropped until one can be opened"),
        }
    }

    /// Hands writes to the kernel and takes note of those that have ended.
    fn flush(&mut self) {
        if self.unsubmitted > 0 {
            if let Err(e) = self.own.writer.submit(0) {
                error!("failed to submit writes: {e}");
            }
            self.unsubmitted = 0;
        }
        self.reap();
        self.hand_over(false);
    }

    fn reap(&mut self) {
        while let Some(done) = self.own.writer.completion() {
            let (ordinal, block) = (done.tag >> 32, usize::try_from(done.tag & 0xffff_ffff).unwrap_or(usize::MAX));
            let segment = if ordinal == self.next_tag {
                self.own.segment.as_mut()
            } else {
                self.closing.iter_mut().find(|c| c.ordinal == ordinal).map(|c| &mut c.segment)
            };
            let Some(segment) = segment else { continue };
            if let Err(e) = segment.written(block, done.result) {
                self.own.counters.write_errors.add(1);
                error!("failed to write block {block} of {}: {e}", segment.paths.hidden_packet_file().display());
            }
        }
    }

    /// Gives finished files to the index thread, oldest first, as far as it has room; with `wait`, all of them.
    fn hand_over(&mut self, wait: bool) {
        while let Some(Closing { segment, .. }) = self.closing.pop_front_if(|c| c.segment.in_flight == 0) {
            let lost = segment.packets_lost();
            self.own.counters.packets_lost.add(lost);
            if lost > 0 {
                error!("{lost} packets are lost: {} ends before the block that failed", segment.paths.id());
            }
            let job = self.job(segment);
            self.ready.push_back(job);
        }
        while let Some(job) = self.ready.pop_front() {
            if wait {
                self.own.sealer.hand_over(job);
            } else if let Err(job) = self.own.sealer.offer(job) {
                self.ready.push_front(*job);
                return;
            }
        }
    }

    fn job(&self, segment: OpenSegment) -> SealJob {
        let blocks = segment.failed_block.unwrap_or(segment.blocks.len());
        SealJob {
            file_bytes: blocks as u64 * self.own.shared.rotation.block_bytes,
            log_is_exact: segment.failed_block.is_none(),
            facts: Facts { thread: u32::from(self.own.number), drops: segment.drops, ..self.own.shared.facts.clone() },
            paths: segment.paths,
            file: segment.file,
            log: segment.log,
        }
    }

    /// What is done from time to time, also when no packet comes.
    fn tick(&mut self) {
        self.rotate_by_age();
        if self.last_tick.elapsed() < TICK {
            return;
        }
        self.last_tick = Instant::now();
        self.statistics();
        if self.own.segment.as_ref().is_none_or(|s| s.failed_block.is_some()) {
            self.rotate();
        }
        if self.own.shared.stats_every.is_some_and(|every| self.last_stats.elapsed() >= every) {
            self.statistics_line();
        }
    }

    fn rotate_by_age(&mut self) {
        let Some(segment) = &mut self.own.segment else { return };
        if !segment.ages_in(&self.own.shared.rotation).is_zero() {
            return;
        }
        if !segment.blocks.is_empty() {
            self.rotate();
        } else if let Err(e) = segment.rename(&self.own.place) {
            warning!("failed to rename an empty packet file: {e}");
            self.rotate();
        }
    }

    /// Reads the kernel's counters, and notes drops under the second in which they were seen.
    fn statistics(&mut self) {
        let Ok(counts) = self.own.socket.statistics() else { return };
        self.own.counters.freezes.add(counts.freezes);
        if counts.drops == 0 {
            return;
        }
        self.own.counters.dropped.add(counts.drops);
        let second = SystemClock.now().secs();
        let Some(segment) = &mut self.own.segment else { return };
        match segment.drops.last_mut() {
            Some(last) if last.second == second => last.packets += counts.drops,
            _ => segment.drops.push(Drops { second, packets: counts.drops }),
        }
    }

    fn statistics_line(&mut self) {
        self.last_stats = Instant::now();
        let c = &self.own.counters;
        info!(
            "blocks={} packets={} bytes={} dropped={} freezes={} write_errors={} packets_lost={}",
            c.blocks.get(),
            c.packets.get(),
            c.bytes.get(),
            c.dropped.get(),
            c.freezes.get(),
            c.write_errors.get(),
            c.packets_lost.get()
        );
    }

    /// Sleeps until a block is ready, a write has ended, the file is too old, or `most` has passed.
    ///
    /// The socket is readable as long as its last block has not been given back (`packet_poll` of net/packet/af_packet.c),
    /// which is as long as it is being written: then the writes are waited for, and the ring is looked at in between.
    fn wait(&self, most: Duration) {
        let aging = self.own.segment.as_ref().map_or(most, |s| s.ages_in(&self.own.shared.rotation));
        let most = most.min(aging.max(Duration::from_millis(1)));
        match self.own.writer.wakes_on().filter(|_| self.own.writer.busy() > 0) {
            Some(writes) => {
                let _ = sleep_on(PollFd::from_borrowed_fd(writes, PollFlags::IN), most.min(LOOK_EVERY));
            }
            None => {
                let seen = sleep_on(PollFd::new(&self.own.socket, PollFlags::IN | PollFlags::ERR), most);
                if seen.contains(PollFlags::ERR) {
                    // The link is down, and the socket says so at every call.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }
}

/// Waits for a descriptor; an interrupted wait is a short one.
fn sleep_on(descriptor: PollFd<'_>, most: Duration) -> PollFlags {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
    let mut watched = [descriptor];
    match poll(&mut watched, Some(&timeout)) {
        Ok(ready) if ready > 0 => watched.first().map_or(PollFlags::empty(), PollFd::revents),
        _ => PollFlags::empty(),
    }
}

/// Notes the packets of a block: how many they are, and how many bytes they had.
fn note(log: &mut Log, block: &BlockView<'_>, offset_bytes: u64, crc: bool, tags: &mut Vec<Tag>) -> (u32, u64) {
    let (mut packets, mut bytes) = (0, 0);
    // The file is rotated before its positions leave 32 bits.
    let base = u32::try_from(offset_bytes).unwrap_or(u32::MAX);
    for packet in block.packets() {
        // A chain of the kernel's does not break; if it did, the file would be read as far as it holds, and so is this.
        let Ok(packet) = packet else { break };
        let frame = packet.frame();
        let decoded = decode(&frame, tags);
        let position = Position(base.saturating_add(packet.offset_bytes));
        let wire_len = packet.wire_len();
        log.note(position, packet.timestamp(), wire_len, &decoded, tags);
        packets += 1;
        bytes += u64::from(wire_len);
    }
    let header = block.header();
    let crc32c = crc.then(|| crc32c::crc32c(block.used()));
    log.end_block(BlockNote { offset_bytes, used_bytes: header.blk_len, crc32c, seq_num: header.seq_num });
    (packets, bytes)
}
