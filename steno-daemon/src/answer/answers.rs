//! Where questions are asked, whatever the transport: each is admitted, given its bounds, run on a thread of its own over
//! the store as it is now, and its answer is a stream of parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Extensions;
use steno_core::Clock;
use steno_proto::{
    audit::Asked,
    v1::{self, Truncation},
};
use steno_query::{Cancel, Query, syntax::MAX_TEXT_BYTES};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
    time::sleep,
};

use super::{
    Ask, Bounds, Failed, HangUp, Parts, Refused, Turn, Unread,
    ask::Held,
    audited,
    below::{self, Pace},
    limits::{Gate, Ticket},
    readings::Readings,
    search::Search,
    segments,
    worker::{self, SensorBounds, Tally, Transport, Worker},
};
use crate::{
    access::{Action, Asker, Denied},
    audit::{AuditLog, Entry},
    metrics::{Method, Metrics, Outcome},
    sensor::SensorView,
};

/// How long no query has run before memory is given back: one after another needs it again at once.
const REST: Duration = Duration::from_millis(500);
/// Looks at the sensor as a whole at once.
const LOOKS: usize = 2;
/// Bytes of a query that is read at once. To read a longer one takes milliseconds, in which whoever serves connections would have
/// others wait.
const SHORT_TEXT_BYTES: usize = 1 << 10;

/// Where questions are asked. Clones are the same one.
#[derive(Clone)]
pub struct Answers(Arc<Inner>);

struct Inner {
    search: Search,
    gate: Gate,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: AuditLog,
    counts: Arc<Counts>,
    /// Looks at the sensor as a whole that may go on at once: more would take all threads from queries.
    looks: Arc<Semaphore>,
    /// Queries that are long.
    readings: Readings,
}

