//! The packet thread: takes blocks from the ring, and has them noted and written (steps 1 to 4 of the data flow).
//!
//! It waits for packets, or for writes when as many as may be are under way, and for nothing else. What can't be written is
//! counted and given back to the kernel: the ring is drained whatever happens.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::net::netdevice;
use steno_core::{Clock, TimestampNs, block::Block};
use steno_index::Gap;

use super::{
    Budget, LossMeter, PacketSource, Stop, cut,
    source::{Wait, Waited},
};
use crate::{
    CaptureError,
    console::{debug, info, warning},
    counters::Counters,
    error::words,
    io::{BlockSink, MadeUring, SyncSink},
    ledger::Balance,
    segment::{Means, OpenSegment, Place, Sealer, SegmentWriter, WriterOptions, earlier},
    sys::{self, AlignedBuffer, BlockMemory},
    watchdog::Work,
};

/// How long a wait for packets lasts at most: then it is looked whether a file is due, or the interface is gone.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a wait for a write lasts at most, before it is looked for packets again.
const WRITE_WAIT_MAX: Duration = Duration::from_millis(20);
/// How long a stop waits for packets that go on coming, before it looks again.
const DRAIN_WAIT: Duration = Duration::from_millis(2);

/// What the main thread makes ready for a packet thread.
pub(crate) struct ThreadPlan {
    pub(crate) number: u16,
    pub(crate) interface: String,
    pub(crate) source: Box<dyn PacketSource>,
    /// The processor that it keeps to.
    pub(crate) cpu: Option<usize>,
    pub(crate) place: Place,
    pub(crate) options: WriterOptions,
    /// What it writes by, or why not; none where that is not wanted.
    pub(crate) uring: Option<io::Result<MadeUring>>,
    /// The first file.
    pub(crate) open: OpenSegment,
    pub(crate) sealer: Sealer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) losses: Arc<LossMeter>,
    /// Of which of its packets are accounted for.
    pub(crate) balance: Arc<Balance>,
    pub(crate) stop: Arc<Stop>,
    pub(crate) budget: Arc<Budget>,
    /// Blocks between two lines of statistics; 0 for none.
    pub(crate) stats_blocks: u64,
    /// Until when an earlier capture wrote into the directories.
    pub(crate) captured_until: Option<TimestampNs>,
}

/// A packet thread at work.
pub(crate) struct PacketThread {
    number: u16,
    interface: String,
    source: Box<dyn PacketSource>,
    writer: SegmentWriter,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    stop: Arc<Stop>,
    budget: Arc<Budget>,
    stats_blocks: u64,
    begun: Instant,
    /// Since when the interface is down.
    down: Option<TimestampNs>,
}

impl PacketThread {
    /// To be called on the thread itself: an io_uring belongs to the thread that begins with it.
    pub(crate) fn new(plan: ThreadPlan) -> Self {
        if let Some(cpu) = plan.cpu
            && let Err(e) = sys::keep_to(cpu)
        {
            warning!("thread {} does not keep to processor {cpu}: {}", plan.number, words(&e));
        }
        let (sink, how) = open_sink(plan.uring);
        let direct = if plan.open.file.is_direct() { "past" } else { "through" };
        info!("thread {} writes by {how}, {direct} the page cache", plan.number);
        let means = Means {
            sink,
            sealer: plan.sealer,
            clock: Arc::clone(&plan.clock),
            counters: Arc::clone(&plan.counters),
            losses: Box::new(plan.losses),
        };
        let gap = plan.captured_until.and_then(|until| earlier::gap(until, plan.open.opened));
        let mut writer = SegmentWriter::new(plan.place, plan.options, plan.open, means);
        if let Some(gap) = gap {
            debug!("thread {}: {} since {}", plan.number, gap.reason, gap.from);
            writer.note_gap(gap);
        }
        Self {
            number: plan.number,
            interface: plan.interface,
            source: plan.source,
            writer,
            clock: plan.clock,
            counters: plan.counters,
            stop: plan.stop,
            budget: plan.budget,
            stats_blocks: plan.stats_blocks,
            begun: Instant::now(),
            down: None,
        }
    }

    /// Captures until it is told to stop, then brings what the ring holds to the disk, and publishes it.
    ///
    /// # Errors
    /// [`CaptureError::InterfaceGone`]; what came before is published nevertheless.
    pub(crate) fn run(mut self) -> Result<(), CaptureError> {
        self.counters.pulse.turn_to(Work::Capture);
        let result = self.capture();
        self.stop.ask();
        let ended = self.drain();
        self.writer.finish(self.down.unwrap_or(ended));
        result
    }

    fn capture(&mut self) -> Result<(), CaptureError> {
        while !self.stop.is_asked() {
            self.take_blocks();
            self.writer.tick();
            if self.budget.is_spent() {
                self.stop.ask();
                break;
            }
            if self.writer.in_flight() == 0 {
                self.counters.pulse.beat();
                self.wait(WAIT_MAX)?;
            } else if self.source.takes_packets_itself() {
                // That a write has ended is what shows that it gets on.
                self.wait(WRITE_WAIT_MAX)?;
            } else {
                // A block whose write is under way would have every poll of the socket return at once (`packet_poll` looks
                // at the block before the one being filled): so it is waited for the write, which is soon, and looked again.
                self.writer.settle(Some(WRITE_WAIT_MAX));
            }
        }
        Ok(())
    }

