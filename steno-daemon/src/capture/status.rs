//! What is known of a capture process at a moment: for the health service, for `Status`, for metrics and receipts.

use std::{collections::BTreeMap, time::Duration};

use steno_core::TimestampNs;
use steno_index::ClockStep;

use super::{Counters, Exit};

/// How many outages are remembered, and how many steps of the clock; the oldest ones make room.
const MAX_OUTAGES: usize = 1_000;

/// What the capture process is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It is about to be started, or was and has not said that it captures.
    Starting,
    /// It captures.
    Running {
        /// Its process number.
        pid: u32,
        /// Since when.
        since: TimestampNs,
        /// Whether an earlier daemon started it: then it cannot speak to this one.
        adopted: bool,
    },
    /// It ended by itself, and will be started again.
    Backoff {
        /// When.
        until: TimestampNs,
    },
    /// It was asked to stop and is sealing its files.
    Stopping {
        /// Its process number.
        pid: u32,
    },
    /// It has stopped, because it was asked to.
    Stopped,
}

impl ChildState {
    /// Whether packets are being captured.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }
}

/// Whose program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not known yet.
    Undecided,
    /// Steno's: it speaks over the control socket.
    Own,
    /// Another, such as 1.0.1's.
    Foreign,
}

/// How the capture process ended the last time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastExit {
    /// When.
    pub at: TimestampNs,
    /// How; its `Display` reads after "stenotype ".
    pub exit: Exit,
    /// How long it had run.
    pub ran_for: Duration,
}

/// A time in which nothing was captured although it should have been: a gap, in the words of a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the capture process was seen to have ended. What its ring held then is lost too.
    pub from: TimestampNs,
    /// When the next one captured; none, where none does yet.
    pub until: Option<TimestampNs>,
    /// Why: reads after "capture was down: ".
    pub reason: String,
}

/// All that is known of one capture process and its predecessors.
#[derive(Clone, Debug)]
pub struct CaptureStatus {
    /// The interface, or the path of the testimony socket.
    pub source: String,
    /// The configured threads that it serves, by their place in the configuration.
    pub threads: Vec<u32>,
    /// What it is doing.
    pub state: ChildState,
    /// Whose program it is.
    pub kind: Kind,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended the last time, if it did.
    pub last_exit: Option<LastExit>,
    /// What was counted since this daemon started, by thread: over all runs, so that it never goes back. Of a foreign
    /// stenotype only what its log says: packets, blocks and drops, and these only with `-v` among its flags.
    pub counters: BTreeMap<u32, Counters>,
    /// When it last said anything over its control socket.
    pub heard: Option<TimestampNs>,
    /// Messages that did not hold what they must.
    pub bad_messages: u64,
    /// When capture was down, oldest first, at most a thousand.
    pub outages: Vec<Outage>,
    /// When the clock was set while it captured, oldest first, at most a thousand.
    pub clock_steps: Vec<ClockStep>,
    /// How many there were.
    pub clock_steps_total: u64,
}

impl CaptureStatus {
    /// The outages that reach into [`from`, `until`).
    pub fn outages_within(&self, from: TimestampNs, until: TimestampNs) -> impl Iterator<Item = &Outage> {
        self.outages.iter().filter(move |o| o.from < until && o.until.is_none_or(|end| end > from))
    }
}

/// The status as it is kept: with what the current run has counted apart from what earlier ones did.
#[derive(Debug)]
pub(super) struct Record {
    status: CaptureStatus,
    earlier_runs: BTreeMap<u32, Counters>,
    this_run: BTreeMap<u32, Counters>,
}

impl Record {
    pub(super) fn new(source: String, threads: Vec<u32>) -> Self {
        let counters: BTreeMap<u32, Counters> = threads.iter().map(|t| (*t, Counters::default())).collect();
        Self {
            status: CaptureStatus {
                source,
                threads,
                state: ChildState::Starting,
                kind: Kind::Undecided,
                restarts: 0,
                last_exit: None,
                counters: BTreeMap::new(),
                heard: None,
                bad_messages: 0,
                outages: Vec::new(),
                clock_steps: Vec::new(),
                clock_steps_total: 0,
            },
            earlier_runs: counters,
            this_run: BTreeMap::new(),
        }
    }

    pub(super) fn snapshot(&self) -> CaptureStatus {
        let mut status = self.status.clone();
        let this_run = |t: &u32| self.this_run.get(t).copied().unwrap_or_default();
        status.counters = self.earlier_runs.iter().map(|(t, earlier)| (*t, earlier.plus(this_run(t)))).collect();
        status
    }

    pub(super) fn kind(&self) -> Kind {
        self.status.kind
    }

    /// A process was started, or taken over.
    pub(super) fn started(&mut self) {
        self.status.state = ChildState::Starting;
        self.status.kind = Kind::Undecided;
    }

