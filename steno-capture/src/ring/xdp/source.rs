//! A thread's share of an interface's receive queues.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    time::{ClockId, clock_gettime},
};
use steno_core::{Clock, SystemClock, TimestampNs};

use super::{
    filler::{Filled, Filler},
    link::Link,
};
use crate::{
    filter::Filter,
    ring::{
        Backlog,
        source::{BlockMemory, DropCounter, PacketSource, Wait, Waited},
    },
    sys::{FreeBlock, PacketSocket, Part, QueueBacklog, RingMemory, RingStatistics, XdpQueue, XdpSocket},
};

/// Frames after which the kernel is told how far we have got.
const BATCH: u32 = 64;
/// How long a thread rests at most while packets come, so that it does not wake for each of them. The program has stamped
/// them: they get no other time for it.
const REST_MAX: Duration = Duration::from_millis(2);
const REST_LEAST: Duration = Duration::from_micros(100);
/// What a link may bring a second, by which it is judged how long a rest the memory of a queue bears.
const FRAMES_PER_SECOND: u32 = 20_000_000;
/// A stamp that is further from the clock than this is none.
const STAMP_AGE_MAX_NS: u64 = 60_000_000_000;
/// Clocks that are further from each other than before by more than this, and what reading them took, were set.
const CLOCKS_APART_NS: u64 = 1_000;

/// A thread's queues, and the block that it fills from them.
pub(super) struct XdpSource {
    watch: Arc<PacketSocket>,
    interface: u32,
    link: Arc<Link>,
    queues: Vec<XdpQueue>,
    /// The queue that is emptied first.
    turn: usize,
    /// The clocks as the last batch was taken.
    times: Option<Times>,
    memory: Arc<RingMemory>,
    filler: Filler<FreeBlock>,
    /// A frame of several parts, as far as they have come.
    long: LongFrame,
    losses: Arc<QueueLosses>,
    rest: Duration,
    /// Frames since the last wait.
    taken: u32,
    /// Whether no block was free when one was needed.
    is_frozen: bool,
    is_shut: bool,
    drained: bool,
}

#[derive(Debug, Default)]
struct LongFrame {
    bytes: Vec<u8>,
    stamp_ns: u64,
    is_whole: bool,
}

/// What the sockets of a thread have lost, and how often it had no block.
#[derive(Debug, Default)]
struct QueueLosses {
    sockets: Vec<Arc<XdpSocket>>,
    told: Mutex<u64>,
    taken: AtomicU64,
    freezes: AtomicU64,
}

/// What [`XdpSource::new`] makes a source of.
pub(super) struct Parts {
    pub(super) watch: PacketSocket,
    pub(super) interface: u32,
    pub(super) link: Arc<Link>,
    pub(super) queues: Vec<XdpQueue>,
    pub(super) chunks: u32,
    pub(super) memory: Arc<RingMemory>,
    pub(super) filler: Filler<FreeBlock>,
}

impl XdpSource {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { watch, interface, link, queues, chunks, memory, filler } = parts;
        let sockets = queues.iter().map(|queue| Arc::clone(queue.socket())).collect();
        let bears = Duration::from_secs(1).saturating_mul(chunks) / FRAMES_PER_SECOND;
        Self {
            watch: Arc::new(watch),
            interface,
            link,
            queues,
            turn: 0,
            memory,
            filler,
            long: LongFrame::default(),
            losses: Arc::new(QueueLosses { sockets, ..QueueLosses::default() }),
            rest: bears.clamp(REST_LEAST, REST_MAX),
            times: None,
            taken: 0,
            is_frozen: false,
            is_shut: false,
            drained: false,
        }
    }

    /// Empties the queues into the block. `true` where it is full.
    fn fill(&mut self) -> bool {
        self.is_frozen = false;
        let times = Times::after(self.times);
        self.times = Some(times);
        for i in 0..self.queues.len() {
            let at = (self.turn + i) % self.queues.len();
            let Some(queue) = self.queues.get_mut(at) else { continue };
            let mut taken = 0;
            let filled = loop {
                match take(queue, &mut self.long, &mut self.filler, times) {
                    Some(Filled::Stored) => taken += 1,
                    // A block is looked for when a frame asks for it: an idle thread holds none.
                    Some(Filled::NoBlock) => match self.memory.take_free() {
                        Some(block) => self.filler.begin(block, Instant::now()),
                        None => break Some(Filled::NoBlock),
                    },
                    other => break other,
                }
                if taken % BATCH == 0 {
                    queue.publish();
                }
            };
            queue.publish();
            self.taken = self.taken.saturating_add(taken);
            let _ = self.losses.taken.fetch_add(taken.into(), Ordering::Relaxed);
            match filled {
                Some(Filled::Full) => {
                    self.turn = (at + 1) % self.queues.len();
                    return true;
                }
                Some(Filled::NoBlock) => {
                    self.is_frozen = true;
                    return false;
                }
                _ => {}
            }
        }
        false
    }

    fn hand_over(&mut self, by_timer: bool) -> Option<BlockMemory> {
        self.filler.finish(by_timer).map(|block| BlockMemory::Ring(block.into_block()))
    }
}

