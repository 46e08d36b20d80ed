//! The one place where the chain of lines is continued: a thread that takes what is to be written, all that is there at once,
//! and has the disk keep it before anyone is told.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use steno_core::Clock;
pub(super) use steno_proto::audit::Lost;
use steno_proto::audit::{Asked, Event, Head, Why};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::{
    AuditError, Entry,
    file::{AuditFile, Due},
};
use crate::metrics::Metrics;

/// Lines that go to the disk together, at most.
const TOGETHER: usize = 256;
/// How often where the log has got to is logged, in lines: a log that is sent elsewhere then bears witness to it.
const TELL_EVERY: u64 = 4_096;

/// What is to be done.
pub(super) enum Order {
    /// A request is to be answered.
    Begin { time: String, asked: Box<Asked>, told: oneshot::Sender<Result<Entry, AuditError>> },
    /// An answer has ended. The time is that of the writing.
    End(Event),
    /// Something else has happened.
    Note { time: String, event: Event, told: Option<oneshot::Sender<()>> },
    /// The file may be another one now.
    Reopen,
    /// The end.
    Close { time: String, told: oneshot::Sender<()> },
}

/// What others see of the writer.
pub(super) struct Shared {
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    problem: Option<String>,
    lost: Lost,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, state: Mutex::default() }
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Lines will not be there; the next one is to say so.
    pub(super) fn lose(&self, lost: Lost) {
        self.to_be_told(lost);
        self.metrics.audit_lost(lost.sum());
    }

    fn to_be_told(&self, lost: Lost) {
        let mut state = self.state();
        state.lost.begins += lost.begins;
        state.lost.ends += lost.ends;
        state.lost.refusals += lost.refusals;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer<'a> {
    path: PathBuf,
    file: Option<AuditFile>,
    /// Where the chain had got to when there was a file the last time: nobody can take that back.
    written: Option<Head>,
    /// Why the next line has to be an opening one.
    opens: Option<Why>,
    told_at: u64,
    weak: &'a mpsc::WeakSender<Order>,
    shared: &'a Arc<Shared>,
    clock: &'a dyn Clock,
}

/// Writes until it is told to end.
pub(super) fn run(
    path: PathBuf,
    mut orders: mpsc::Receiver<Order>,
    weak: &mpsc::WeakSender<Order>,
    shared: &Arc<Shared>,
    clock: &dyn Clock,
) {
    let opens = Some(Why::Start);
    let mut writer = Writer { path, file: None, written: None, opens, told_at: 0, weak, shared, clock };
    writer.write(Vec::new());
    while let Some(first) = orders.blocking_recv() {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = orders.try_recv()
        {
            together.push(next);
        }
        let mut lines = Vec::new();
        for order in together {
            match order {
                Order::Reopen => {
                    writer.write(std::mem::take(&mut lines));
                    writer.reopen();
                }
                Order::Close { time, told } => {
                    writer.write(std::mem::take(&mut lines));
                    writer.write(vec![Order::Note { time, event: Event::Close, told: Some(told) }]);
                    return writer.tell();
                }
                line => lines.push(line),
            }
        }
        writer.write(lines);
    }
}

