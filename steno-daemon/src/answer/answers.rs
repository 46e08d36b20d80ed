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
use steno_core::{Clock, SegmentId, TimestampNs, pcap::Format};
use steno_proto::{
    audit::Asked,
    v1::{self, Truncation},
};
use steno_query::{Answer, Cancel, Options, Query, QueryErrors, Scope, TimeSet};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
    time::sleep,
};

use super::{
    Bounds, HangUp, Parts, Refused, Turn, audited,
    below::{self, Pace},
    convert,
    limits::{Gate, Ticket},
    segments,
    worker::{self, Over, SensorBounds, Tally, Transport, Worker},
};
use crate::{
    access::{Action, Asker},
    audit::{AuditLog, Entry},
    metrics::{Method, Metrics, Outcome},
    retention::Pin,
    sensor::SensorView,
};

/// How often an answer that follows looks for what was captured.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// How long no query has run before memory is given back: one after another needs it again at once.
const REST: Duration = Duration::from_millis(500);
/// Looks at the sensor as a whole at once.
const LOOKS: usize = 2;
/// Bytes of a query that is read at once. To read a longer one takes milliseconds, in which whoever serves connections would have
/// others wait.
const SHORT_TEXT_BYTES: usize = 1 << 10;
/// Flows of a batch.
const BATCH_FLOWS: usize = 256;

/// Where questions are asked. Clones are the same one.
#[derive(Clone)]
pub struct Answers(Arc<Inner>);

struct Inner {
    view: SensorView,
    bounds: Bounds,
    gate: Gate,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    audit: AuditLog,
    counts: Arc<Counts>,
    /// Looks at the sensor as a whole that may go on at once: more would take all threads from queries.
    looks: Semaphore,
    /// Queries that are long, and are read one after the other.
    readings: Semaphore,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub asker: Asker,
    /// By what way it came.
    pub method: Method,
    /// The query.
    pub query: Query,
    /// The format of the capture file.
    pub format: Format,
    /// End after so many packets.
    pub max_packets: Option<u64>,
    /// End after so many bytes, counted as 1.0.1 does.
    pub max_bytes: Option<u64>,
    /// End after so long.
    pub deadline: Option<Duration>,
    /// Go on with packets that are captured later. The sensor's own deadline does not end that; its bound of bytes does.
    pub follow: bool,
    /// Who hangs up where nothing is taken of the answer any more.
    pub hang_up: HangUp,
    /// The query as it was sent.
    pub text: String,
}

impl Ask {
    /// Everything that matches `query`.
    pub fn new(asker: Asker, method: Method, query: Query) -> Self {
        Self {
            asker,
            method,
            query,
            format: Format::default(),
            max_packets: None,
            max_bytes: None,
            deadline: None,
            follow: false,
            hang_up: HangUp::default(),
            text: String::new(),
        }
    }
}

/// A question, held to what is in reach of who asks. What is run is given one, and no other question.
pub(super) struct Held {
    pub(super) ask: Ask,
    pub(super) scope: Option<Arc<Scope>>,
    /// When a packet of the answer may have arrived.
    times: TimeSet,
}

impl Held {
    /// A question that comes `now`.
    fn new(ask: Ask, now: TimestampNs) -> Self {
        let scope = ask.asker.scope(now);
        let times = ask.query.expr.may_match_times();
        let times = match &scope {
            Some(scope) => times.intersection(scope.expr().may_match_times()),
            None => times,
        };
        Self { ask, scope, times }
    }
}