    /// A process was started in the place of one that ended.
    pub(super) fn restarted(&mut self) {
        self.status.restarts += 1;
    }

    /// It captures, as far as can be known.
    pub(super) fn running(&mut self, pid: u32, kind: Kind, adopted: bool, now: TimestampNs) {
        self.status.state = ChildState::Running { pid, since: now, adopted };
        self.status.kind = kind;
        if let Some(open) = self.status.outages.last_mut().filter(|o| o.until.is_none()) {
            open.until = Some(now);
        }
    }

    pub(super) fn is_of_kind(&mut self, kind: Kind) {
        self.status.kind = kind;
    }

    pub(super) fn heard(&mut self, now: TimestampNs) {
        self.status.heard = Some(now);
    }

    pub(super) fn bad_message(&mut self) {
        self.status.bad_messages += 1;
    }

    /// The clock was set.
    pub(super) fn clock_step(&mut self, step: ClockStep) {
        if self.status.clock_steps.len() >= MAX_OUTAGES {
            let _ = self.status.clock_steps.remove(0);
        }
        self.status.clock_steps.push(step);
        self.status.clock_steps_total += 1;
    }

    /// The current run's counts of one of the configured threads.
    pub(super) fn counted(&mut self, thread: u32, counters: Counters) {
        let _ = self.this_run.insert(thread, counters);
    }

    pub(super) fn stopping(&mut self, pid: u32) {
        self.status.state = ChildState::Stopping { pid };
    }

    /// The run is over. `wanted`: it was asked for, so that it makes no gap.
    pub(super) fn ended(&mut self, exit: Exit, ran_for: Duration, wanted: bool, now: TimestampNs) {
        for (thread, counters) in std::mem::take(&mut self.this_run) {
            let sum = self.earlier_runs.entry(thread).or_default();
            *sum = sum.plus(counters);
        }
        let already_down = self.status.outages.last().is_some_and(|o| o.until.is_none());
        if !wanted && !already_down {
            if self.status.outages.len() >= MAX_OUTAGES {
                let _ = self.status.outages.remove(0);
            }
            self.status.outages.push(Outage { from: now, until: None, reason: format!("stenotype {exit}") });
        }
        self.status.last_exit = Some(LastExit { at: now, exit, ran_for });
    }

    pub(super) fn waiting(&mut self, until: TimestampNs) {
        self.status.state = ChildState::Backoff { until };
    }

    pub(super) fn stopped(&mut self) {
        self.status.state = ChildState::Stopped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> TimestampNs {
        TimestampNs(s * 1_000_000_000)
    }

    fn died() -> Exit {
        Exit::NotStarted("no such file".into())
    }

    #[test]
    fn counters_never_go_back() {
        let mut record = Record::new("eth0".into(), vec![0, 1]);
        let packets = |n| Counters { packets: n, ..Counters::default() };
        record.counted(0, packets(10));
        record.counted(0, packets(12));
        record.ended(died(), Duration::ZERO, false, at(1));
        assert_eq!(record.snapshot().counters[&0].packets, 12);
        record.counted(0, packets(3));
        assert_eq!(record.snapshot().counters, BTreeMap::from([(0, packets(15)), (1, packets(0))]));
    }

    #[test]
    fn one_outage_spans_several_failed_starts() {
        let mut record = Record::new("eth0".into(), vec![0]);
        record.running(7, Kind::Own, false, at(1));
        record.ended(died(), Duration::ZERO, false, at(10));
        record.ended(died(), Duration::ZERO, false, at(12));
        assert_eq!(record.snapshot().outages_within(at(11), at(12)).count(), 1);
        record.running(8, Kind::Own, false, at(15));
        record.ended(died(), Duration::ZERO, true, at(20));
        let outages = record.snapshot().outages;
        assert_eq!(outages.len(), 1, "a wanted stop is no gap");
        assert_eq!((outages[0].from, outages[0].until), (at(10), Some(at(15))));
        assert_eq!(outages[0].reason, "stenotype could not be started: no such file");
        assert_eq!(record.snapshot().outages_within(at(15), at(99)).count(), 0);
        assert_eq!(record.snapshot().outages_within(at(14), at(15)).count(), 1);
    }

    #[test]
    fn outages_are_bounded() {
        let mut record = Record::new("eth0".into(), vec![0]);
        for i in 0..MAX_OUTAGES as u64 + 5 {
            record.ended(died(), Duration::ZERO, false, at(2 * i));
            record.running(1, Kind::Own, false, at(2 * i + 1));
        }
        let outages = record.snapshot().outages;
        assert_eq!((outages.len(), outages[0].from), (MAX_OUTAGES, at(10)));
    }
}