impl Writer<'_> {
    /// Has these lines written, and then those told who wait for them. The opening line, too, where there is to be one.
    fn write(&mut self, orders: Vec<Order>) {
        let now = || steno_query::rfc3339(self.clock.now());
        self.follow_the_path();
        let file = match self.file.take().map_or_else(|| AuditFile::open(&self.path, self.written), Ok) {
            Ok(file) => self.file.insert(file),
            Err(e) => return self.failed(orders, &e),
        };
        let lost = std::mem::take(&mut self.shared.state().lost);
        // What was lost is told by an opening line alone.
        let opens = self.opens.or((lost.sum() > 0).then_some(Why::Recovered));
        let opening = opens.map(|why| {
            let open = steno_proto::audit::Open { lost: (lost.sum() > 0).then_some(lost), ..file.opening(why) };
            Due { time: now(), event: Event::Open(open) }
        });
        let of_opening = usize::from(opening.is_some());
        let due = orders.iter().map(|order| match order {
            Order::Begin { time, asked, .. } => Due { time: time.clone(), event: Event::Begin((**asked).clone()) },
            Order::Note { time, event, .. } => Due { time: time.clone(), event: event.clone() },
            Order::End(event) => Due { time: now(), event: event.clone() },
            // They are carried out by who calls.
            Order::Reopen | Order::Close { .. } => Due { time: now(), event: Event::Close },
        });
        let lines: Vec<Due> = opening.into_iter().chain(due).collect();
        if lines.is_empty() {
            return;
        }
        let first = file.head().line + 1 + of_opening as u64;
        let (kept, error) = file.append(&lines);
        self.shared.metrics.audit_wrote(kept as u64, file.head().line);
        self.written = Some(file.head());
        if kept < of_opening {
            // It tells of what was lost the next time.
            self.shared.to_be_told(lost);
        }
        self.opens = if kept >= of_opening { None } else { self.opens.or(opens) };
        match error {
            None => {
                self.succeeded(orders, first);
                self.tell_now_and_then();
            }
            Some(e) => {
                self.opens = self.opens.or(Some(Why::Recovered));
                let rest = self.answer(orders, kept.saturating_sub(of_opening), first);
                self.failed(rest, &e);
            }
        }
    }

    fn succeeded(&mut self, orders: Vec<Order>, first: u64) {
        if self.shared.state().problem.take().is_some() {
            info!("the audit log is written again");
        }
        self.shared.metrics.audit_failing(false);
        let n = orders.len();
        let _rest = self.answer(orders, n, first);
    }

    /// Tells the first `kept` that they are written; gives the others.
    fn answer(&self, orders: Vec<Order>, kept: usize, first: u64) -> Vec<Order> {
        let mut orders = orders.into_iter();
        for (line, order) in (first..).zip(orders.by_ref().take(kept)) {
            match order {
                // Where nobody waits any more, the entry is dropped, and so ends.
                Order::Begin { told, .. } => {
                    drop(told.send(Ok(Entry::new(self.weak.clone(), Arc::clone(self.shared), line))));
                }
                Order::Note { told: Some(told), .. } => drop(told.send(())),
                _ => {}
            }
        }
        orders.collect()
    }

    fn failed(&mut self, orders: Vec<Order>, error: &io::Error) {
        let why = format!("{}: {error}", self.path.display());
        let count = |is: fn(&Order) -> bool| orders.iter().filter(|order| is(order)).count() as u64;
        self.shared.lose(Lost {
            begins: count(|order| matches!(order, Order::Begin { .. })),
            ends: count(|order| matches!(order, Order::End(_))),
            refusals: count(|order| matches!(order, Order::Note { .. })),
        });
        self.shared.metrics.audit_failed();
        if self.shared.state().problem.replace(why.clone()).is_none() {
            error!("the audit log cannot be written: {why}");
        }
        for order in orders {
            match order {
                Order::Begin { told, .. } => drop(told.send(Err(AuditError(why.clone())))),
                Order::Note { told: Some(told), .. } => drop(told.send(())),
                _ => {}
            }
        }
    }

    /// A file that somebody has deleted is no place to go on in. What is at its path is opened then, as at a start.
    fn follow_the_path(&mut self) {
        if self.file.as_ref().is_some_and(AuditFile::is_deleted) {
            error!("the audit log {} was deleted", self.path.display());
            (self.file, self.opens) = (None, Some(Why::Rotation));
        }
    }

    /// Goes on with what is at the path now.
    fn reopen(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.reopen() {
            Ok(false) => {}
            Ok(true) => {
                info!("the audit log goes on in a new file, after {}", file.head());
                self.opens = Some(Why::Rotation);
                self.write(Vec::new());
                self.tell();
            }
            Err(e) => {
                let path = self.path.display();
                error!("the audit log goes on in the file that it was in: {path} cannot take its place: {e}");
            }
        }
    }

    fn tell_now_and_then(&mut self) {
        let line = self.file.as_ref().map_or(0, |file| file.head().line);
        if self.told_at == 0 || line >= self.told_at + TELL_EVERY {
            self.tell();
        }
    }

    /// Says where the log has got to, where it cannot be changed afterwards by who can write to its file.
    fn tell(&mut self) {
        if let Some(file) = &self.file {
            let (path, head): (&Path, _) = (&self.path, file.head());
            info!("the audit log {} is at {head}", path.display());
            self.told_at = head.line.max(1);
        }
    }
}
