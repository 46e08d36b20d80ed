//! Whoever seals gives way to packet threads that are behind: what is sealed late is found in the open log meanwhile, what is not
//! taken from a ring in time is lost. Where a cgroup holds all threads of a capture to so much processor time together
//! (cpu.max), or they share processors with others, a seal would take what a packet thread needs.

use std::{sync::Arc, thread, time::Duration};

use steno_index::Pause;

use crate::ring::{Backlog, Stop};

/// How long it is waited between two pieces of a seal at the most, and how often it is looked meanwhile. A seal gets on
/// nevertheless, by some hundred thousand packets a second: a ring is also full where it is the disk that is behind.
const WAITS: [Duration; 6] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(8),
    Duration::from_millis(8),
];

/// Waits as long as one of these threads is behind, until all are to stop: then a ring may go on being filled (that of a socket
/// whose filter is locked) and nobody takes what is in it.
pub(crate) fn give_way(to: Vec<Arc<dyn Backlog>>, stop: Arc<Stop>) -> Pause {
    Pause::new(move || {
        for wait in WAITS {
            if stop.is_asked() || !to.iter().any(|backlog| backlog.is_behind()) {
                return;
            }
            thread::sleep(wait);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Behind for so many looks.
    #[derive(Debug, Default)]
    struct Behind {
        looks: usize,
        looked: AtomicUsize,
    }

    impl Backlog for Behind {
        fn is_behind(&self) -> bool {
            self.looked.fetch_add(1, Ordering::Relaxed) < self.looks
        }
    }

    #[test]
    fn it_is_waited_as_long_as_one_is_behind_and_not_for_ever() {
        for (looks, looked) in [(0, 1), (1, 2), (4, 5), (usize::MAX, WAITS.len())] {
            let (other, behind) = (Arc::new(Behind::default()), Arc::new(Behind { looks, ..Behind::default() }));
            let to = vec![Arc::clone(&other) as Arc<dyn Backlog>, Arc::clone(&behind) as Arc<dyn Backlog>];
            give_way(to, Arc::new(Stop::new().unwrap())).take();
            assert_eq!(behind.looked.load(Ordering::Relaxed), looked, "behind for {looks} looks");
            assert_eq!(other.looked.load(Ordering::Relaxed), looked);
        }
    }

    #[test]
    fn nobody_waits_for_a_ring_after_a_stop() {
        let (behind, stop) =
            (Arc::new(Behind { looks: usize::MAX, ..Behind::default() }), Arc::new(Stop::new().unwrap()));
        let pause = give_way(vec![Arc::clone(&behind) as Arc<dyn Backlog>], Arc::clone(&stop));
        stop.ask();
        pause.take();
        assert_eq!(behind.looked.load(Ordering::Relaxed), 0);
    }
}