/// Why an answer must not be taken for a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failed {
    /// The sensor's own deadline passed.
    #[error("the sensor gives a query no more time than this one has had; the answer lacks what comes later")]
    Deadline,
    /// The sensor's own bound of bytes was reached.
    #[error("the sensor gives no answer more bytes than this one has; it lacks what comes later")]
    Bytes,
    /// More matches than fit the memory.
    #[error("more matches than fit the memory that a query may use; ask for less at once")]
    Memory,
    /// The sensor is stopping.
    #[error("the sensor is stopping; the answer lacks what comes later")]
    Stopping,
    /// The client took nothing for too long.
    #[error("nothing was taken of the answer for too long; it lacks what comes later")]
    Stalled,
    /// Files that may hold matches could not be read.
    #[error("files that may hold matches could not be read: {0}")]
    DataLoss(String),
    /// Something that should not be.
    #[error("{0}")]
    Internal(String),
}

impl Failed {
    pub(super) fn internal(why: impl Into<String>) -> Self {
        Self::Internal(why.into())
    }

    /// What `receipt` tells of that the client did not ask for.
    pub(super) fn of(receipt: &v1::Receipt, bounds: SensorBounds) -> Option<Self> {
        match receipt.truncated_by() {
            Truncation::Deadline if bounds.deadline => return Some(Self::Deadline),
            Truncation::SensorLimitBytes => return Some(Self::Bytes),
            Truncation::Memory => return Some(Self::Memory),
            Truncation::Stopping => return Some(Self::Stopping),
            Truncation::Stalled => return Some(Self::Stalled),
            Truncation::Unfinished => return Some(Self::internal("the query did not come to its end")),
            _ => {}
        }
        let mut lost = receipt.unreadable.iter().filter(|file| file.may_hold_matches);
        let first = lost.next()?;
        let more = match lost.count() {
            0 => String::new(),
            n => format!("; and {n} more, which the receipt names"),
        };
        Some(Self::DataLoss(format!("{}: {}{more}", first.file, first.reason)))
    }
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
        let gate = Gate::new(&bounds);
        Self(Arc::new(Inner {
            view,
            bounds,
            gate,
            clock,
            metrics,
            audit,
            counts: Arc::default(),
            looks: Semaphore::new(LOOKS),
            readings: Semaphore::new(1),
        }))
    }

    /// Reads a query. One that does not parse is refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn parse(&self, method: Method, asker: &Asker, text: &str) -> Result<Query, QueryErrors> {
        let parsed = self.read(text).await;
        if let Err(errors) = &parsed {
            let first = errors.errors().first().map(ToString::to_string);
            self.refuse(method, asker, Some(text), &first.unwrap_or_default()).await;
        }
        parsed
    }

    /// Reads a query where that keeps nobody waiting.
    async fn read(&self, text: &str) -> Result<Query, QueryErrors> {
        let now = self.0.clock.now();
        if text.len() > SHORT_TEXT_BYTES {
            let _reading = self.0.readings.acquire().await;
            let (told, parsed) = oneshot::channel();
            let text = text.to_owned();
            let begun = below::spawn(Pace::Steady, move || drop(told.send(steno_query::parse(&text, now))));
            if begun.is_ok()
                && let Ok(parsed) = parsed.await
            {
                return parsed;
            }
        }
        steno_query::parse(text, now)
    }

    /// The packets that match, as chunks of a capture file. Must be called on a runtime, as all that is asked.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn packets(&self, ask: Ask) -> Result<Parts<Bytes>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.find_packets(worker, ask)).await
    }

    /// The conversations that match.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn flows(&self, ask: Ask) -> Result<Parts<v1::FlowBatch>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.find_flows(worker, ask)).await
    }

    /// How a query is understood and would be answered: one item, unless the end says that there is none.
    ///
    /// # Errors
    /// [`Refused`]: the query was not begun.
    pub async fn explain(&self, ask: Ask) -> Result<Parts<v1::ExplainResponse>, Refused> {
        let inner = Arc::clone(&self.0);
        self.start(ask, move |worker, ask| inner.explain(worker, ask)).await
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
            let _pin = inner.view.store().pin(segments::span(&wanted));
            let cancelled = worker.ticket.cancel().clone();
            let listed = segments::list(&inner.view, &wanted, &cancelled, &mut |batch| worker.hand_over(batch).is_ok());
            let by = if listed { Truncation::Unspecified } else { Truncation::Cancelled };
            let receipt = v1::Receipt { truncated_by: by.into(), complete: listed, ..v1::Receipt::default() };
            (receipt, SensorBounds::default())
        };
        let tally = Tally::new(meter, Arc::clone(&self.0.counts), entry);
        let transport = Transport { asker, hang_up, stall: self.0.bounds.stall };
        Ok(worker::start(ticket, Pace::Short, tally, transport, work))
    }

    /// What the sensor is.
    pub fn view(&self) -> &SensorView {
        &self.0.view
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
        let transport = Transport { asker, hang_up, stall: self.0.bounds.stall };
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
        let who = (asker.principal().serial().to_owned(), asker.address().ip());
        let ticket = match may.map_err(Refused::from).and_then(|()| self.0.gate.admit(who, Cancel::default())) {
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

    /// Somebody for whom there is no rule asks for `path`.
    pub(crate) async fn turned_away(&self, asker: &Asker, path: &str, why: &str) {
        self.0.audit.refused(why, || audited::path(path, asker)).await;
    }

    fn count_refused(&self, method: Method) {
        let _ = self.0.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.0.metrics.query(method).finish(Outcome::Refused);
    }

    /// Has `work` done where it may block: a few at a time, and one of a connection.
    pub(crate) async fn blocking<R: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Failed> {
        let _turn = turn.come().await;
        let _look = self.0.looks.acquire().await.map_err(|e| Failed::internal(e.to_string()))?;
        spawn_blocking(work).await.map_err(|e| Failed::internal(e.to_string()))
    }
}

impl Inner {
    fn find_packets(&self, worker: &mut Worker<Bytes>, held: &Held) -> (v1::Receipt, SensorBounds) {
        let ask = &held.ask;
        let (options, bounds, pin) = self.prepare(worker, held);
        let store = self.view.store();
        let removals = store.pins().removals();
        let mut answer = match ask.follow {
            true => store.store().follow(&ask.query, options),
            false => store.store().answer(&ask.query, options),
        };
        if deliver(worker, &mut answer).is_ok() && ask.follow {
            drop(pin);
            let _over = self.follow(worker, &mut answer, removals);
        }
        (self.receipt(answer.receipt(), held), bounds)
    }

    /// Goes on with what is captured, until the answer ends or is over. `removals` were those before it began.
    fn follow(&self, worker: &mut Worker<Bytes>, answer: &mut Answer, mut removals: u64) -> Result<(), Over> {
        let store = self.view.store();
        while !answer.has_ended() {
            worker.pause(FOLLOW_EVERY)?;
            let _pin = store.pin_more(|thread, id| !answer.has_searched(thread, id));
            let (removed, more) = store.pins().removed_since(removals);
            removals = removals.saturating_add(more).saturating_add(removed.len() as u64);
            // What it had not come to, because its client takes less than is captured, is not to be had any more.
            let mut missed: Vec<String> =
                removed.iter().filter(|(thread, id)| !answer.has_searched(*thread, *id)).map(packet_name).collect();
            if more > 0 {
                missed.push(format!("{more} more packet files"));
            }
            answer.go_on(store.store());
            deliver(worker, answer)?;
            if !missed.is_empty() {
                answer.end_without(
                    missed,
                    "removed by retention before the answer, which follows too slowly, came to it",
                );
                deliver(worker, answer)?;
            }
        }
        Ok(())
    }

    fn find_flows(&self, worker: &mut Worker<v1::FlowBatch>, held: &Held) -> (v1::Receipt, SensorBounds) {
        let (options, bounds, _pin) = self.prepare(worker, held);
        let flows = self.view.store().store().flows(&held.ask.query, &options);
        let mut receipt = self.receipt(flows.receipt().clone(), held);
        let (mut packets, mut bytes) = (0u64, 0u64);
        let mut all = flows.iter();
        while all.len() > 0 {
            let batch: Vec<v1::Flow> = all.by_ref().take(BATCH_FLOWS).map(|flow| convert::flow(&flow)).collect();
            for way in batch.iter().flat_map(|flow| [&flow.a_to_b, &flow.b_to_a]).flatten() {
                packets += way.packets;
                bytes = bytes.saturating_add(way.bytes);
            }
            if worker.hand_over(v1::FlowBatch { flows: batch }).is_err() && all.len() > 0 {
                receipt.set_truncated_by(Truncation::Unfinished);
                receipt.complete = false;
                break;
            }
            worker.count(|| (packets, bytes));
        }
        (receipt.packets, receipt.bytes) = (packets, bytes);
        (receipt, bounds)
    }

    fn explain(&self, worker: &mut Worker<v1::ExplainResponse>, held: &Held) -> (v1::Receipt, SensorBounds) {
        let (options, bounds, _pin) = self.prepare(worker, held);
        let explained = self.view.store().store().explain(&held.ask.query, &options);
        let receipt = self.receipt(explained.receipt.clone(), held);
        let _over = worker.hand_over(convert::explanation(&explained, receipt.clone()));
        (receipt, bounds)
    }

    /// The options that a question comes to within the bounds of the sensor and of who asks, and a hold on what they may read.
    fn prepare<T>(&self, worker: &Worker<T>, held: &Held) -> (Options, SensorBounds, Pin) {
        let (own, ask) = (&self.bounds, &held.ask);
        let most_bytes = [own.most_bytes, ask.asker.max_query_bytes()].into_iter().flatten().min();
        let bounds = SensorBounds {
            bytes: most_bytes.is_some_and(|most| ask.max_bytes.is_none_or(|asked| most < asked)),
            deadline: !ask.follow && own.deadline.is_some_and(|most| ask.deadline.is_none_or(|asked| most < asked)),
        };
        let deadline = if bounds.deadline { own.deadline } else { ask.deadline };
        let options = Options {
            format: ask.format,
            limit_packets: ask.max_packets,
            limit_bytes: if bounds.bytes { most_bytes } else { ask.max_bytes },
            scope: held.scope.clone(),
            memory_bytes: worker.ticket.memory_bytes(),
            cancel: worker.ticket.cancel().clone(),
            // One too far away to be said is none.
            deadline: deadline.and_then(|deadline| worker.began.checked_add(deadline)),
            between: Some(below::make_way),
            ..Options::default()
        };
        let pin = self.view.store().pin(held.times.hull());
        (options, bounds, pin)
    }

    /// The receipt as a message, with the gaps and the steps of the clock that the daemon itself knows of. What it could not read
    /// is logged.
    fn receipt(&self, mut receipt: steno_query::Receipt, held: &Held) -> v1::Receipt {
        self.view.store().log().tell_all(&receipt.unreadable);
        receipt.gaps.extend(self.view.gaps(held.times.hull()));
        receipt.clock_steps.extend(self.view.clock_steps(&held.times));
        receipt.settle();
        convert::receipt(receipt)
    }
}

/// Hands over all chunks that there are.
fn deliver(worker: &mut Worker<Bytes>, answer: &mut Answer) -> Result<(), Over> {
    let mut chunk = Vec::new();
    while answer.next_chunk(&mut chunk) {
        // The chunk goes to the client as it is; a copy would cost more than new memory.
        worker.hand_over(std::mem::take(&mut chunk).into())?;
        worker.count(|| {
            let receipt = answer.receipt();
            (receipt.packets, receipt.bytes)
        });
    }
    Ok(())
}

/// A packet file as receipts name it.
fn packet_name((thread, id): &(u32, SegmentId)) -> String {
    format!("PKT{thread}/{id}")
}
