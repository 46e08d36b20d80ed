//! Turns at the processors, for answers that take long.
//!
//! However nice they are, threads that compute without a pause are in the way of others: of those that wake, which wait until the
//! kernel looks at the clock again, and of those that want what such a thread holds in the kernel as it is put aside. So those that
//! take long work in turns, one less of them at once than there are processors. Who is held up by a disk, or by its client,
//! needs no turn.

use std::{
    cell::RefCell,
    fs,
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

/// How long a turn takes.
pub(super) const TURN: Duration = Duration::from_millis(10);
/// How long is waited for a turn at the most: a disk that does not answer may hold up who has one.
const PATIENCE: Duration = Duration::from_secs(1);
/// What the kernel says of the calling thread: nanoseconds on a processor, and in wait for one, and how often
/// (Documentation/scheduler/sched-stats.rst).
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// Turns, given in the order in which they are asked for.
#[derive(Debug)]
struct Turns {
    counts: Mutex<Counts>,
    given_back: Condvar,
    /// At once.
    most: u64,
}

/// Since the start.
#[derive(Debug, Default)]
struct Counts {
    asked: u64,
    given_back: u64,
}

/// Those of this process.
static TURNS: LazyLock<Turns> = LazyLock::new(|| {
    let processors = thread::available_parallelism().map_or(1, |n| u64::try_from(n.get()).unwrap_or(u64::MAX));
    Turns::new(processors.saturating_sub(1).max(1))
});

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// What a thread has done since it looked the last time.
#[derive(Debug)]
struct Work {
    turns: &'static Turns,
    has_turn: bool,
    /// How long it works before it waits for the next one.
    for_so_long: Duration,
    since: Instant,
    /// How long it had been on a processor, or waited for one, at that time.
    ready: Duration,
}

/// The work of a thread that takes turns. When this is dropped, it takes none any more.
pub(super) struct InTurns(());

impl InTurns {
    /// The calling thread takes turns, the first one after it has worked `for_so_long`. It is new, so that what it has done until now
    /// does not count: to ask the kernel takes as long as a short search.
    pub(super) fn begin(for_so_long: Duration) -> Self {
        Self::with(&TURNS, for_so_long, Duration::ZERO)
    }

    fn with(turns: &'static Turns, for_so_long: Duration, ready: Duration) -> Self {
        let since = Instant::now();
        WORK.set(Some(Work { turns, has_turn: false, for_so_long, since, ready }));
        Self(())
    }
}

impl Drop for InTurns {
    fn drop(&mut self) {
        give_back();
        WORK.set(None);
    }
}

/// Waits for a turn where this thread takes turns and has worked long enough without, or with the one that it has. To be called
/// where it holds nothing that others wait for.
pub(super) fn wait() {
    WORK.with_borrow_mut(|work| work.iter_mut().for_each(Work::wait));
}

/// Lets others have the turn of this thread, if it has one: it is about to wait for something else.
pub(super) fn give_back() {
    WORK.with_borrow_mut(|work| work.iter_mut().for_each(Work::give_back));
}

impl Work {
    fn wait(&mut self) {
        let elapsed = self.since.elapsed();
        if elapsed < self.for_so_long {
            return;
        }
        self.give_back();
        let now = ready();
        // Where the kernel does not tell, it may have computed all the while.
        let ready = now.map_or(elapsed, |now| now.saturating_sub(self.ready));
        if ready.saturating_mul(2) >= elapsed {
            self.has_turn = self.turns.wait(PATIENCE);
        }
        (self.since, self.ready, self.for_so_long) = (Instant::now(), now.unwrap_or_default(), TURN);
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.has_turn) {
            self.turns.give_back();
        }
    }
}

impl Turns {
    fn new(most: u64) -> Self {
        Self { counts: Mutex::default(), given_back: Condvar::new(), most }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, and says whether it came. Who has lost patience has none.
    fn wait(&self, patience: Duration) -> bool {
        let mut counts = self.counts();
        let before = counts.asked;
        counts.asked += 1;
        let is_early = |counts: &mut Counts| before >= counts.given_back + self.most;
        let (mut counts, waited) =
            self.given_back.wait_timeout_while(counts, patience, is_early).unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            // Those behind it are not to wait for it.
            counts.given_back += 1;
            drop(counts);
            self.given_back.notify_all();
        }
        !waited.timed_out()
    }

    fn give_back(&self) {
        self.counts().given_back += 1;
        self.given_back.notify_all();
    }
}

