//! The sensor without its network: capture, catalogue and retention, started in order, wired to each other, and stopped
//! in order.
//!
//! ```text
//!   Capture ──sealed──> SegmentWatch ──events──┬──> LiveStore   (what queries are answered from)
//!      │                     ^                 └──> Retention   (what must go)
//!   stenotype ──files──> directories                    │
//!                            └───────removals───────────┘
//! ```

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use steno_core::{Clock, TimestampNs};
use steno_index::Index;
use steno_query::{
    TimeSet,
    receipt::{ClockStep, Gap},
    store::{OpenLogs, ThreadDirs},
    syntax::TimeSpan,
};
use tracing::info;

use crate::{
    capture::{self, Capture, CaptureError, CaptureSettings, CaptureStatus, CaptureWatcher, OpenFiles, SegmentWatch},
    catalogue::LiveStore,
    confine::Reach,
    launch::Launcher,
    metrics::Metrics,
    retention::{Keeper, NewestPacket, Pins, Retention, RetentionWatcher, ThreadRetention, ThreadStatus},
    scrub::{Scrub, ScrubSettings},
};

/// How often the directories are looked through for what nobody told of.
const RESCAN_EVERY: Duration = Duration::from_secs(10);

/// What a sensor is made of.
#[derive(Clone, Debug, Default)]
pub struct SensorSettings {
    /// The capture processes, one for each interface. A daemon without one answers from what is there.
    pub captures: Vec<CaptureSettings>,
    /// Every thread's directories, and what they may take.
    pub threads: Vec<ThreadRetention>,
    /// How what is stored is read again, if it is.
    pub scrub: Option<ScrubSettings>,
}

/// A sensor of which nothing is started yet: its directories are there and no other daemon's, and what an earlier one left running
/// is known. Dropped, it leaves nothing behind.
pub struct Prepared {
    captures: Vec<capture::Prepared>,
    threads: Vec<ThreadRetention>,
    scrub: Option<ScrubSettings>,
}

/// A running sensor. Its parts are dropped in order: who tells goes before who listens.
pub struct Sensor {
    // First of all, for it may be in the middle of a segment.
    _scrub: Option<Scrub>,
    view: SensorView,
    to_start: Vec<capture::Prepared>,
    captures: Vec<Capture>,
    watch: SegmentWatch,
    logs: Arc<OpenFiles>,
    _retention: Retention,
}

/// What those who answer see of the sensor. Clones are the same one.
#[derive(Clone)]
pub struct SensorView {
    store: LiveStore,
    /// Empty until capture is started.
    captures: Arc<OnceLock<Vec<CaptureWatcher>>>,
    retention: RetentionWatcher,
    clock: Arc<dyn Clock>,
}

impl Prepared {
    /// Makes ready what `settings` say.
    ///
    /// # Errors
    /// [`CaptureError`], where a directory cannot be used, or another daemon uses it. Nothing was started or removed then.
    pub fn new(settings: SensorSettings) -> Result<Self, CaptureError> {
        for capture in &settings.captures {
            // First of all: its segments are not this daemon's to remove.
            capture.refuse_in_use()?;
        }
        let captures = settings.captures.into_iter().map(capture::Prepared::new).collect::<Result<_, _>>()?;
        Ok(Self { captures, threads: settings.threads, scrub: settings.scrub })
    }

    /// Has a launcher start and signal the capture processes, now and later.
    ///
    /// # Errors
    /// What the system says. They are this process's own to start then.
    pub fn launch(&mut self) -> io::Result<Arc<Launcher>> {
        let commands: Vec<_> = self.captures.iter().flat_map(capture::Prepared::commands).cloned().collect();
        let processes: Vec<_> = self.captures.iter().flat_map(capture::Prepared::left_behind).collect();
        let launcher = Arc::new(Launcher::start(&commands, &processes)?);
        let (mut command, mut process) = (0, 0);
        for capture in &mut self.captures {
            let count = |counted: usize| u32::try_from(counted).unwrap_or(u32::MAX);
            let (commands, processes) = (count(capture.commands().count()), count(capture.left_behind().count()));
            capture.launch_by(&launcher, command, process);
            command = command.saturating_add(commands);
            process = process.saturating_add(processes);
        }
        Ok(launcher)
    }

    /// The files that it keeps.
    pub fn reach(&self) -> Reach {
        let captures = || self.captures.iter();
        let stores = self.threads.iter().flat_map(|thread| [&thread.directories.packets, &thread.directories.index]);
        let run_directories: Vec<_> = captures().flat_map(capture::Prepared::run_directories).collect();
        let above = run_directories.iter().filter_map(|directory| directory.parent());
        Reach {
            stores: stores.cloned().collect(),
            emptied: above.map(Path::to_owned).collect(),
            kept: run_directories.iter().map(|directory| directory.to_path_buf()).collect(),
            read: Vec::new(),
            has_files_of_others: captures().any(capture::Prepared::is_of_another_user),
        }
    }
}

impl Sensor {
    /// Makes ready what `settings` say, and starts everything but capture.
    ///
    /// # Errors
    /// Those of [`Prepared::new`] and [`Self::open_prepared`].
    pub fn open(settings: SensorSettings, clock: Arc<dyn Clock>, metrics: &Metrics) -> Result<Self, CaptureError> {
        Self::open_prepared(Prepared::new(settings)?, clock, metrics)
    }

