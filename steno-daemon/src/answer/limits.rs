//! How many queries run at once, what memory each may use, and the end of all of them when the sensor stops.
//!
//! The memory of all queries is one budget. Half of it is for every query that may run at once, in equal shares; the other
//! half is lent to those that do run, and a new one gets half of what is not lent yet. So one query alone has more than a
//! quarter of the budget, none has less than its share, and however many come, the sum stays within the budget.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use steno_query::{Cancel, QueryErrors};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    access::{ClientKey, Denied},
    audit::AuditError,
};

/// Bounds of what is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Queries that run at once; one more is turned away (`Limits.MaxConcurrentQueries`).
    pub most_running: u32,
    /// Those of one client, by its certificate and its address (`Limits.MaxQueriesPerClient`).
    pub most_of_one: u32,
    /// The most bytes of an answer, counted as 1.0.1 does (`Limits.MaxQueryBytes`); none: any number.
    pub most_bytes: Option<u64>,
    /// The most time that an answer may take (`Limits.QueryDeadline`); none: any.
    pub deadline: Option<Duration>,
    /// Bytes of memory that all queries together may use.
    pub memory_bytes: u64,
    /// How long a client may take nothing of what is there for it.
    pub stall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            most_running: 64,
            most_of_one: 64,
            most_bytes: None,
            deadline: None,
            memory_bytes: 256 << 20,
            stall: Duration::from_secs(60),
        }
    }
}

/// Why a query is not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// As many run as may.
    #[error("too many queries: {most_running} run already, which is the most; ask again when one has ended")]
    TooMany {
        /// The most that may run.
        most_running: u32,
    },
    /// As many of this client run as may.
    #[error(
        "too many queries: {most_of_one} of this client run already, which is the most; ask again when one has ended"
    )]
    TooManyOfOne {
        /// The most that may run.
        most_of_one: u32,
    },
    /// The sensor is stopping.
    #[error("the sensor is stopping")]
    Stopping,
    /// The client may not ask this.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It cannot be written down.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Why a query is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// It is none.
    #[error(transparent)]
    Faults(#[from] QueryErrors),
    /// It is not looked at.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Unread {
    /// The first reason.
    pub(super) fn first(&self) -> String {
        match self {
            Self::Faults(errors) => errors.errors().first().map(ToString::to_string).unwrap_or_default(),
            Self::Refused(refused) => refused.to_string(),
        }
    }
}

/// Queries of one client from which on one more makes way for those of others at once. One that asks for several things together, as
/// people do, has fewer.
const CROWD: usize = 4;

/// Where queries are admitted. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most_running: u32,
    most_of_one: u32,
    memory_bytes: u64,
    state: Mutex<State>,
    /// How many run; who waits hears of it when none does any more.
    running: watch::Sender<u32>,
    stopped: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    next: u64,
    running: BTreeMap<u64, Running>,
}

/// One that runs.
#[derive(Debug)]
struct Running {
    who: ClientKey,
    /// What ends it.
    cancel: Cancel,
    /// The memory that it has.
    memory_bytes: u64,
}

/// A query's admission. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Gate,
    number: u64,
    cancel: Cancel,
    memory_bytes: u64,
    is_crowded: bool,
}

