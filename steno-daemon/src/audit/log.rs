//! What requests are told to.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use steno_core::Clock;
use steno_proto::audit::{Asked, End, Event, TurnedAway};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::error;

use super::writer::{self, Lost, Order, Shared};
use crate::metrics::Metrics;

/// What waits to be written, at most.
const WAITING: usize = 1_024;
/// How long a request waits until it is written down.
const WITHIN: Duration = Duration::from_secs(10);

/// Where the audit log is, and what happens when it cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file.
    pub path: PathBuf,
    /// What becomes of requests that cannot be written down.
    pub on_failure: OnFailure,
}

/// What becomes of requests that cannot be written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are not answered.
    #[default]
    Stop,
    /// They are answered.
    Continue,
}

impl OnFailure {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Continue => "continue",
        }
    }

    /// The one of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Stop, Self::Continue].into_iter().find(|one| one.name() == name)
    }
}

/// Why a request is not written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written, and nothing is answered without it: {0}")]
pub struct AuditError(pub(super) String);

/// What requests are told to. Clones are the same one.
#[derive(Clone)]
pub struct AuditLog(Option<Arc<Inner>>);

struct Inner {
    orders: mpsc::Sender<Order>,
    shared: Arc<Shared>,
    on_failure: OnFailure,
    clock: Arc<dyn Clock>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A request that is written down, and whose end is to be. Dropped before, it was given up.
#[derive(Debug)]
pub struct Entry(Option<Open>);

#[derive(Debug)]
struct Open {
    orders: mpsc::WeakSender<Order>,
    shared: Arc<Shared>,
    of: u64,
    began: Instant,
}

/// How an answer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As metrics name it.
    pub name: &'static str,
    /// Packets that were handed over.
    pub packets: u64,
    /// Bytes that were.
    pub bytes: u64,
    /// BLAKE3 of these, of a capture file.
    pub blake3: Option<String>,
    /// Whether nothing is missing.
    pub complete: bool,
    /// Why something is.
    pub why: Option<String>,
}

impl AuditLog {
    /// None is kept.
    pub fn none() -> Self {
        Self(None)
    }

    /// Keeps one from now on. Where it cannot be opened it is tried again with each request.
    pub fn start(settings: AuditSettings, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let AuditSettings { path, on_failure } = settings;
        let (orders, taken) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared::new(metrics));
        let (of_writer, clock_of_writer, weak) = (Arc::clone(&shared), Arc::clone(&clock), orders.downgrade());
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            writer::run(path, taken, &weak, &of_writer, &*clock_of_writer);
        });
        if let Err(e) = &thread {
            // Its end of the channel is gone, so that every request is told.
            error!("the audit log cannot be written: no thread for it: {e}");
        }
        let thread = Mutex::new(thread.ok());
        Self(Some(Arc::new(Inner { orders, shared, on_failure, clock, thread })))
    }

    /// Writes down that a request is answered from now on, and waits until the disk has it.
    ///
    /// # Errors
    /// It cannot be, and is not to be answered.
    pub async fn begin(&self, asked: impl FnOnce() -> Asked) -> Result<Entry, AuditError> {
        let Some(inner) = &self.0 else { return Ok(Entry(None)) };
        let (told, answer) = oneshot::channel();
        let order = Order::Begin { time: inner.now(), asked: Box::new(asked()), told };
        let written = async {
            inner.orders.send(order).await.map_err(|_| ())?;
            answer.await.map_err(|_| ())
        };
        let written = match timeout(WITHIN, written).await {
            Ok(Ok(written)) => written,
            Ok(Err(())) => Err(AuditError("its thread has ended".to_owned())),
            Err(_) => Err(AuditError(format!("the disk has not taken it within {} s", WITHIN.as_secs()))),
        };
        match written {
            Err(_) if inner.on_failure == OnFailure::Continue => Ok(Entry(None)),
            written => written,
        }
    }

    /// Writes down that a request was not answered, and waits until that is done, or cannot be.
    pub async fn refused(&self, why: &str, asked: impl FnOnce() -> Asked) {
        let Some(inner) = &self.0 else { return };
        let (told, answer) = oneshot::channel();
        let event = Event::Refused { why: why.to_owned(), asked: Box::new(asked()) };
        let order = Order::Note { time: inner.now(), event, told: Some(told) };
        let written = timeout(WITHIN, async {
            let sent = inner.orders.send(order).await;
            // What could not be written is counted by who writes.
            let _written = answer.await;
            sent
        });
        if !matches!(written.await, Ok(Ok(()))) {
            inner.shared.lose(Lost { refusals: 1, ..Lost::default() });
        }
    }

    /// Writes down that a connection did not come through the handshake, and `more` since the last one of which this is told.
    pub fn turned_away(&self, address: String, why: String, more: u32) {
        let Some(inner) = &self.0 else { return };
        let event = Event::TurnedAway(TurnedAway { address, why, more });
        let order = Order::Note { time: inner.now(), event, told: None };
        if inner.orders.try_send(order).is_err() {
            inner.shared.lose(Lost { refusals: 1, ..Lost::default() });
        }
    }

    /// Goes on with a new file where the old one was moved away.
    pub async fn reopen(&self) {
        if let Some(inner) = &self.0 {
            let _closed = inner.orders.send(Order::Reopen).await;
        }
    }

    /// Writes the last line, and waits for it, not for ever.
    pub async fn close(&self) {
        let Some(inner) = &self.0 else { return };
        let (told, done) = oneshot::channel();
        let closed = timeout(WITHIN, async {
            let _sent = inner.orders.send(Order::Close { time: inner.now(), told }).await;
            let _done = done.await;
        });
        if closed.await.is_ok() {
            let thread = inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            let _ended = thread.map(std::thread::JoinHandle::join);
        }
    }

    /// Why it cannot be written now.
    pub fn problem(&self) -> Option<String> {
        self.0.as_ref()?.shared.problem()
    }
}

impl Inner {
    fn now(&self) -> String {
        steno_query::rfc3339(self.clock.now())
    }
}

impl Entry {
    pub(super) fn new(orders: mpsc::WeakSender<Order>, shared: Arc<Shared>, of: u64) -> Self {
        Self(Some(Open { orders, shared, of, began: Instant::now() }))
    }

    /// Writes down how it ended.
    pub fn end(mut self, outcome: Outcome) {
        if let Some(open) = self.0.take() {
            open.end(outcome);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let why = "it was given up before it came to an end".to_owned();
            open.end(Outcome { name: "cancelled", why: Some(why), ..Outcome::default() });
        }
    }
}

impl Open {
    /// Nobody waits for it: the answer is written down already, and its end would otherwise wait for the disk.
    fn end(self, outcome: Outcome) {
        let Outcome { name, packets, bytes, blake3, complete, why } = outcome;
        let duration_ns = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (of, outcome) = (self.of, name.to_owned());
        let event = Event::End(End { of, outcome, packets, bytes, blake3, complete, why, duration_ns });
        let sent = self.orders.upgrade().is_some_and(|orders| orders.try_send(Order::End(event)).is_ok());
        if !sent {
            self.shared.lose(Lost { ends: 1, ..Lost::default() });
        }
    }
}