    /// Starts everything but capture: bounds are kept and the store is listed when this returns. `metrics` show the sensor from
    /// then on.
    ///
    /// # Errors
    /// [`CaptureError`], where the system gives no thread.
    pub fn open_prepared(settings: Prepared, clock: Arc<dyn Clock>, metrics: &Metrics) -> Result<Self, CaptureError> {
        let pins = Pins::new();
        let directories: Vec<_> = settings.threads.iter().map(|t| t.directories.clone()).collect();
        let newest: NewestPacket = Arc::new(newest_packet);
        let retention = Retention::start(Keeper::new(settings.threads, pins.clone(), Arc::clone(&clock), newest))?;
        let in_store = directories.iter().map(|d| ThreadDirs {
            thread: d.thread,
            packets: d.packets.clone(),
            index: d.index.clone(),
        });
        let logs = Arc::new(OpenFiles::default());
        let store = LiveStore::start(in_store.collect(), pins, Arc::clone(&logs) as Arc<dyn OpenLogs>)?;
        let (tell_retention, tell_store) = (retention.listener(), store.listener());
        let watch = SegmentWatch::start(directories, RESCAN_EVERY, move |event| {
            tell_retention(event);
            tell_store(event);
        })?;
        let view = SensorView { store, captures: Arc::default(), retention: retention.watcher(), clock };
        let scrub = settings.scrub.map(|how| Scrub::start(view.store.clone(), how)).transpose()?;
        let (seen, scrubbed) = (view.clone(), scrub.as_ref().map(Scrub::counts));
        metrics.on_encode(move |metrics| {
            seen.show(metrics);
            scrubbed.iter().for_each(|counts| metrics.observe_scrub(counts));
        });
        Ok(Self {
            _scrub: scrub,
            view,
            to_start: settings.captures,
            captures: Vec::new(),
            watch,
            logs,
            _retention: retention,
        })
    }

    /// Starts the capture processes, the first time that it is called.
    ///
    /// # Errors
    /// [`CaptureError`], where the system gives no thread. No capture process is running then.
    pub fn start_capture(&mut self) -> Result<(), CaptureError> {
        for capture in std::mem::take(&mut self.to_start) {
            let (clock, logs) = (Arc::clone(&self.view.clock), Arc::clone(&self.logs));
            match Capture::start_prepared(capture, clock, self.watch.on_sealed(), logs) {
                Ok(capture) => self.captures.push(capture),
                Err(e) => {
                    self.to_start.clear();
                    self.captures.clear();
                    return Err(e);
                }
            }
        }
        let _ = self.view.captures.set(self.captures.iter().map(Capture::watcher).collect());
        Ok(())
    }

    /// What those who answer see.
    pub fn view(&self) -> SensorView {
        self.view.clone()
    }

    /// Stops the capture processes, all at once, and waits until each has sealed its files or was killed; then the rest.
    pub fn stop(mut self) {
        for capture in &self.captures {
            capture.request_stop();
        }
        for capture in std::mem::take(&mut self.captures) {
            let status = capture.stop();
            if let Some(last) = &status.last_exit {
                info!(interface = status.source, "capture has stopped: stenotype {}", last.exit);
            }
        }
    }
}

impl SensorView {
    /// The store that queries are answered from.
    pub fn store(&self) -> &LiveStore {
        &self.store
    }

    /// The capture processes.
    pub fn captures(&self) -> Vec<CaptureStatus> {
        self.captures.get().into_iter().flatten().map(CaptureWatcher::status).collect()
    }

    /// The disks, by thread.
    pub fn storage(&self) -> Vec<ThreadStatus> {
        self.retention.status()
    }

    /// Whether every capture process captures.
    pub fn is_capturing(&self) -> bool {
        let captures = self.captures();
        !captures.is_empty() && captures.iter().all(|c| c.state.is_running())
    }

    /// When this daemon saw capture down within `span`, by configured thread, for receipts. An outage that lasts ends now.
    pub fn gaps(&self, span: TimeSpan) -> Vec<Gap> {
        let (from, until) = (span.from.unwrap_or(TimestampNs::MIN), span.until.unwrap_or(TimestampNs::MAX));
        let now = self.clock.now();
        let gaps = self.captures().into_iter().flat_map(|status| {
            let outages: Vec<_> = status.outages_within(from, until).cloned().collect();
            status.threads.into_iter().flat_map(move |thread| {
                let gap = move |outage: &crate::capture::Outage| Gap {
                    from: outage.from,
                    until: outage.until.unwrap_or(now).max(outage.from),
                    thread,
                    reason: outage.reason.clone(),
                };
                outages.iter().map(gap).collect::<Vec<_>>()
            })
        });
        let mut gaps: Vec<Gap> = gaps.collect();
        gaps.sort();
        gaps
    }

    /// When a capture process told that the clock was set, where that touches `times`, for receipts.
    pub fn clock_steps(&self, times: &TimeSet) -> Vec<ClockStep> {
        let steps = self.captures().into_iter().flat_map(|status| {
            let thread = status.threads.first().copied().unwrap_or_default();
            let step = move |step: steno_index::ClockStep| ClockStep { from: step.from, to: step.to, thread };
            status.clock_steps.into_iter().map(step).collect::<Vec<_>>()
        });
        let mut steps: Vec<ClockStep> = steps.filter(|step| step.is_within(times)).collect();
        steps.sort();
        steps
    }

    fn show(&self, metrics: &Metrics) {
        self.captures().iter().for_each(|status| metrics.observe_capture(status));
        self.storage().iter().for_each(|status| metrics.observe_storage(status));
        metrics.unreadable_segments(self.store.unreadable());
    }
}

/// The time of a segment's newest packet, of an index that says it.
fn newest_packet(index_file: &Path) -> Option<TimestampNs> {
    Index::open(index_file).ok()?.time_range().map(|(_, newest)| newest)
}
