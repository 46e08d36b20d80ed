//! A query's own thread: what it finds goes to the client through a channel that holds two chunks, and it waits while that
//! is full. So the memory of an answer is bounded, and a client that is slow slows its own query only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use steno_proto::v1::{self, Truncation};
use tokio::{
    runtime::Handle,
    select,
    sync::{mpsc, oneshot},
    time::sleep,
};
use tracing::{error, info};

use super::{
    Ending, Failed, Parts,
    answers::Counts,
    audited,
    below::{self, Pace},
    limits::Ticket,
    part::{Delivered, Last},
    place::{HangUp, Place},
    turns,
};
use crate::{
    access::Asker,
    audit::Entry,
    metrics::{Outcome, QueryMeter},
};

/// Items that are found ahead of the client.
const AHEAD: usize = 2;
/// The least time between two looks at how many packets were delivered, which cost some microseconds.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// What a query's thread works with.
pub(super) struct Worker<T> {
    pub(super) ticket: Ticket,
    pub(super) began: Instant,
    items: mpsc::Sender<T>,
    runtime: Handle,
    transport: Transport,
    tally: Tally,
    cut: Option<Cut>,
    rest: Option<T>,
}

/// The other end of an answer.
pub(super) struct Transport {
    /// Who takes it.
    pub(super) asker: Asker,
    /// Who hangs up where they do not.
    pub(super) hang_up: HangUp,
    /// After how long.
    pub(super) stall: Duration,
}

/// What ended an answer from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The client went away.
    Gone,
    /// The client took nothing for too long.
    Stalled,
    /// The sensor is stopping.
    Stopping,
}

/// The client takes no more, or is to get no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

/// What was delivered, and who is told.
pub(super) struct Tally {
    delivered: Delivered,
    meter: QueryMeter,
    counts: Arc<Counts>,
    entry: Entry,
    counted_at: Option<Instant>,
}

/// What the client did not ask for, and cut its answer short nevertheless.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SensorBounds {
    /// The limit of bytes is the sensor's.
    pub(super) bytes: bool,
    /// The deadline is the sensor's.
    pub(super) deadline: bool,
}

/// Has `work` done on a thread of its own. It hands items over until it is told that it is [`Over`], and gives the receipt.
pub(super) fn start<T: Send + Unpin + 'static>(
    ticket: Ticket,
    pace: Pace,
    tally: Tally,
    transport: Transport,
    work: impl FnOnce(&mut Worker<T>) -> (v1::Receipt, SensorBounds) + Send + 'static,
) -> Parts<T> {
    let (items, taken) = mpsc::channel(AHEAD);
    let (last, ending) = oneshot::channel();
    let began = Instant::now();
    let (cancel, delivered) = (ticket.cancel().clone(), tally.delivered.clone());
    let runtime = Handle::current();
    let mut worker = Worker { ticket, began, items, runtime, transport, tally, cut: None, rest: None };
    let begun = below::spawn(pace, move || {
        let (receipt, bounds) = work(&mut worker);
        worker.end(receipt, bounds, last);
    });
    if let Err(e) = begun {
        // What it had is dropped, and so its client is told.
        error!("no thread for a query: {e}");
    }
    Parts::new(taken, ending, cancel, delivered, began)
}

