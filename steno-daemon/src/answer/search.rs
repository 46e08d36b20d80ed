//! What a thread that answers does with the store: packets, flows and explanations are found within the bounds of the sensor and
//! of who asks, and handed over.

use std::time::Duration;

use bytes::Bytes;
use steno_core::SegmentId;
use steno_proto::v1::{self, Truncation};
use steno_query::{Answer, Options};

use super::{
    Bounds,
    ask::Held,
    below, convert,
    worker::{Over, SensorBounds, Worker},
};
use crate::{retention::Pin, sensor::SensorView};

/// How often an answer that follows looks for what was captured.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Flows of a batch.
const BATCH_FLOWS: usize = 256;

/// Finds what is asked for.
pub(super) struct Search {
    pub(super) view: SensorView,
    pub(super) bounds: Bounds,
}

impl Search {
    pub(super) fn packets(&self, worker: &mut Worker<Bytes>, held: &Held) -> (v1::Receipt, SensorBounds) {
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

    pub(super) fn flows(&self, worker: &mut Worker<v1::FlowBatch>, held: &Held) -> (v1::Receipt, SensorBounds) {
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

    pub(super) fn explain(&self, worker: &mut Worker<v1::ExplainResponse>, held: &Held) -> (v1::Receipt, SensorBounds) {
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
