//! Threads that answer: below capture, and, the more a client has had of the processors, below those of other clients, and in turns
//! with them.
//!
//! Who is not root may make a thread nicer, and never take that back (setpriority(2)). So each request has a thread of its own,
//! which ends with it, and none is left in a pool with what another request has brought it to. As starting one takes longer than
//! many a search, one that has worked for nobody yet waits for the next request.

use std::{
    cell::Cell,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{SendError, SyncSender, sync_channel},
    },
    thread,
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
const FIRST: Step = Step { after: Duration::ZERO, by: 1 };
/// Where it is after a while: what is asked for by people takes less.
const SECOND: Step = Step { after: Duration::from_millis(10), by: 9 };
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
    /// The steps that come after the first one, and how many of them are taken with it.
    fn steps(self) -> (&'static [Step], usize) {
        const LATER: &[Step] = &[SECOND, THIRD];
        const AT_ONCE: &[Step] = &[Step { after: Duration::ZERO, by: SECOND.by + THIRD.by }];
        match self {
            Self::Short => (LATER, 0),
            Self::Crowded => (AT_ONCE, 0),
            Self::Steady => (&[SECOND], 1),
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

/// What a thread is to do.
type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for work, where there is one.
#[derive(Debug)]
struct Spare(Mutex<Option<SyncSender<(Pace, Work)>>>);

/// That of this process.
static SPARE: Spare = Spare(Mutex::new(None));

/// Has `work` done on a thread of its own. It makes way for capture: on the processors by its nice value and, as no class of I/O
/// priority is set, on the disks by the one that the kernel derives from it (ioprio_set(2)). As that value is handed on to what a
/// thread starts, it is for threads alone that make way for nobody to call this.
///
/// # Errors
/// The system gives no thread. `work` is dropped.
pub(super) fn spawn(pace: Pace, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    SPARE.spawn(pace, Box::new(work))
}

/// Has a thread wait for the next [`spawn`], if there is none yet. To be called where nobody waits for anything, by such threads as
/// may call that.
pub(super) fn keep_spare() {
    SPARE.keep();
}

#[cfg(test)]
pub(super) fn has_spare() -> bool {
    SPARE.waiting().is_some()
}

impl Spare {
    fn waiting(&self) -> MutexGuard<'_, Option<SyncSender<(Pace, Work)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, pace: Pace, work: Work) -> io::Result<()> {
        let waiting = self.waiting().take();
        let (pace, work) = match waiting {
            None => (pace, work),
            Some(spare) => match spare.send((pace, work)) {
                Ok(()) => return Ok(()),
                Err(SendError(back)) => back,
            },
        };
        start(move || run(pace, work))
    }

    fn keep(&self) {
        let mut waiting = self.waiting();
        if waiting.is_some() {
            return;
        }
        let (send, receive) = sync_channel(1);
        let started = start(move || {
            if let Ok((pace, work)) = receive.recv() {
                run(pace, work);
            }
        });
        // Without, the next one starts its own, or hears why not.
        *waiting = started.is_ok().then_some(send);
    }
}

/// A thread that has taken the first step.
fn start(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name("answer".to_owned()).spawn(move || {
        be_nicer(FIRST.by);
        work();
    });
    thread.map(drop)
}

fn run(pace: Pace, work: Work) {
    let (steps, at_once) = pace.steps();
    let (now, later) = steps.split_at(at_once);
    now.iter().for_each(|step| be_nicer(step.by));
    STEPS.set(later);
    let _in_turns = InTurns::begin(pace.before_turns());
    work();
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
    fn values(spare: &Spare, pace: Pace) -> [i32; 4] {
        let (told, values) = std::sync::mpsc::channel();
        let here = nice();
        let work = move || {
            told.send(nice()).unwrap();
            for time in [Duration::ZERO, SECOND.after, THIRD.after] {
                work_for(time);
                make_way();
                told.send(nice()).unwrap();
            }
        };
        spare.spawn(pace, Box::new(work)).unwrap();
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
        let [first, second, third] = [1, 10, 19].map(|by| by.min(most));
        for has_waited in [false, true] {
            let spare = Spare(Mutex::new(None));
            let values = |pace| {
                if has_waited {
                    spare.keep();
                }
                values(&spare, pace)
            };
            // The second look may come late, on a machine that is busy.
            let short = values(Pace::Short);
            assert_eq!((short[0], short[2], short[3]), (first, second, third));
            assert!([first, second].contains(&short[1]), "{short:?}");
            assert_eq!(values(Pace::Crowded), [first, third, third, third]);
            assert_eq!(values(Pace::Steady), [second; 4]);
        }
    }

    #[test]
    fn one_thread_waits_and_works_once() {
        let spare = Spare(Mutex::new(None));
        let (told, threads) = std::sync::mpsc::channel();
        let spawn = || {
            let told = told.clone();
            spare.spawn(Pace::Short, Box::new(move || told.send(thread::current().id()).unwrap())).unwrap();
            threads.recv().unwrap()
        };
        let without = spawn();
        spare.keep();
        spare.keep();
        assert!(spare.waiting().is_some());
        let waited = spawn();
        assert!(spare.waiting().is_none(), "the one that waited has taken it");
        let after = spawn();
        assert!(without != waited && waited != after && after != without);
    }

    #[test]
    fn what_a_spare_thread_cannot_take_is_done_all_the_same() {
        let (send, receive) = sync_channel(1);
        drop(receive);
        let spare = Spare(Mutex::new(Some(send)));
        let (told, done) = std::sync::mpsc::channel();
        spare.spawn(Pace::Short, Box::new(move || told.send(()).unwrap())).unwrap();
        done.recv().unwrap();
    }

    #[test]
    fn a_thread_whose_client_has_others_goes_on_once_it_has_a_turn() {
        let give_back = turns::take_all();
        let (told, passed) = std::sync::mpsc::channel();
        let spawned = spawn(Pace::Crowded, move || {
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
        spawned.unwrap();
    }
}