impl Gate {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self(Arc::new(Inner {
            most_running: bounds.most_running.max(1),
            most_of_one: bounds.most_of_one.max(1),
            memory_bytes: bounds.memory_bytes,
            state: Mutex::default(),
            running: watch::Sender::new(0),
            stopped: CancellationToken::new(),
        }))
    }

    /// Admits a query of `who` that `cancel` ends.
    pub(super) fn admit(&self, who: ClientKey, cancel: Cancel) -> Result<Ticket, Refused> {
        let Inner { most_running, most_of_one, .. } = *self.0;
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Stopping);
        }
        let running = u32::try_from(state.running.len()).unwrap_or(u32::MAX);
        if running >= most_running {
            return Err(Refused::TooMany { most_running });
        }
        let of_one = state.running.values().filter(|other| other.who == who).count();
        if u32::try_from(of_one).unwrap_or(u32::MAX) >= most_of_one {
            return Err(Refused::TooManyOfOne { most_of_one });
        }
        let sure = self.0.memory_bytes / 2 / u64::from(most_running);
        // Those that may still come are sure of their share.
        let idle = u64::from(most_running - running - 1) * sure;
        let taken: u64 = state.running.values().map(|other| other.memory_bytes).sum();
        let spare = self.0.memory_bytes.saturating_sub(taken).saturating_sub(idle).saturating_sub(sure);
        let memory_bytes = sure + spare / 2;
        let number = state.next;
        state.next += 1;
        let _ = state.running.insert(number, Running { who, cancel: cancel.clone(), memory_bytes });
        drop(state);
        let _silently = self.0.running.send_if_modified(|running| {
            *running += 1;
            false
        });
        Ok(Ticket { gate: self.clone(), number, cancel, memory_bytes, is_crowded: of_one >= CROWD })
    }

    pub(super) fn running(&self) -> u32 {
        *self.0.running.borrow()
    }

    pub(super) fn most_running(&self) -> u32 {
        self.0.most_running
    }

    /// Admits no more.
    pub(super) fn close(&self) {
        self.state().closed = true;
    }

    /// Admits no more, and ends those that run.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.closed = true;
        self.0.stopped.cancel();
        state.running.values().for_each(|other| other.cancel.cancel());
    }

    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.0.stopped
    }

    /// How many run, whenever that has become none.
    pub(super) fn watch(&self) -> watch::Receiver<u32> {
        self.0.running.subscribe()
    }

    /// Waits until none runs.
    pub(super) async fn idle(&self) {
        let mut running = self.0.running.subscribe();
        // The sender is in `self`, so that it outlives this.
        let _ = running.wait_for(|running| *running == 0).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// What ends the query.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Bytes of memory that it may use.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Whether its client had many that ran when it came.
    pub(super) fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let _ = self.gate.state().running.remove(&self.number);
        let _last = self.gate.0.running.send_if_modified(|running| {
            *running = running.saturating_sub(1);
            *running == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(most_running: u32) -> Gate {
        Gate::new(&Bounds { most_running, memory_bytes: 1 << 20, ..Bounds::default() })
    }

    fn who(n: u8) -> ClientKey {
        (n.to_string(), [10, 0, 0, n].into())
    }

    #[test]
    fn nobody_has_all_places() {
        let gate = Gate::new(&Bounds { most_running: 4, most_of_one: 3, ..Bounds::default() });
        let mut tickets: Vec<Ticket> = (0..3).map(|_| gate.admit(who(1), Cancel::default()).unwrap()).collect();
        let refused = gate.admit(who(1), Cancel::default()).unwrap_err();
        assert_eq!(refused, Refused::TooManyOfOne { most_of_one: 3 });
        let other = gate.admit(who(2), Cancel::default()).unwrap();
        assert_eq!(gate.admit(who(2), Cancel::default()).unwrap_err(), Refused::TooMany { most_running: 4 });
        drop((tickets.pop(), other));
        let _again = gate.admit(who(1), Cancel::default()).unwrap();
    }

    #[test]
    fn many_of_one_client_are_a_crowd() {
        let gate = gate(16);
        let tickets: Vec<Ticket> = (0..6).map(|_| gate.admit(who(1), Cancel::default()).unwrap()).collect();
        let crowded: Vec<bool> = tickets.iter().map(Ticket::is_crowded).collect();
        assert_eq!(crowded, [false, false, false, false, true, true]);
        assert!(!gate.admit(who(2), Cancel::default()).unwrap().is_crowded());
        drop(tickets);
        assert!(!gate.admit(who(1), Cancel::default()).unwrap().is_crowded());
    }

    #[test]
    fn one_more_than_may_run_is_turned_away_until_one_ends() {
        let gate = gate(2);
        let first = gate.admit(who(1), Cancel::default()).unwrap();
        let _second = gate.admit(who(1), Cancel::default()).unwrap();
        assert_eq!(gate.admit(who(1), Cancel::default()).unwrap_err(), Refused::TooMany { most_running: 2 });
        assert_eq!(gate.running(), 2);
        drop(first);
        let _third = gate.admit(who(1), Cancel::default()).unwrap();
        assert_eq!(gate.running(), 2);
    }

    #[test]
    fn memory_is_lent_and_its_sum_stays_within_the_budget() {
        let (most, budget) = (16u32, 1u64 << 20);
        let gate = gate(most);
        let sure = budget / 2 / u64::from(most);
        let mut tickets = Vec::new();
        for _ in 0..most {
            tickets.push(gate.admit(who(1), Cancel::default()).unwrap());
            let sum: u64 = tickets.iter().map(Ticket::memory_bytes).sum();
            assert!(sum <= budget, "{sum}");
            assert!(tickets.iter().all(|t| t.memory_bytes() >= sure));
        }
        let first = tickets.swap_remove(0).memory_bytes();
        assert!(first > budget / 4, "{first}");
        // What the others have stays theirs; what the first gave back is lent again.
        let again = gate.admit(who(1), Cancel::default()).unwrap().memory_bytes();
        assert!(again > sure && again <= first, "{again}");
    }

    #[test]
    fn stopping_cancels_what_runs_and_admits_nothing() {
        let gate = gate(4);
        let ticket = gate.admit(who(1), Cancel::default()).unwrap();
        gate.close();
        assert!(!ticket.cancel().is_cancelled());
        assert_eq!(gate.admit(who(1), Cancel::default()).unwrap_err(), Refused::Stopping);
        gate.stop();
        assert!(ticket.cancel().is_cancelled() && gate.stopped().is_cancelled());
    }

    #[tokio::test]
    async fn it_is_idle_when_the_last_one_ends() {
        let gate = gate(4);
        gate.idle().await;
        let tickets = [gate.admit(who(1), Cancel::default()).unwrap(), gate.admit(who(1), Cancel::default()).unwrap()];
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.idle().await }
        });
        let [first, second] = tickets;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    }
}
