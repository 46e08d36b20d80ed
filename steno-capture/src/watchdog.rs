//! Tells a thread that is stuck from one that has nothing to do.
//!
//! A thread shows by its [`Pulse`] what it is about and that it gets on; [`Watchdog`] looks at all of them once a second. A
//! packet thread that waits for packets gets on, however long none come; one whose write does not end, or that does not
//! come back from a system call, does not. What is computed is never a fault, however long it takes. Time is counted in
//! looks, so that a process that was stopped, or a machine that slept, was not stuck.

use std::{
    fmt,
    io::{Read, Result, Write},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::console::{error, info};

/// How much longer than other work a sync may take: it writes whatever the page cache has gathered, and is one call.
const SYNC_FACTOR: u32 = 5;
/// Looks without a beat that mean nothing: a packet thread without packets beats each second, as it is looked.
const LOOKS_LEAST: u32 = 2;

/// What a thread is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Work {
    /// Nothing that could get stuck: it waits to be told, computes, or has ended.
    Rest,
    /// Takes packets and has them written.
    Capture,
    /// Writes an index, or reads packets back for one.
    Index,
    /// Has the file system bring a segment and its names to the disk.
    Sync,
}

impl Work {
    const ALL: [Self; 4] = [Self::Rest, Self::Capture, Self::Index, Self::Sync];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rest => "at rest",
            Self::Capture => "writing packets",
            Self::Index => "writing an index",
            Self::Sync => "bringing a segment to the disk",
        })
    }
}

/// What a thread shows of itself.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    work: AtomicU8,
    beats: AtomicU64,
}

impl Pulse {
    /// Something got on.
    pub(crate) fn beat(&self) {
        let _ = self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins another kind of work, which is getting on, too.
    pub(crate) fn turn_to(&self, work: Work) {
        self.work.store(work as u8, Ordering::Relaxed);
        self.beat();
    }

    fn work(&self) -> Work {
        let work = self.work.load(Ordering::Relaxed);
        Work::ALL.get(usize::from(work)).copied().unwrap_or(Work::Rest)
    }
}

/// A file of an index thread: it is at work while it is in a call, and at rest between.
#[derive(Debug)]
pub(crate) struct Watched<'a, T> {
    inner: T,
    pulse: &'a Pulse,
}

impl<'a, T> Watched<'a, T> {
    pub(crate) fn new(inner: T, pulse: &'a Pulse) -> Self {
        Self { inner, pulse }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut T) -> R) -> R {
        self.pulse.turn_to(Work::Index);
        let result = call(&mut self.inner);
        self.pulse.turn_to(Work::Rest);
        result
    }
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.call(|inner| inner.read(buffer))
    }
}

impl<T: Write> Write for Watched<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.call(|inner| inner.write(bytes))
    }

    fn flush(&mut self) -> Result<()> {
        self.call(Write::flush)
    }
}

/// Looks after the threads of a capture.
#[derive(Debug)]
pub(crate) struct Watchdog {
    watched: Vec<Thread>,
    /// Looks without a beat that are too many.
    patience: u32,
}

#[derive(Debug)]
struct Thread {
    name: String,
    pulse: Arc<Pulse>,
    beats: u64,
    /// Looks since the last beat.
    still: u32,
    told: bool,
}

/// A thread that has not got on for too long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) thread: String,
    pub(crate) work: Work,
    pub(crate) seconds: u32,
}

impl Watchdog {
    /// A watchdog that bears `patience` of standstill, a look a second.
    pub(crate) fn new(patience: Duration, threads: impl IntoIterator<Item = (String, Arc<Pulse>)>) -> Self {
        let thread = |(name, pulse): (String, Arc<Pulse>)| Thread { name, pulse, beats: 0, still: 0, told: false };
        let patience = u32::try_from(patience.as_secs()).unwrap_or(u32::MAX).max(1);
        Self { watched: threads.into_iter().map(thread).collect(), patience }
    }

    /// To be called each second. Says which thread is stuck; before that, when half of the time is over, tells the log.
    pub(crate) fn look(&mut self) -> Option<Stuck> {
        let patience = self.patience;
        self.watched.iter_mut().find_map(|thread| thread.look(patience))
    }
}