/// What was answered since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    finished: AtomicU64,
    truncated: AtomicU64,
    refused: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    pub(super) fn sent(&self, packets: u64, bytes: u64) {
        let _ = self.packets.fetch_add(packets, Ordering::Relaxed);
        let _ = self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, found_all: bool) {
        let count = if found_all { &self.finished } else { &self.truncated };
        let _ = count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Answers {
    /// Answers from what `view` shows, within `bounds`. `clock` says what `now` means in a query. What is answered is written
    /// down in `audit` before.
    pub fn new(view: SensorView, bounds: Bounds, clock: Arc<dyn Clock>, metrics: Metrics, audit: AuditLog) -> Self {
        let (gate, readings) = (Gate::new(&bounds), Readings::new(bounds.most_of_one));
        Self(Arc::new(Inner {
            search: Search { view, bounds },
            gate,
            clock,
            metrics,
            audit,
            counts: Arc::default(),
            looks: Arc::new(Semaphore::new(LOOKS)),
            readings,
        }))
    }

    /// Reads a query. One that does not parse is refused.
    ///
    /// # Errors
    /// What is wrong with it, or why it is not read.
    pub async fn parse(&self, method: Method, asker: &Asker, text: &str) -> Result<Query, Unread> {
        let read = self.read(asker, text).await;
        if let Err(unread) = &read {
            self.refuse(method, asker, Some(text), &unread.first()).await;
        }
        read
    }

    /// Reads a query where that keeps nobody waiting.
    async fn read(&self, asker: &Asker, text: &str) -> Result<Query, Unread> {
        let now = self.0.clock.now();
        // One that is longer than any may be is not looked into.
        if (SHORT_TEXT_BYTES + 1..=MAX_TEXT_BYTES).contains(&text.len()) {
            let reading = self.0.readings.turn(asker.client_key()).await?;
            let (told, parsed) = oneshot::channel();
            let text = text.to_owned();
            let begun = below::spawn(Pace::Steady, move || {
                // Over when this is, whether anybody waits for it or not.
                let _reading = reading;
                drop(told.send(steno_query::parse(&text, now)));
            });
            if begun.is_ok()
                && let Ok(parsed) = parsed.await
            {
                return Ok(parsed?);
            }
        }
        Ok(steno_query::parse(text, now)?)
    }

    /// The packets that match, as chunks of a capture file. Must be called on a runtime, as all that is asked.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn packets(&self, ask: Ask) -> Result<Parts<Bytes>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.search.packets(worker, ask)).await
    }

    /// The conversations that match.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn flows(&self, ask: Ask) -> Result<Parts<v1::FlowBatch>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.search.flows(worker, ask)).await
    }

    /// How a query is understood and would be answered: one item, unless the end says that there is none.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn explain(&self, ask: Ask) -> Result<Parts<v1::ExplainResponse>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.search.explain(worker, ask)).await
    }

    /// The segments that `wanted` asks for.
    ///
    /// # Errors
    /// [`Refused`]: it was not begun.
    pub async fn segments(
        &self,
        asker: Asker,
        wanted: v1::SegmentsRequest,
        hang_up: HangUp,
    ) -> Result<Parts<Vec<v1::Segment>>, Refused> {
        let asked = || audited::asker(Method::Segments, &asker, None);
        let (ticket, entry) = self.admit(&asker, Method::Segments, false, asked).await?;
        let inner = Arc::clone(&self.0);
        let meter = self.0.metrics.query(Method::Segments);
        let work = move |worker: &mut Worker<Vec<v1::Segment>>| {
            let _pin = inner.search.view.store().pin(segments::span(&wanted));
            let cancelled = worker.ticket.cancel().clone();
            let listed =
                segments::list(&inner.search.view, &wanted, &cancelled, &mut |batch| worker.hand_over(batch).is_ok());
            let by = if listed { Truncation::Unspecified } else { Truncation::Cancelled };
            let receipt = v1::Receipt { truncated_by: by.into(), complete: listed, ..v1::Receipt::default() };
            (receipt, SensorBounds::default())
        };
        let tally = Tally::new(meter, Arc::clone(&self.0.counts), entry);
        let transport = Transport { asker, hang_up, stall: self.0.search.bounds.stall };
        Ok(worker::start(ticket, Pace::Short, tally, transport, work))
    }

    /// What the sensor is.
    pub fn view(&self) -> &SensorView {
        &self.0.search.view
    }

    /// The time.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn audit(&self) -> &AuditLog {
        &self.0.audit
    }

    /// The queries since the start.
    pub fn queries(&self) -> v1::Queries {
        let Counts { finished, truncated, refused, packets, bytes } = &*self.0.counts;
        let [finished, truncated, refused, packets, bytes] =
            [finished, truncated, refused, packets, bytes].map(|count| count.load(Ordering::Relaxed));
        v1::Queries {
            running: self.0.gate.running().into(),
            most_running: self.0.gate.most_running().into(),
            finished,
            truncated,
            refused,
            packets,
            bytes,
        }
    }

    /// Admits no more queries: they are told that the sensor is stopping. Those that run go on.
    pub fn close(&self) {
        self.0.gate.close();
    }

    /// Admits no more queries, and ends those that run, with receipts that say so.
    pub fn stop(&self) {
        self.0.gate.stop();
    }

    /// Gives memory back to the operating system whenever queries have run and none does any more. Does not end.
    pub async fn give_back_memory(self) {
        let mut running = self.0.gate.watch();
        // Whoever sends the changes is in `self`, so that there is always a next one to wait for.
        while running.changed().await.is_ok() {
            self.0.gate.idle().await;
            sleep(REST).await;
            if self.0.gate.running() == 0 {
                // It can only fail by a panic, and there is none in it.
                let _ended = spawn_blocking(steno_core::give_back_memory).await;
            }
        }
    }

    /// Waits until no query runs. What was found may still be on its way to clients.
    pub async fn idle(&self) {
        self.0.gate.idle().await;
    }

    async fn start<T: Send + Unpin + 'static>(
        &self,
        ask: Ask,
        work: impl FnOnce(&mut Worker<T>, &Held) -> (v1::Receipt, SensorBounds) + Send + 'static,
    ) -> Result<Parts<T>, Refused> {
        let held = Held::new(ask, self.0.clock.now());
        let (asker, method) = (&held.ask.asker, held.ask.method);
        let (ticket, entry) = self.admit(asker, method, held.ask.follow, || audited::held(&held)).await?;
        let tally = Tally::new(self.0.metrics.query(method), Arc::clone(&self.0.counts), entry);
        let (asker, hang_up) = (asker.clone(), held.ask.hang_up.clone());
        let transport = Transport { asker, hang_up, stall: self.0.search.bounds.stall };
        let pace = match (held.ask.follow, ticket.is_crowded()) {
            (true, _) => Pace::Steady,
            (false, true) => Pace::Crowded,
            (false, false) => Pace::Short,
        };
        Ok(worker::start(ticket, pace, tally, transport, move |worker| work(worker, &held)))
    }

    /// Finds room for a request of somebody who may send it, and has it written down: nothing of an answer is there before
    /// that. Whatever is run passes here.
    async fn admit(
        &self,
        asker: &Asker,
        method: Method,
        follow: bool,
        asked: impl Fn() -> Asked,
    ) -> Result<(Ticket, Entry), Refused> {
        let may = asker.may(method.into()).and_then(|()| if follow { asker.may(Action::Follow) } else { Ok(()) });
        let ticket = may.map_err(Refused::from).and_then(|()| self.0.gate.admit(asker.client_key(), Cancel::default()));
        let ticket = match ticket {
            Ok(ticket) => ticket,
            Err(refused) => {
                self.count_refused(method);
                self.0.audit.refused(&refused.to_string(), asked).await;
                return Err(refused);
            }
        };
        match self.0.audit.begin(asked).await {
            Ok(entry) => Ok((ticket, entry)),
            Err(e) => {
                self.count_refused(method);
                Err(e.into())
            }
        }
    }

    /// A request is not carried out. `text` is its query, where there is one.
    pub(super) async fn refuse(&self, method: Method, asker: &Asker, text: Option<&str>, why: &str) {
        self.count_refused(method);
        self.0.audit.refused(why, || audited::asker(method, asker, text)).await;
    }

    /// Whether whoever sent a request with these extensions may have what is at `path`.
    ///
    /// # Errors
    /// They may not, which is written down.
    pub(crate) async fn let_in(&self, extensions: &Extensions, action: Action, path: &str) -> Result<(), Denied> {
        let asker = Asker::of(extensions)?;
        let may = asker.may(action);
        if let Err(denied) = &may {
            self.turned_away(asker, path, &denied.to_string()).await;
        }
        may
    }

    /// Somebody for whom there is no rule, or none with this, asks for `path`.
    pub(crate) async fn turned_away(&self, asker: &Asker, path: &str, why: &str) {
        self.0.audit.refused(why, || audited::path(path, asker)).await;
    }

    fn count_refused(&self, method: Method) {
        let _ = self.0.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.query(method).finish(Outcome::Refused);
    }

    /// Has `work` done where it may block, and keeps no query waiting: a few at a time, and one of a connection.
    pub(crate) async fn blocking<R: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let turn = turn.come().await;
        let look = Arc::clone(&self.0.looks).acquire_owned().await.map_err(|e| Failed::internal(e.to_string()))?;
        let (told, done) = oneshot::channel();
        let begun = below::spawn(Pace::Steady, move || {
            // Both are over when the work is: who waits for it may go away meanwhile.
            let _held = (turn, look);
            drop(told.send(work()));
        });
        begun.map_err(|e| Failed::internal(format!("cannot start a thread: {e}")))?;
        done.await.map_err(|_| Failed::internal("it did not come to its end"))
    }
}
