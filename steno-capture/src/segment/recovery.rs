//! Beside the capture: recovers what an earlier one, that was killed, has left in the same directories.

use std::{
    io::{self, Write},
    sync::{Arc, mpsc::Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use steno_core::{SegmentId, chain};
use steno_index::{
    Facts, Log, Pause,
    recover::{Left, Means, Recovered, WriteIndex, leftovers, recover},
    segment::SegmentPaths,
};

use super::{Indexer, Place};
use crate::{
    IndexFormat,
    console::{debug, error, info, warning},
    control::Control,
    ring::Stop,
    sandbox::{self, Role},
    sys,
};

/// Nice level of the thread: below captures, indexes and answers.
const NICE_LEVEL: i32 = 15;

/// How soon a file that was in use is looked at again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// What the recovery is told.
#[derive(Debug)]
pub(crate) struct RecoveryPlan {
    /// The directories of each capture thread, and what is known of its capture.
    pub(crate) threads: Vec<(Place, Facts)>,
    /// The index to write, if any.
    pub(crate) index: Option<IndexFormat>,
    /// Between pieces of the work.
    pub(crate) pause: Pause,
    /// Ends it, between two blocks: what is left is taken up by the next capture.
    pub(crate) stop: Arc<Stop>,
    /// Told of each segment that is whole again.
    pub(crate) control: Control,
    /// The first segment of each thread of this capture: those from there on are its own.
    pub(crate) first: Vec<SegmentId>,
    /// Told once nothing that an earlier capture left is to be waited for.
    pub(crate) recovered: Option<Sender<()>>,
}

/// The recovery, which ends by itself.
#[derive(Debug)]
pub(crate) struct Recovery(JoinHandle<()>);

impl Recovery {
    /// Begins it.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(crate) fn start(plan: RecoveryPlan) -> io::Result<Self> {
        let thread = thread::Builder::new().name("recovery".to_owned()).spawn(move || {
            if let Err(e) = sys::set_nice_level(NICE_LEVEL) {
                debug!("the nice level of the recovery stays as it is: {e}");
            }
            sandbox::keep_to(Role::Recovery);
            plan.run();
        })?;
        Ok(Self(thread))
    }

    /// Waits until it has ended, by itself or because all are to stop.
    pub(crate) fn finish(self) {
        if self.0.join().is_err() {
            error!("the recovery has died; what it did not come to stays as it is");
        }
    }
}

impl RecoveryPlan {
    fn run(mut self) {
        let mut indexer = self.index.map(|format| Indexer::new(format, self.pause.clone()));
        let mut waiting: Vec<Vec<(SegmentId, Left)>> = Vec::new();
        for (place, _) in &self.threads {
            let left = leftovers(&place.packets_dir, &place.index_dir);
            let left = left.inspect_err(|e| warning!("what an earlier capture left cannot be listed: {e}"));
            let mut left = left.unwrap_or_default();
            // A capture that writes no index leaves packet files alone.
            left.retain(|(_, left)| *left != Left::WithoutIndex || indexer.is_some());
            waiting.push(left);
        }
        loop {
            for (thread, ((place, facts), left)) in (0..).zip(self.threads.iter().zip(&mut waiting)) {
                *left = self.pass(thread, place, facts, std::mem::take(left), indexer.as_mut());
            }
            let is_own = |(left, first): (&Vec<(SegmentId, Left)>, &SegmentId)| left.iter().all(|(id, _)| id >= first);
            if !self.stop.is_asked()
                && waiting.iter().zip(&self.first).all(is_own)
                && let Some(recovered) = self.recovered.take()
            {
                // Whoever is told may have ended.
                let _ = recovered.send(());
            }
            // Those that are in use: the files that this capture has begun with, and those of a process that the kernel has not
            // quite cleared away, which takes a while where it wrote by io_uring.
            if waiting.iter().all(Vec::is_empty) || self.stop.is_asked() {
                break;
            }
            thread::sleep(TRY_AGAIN);
        }
    }

    /// Recovers what of `left` is not in use; gives the others.
    fn pass(
        &self,
        thread: u16,
        place: &Place,
        facts: &Facts,
        left: Vec<(SegmentId, Left)>,
        mut indexer: Option<&mut Indexer>,
    ) -> Vec<(SegmentId, Left)> {
        let (begun, all) = (Instant::now(), left.len());
        let (mut files, mut published, mut in_use) = (0, 0, Vec::new());
        for (at, (id, left)) in left.into_iter().enumerate() {
            if self.stop.is_asked() {
                if files > 0 {
                    info!("recovery called off: {} files of thread {thread} wait for the next capture", all - at);
                }
                break;
            }
            let paths = SegmentPaths::new(&place.packets_dir, &place.index_dir, id);
            match self.one(thread, &paths, left, facts, indexer.as_deref_mut()) {
                Some(is_whole) => (files, published) = (files + 1, published + u32::from(is_whole)),
                None if left == Left::Hidden && paths.hidden_packet_file().exists() => in_use.push((id, left)),
                // It has been published, or removed.
                None => {}
            }
        }
        if files > 0 {
            let seconds = begun.elapsed().as_secs_f64();
            info!("recovery of thread {thread} is done: {published} of {files} files published in {seconds:.1} s");
        }
        in_use
    }

    /// Recovers one segment, and says what came of it; whether it is whole now. `None` where somebody is writing it.
    fn one(
        &self,
        thread: u16,
        paths: &SegmentPaths,
        left: Left,
        facts: &Facts,
        indexer: Option<&mut Indexer>,
    ) -> Option<bool> {
        let name = match left {
            Left::Hidden => paths.hidden_packet_file(),
            Left::WithoutIndex => paths.packet_file(),
            Left::WithoutPackets => paths.index_file(),
        };
        // It is asked between two blocks.
        let called_off = || {
            self.pause.take();
            self.stop.is_asked()
        };
        let with_index = indexer.is_some();
        let mut write = indexer
            .map(|indexer| |log: &Log, facts: &Facts, mut out: &mut dyn Write| indexer.seal(log, facts, &mut out));
        let write_index = write.as_mut().map(|write| -> WriteIndex<'_> { write });
        let recovered = recover(paths, left, Means { facts, write_index, called_off: &called_off, remove_husks: true });
        match recovered {
            Ok(Recovered::Published { packets, cut_bytes, holes, .. }) => {
                let (id, name) = (paths.id(), name.display());
                info!(
                    "recovered {name} as {id}: {packets} packets; {cut_bytes} bytes behind the last whole block cut off"
                );
                if holes > 0 {
                    warning!("{name}: {holes} blocks before that are not whole, and not in the index");
                }
                if with_index {
                    self.control.sealed(thread, id);
                }
                return Some(true);
            }
            Ok(Recovered::Nothing { cut_bytes }) => {
                let (name, what) =
                    (name.display(), if paths.hidden_packet_file().exists() { "left" } else { "removed" });
                match cut_bytes {
                    0 => debug!("{what} {name}, which is empty"),
                    bytes => warning!("{what} {name}: {bytes} bytes without a whole block"),
                }
            }
            Ok(Recovered::SetAside(to)) => {
                warning!("{} has no packets: it is {} now", name.display(), to.display());
            }
            Ok(Recovered::InUse) => return None,
            Ok(_) => {}
            Err(e) => warning!("{} stays as it is: {}", name.display(), chain(&e)),
        }
        Some(false)
    }
}