/// Takes the frame that is next, or goes on with the parts of one. `None` where nothing has come.
fn take(queue: &mut XdpQueue, long: &mut LongFrame, filler: &mut Filler<FreeBlock>, times: Times) -> Option<Filled> {
    while !long.is_whole {
        let Part { bytes, stamp_ns, goes_on } = queue.peek()?;
        if long.bytes.is_empty() && !goes_on {
            let filled = filler.push(times.of(stamp_ns), bytes);
            if filled == Filled::Stored {
                queue.advance();
            }
            return Some(filled);
        }
        if long.bytes.is_empty() {
            long.stamp_ns = stamp_ns;
        }
        long.bytes.extend_from_slice(bytes);
        long.is_whole = !goes_on;
        queue.advance();
    }
    let filled = filler.push(times.of(long.stamp_ns), &long.bytes);
    if filled == Filled::Stored {
        long.bytes.clear();
        long.is_whole = false;
    }
    Some(filled)
}

impl PacketSource for XdpSource {
    fn next(&mut self) -> Option<BlockMemory> {
        if self.drained {
            return None;
        }
        let was_frozen = self.is_frozen;
        if self.fill() {
            return self.hand_over(false);
        }
        if self.is_frozen && !was_frozen {
            let _ = self.losses.freezes.fetch_add(1, Ordering::Relaxed);
        }
        if self.is_shut && !self.is_frozen {
            self.drained = true;
            return self.hand_over(false);
        }
        let is_due = self.filler.due().is_some_and(|due| due <= Instant::now());
        is_due.then(|| self.hand_over(true)).flatten()
    }

    fn wait(&mut self, wait: &Wait<'_>) -> Waited {
        let until_due = self.filler.due().map_or(wait.most, |due| due.saturating_duration_since(Instant::now()));
        let is_busy = std::mem::take(&mut self.taken) > 0;
        let most = if is_busy { self.rest } else { wait.most };
        let timeout = Timespec::try_from(most.min(until_due)).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut watched = Vec::with_capacity(3 + self.queues.len());
        watched.push(PollFd::new(&*self.watch, PollFlags::empty()));
        watched.push(PollFd::from_borrowed_fd(wait.stop.as_fd(), PollFlags::IN));
        watched.extend(wait.writes.map(|writes| PollFd::from_borrowed_fd(writes, PollFlags::IN)));
        if !is_busy && !self.is_frozen {
            watched.extend(self.queues.iter().map(|queue| PollFd::new(&**queue.socket(), PollFlags::IN)));
        }
        // Interrupted or timed out, it is looked for work all the same.
        let _ = poll(&mut watched, Some(&timeout));
        let error = watched.first().is_some_and(|watch| watch.revents().contains(PollFlags::ERR));
        if error { Waited::Error } else { Waited::Well }
    }

    fn takes_packets_itself(&self) -> bool {
        true
    }

    /// Packets are let in from when the program is attached, which needs privileges.
    fn let_in(&mut self, _filter: Option<&Filter>) -> io::Result<()> {
        Ok(())
    }

    fn shut(&mut self) -> bool {
        self.link.cut();
        self.is_shut = true;
        true
    }

    fn is_drained(&mut self) -> bool {
        self.drained
    }

    fn socket(&self) -> &Arc<PacketSocket> {
        &self.watch
    }

