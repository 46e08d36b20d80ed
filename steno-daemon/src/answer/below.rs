//! Threads that answer: below capture, and, the more a client has had of the processors, below those of other clients.
//!
//! Who is not root may make a thread nicer, and never take that back (setpriority(2)). So each request has a thread of its own,
//! which ends with it, and none is left in a pool with what another request has brought it to.

use std::{
    cell::Cell,
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// What is added to the nice value of a thread that answers.
const NICE: i32 = 10;
/// And to that where it is to make way for others that answer: they then get seven times as much (sched(7), "nice value").
const NICER: i32 = 9;
/// Time of a processor after which a thread makes way: what is asked for by many at once takes less.
const LONG: Duration = Duration::from_millis(50);

/// When a thread makes way for others that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Once it has worked for long.
    Short,
    /// From the beginning of its search on: its client has others that run.
    Crowded,
    /// Never. It works a little now and then, and looks at what others wait for meanwhile.
    Steady,
}

thread_local! {
    /// The time of a processor after which this thread makes way; none where it does not, or has.
    static MAKES_WAY_AFTER: Cell<Option<Duration>> = const { Cell::new(Some(LONG)) };
}

/// Has `work` done on a thread of its own. It makes way for capture: on the processors by its nice value and, as no class of I/O
/// priority is set, on the disks by the one that the kernel derives from it (ioprio_set(2)).
///
/// # Errors
/// The system gives no thread. `work` is dropped.
pub(super) fn spawn(pace: Pace, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("answer".to_owned()).spawn(move || {
        MAKES_WAY_AFTER.set(match pace {
            Pace::Short => Some(LONG),
            Pace::Crowded => Some(Duration::ZERO),
            Pace::Steady => None,
        });
        be_nicer(NICE);
        work();
    })
}

/// Makes way for others, if it is time. To be called now and then by what works, where it holds nothing that others wait for.
pub(super) fn make_way() {
    if MAKES_WAY_AFTER.get().is_some_and(|after| worked() >= after) {
        MAKES_WAY_AFTER.set(None);
        be_nicer(NICER);
    }
}

/// Linux has a nice value for each thread (nice(2), C library/kernel differences). Refused, it works as it is.
fn be_nicer(by: i32) {
    let _refused = rustix::process::nice(by);
}

/// The time of a processor that this thread has had.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use rustix::process::getpriority_process;

    use super::*;

    fn nice() -> i32 {
        getpriority_process(None).unwrap()
    }

    fn work_for(time: Duration) {
        let until = worked() + time;
        while worked() < until {
            let _sum = black_box((0..1_000u64).sum::<u64>());
        }
    }

    /// The nice values of a thread before it works, after a little and after much of it, above that of this one.
    fn values(pace: Pace) -> [i32; 3] {
        let (told, values) = std::sync::mpsc::channel();
        let here = nice();
        let thread = spawn(pace, move || {
            told.send(nice()).unwrap();
            for time in [Duration::ZERO, LONG] {
                work_for(time);
                make_way();
                told.send(nice()).unwrap();
            }
        });
        thread.unwrap().join().unwrap();
        let mut all = [0; 3];
        for value in &mut all {
            *value = values.recv().unwrap() - here;
        }
        assert_eq!(nice(), here, "it is the thread's alone");
        all
    }

    #[test]
    fn a_thread_makes_way_for_capture_and_after_much_work_for_others() {
        // Who runs the tests may be nice already; there is nothing beyond 19.
        let [first, last] = [NICE, NICE + NICER].map(|by| by.min(19 - nice()));
        assert_eq!(values(Pace::Short), [first, first, last]);
        assert_eq!(values(Pace::Crowded), [first, last, last]);
        assert_eq!(values(Pace::Steady), [first, first, first]);
    }
}
