//! Threads that answer: below capture, and, the more a client has had of the processors, below those of other clients, and in turns
//! with them.
//!
//! Who is not root may make a thread nicer, and never take that back (setpriority(2)). So each request has a thread of its own,
//! which ends with it, and none is left in a pool with what another request has brought it to.

use std::{
    cell::Cell,
    io,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::turns::{self, InTurns, TURN, worked};

/// A change of the nice value of a thread, and the time of a processor after which it comes.
#[derive(Clone, Copy, Debug)]
struct Step {
    after: Duration,
    by: i32,
}

/// How a thread begins: below capture, and not so far that what is soon done waits for its turn longer than it takes. Until it looks
/// whether to make way it may hold what others wait for.
const FIRST: Step = Step { after: Duration::ZERO, by: 5 };
/// Where it is after a while: what is asked for by people takes less.
const SECOND: Step = Step { after: Duration::from_millis(10), by: 5 };
/// And after long: others that answer then get seven times as much (sched(7), "nice value").
const THIRD: Step = Step { after: Duration::from_millis(50), by: 9 };

/// When a thread makes way for others that answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// The more the longer it has worked.
    Short,
    /// From the beginning of its search on: its client has others that run.
    Crowded,
    /// As one that has worked for a while, and no more: it works a little now and then, and looks at what others wait for.
    Steady,
}

impl Pace {
    /// The steps that come later, and all of those that are taken at once.
    fn steps(self) -> (&'static [Step], i32) {
        const LATER: &[Step] = &[SECOND, THIRD];
        const AT_ONCE: &[Step] = &[Step { after: Duration::ZERO, by: SECOND.by + THIRD.by }];
        match self {
            Self::Short => (LATER, FIRST.by),
            Self::Crowded => (AT_ONCE, FIRST.by),
            Self::Steady => (&[], FIRST.by + SECOND.by),
        }
    }

    /// How long it works, once there are no more steps, before it waits for a turn.
    fn before_turns(self) -> Duration {
        match self {
            Self::Short | Self::Crowded => Duration::ZERO,
            Self::Steady => TURN,
        }
    }
}

thread_local! {
    /// The steps that this thread has yet to take.
    static STEPS: Cell<&'static [Step]> = const { Cell::new(&[THIRD]) };
}

/// Has `work` done on a thread of its own. It makes way for capture: on the processors by its nice value and, as no class of I/O
/// priority is set, on the disks by the one that the kernel derives from it (ioprio_set(2)).
///
/// # Errors
/// The system gives no thread. `work` is dropped.
pub(super) fn spawn(pace: Pace, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("answer".to_owned()).spawn(move || {
        let (later, by) = pace.steps();
        STEPS.set(later);
        be_nicer(by);
        let _in_turns = InTurns::begin(pace.before_turns());
        work();
    })
}

/// Makes way for others, if it is time. To be called now and then by what works, where it holds nothing that others wait for.
pub(super) fn make_way() {
    while let [next, rest @ ..] = STEPS.get()
        && worked() >= next.after
    {
        STEPS.set(rest);
        be_nicer(next.by);
    }
    if STEPS.get().is_empty() {
        turns::wait();
    }
}

/// Linux has a nice value for each thread (nice(2), C library/kernel differences). Refused, it works as it is.
fn be_nicer(by: i32) {
    let _refused = rustix::process::nice(by);
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

    /// The nice values of a thread before it works, and as it goes on, above that of this one.
    fn values(pace: Pace) -> [i32; 4] {
        let (told, values) = std::sync::mpsc::channel();
        let here = nice();
        let thread = spawn(pace, move || {
            told.send(nice()).unwrap();
            for time in [Duration::ZERO, SECOND.after, THIRD.after] {
                work_for(time);
                make_way();
                told.send(nice()).unwrap();
            }
        });
        thread.unwrap().join().unwrap();
        let mut all = [0; 4];
        for value in &mut all {
            *value = values.recv().unwrap() - here;
        }
        assert_eq!(nice(), here, "it is the thread's alone");
        all
    }

    #[test]
    fn a_thread_makes_way_for_capture_and_after_much_work_for_others() {
        // Who runs the tests may be nice already; there is nothing beyond 19.
        let most = 19 - nice();
        let [first, second, third] = [5, 10, 19].map(|by| by.min(most));
        // The second look may come late, on a machine that is busy.
        let short = values(Pace::Short);
        assert_eq!((short[0], short[2], short[3]), (first, second, third));
        assert!([first, second].contains(&short[1]), "{short:?}");
        assert_eq!(values(Pace::Crowded), [first, third, third, third]);
        assert_eq!(values(Pace::Steady), [second; 4]);
    }

    #[test]
    fn a_thread_whose_client_has_others_goes_on_once_it_has_a_turn() {
        let give_back = turns::take_all();
        let (told, passed) = std::sync::mpsc::channel();
        let thread = spawn(Pace::Crowded, move || {
            work_for(Duration::from_millis(1));
            told.send(()).unwrap();
            make_way();
            told.send(()).unwrap();
        });
        passed.recv().unwrap();
        let none = passed.recv_timeout(Duration::from_millis(100));
        assert!(none.is_err(), "it went on without a turn");
        give_back();
        passed.recv_timeout(Duration::from_secs(60)).unwrap();
        thread.unwrap().join().unwrap();
    }
}
