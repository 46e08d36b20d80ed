//! While packets are captured: reads what the kernel drops as each second begins and whether the clock was set, tells the
//! daemon what was counted, logs statistics, looks whether a thread is stuck or packets come by queues that nothing is captured
//! from, waits for the end.

use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use steno_core::{Clock, SystemClock};
use steno_index::ClockStep;

use super::{
    clock::{ClockWatch, Reading},
    start::Started,
};
use crate::{
    CaptureError,
    console::{self, debug, info, warning},
    counters::{Counter, Counters},
    ring::{PacketThread, Stop, ThreadPlan, statistics_line},
    sandbox::{self, Role},
    watchdog::{Pulse, Stuck, Watchdog, Work},
};

/// Runs the packet threads until the last one has ended.
///
/// # Errors
/// What ended a thread, and files that could not be published.
pub(super) fn watch(started: Started) -> Result<(), CaptureError> {
    let Started {
        threads,
        counters,
        losses,
        mut link,
        mut queues,
        stop,
        signals,
        control,
        recovery,
        ledger,
        stats_every,
        patience,
    } = started;
    let begun = Instant::now();
    let (alive, all_ended) = mpsc::channel::<()>();
    let spawned: Vec<_> = threads
        .into_iter()
        .map(|plan| {
            let (name, alive) = (format!("packet{}", plan.number), alive.clone());
            let thread = spawn(plan, &name, alive);
            // Without its thread the others must not go on as if all were well.
            thread.inspect_err(|_| stop.ask()).map(|thread| (name, thread))
        })
        .collect();
    drop(alive);
    sandbox::keep_to(Role::Watch);
    if spawned.iter().all(Result::is_ok) {
        control.ready(spawned.len());
    }
    let tell_counters = || (0..).zip(&counters).for_each(|(number, counters)| control.counters(number, counters));
    let mut watchdog = patience.map(|patience| Watchdog::new(patience, pulses(&counters)));
    let mut clock = ClockWatch::new(Reading::now(&SystemClock));
    let mut said = Instant::now();
    let mut more_queues = None;
    // Every thread holds the other end until it ends.
    while all_ended.recv_timeout(until_next_second()) == Err(RecvTimeoutError::Timeout) {
        losses.iter().for_each(|meter| meter.read());
        if let (Some(link), Some(first)) = (&mut link, losses.first()) {
            link.read(first, SystemClock.now());
        }
        control.tend();
        tell_counters();
        if let Some(step) = clock.look(Reading::now(&SystemClock)) {
            losses.iter().for_each(|meter| meter.clock_step(step));
            control.clock(step);
            warn_of(step);
        }
        if let Some((error, gap)) = queues.as_mut().and_then(|queues| queues.look(SystemClock.now())) {
            if let Some(first) = losses.first() {
                first.gap(gap);
            }
            (queues, more_queues) = (None, Some(error));
            stop.ask();
        }
        if sandbox::replaced().is_some() {
            stop.ask();
        }
        if let Some(stuck) = watchdog.as_mut().and_then(Watchdog::look) {
            end_at_once(&stuck);
        }
        if stats_every.is_some_and(|every| said.elapsed() >= every) {
            said = Instant::now();
            for (number, counters) in (0..).zip(&counters) {
                debug!("{}", statistics_line(number, counters, begun));
            }
        }
    }
    let ended = join(spawned);
    recovery.finish();
    if let Some(ledger) = ledger {
        ledger.finish();
    }
    signals.close();
    losses.iter().for_each(|meter| meter.read());
    tell_counters();
    report(&counters);
    ended?;
    if let Some(error) = more_queues {
        return Err(error);
    }
    if let Some(path) = sandbox::replaced() {
        return Err(CaptureError::Replaced { path: path.to_owned() });
    }
    match sum(&counters, |c| &c.unpublished) {
        0 => Ok(()),
        segments => Err(CaptureError::Unpublished { segments }),
    }
}

/// Packets are stamped by the clock: who asks by time has to know.
fn warn_of(step: ClockStep) {
    let way = if step.by_ns() < 0 { "back" } else { "forward" };
    let by = Duration::from_nanos(step.by_ns().unsigned_abs()).as_secs_f64();
    warning!("the clock was set {way} by {by:.3} s, from {} to {}", step.from, step.to);
}

/// What each thread shows of itself.
fn pulses(counters: &[Arc<Counters>]) -> impl Iterator<Item = (String, Arc<Pulse>)> {
    counters.iter().enumerate().flat_map(|(i, c)| {
        [(format!("packet{i}"), Arc::clone(&c.pulse)), (format!("index{i}"), Arc::clone(&c.index_pulse))]
    })
}

/// As 1.0.1: by SIGABRT, so that whoever runs the capture sees a crash and starts it anew. There is no better end: a thread
/// that does not come back from a call can't be asked to finish its file.
fn end_at_once(Stuck { thread, work, seconds }: &Stuck) -> ! {
    console::last_words(format_args!(
        "watchdog: thread {thread} has not got on for {seconds} s, {work}; ending, so that the capture can be started \
         anew (--no_watchdogs would let it wait)"
    ));
    std::process::abort()
}

type PacketThreadHandle = JoinHandle<Result<(), CaptureError>>;

fn spawn(plan: ThreadPlan, name: &str, alive: mpsc::Sender<()>) -> Result<PacketThreadHandle, CaptureError> {
    let (stop, counters) = (Arc::clone(&plan.stop), Arc::clone(&plan.counters));
    let run = move || {
        // Dropped when the thread ends, in whatever way.
        let _alive = alive;
        let _stop = StopAtEnd { stop, counters };
        let thread = PacketThread::new(plan);
        sandbox::keep_to(Role::Packet);
        thread.run()
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| CaptureError::System { what: "start a thread", source })
}

/// A thread that ends, also by a panic, ends the capture.
struct StopAtEnd {
    stop: Arc<Stop>,
    counters: Arc<Counters>,
}

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.counters.pulse.turn_to(Work::Rest);
        self.stop.ask();
    }
}

/// Waits for all threads; the first error of one.
fn join(threads: Vec<Result<(String, PacketThreadHandle), CaptureError>>) -> Result<(), CaptureError> {
    let mut result = Ok(());
    for thread in threads {
        let ended = thread.and_then(|(name, thread)| thread.join().unwrap_or(Err(CaptureError::ThreadDied { name })));
        result = result.and(ended);
    }
    result
}

fn report(counters: &[Arc<Counters>]) {
    let (packets, dropped) = (sum(counters, |c| &c.packets), sum(counters, |c| &c.drops));
    let (segments, lost) = (sum(counters, |c| &c.segments), sum(counters, |c| &c.lost_packets));
    info!("captured {packets} packets into {segments} files; the kernel dropped {dropped}");
    if lost > 0 {
        warning!("{lost} packets of them could not be written");
    }
}

fn sum(counters: &[Arc<Counters>], of: fn(&Counters) -> &Counter) -> u64 {
    counters.iter().map(|c| of(c).get()).sum()
}

/// How long until the next second of the clock begins.
fn until_next_second() -> Duration {
    const SECOND_NS: u32 = 1_000_000_000;
    Duration::from_nanos((SECOND_NS - SystemClock.now().subsec_ns()).into())
}