impl<T> Worker<T> {
    /// Hands an item to the client, and waits while it has enough.
    pub(super) fn hand_over(&mut self, item: T) -> Result<(), Over> {
        let item = match self.items.try_send(item) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.cut = Some(Cut::Gone);
                return Err(Over);
            }
            Err(mpsc::error::TrySendError::Full(item)) => item,
        };
        turns::give_back();
        let (items, stopped, stall) = (&self.items, self.ticket.gate().stopped(), self.transport.stall);
        let cut = self.runtime.block_on(async {
            select! {
                biased;
                permit = items.reserve() => match permit {
                    Ok(permit) => {
                        permit.send(item);
                        Ok(())
                    }
                    Err(_) => Err((Cut::Gone, None)),
                },
                () = stopped.cancelled() => Err((Cut::Stopping, Some(item))),
                () = sleep(stall) => Err((Cut::Stalled, Some(item))),
            }
        });
        match cut {
            Ok(()) => Ok(()),
            Err((cut, rest)) => {
                (self.cut, self.rest) = (Some(cut), rest);
                Err(Over)
            }
        }
    }

    /// Waits for so long, unless it is over.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), Over> {
        turns::give_back();
        let (items, stopped) = (&self.items, self.ticket.gate().stopped());
        let cut = self.runtime.block_on(async {
            select! {
                biased;
                () = items.closed() => Some(Cut::Gone),
                () = stopped.cancelled() => Some(Cut::Stopping),
                () = sleep(time) => None,
            }
        });
        self.cut = cut;
        if cut.is_some() { Err(Over) } else { Ok(()) }
    }

    /// Something was handed over. `sum` says the packets and bytes of all that was, and is asked now and then only.
    pub(super) fn count(&mut self, sum: impl FnOnce() -> (u64, u64)) {
        if self.tally.counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
            let (packets, bytes) = sum();
            self.tally.set(packets, bytes);
        }
    }

    fn end(self, mut receipt: v1::Receipt, bounds: SensorBounds, last: oneshot::Sender<Last<T>>) {
        turns::give_back();
        let Self { ticket, began, items, runtime, transport, mut tally, cut, rest } = self;
        let Transport { asker, hang_up, stall } = transport;
        let found_all = receipt.truncated_by() == Truncation::Unspecified;
        let cut = match (cut, receipt.truncated_by()) {
            // It had come to its end by then.
            (_, Truncation::Unspecified) => None,
            (Some(cut), _) => Some(cut),
            (None, Truncation::Cancelled) if ticket.gate().stopped().is_cancelled() => Some(Cut::Stopping),
            (None, Truncation::Cancelled) => Some(Cut::Gone),
            (None, _) => None,
        };
        let truncated_by = match (cut, receipt.truncated_by()) {
            (Some(Cut::Gone), _) => Truncation::Cancelled,
            (Some(Cut::Stalled), _) => Truncation::Stalled,
            (Some(Cut::Stopping), _) => Truncation::Stopping,
            (None, Truncation::LimitBytes) if bounds.bytes => Truncation::SensorLimitBytes,
            (None, by) => by,
        };
        receipt.set_truncated_by(truncated_by);
        let failed = Failed::of(&receipt, bounds);
        tally.set(receipt.packets, receipt.bytes);
        let outcome = outcome(&receipt, failed.as_ref());
        tally.counts.ended(found_all);
        asker.answered(receipt.bytes);
        info!(
            principal = %asker.principal(),
            peer = %asker.address(),
            rule = asker.rule(),
            packets = receipt.packets,
            bytes = receipt.bytes,
            seconds = began.elapsed().as_secs_f64(),
            "query {}: {}",
            outcome.name(),
            receipt.query
        );
        tally.meter.finish(outcome);
        tally.entry.end(audited::outcome(outcome, &receipt, failed.as_ref()));
        let gate = ticket.gate().clone();
        let place = Place::new(ticket);
        let ending = Ending { receipt: Some(receipt), failed };
        // Where nobody is there to take it, it is dropped at once, and the place with it.
        drop(last.send(Last { rest, ending, hold: Some(place.hold()) }));
        // After the ending, which is looked for as soon as there are no more items.
        drop(items);
        let taken = runtime.block_on(async {
            select! {
                biased;
                () = place.given_back() => true,
                () = gate.stopped().cancelled() => true,
                () = sleep(stall) => false,
            }
        });
        if !taken {
            hang_up.now();
        }
        place.give_back();
        // Not by this thread: it has become nice.
        drop(runtime.spawn(async { below::keep_spare() }));
    }
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(meter: QueryMeter, counts: Arc<Counts>, entry: Entry) -> Self {
        Self { delivered: Delivered::default(), meter, counts, entry, counted_at: None }
    }

    fn set(&mut self, packets: u64, bytes: u64) {
        let (new_packets, new_bytes) =
            (packets.saturating_sub(self.delivered.packets()), bytes.saturating_sub(self.delivered.bytes()));
        self.delivered.set(packets, bytes);
        self.meter.sent(new_packets, new_bytes);
        self.counts.sent(new_packets, new_bytes);
        self.counted_at = Some(Instant::now());
    }
}

fn outcome(receipt: &v1::Receipt, failed: Option<&Failed>) -> Outcome {
    match receipt.truncated_by() {
        Truncation::Cancelled | Truncation::Stalled => Outcome::Cancelled,
        Truncation::LimitPackets
        | Truncation::LimitBytes
        | Truncation::SensorLimitBytes
        | Truncation::Deadline
        | Truncation::Memory => Outcome::Truncated,
        Truncation::Stopping => Outcome::Incomplete,
        Truncation::Unfinished => Outcome::Failed,
        Truncation::Unspecified if receipt.complete && failed.is_none() => Outcome::Complete,
        Truncation::Unspecified => Outcome::Incomplete,
    }
}