impl Thread {
    fn look(&mut self, patience: u32) -> Option<Stuck> {
        let (work, beats) = (self.pulse.work(), self.pulse.beats.load(Ordering::Relaxed));
        if work == Work::Rest || beats != self.beats {
            if std::mem::take(&mut self.told) {
                info!("thread {} gets on again", self.name);
            }
            (self.beats, self.still) = (beats, 0);
            return None;
        }
        self.still += 1;
        let patience = if work == Work::Sync { patience.saturating_mul(SYNC_FACTOR) } else { patience };
        if self.still >= patience {
            return Some(Stuck { thread: self.name.clone(), work, seconds: self.still });
        }
        if !self.told && self.still >= patience.div_ceil(2).max(LOOKS_LEAST) {
            self.told = true;
            error!("thread {} has not got on for {} s, {work}: is the disk stuck?", self.name, self.still);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(patience_secs: u64) -> (Arc<Pulse>, Watchdog) {
        let pulse = Arc::new(Pulse::default());
        let threads = [("packet0".to_owned(), Arc::clone(&pulse))];
        (pulse, Watchdog::new(Duration::from_secs(patience_secs), threads))
    }

    /// Looks until it barks, and says after how many.
    fn barks_after(dog: &mut Watchdog, most: u32) -> Option<u32> {
        (1..=most).find(|_| dog.look().is_some())
    }

    #[test]
    fn a_thread_that_does_not_beat_is_stuck_after_its_time_and_not_before() {
        let (pulse, mut dog) = one(4);
        pulse.turn_to(Work::Capture);
        assert_eq!(dog.look(), None, "this look saw a beat");
        let looks: Vec<_> = (0..4).map(|_| dog.look()).collect();
        assert_eq!(looks[..3], [None, None, None]);
        let stuck = Stuck { thread: "packet0".to_owned(), work: Work::Capture, seconds: 4 };
        assert_eq!(looks[3], Some(stuck));
    }

    #[test]
    fn one_beat_a_while_is_enough_and_rest_needs_none() {
        let (pulse, mut dog) = one(3);
        assert_eq!(barks_after(&mut dog, 100), None, "it was never at work");
        pulse.turn_to(Work::Capture);
        for _ in 0..50 {
            assert_eq!(barks_after(&mut dog, 3), None);
            pulse.beat();
        }
        pulse.turn_to(Work::Rest);
        assert_eq!(barks_after(&mut dog, 100), None);
    }

    #[test]
    fn a_sync_has_longer() {
        let (pulse, mut dog) = one(2);
        pulse.turn_to(Work::Sync);
        assert_eq!(barks_after(&mut dog, 100), Some(1 + 2 * SYNC_FACTOR));
    }

    #[test]
    fn any_of_several_threads_is_seen() {
        let pulses: Vec<_> = (0..3).map(|_| Arc::new(Pulse::default())).collect();
        pulses.iter().for_each(|pulse| pulse.turn_to(Work::Capture));
        let threads = pulses.iter().enumerate().map(|(i, pulse)| (format!("t{i}"), Arc::clone(pulse)));
        let mut dog = Watchdog::new(Duration::from_secs(2), threads);
        assert_eq!(dog.look(), None);
        for _ in 0..10 {
            pulses[0].beat();
            pulses[2].beat();
            if let Some(stuck) = dog.look() {
                assert_eq!(stuck.thread, "t1");
                return;
            }
        }
        panic!("t1 was not seen");
    }

    /// A file that looks at what its thread shows while it is in a call.
    struct Mirror(Arc<Pulse>, Vec<Work>);

    impl Write for Mirror {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.1.push(self.0.work());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> Result<()> {
            self.1.push(self.0.work());
            Ok(())
        }
    }

    impl Read for Mirror {
        fn read(&mut self, _: &mut [u8]) -> Result<usize> {
            self.1.push(self.0.work());
            Ok(0)
        }
    }

    #[test]
    fn a_watched_file_is_at_work_while_it_is_in_a_call() {
        let pulse = Arc::new(Pulse::default());
        let mut file = Watched::new(Mirror(Arc::clone(&pulse), Vec::new()), &pulse);
        file.write_all(b"x").unwrap();
        file.flush().unwrap();
        assert_eq!(file.read(&mut [0]).unwrap(), 0);
        assert_eq!((file.inner.1, pulse.work()), (vec![Work::Index; 3], Work::Rest));
    }
}
