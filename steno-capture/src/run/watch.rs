//! While packets are captured: reads what the kernel drops as each second begins, tells the daemon what was counted, logs
//! statistics, waits for the end.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use steno_core::{Clock, SystemClock};

use super::start::Started;
use crate::{
    CaptureError,
    console::{debug, info, warning},
    counters::{Counter, Counters},
    ring::{PacketThread, ThreadPlan, statistics_line},
};

/// Runs the packet threads until the last one has ended.
///
/// # Errors
/// What ended a thread, and files that could not be published.
pub(super) fn watch(started: Started) -> Result<(), CaptureError> {
    let Started { threads, counters, drops, stop, signals, control, stats_every } = started;
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
    if spawned.iter().all(Result::is_ok) {
        control.ready(spawned.len());
    }
    let tell_counters = || (0..).zip(&counters).for_each(|(number, counters)| control.counters(number, counters));
    let mut said = Instant::now();
    // Every thread holds the other end until it ends.
    while all_ended.recv_timeout(until_next_second()) == Err(RecvTimeoutError::Timeout) {
        drops.iter().for_each(|meter| meter.read());
        tell_counters();
        if stats_every.is_some_and(|every| said.elapsed() >= every) {
            said = Instant::now();
            for (number, counters) in (0..).zip(&counters) {
                debug!("{}", statistics_line(number, counters, begun));
            }
        }
    }
    let ended = join(spawned);
    signals.close();
    drops.iter().for_each(|meter| meter.read());
    tell_counters();
    report(&counters);
    ended.and_then(|()| match sum(&counters, |c| &c.unpublished) {
        0 => Ok(()),
        segments => Err(CaptureError::Unpublished { segments }),
    })
}

type PacketThreadHandle = JoinHandle<Result<(), CaptureError>>;

fn spawn(plan: ThreadPlan, name: &str, alive: mpsc::Sender<()>) -> Result<PacketThreadHandle, CaptureError> {
    let stop = std::sync::Arc::clone(&plan.stop);
    let run = move || {
        // Dropped when the thread ends, in whatever way.
        let _alive = alive;
        let _stop = StopAtEnd(stop);
        PacketThread::new(plan).run()
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|source| CaptureError::System { what: "start a thread", source })
}

/// A thread that ends, also by a panic, ends the capture.
struct StopAtEnd(std::sync::Arc<crate::ring::Stop>);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.ask();
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

fn report(counters: &[std::sync::Arc<Counters>]) {
    let (packets, dropped) = (sum(counters, |c| &c.packets), sum(counters, |c| &c.drops));
    let (segments, lost) = (sum(counters, |c| &c.segments), sum(counters, |c| &c.lost_packets));
    info!("captured {packets} packets into {segments} files; the kernel dropped {dropped}");
    if lost > 0 {
        warning!("{lost} packets of them could not be written");
    }
}

fn sum(counters: &[std::sync::Arc<Counters>], of: fn(&Counters) -> &Counter) -> u64 {
    counters.iter().map(|c| of(c).get()).sum()
}

/// How long until the next second of the clock begins.
fn until_next_second() -> Duration {
    const SECOND_NS: u32 = 1_000_000_000;
    Duration::from_nanos((SECOND_NS - SystemClock.now().subsec_ns()).into())
}