    fn memory(&self) -> &Arc<RingMemory> {
        &self.memory
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn backlog(&self) -> Arc<dyn Backlog> {
        Arc::new(QueueBacklogs(self.queues.iter().map(XdpQueue::backlog).collect()))
    }

    fn drops(&self) -> Arc<dyn DropCounter> {
        Arc::clone(&self.losses) as Arc<dyn DropCounter>
    }
}

/// Of all queues of a thread.
#[derive(Debug)]
struct QueueBacklogs(Vec<QueueBacklog>);

impl Backlog for QueueBacklogs {
    /// By half a ring, which is what a link of half of [`FRAMES_PER_SECOND`] brings while a thread rests.
    fn is_behind(&self) -> bool {
        self.0.iter().any(|queue| queue.waiting() > queue.entries() / 2)
    }
}

impl DropCounter for QueueLosses {
    fn statistics(&self) -> io::Result<RingStatistics> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = 0u64;
        for socket in &self.sockets {
            let drops = socket.drops()?;
            sum = sum.saturating_add(drops.no_chunk).saturating_add(drops.ring_full);
        }
        let drops = sum.saturating_sub(std::mem::replace(&mut *told, sum));
        let [taken, freezes] = [&self.taken, &self.freezes].map(|counter| counter.swap(0, Ordering::Relaxed));
        Ok(RingStatistics { received: taken.saturating_add(drops), drops, freezes })
    }
}

fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}

/// The clocks as a batch of frames is taken: the program stamps by the one, packets have the other.
#[derive(Clone, Copy, Debug)]
struct Times {
    of_day: TimestampNs,
    monotonic_ns: u64,
    /// By how much the two may not be of one moment.
    apart_ns: u64,
}

impl Times {
    fn now() -> Self {
        let read = || {
            let before = monotonic_ns();
            let of_day = SystemClock.now();
            let apart_ns = monotonic_ns().saturating_sub(before);
            Self { of_day, monotonic_ns: before.saturating_add(apart_ns / 2), apart_ns }
        };
        // Again where something came between, such as another thread on this processor.
        let (first, second) = (read(), read());
        if first.apart_ns < second.apart_ns { first } else { second }
    }

    /// The clocks now, as far from each other as before unless one was set: so that stamps that ascend become times that do.
    /// Both are slewed alike (clock_gettime(2), CLOCK_MONOTONIC).
    fn after(before: Option<Self>) -> Self {
        let now = Self::now();
        let Some(before) = before else { return now };
        let elapsed_ns = now.monotonic_ns.saturating_sub(before.monotonic_ns);
        let of_day = before.of_day.saturating_add_ns(elapsed_ns);
        let is_same = of_day.as_ns().abs_diff(now.of_day.as_ns()) <= now.apart_ns + before.apart_ns + CLOCKS_APART_NS;
        if is_same { Self { of_day, apart_ns: before.apart_ns, ..now } } else { now }
    }

    /// The time of day of a stamp; of now where there is none.
    fn of(self, stamp_ns: u64) -> TimestampNs {
        if stamp_ns == 0 || stamp_ns.abs_diff(self.monotonic_ns) > STAMP_AGE_MAX_NS {
            return self.of_day;
        }
        // What has come since the clocks were read has a stamp that lies ahead of them.
        match self.monotonic_ns.checked_sub(stamp_ns) {
            Some(age_ns) => TimestampNs::new(self.of_day.as_ns().saturating_sub(age_ns)),
            None => self.of_day.saturating_add_ns(stamp_ns - self.monotonic_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_become_times_of_day() {
        let times = Times { of_day: TimestampNs::new(1_000_000_000_000), monotonic_ns: 5_000_000, apart_ns: 0 };
        assert_eq!(times.of(4_999_000).as_ns(), 999_999_999_000);
        assert_eq!(times.of(5_000_700).as_ns(), 1_000_000_000_700);
        for none in [0, 5_000_000 + STAMP_AGE_MAX_NS + 1, u64::MAX] {
            assert_eq!(times.of(none), times.of_day, "{none}");
        }
    }

    #[test]
    fn both_clocks_are_read_at_one_moment() {
        let (first, then) = (Times::now(), Times::now());
        assert!(first.of(then.monotonic_ns).as_ns().abs_diff(then.of_day.as_ns()) < 50_000_000);
    }

    #[test]
    fn the_clocks_keep_their_distance_unless_one_is_set() {
        let mut times = Times::after(None);
        for _ in 0..10_000 {
            let next = Times::after(Some(times));
            let stamp_ns = next.monotonic_ns.min(times.monotonic_ns);
            assert_eq!(next.of(stamp_ns), times.of(stamp_ns));
            times = next;
        }
        let hour = 3_600_000_000_000;
        let set = Times { of_day: times.of_day.saturating_add_ns(hour), ..times };
        let next = Times::after(Some(set));
        assert!(next.of(times.monotonic_ns).as_ns().abs_diff(times.of_day.as_ns()) < 50_000_000, "it is as it is");
    }
}
