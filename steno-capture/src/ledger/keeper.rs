//! The thread that keeps the ledger: an entry each second, and once what an earlier capture's entry comes to.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use steno_core::{SegmentId, TimestampNs};

use super::{Balance, Entry, Identity, entry::FILE_NAME, missing::missing};
use crate::{
    console::{debug, info, warning},
    error::words,
    ring::LossMeter,
    sandbox::{self, Role},
    segment::Place,
    sys::LinkStatistics,
};

/// How often an entry is written.
const PERIOD: Duration = Duration::from_secs(1);
/// How often the counts of interface and sockets are read until nothing comes between.
const TRIES: u32 = 16;

/// What a ledger is kept from.
pub(crate) struct LedgerPlan {
    pub(crate) identity: Identity,
    pub(crate) link: LinkStatistics,
    pub(crate) places: Vec<Place>,
    /// The first segment of each thread.
    pub(crate) first: Vec<SegmentId>,
    /// What the sockets receive.
    pub(crate) meters: Vec<Arc<LossMeter>>,
    pub(crate) balances: Vec<Arc<Balance>>,
    /// Of an earlier capture; read before this one began.
    pub(crate) earlier: Option<Entry>,
    /// When the time began in which nothing was captured.
    pub(crate) gap_began: TimestampNs,
}

/// The thread, which writes a last entry when it is let go.
#[derive(Debug)]
pub(crate) struct Keeper {
    thread: JoinHandle<()>,
    /// Closed for the end; a message says that what an earlier capture left is recovered.
    events: Sender<()>,
}

impl Keeper {
    /// Starts it, and gives what is to be told once everything that an earlier capture left is recovered.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start(plan: LedgerPlan) -> io::Result<(Self, Sender<()>)> {
        let (events, received) = mpsc::channel();
        // As soon as packets are let in: what passes later is in a ring of ours.
        let begins = plan.beyond().inspect_err(|e| debug!("no ledger: {}", words(e))).ok();
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            sandbox::keep_to(Role::Ledger);
            plan.run(begins, &received);
        })?;
        Ok((Self { thread, events: events.clone() }, events))
    }

    /// Writes the last entry. To be called when all segments are published.
    pub(crate) fn finish(self) {
        drop(self.events);
        if self.thread.join().is_err() {
            warning!("the thread of the ledger has died: what passes before the next capture will not be counted");
        }
    }
}

impl LedgerPlan {
    fn run(mut self, begins: Option<i64>, events: &Receiver<()>) {
        let Some(begins) = begins else { return };
        let mut owed = 0;
        // An earlier entry stays until it is known what it comes to: should this capture be killed before, the next one finds
        // it, and counts what this one has stored like the rest.
        let mut is_settled = self.earlier.is_none();
        let mut file = None;
        loop {
            let event = events.recv_timeout(PERIOD);
            if event == Ok(()) && !is_settled {
                owed = self.settle(begins);
                is_settled = true;
            }
            if is_settled && let Err(e) = self.write(&mut file, owed) {
                debug!("the ledger was not written: {}", words(&e));
                file = None;
            }
            if event == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Counts what nobody captured, and has the next index tell of it. Gives how many packets those are.
    fn settle(&mut self, begins: i64) -> u64 {
        let Some(earlier) = self.earlier.take() else { return 0 };
        if earlier.identity != self.identity {
            debug!("the machine was started anew since the last capture, or it was one of another interface");
            return 0;
        }
        let packets = missing(&earlier, begins, &self.places, &self.first);
        let Some(packets) = packets else {
            debug!("how many packets passed since the last capture is not known");
            return 0;
        };
        if packets > 0 {
            info!("{packets} packets were not captured: they passed since the last capture, or were in its ring");
        }
        if let Some(meter) = self.meters.first() {
            meter.uncaptured(self.gap_began.secs(), packets);
        }
        packets
    }

    fn write(&self, file: &mut Option<File>, owed: u64) -> io::Result<()> {
        let balances: Vec<_> = self.balances.iter().map(|balance| balance.now()).collect();
        let told = balances.iter().fold(0u64, |sum, (_, accounted)| sum.saturating_add(accounted.uncaptured));
        let entry = Entry {
            identity: self.identity.clone(),
            beyond: self.beyond()?,
            owed: owed.saturating_sub(told),
            threads: balances.into_iter().map(|(through, accounted)| (through, accounted.packets)).collect(),
        };
        let text = entry.to_string();
        let file = match file {
            Some(file) => file,
            None => file.insert(self.create()?),
        };
        // In place, in one call: a kill comes before or after it. What a failing machine leaves of it is of an earlier start of the
        // machine, and counts for nothing.
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)
    }

    fn create(&self) -> io::Result<File> {
        let dir = self.places.first().map(|place| &place.index_dir);
        let path = dir.ok_or(io::ErrorKind::NotFound)?.join(FILE_NAME);
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
    }

    /// What the interface has counted beyond what the sockets received, at one moment: nothing was received while the interface was
    /// asked. On a link that never rests so long, the middle counts.
    fn beyond(&self) -> io::Result<i64> {
        let received = || self.meters.iter().map(|meter| meter.received()).fold(0u64, u64::saturating_add);
        let mut before = received();
        for _ in 1..TRIES {
            let passed = self.link.read()?.passed;
            let after = received();
            if before == after {
                return Ok(less(passed, after));
            }
            before = after;
        }
        let passed = self.link.read()?.passed;
        Ok(less(passed, before.midpoint(received())))
    }
}

fn less(passed: u64, received: u64) -> i64 {
    // Counts wrap, the difference does not.
    passed.wrapping_sub(received).cast_signed()
}
