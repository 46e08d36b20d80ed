//! Look-ups of several segments at once, by several threads.

use std::{
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

/// Segments that are looked up at once at the most.
const AT_ONCE_MAX: usize = 256;
/// Threads that do that: more than there are processors, for a disk that has to be asked is asked by all of them.
const LOOKING_MAX: usize = 8;
/// What a thread must have to do to be worth its start, which takes half as long.
const WORTH_A_THREAD: Duration = Duration::from_micros(100);

/// How many segments are looked up together: one first, and the more of them the longer that pays.
#[derive(Debug)]
pub(crate) struct AtOnce {
    most: usize,
    /// How long one of those of the last time took.
    takes: Duration,
}

impl AtOnce {
    /// Of what is found before its turn, what the segments of one time hold may take one part in so many of the memory.
    pub(crate) const SHARE: u64 = 8;

    /// One at first.
    pub(crate) fn new() -> Self {
        Self { most: 1, takes: Duration::ZERO }
    }

    /// So many at the most are to be looked up next.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// What one of them may hold where [`Self::SHARE`] of so much memory is for as many as there ever are together.
    pub(crate) fn memory_of_one(memory_bytes: u64) -> u64 {
        memory_bytes / Self::SHARE / AT_ONCE_MAX as u64
    }

    /// More from now on, if it `paid`; else one again.
    pub(crate) fn learn(&mut self, paid: bool) {
        self.most = if paid { (self.most * 2).min(AT_ONCE_MAX) } else { 1 };
    }

    /// What `look` says of each, by as many threads as have enough to do.
    pub(crate) fn look_up<T: Sync, R: Send>(&mut self, all: &[T], look: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let began = Instant::now();
        let threads = threads(all.len(), self.takes);
        let found = match threads {
            1 => all.iter().map(look).collect(),
            _ => thread::scope(|scope| {
                let look = &look;
                let shares = all.chunks(all.len().div_ceil(threads));
                let looking: Vec<_> =
                    shares.map(|share| scope.spawn(move || share.iter().map(look).collect::<Vec<_>>())).collect();
                looking.into_iter().flat_map(|share| share.join().unwrap_or_else(|e| resume_unwind(e))).collect()
            }),
        };
        let (count, of) = (u32::try_from(all.len()).unwrap_or(u32::MAX), u32::try_from(threads).unwrap_or(1));
        self.takes = began.elapsed().saturating_mul(of) / count.max(1);
        found
    }
}

/// Threads for so many look-ups, if each takes so long.
fn threads(count: usize, each: Duration) -> usize {
    let work = each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let worth = work.as_nanos() / WORTH_A_THREAD.as_nanos();
    usize::try_from(worth).unwrap_or(usize::MAX).clamp(1, LOOKING_MAX.min(count.max(1)))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Mutex};

    use super::*;

    #[test]
    fn threads_look_segments_up_where_each_has_enough_to_do() {
        let each = Duration::from_micros;
        for (count, takes, expected) in [
            (1, each(0), 1),
            (1, each(90_000), 1),
            (2, each(60_000), 2),
            (8, each(10), 1),
            (32, each(10), 3),
            (256, each(10), LOOKING_MAX),
            (256, Duration::ZERO, 1),
            (usize::MAX, Duration::MAX, LOOKING_MAX),
            (0, each(10), 1),
        ] {
            assert_eq!(threads(count, takes), expected, "{count} of {takes:?}");
        }
    }

    #[test]
    fn each_is_looked_up_once_and_told_in_its_place() {
        let mut at_once = AtOnce::new();
        let (mut batches, mut next) = (Vec::new(), 0);
        let all: Vec<u32> = (0..1000).collect();
        let by = Mutex::new(BTreeSet::new());
        while let Some(rest) = all.get(next..).filter(|rest| !rest.is_empty()) {
            let batch = &rest[..rest.len().min(at_once.most())];
            let found = at_once.look_up(batch, |n| {
                let _new = by.lock().unwrap().insert(format!("{:?}", thread::current().id()));
                thread::sleep(Duration::from_micros(50));
                *n
            });
            assert_eq!(found, batch);
            next += batch.len();
            batches.push(batch.len());
            at_once.learn(true);
        }
        assert_eq!(batches, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 233]);
        assert!(by.into_inner().unwrap().len() > LOOKING_MAX, "by one thread after the other");
        at_once.learn(false);
        assert_eq!(at_once.most(), 1);
    }
}