/// Takes every turn that there is, and gives what gives them back.
#[cfg(test)]
pub(super) fn take_all() -> impl FnOnce() {
    let turns = &TURNS;
    for _ in 0..turns.most {
        assert!(turns.wait(Duration::from_secs(60)));
    }
    || (0..turns.most).for_each(|_| turns.give_back())
}

/// How long this thread has been on a processor, or waited for one; `None` where the kernel does not tell.
fn ready() -> Option<Duration> {
    let text = fs::read_to_string(SCHEDSTAT).ok()?;
    // How long it was on one is there, too, but as of the last tick of the clock.
    let waited = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(worked().saturating_add(Duration::from_nanos(waited)))
}

/// The time of a processor that this thread has had.
pub(super) fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanoseconds.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread::{scope, sleep},
    };

    use super::*;

    fn turns(most: u64) -> &'static Turns {
        Box::leak(Box::new(Turns::new(most)))
    }

    fn has_turn() -> bool {
        WORK.with_borrow(|work| work.as_ref().is_some_and(|work| work.has_turn))
    }

    fn compute_for(time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn no_more_than_these_have_a_turn_at_once_and_everyone_gets_some() {
        let (turns, at_once, most) = (turns(2), AtomicU64::new(0), AtomicU64::new(0));
        scope(|scope| {
            for _ in 0..8 {
                let _thread = scope.spawn(|| {
                    let _in_turns = InTurns::with(turns, TURN, ready().unwrap_or_default());
                    for _ in 0..5 {
                        compute_for(TURN);
                        wait();
                        assert!(has_turn());
                        let now = at_once.fetch_add(1, Ordering::SeqCst) + 1;
                        let _before = most.fetch_max(now, Ordering::SeqCst);
                        compute_for(Duration::from_millis(1));
                        let _before = at_once.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=2).contains(&most.into_inner()));
        let counts = turns.counts();
        assert_eq!((counts.asked, counts.given_back), (40, 40), "given back at the end, too");
        drop(counts);
        let some = Duration::from_millis(20);
        assert_eq!([turns.wait(some), turns.wait(some), turns.wait(some)], [true, true, false]);
    }

    #[test]
    fn turns_come_in_the_order_in_which_they_are_asked_for() {
        let (turns, order) = (turns(1), Mutex::new(Vec::new()));
        assert!(turns.wait(PATIENCE));
        scope(|scope| {
            for number in 0..4 {
                let order = &order;
                let _thread = scope.spawn(move || {
                    assert!(turns.wait(Duration::from_secs(60)));
                    order.lock().unwrap().push(number);
                    turns.give_back();
                });
                while turns.counts().asked < number + 2 {
                    thread::yield_now();
                }
            }
            turns.give_back();
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn who_waits_for_something_else_needs_no_turn() {
        let turns = turns(1);
        let _in_turns = InTurns::with(turns, TURN, ready().unwrap_or_default());
        sleep(TURN * 4);
        wait();
        assert_eq!(has_turn(), ready().is_none(), "a kernel that does not tell takes it for work");
        give_back();
        compute_for(TURN * 4);
        wait();
        assert!(has_turn());
        give_back();
        assert!(!has_turn());
    }

    #[test]
    fn the_first_turn_can_be_due_at_once() {
        let turns = turns(1);
        let _in_turns = InTurns::with(turns, Duration::ZERO, ready().unwrap_or_default());
        compute_for(Duration::from_millis(1));
        wait();
        assert!(has_turn());
        wait();
        assert_eq!(turns.counts().asked, 1, "and the next one is not");
    }

    #[test]
    fn who_is_new_needs_no_turn_and_who_takes_none_is_not_held_up() {
        let turns = turns(1);
        assert!(turns.wait(PATIENCE));
        let in_turns = InTurns::with(turns, TURN, ready().unwrap_or_default());
        wait();
        assert_eq!(turns.counts().asked, 1);
        drop(in_turns);
        compute_for(TURN * 2);
        wait();
        assert_eq!(turns.counts().asked, 1);
    }

    #[test]
    fn one_that_never_gives_its_turn_back_holds_others_up_for_so_long_and_no_longer() {
        let turns = turns(1);
        assert!(turns.wait(PATIENCE));
        let some = Duration::from_millis(20);
        assert!(!turns.wait(some));
        assert!(!turns.wait(some));
        turns.give_back();
        assert!(turns.wait(Duration::from_secs(60)));
    }
}