    /// All blocks that are ready, unless a stop comes between.
    fn take_blocks(&mut self) {
        while let Some(block) = self.source.next() {
            self.take(block);
            if self.stop.is_asked() {
                return;
            }
        }
    }

    fn take(&mut self, block: BlockMemory) {
        if let Some(block) = self.within_budget(block) {
            self.note_link_is_up(&block);
            self.writer.take(block);
            let blocks = self.counters.blocks.get();
            if self.stats_blocks > 0 && blocks.is_multiple_of(self.stats_blocks) {
                debug!("{}", statistics_line(self.number, &self.counters, self.begun));
            }
        }
    }

    /// The block, or as much of it as `--count` leaves.
    fn within_budget(&self, memory: BlockMemory) -> Option<BlockMemory> {
        // One that does not parse is the writer's to complain about.
        let Ok(block) = Block::parse(memory.bytes()) else { return Some(memory) };
        let packets = block.header().num_pkts;
        let granted = self.budget.take(packets);
        if granted == packets {
            return Some(memory);
        }
        // The kernel's block stays as it is: what is kept of it is a copy.
        let mut copy = AlignedBuffer::new(memory.bytes().len());
        copy.bytes_mut().copy_from_slice(memory.bytes());
        let cut = cut::end_after(copy.bytes_mut(), granted);
        (granted > 0 && cut.is_ok()).then_some(BlockMemory::Copy(copy))
    }

    /// Sleeps until a block is ready, a write has ended, a stop is asked for, or something is due.
    fn wait(&mut self, most: Duration) -> Result<(), CaptureError> {
        let most = self.writer.wait().clamp(Duration::from_millis(1), most);
        self.counters.polls.add(1);
        if self.source.wait(&Wait { stop: &self.stop, writes: self.writer.wakes(), most }) == Waited::Error {
            self.look_at_link();
        }
        if self.down.is_some() && netdevice::index_to_name(self.source.socket(), self.source.interface()).is_err() {
            return Err(CaptureError::InterfaceGone { interface: self.interface.clone() });
        }
        Ok(())
    }

    /// Takes the error from the socket, so that it does not wake every poll.
    fn look_at_link(&mut self) {
        match self.source.socket().take_error() {
            // An error that is not told would wake every poll.
            Ok(()) => std::thread::sleep(WRITE_WAIT_MAX),
            Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => {
                if self.down.is_none() {
                    warning!("{} is down; capture goes on when it is up again", self.interface);
                    self.down = Some(self.clock.now());
                }
            }
            Err(e) => warning!("the socket says: {e}"),
        }
    }

    /// The first packets after the interface was down end a gap. (Those before it may come later: by the block timer.)
    fn note_link_is_up(&mut self, memory: &BlockMemory) {
        let Some(from) = self.down else { return };
        let first = Block::parse(memory.bytes()).ok().and_then(|block| block.packets().next()?.ok());
        let Some(to) = first.map(|packet| packet.timestamp()).filter(|&to| to > from) else { return };
        self.down = None;
        info!("{} is up again", self.interface);
        self.writer.note_gap(Gap { from, to, reason: format!("{} was down", self.interface) });
    }

    /// After a stop: takes all that was received. Says until when was captured.
    fn drain(&mut self) -> TimestampNs {
        let shut = self.source.shut().then(|| self.clock.now());
        loop {
            match self.source.next() {
                Some(block) => self.take(block),
                None if self.source.is_drained() => return shut.unwrap_or_else(|| self.clock.now()),
                None => {
                    self.writer.settle(Some(WRITE_WAIT_MAX));
                    if self.writer.in_flight() == 0 {
                        self.counters.pulse.beat();
                        std::thread::sleep(DRAIN_WAIT);
                    }
                }
            }
        }
    }
}

/// A thread's statistics in a line, in the words of 1.0.1.
pub(crate) fn statistics_line(number: u16, counters: &Counters, since: Instant) -> String {
    let secs = since.elapsed().as_secs_f64();
    let (packets, drops) = (counters.packets.get(), counters.drops.get());
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    let (mb, percent) = {
        let all = packets + drops;
        let share = if all == 0 { 0.0 } else { drops as f64 * 100.0 / all as f64 };
        (counters.bytes.get() as f64 / f64::from(1 << 20), share)
    };
    format!(
        "Thread {number} stats: MB={mb:.1} secs={secs:.3} MBps={rate:.3} packets={packets} blocks={blocks} polls={polls} \
         drops={drops} drop%={percent:.3} freezes={freezes} write_errors={errors} lost={lost}",
        rate = mb / secs.max(1e-9),
        blocks = counters.blocks.get(),
        polls = counters.polls.get(),
        freezes = counters.freezes.get(),
        errors = counters.write_errors.get(),
        lost = counters.lost_packets.get(),
    )
}

/// The way to write that was asked for, or the best that works here; and what to call it.
fn open_sink(uring: Option<io::Result<MadeUring>>) -> (Box<dyn BlockSink>, String) {
    match uring.map(|uring| uring.and_then(MadeUring::begin)) {
        None => (Box::new(SyncSink::default()), "pwrite, as asked".to_owned()),
        Some(Ok(sink)) => {
            let how =
                if sink.is_registered() { "out of registered memory" } else { "out of memory that is not registered" };
            (Box::new(sink), format!("io_uring, {how}"))
        }
        Some(Err(e)) => {
            (Box::new(SyncSink::default()), format!("pwrite, as io_uring is not to be had here ({})", words(&e)))
        }
    }
}
