//! Keeps one capture process running: start, attend, wait, start again, until it is asked to stop.
//!
//! One thread a capture process, which sleeps in poll(2). Nothing that the process does ends this thread but a stop that
//! was asked for; it takes no lock that a query holds for long, so that neither waits for the other.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::EventfdFlags;
use steno_core::{Clock, SegmentId, TimestampNs};
use tracing::{debug, error, info, warn};

use super::{
    CaptureError, CaptureSettings, CaptureStatus, Exit, Prepared, ThreadDirectories,
    attend::Attendance,
    backoff::{Backoff, jitter},
    directory::RunDirectory,
    open_files::OpenFiles,
    prepared::{Place, Purpose},
    process::{Process, knows_flag, wait_readable},
    status::Record,
};

/// Called, on the capture's own thread, for each segment that the process says it published: the configured thread, and
/// the name.
pub type OnSealed = Arc<dyn Fn(u32, SegmentId) + Send + Sync>;

/// One capture process, kept running. Dropping it stops the process as [`Capture::stop`] does.
pub struct Capture {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the capture's thread shares with those who ask and order.
pub(super) struct Shared {
    pub(super) settings: CaptureSettings,
    pub(super) source: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) on_sealed: OnSealed,
    pub(super) logs: Arc<OpenFiles>,
    record: Mutex<Record>,
    stop: AtomicBool,
    /// Made readable to wake the thread.
    wake: OwnedFd,
}

impl Capture {
    /// Makes everything ready, and starts it.
    ///
    /// # Errors
    /// Those of [`Prepared::new`] and [`Self::start_prepared`].
    pub fn start(
        settings: CaptureSettings,
        clock: Arc<dyn Clock>,
        on_sealed: OnSealed,
        logs: Arc<OpenFiles>,
    ) -> Result<Self, CaptureError> {
        Self::start_prepared(Prepared::new(settings)?, clock, on_sealed, logs)
    }

    /// Takes over or ends what an earlier daemon left running, and starts the process on a thread of its own. A process that
    /// cannot be started is not an error here: it is tried again.
    ///
    /// # Errors
    /// The system gives no thread or descriptor.
    pub fn start_prepared(
        mut prepared: Prepared,
        clock: Arc<dyn Clock>,
        on_sealed: OnSealed,
        logs: Arc<OpenFiles>,
    ) -> Result<Self, CaptureError> {
        let settings = prepared.settings.clone();
        let source = settings.source.name();
        let threads = settings.threads.iter().map(|t| t.thread).collect();
        let shared = Arc::new(Shared {
            record: Mutex::new(Record::new(source.clone(), threads)),
            settings,
            source,
            clock,
            on_sealed,
            logs,
            stop: AtomicBool::new(false),
            wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?,
        });
        let to_end = std::mem::take(&mut prepared.to_end);
        let place = prepared.place.take().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let run = Run { shared: Arc::clone(&shared), place };
        let thread = std::thread::Builder::new().name("capture".into()).spawn(move || run.run(to_end))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is known of the process now.
    pub fn status(&self) -> CaptureStatus {
        self.shared.record().snapshot()
    }

    /// A handle for those who only ask.
    pub fn watcher(&self) -> CaptureWatcher {
        CaptureWatcher { shared: Arc::clone(&self.shared) }
    }

    /// Asks the process to stop, without waiting for it.
    pub fn request_stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
    }

    /// Stops the process and waits until it has sealed its files and ended, at most [`CaptureSettings::stop_within`] and
    /// a moment; then it is killed.
    pub fn stop(mut self) -> CaptureStatus {
        self.end();
        self.status()
    }

    fn end(&mut self) {
        self.request_stop();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been logged by then, and there is nothing left to stop.
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks about a [`Capture`] that another owns.
#[derive(Clone)]
pub struct CaptureWatcher {
    shared: Arc<Shared>,
}

impl CaptureWatcher {
    /// What is known of the process now.
    pub fn status(&self) -> CaptureStatus {
        self.shared.record().snapshot()
    }
}

impl Shared {
    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(super) fn wake_fd(&self) -> &OwnedFd {
        &self.wake
    }

    /// The configured thread that the capture process knows as its `number`th.
    pub(super) fn thread(&self, number: u32) -> Option<u32> {
        let place = usize::try_from(number).ok()?;
        self.settings.threads.get(place).map(|t: &ThreadDirectories| t.thread)
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn now(&self) -> TimestampNs {
        self.clock.now()
    }
}

/// The capture's thread.
struct Run {
    shared: Arc<Shared>,
    place: Place,
}

impl Run {
    fn run(mut self, to_end: Vec<(RunDirectory, Process)>) {
        for (directory, process) in to_end {
            self.end(&process);
            directory.remove();
        }
        let mut adopted = self.place.adopted.take();
        let shared = &self.shared;
        let mut backoff = Backoff::new(shared.settings.backoff);
        let mut runs = 0u64;
        while !shared.stop_requested() {
            let began = Instant::now();
            shared.record().started();
            if runs > 0 {
                shared.record().restarted();
            }
            runs += 1;
            let process = match adopted.take() {
                Some(process) => Ok(process),
                None => self.start(),
            };
            let (exit, captured_for) = match process {
                Ok(process) => Attendance::new(shared, process).attend(),
                Err(e) => (Exit::NotStarted(e.to_string()), Duration::ZERO),
            };
            let ran_for = began.elapsed();
            let wanted = shared.stop_requested();
            shared.record().ended(exit.clone(), ran_for, wanted, shared.now());
            if wanted {
                info!(interface = shared.source, "stenotype {exit}, as it was asked to");
                break;
            }
            self.wait(backoff.after_run(captured_for, jitter()), &exit, ran_for);
        }
        shared.record().stopped();
        self.place.directory.remove();
    }

    fn start(&self) -> io::Result<Process> {
        let settings = &self.shared.settings;
        let purpose = match &settings.index_format {
            None => Purpose::Capture,
            Some(_) if knows_flag(&self.place.command(Purpose::Help), "index_format") => Purpose::CaptureInFormat,
            Some(format) => {
                warn!(
                    program = %settings.program.display(),
                    "the configured IndexFormat {format:?} is not passed on: this stenotype does not know --index_format"
                );
                Purpose::Capture
            }
        };
        let command = self.place.command(purpose);
        debug!(line = ?command.line, "starting stenotype");
        let process = Process::start(&command)?;
        if let Err(e) = self.place.note(process.number(), process.end_fd()) {
            warn!("stenotype would not be found again by the next daemon: cannot write its number down: {e}");
        }
        info!(interface = self.shared.source, pid = process.pid(), "stenotype started");
        Ok(process)
    }

    /// Sleeps before the next start, unless a stop is asked for.
    fn wait(&self, wait: Duration, exit: &Exit, ran_for: Duration) {
        let shared = &self.shared;
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        shared.record().waiting(shared.now().saturating_add_ns(wait_ns));
        error!(
            interface = shared.source,
            ran_for_s = ran_for.as_secs_f64(),
            retry_in_s = wait.as_secs_f64(),
            "stenotype {exit}; nothing is captured until it runs again, queries go on"
        );
        if exit.is_forbidden_call() {
            warn!(
                interface = shared.source,
                "the kernel's log names the call; with \"--seccomp=trace\" among its Flags stenotype makes it, and goes on"
            );
        }
        let until = Instant::now() + wait;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
            if shared.stop_requested() {
                return;
            }
            let _ = wait_readable(&[shared.wake.as_fd()], left);
            drain(&shared.wake);
        }
    }

    /// Ends a process that an earlier daemon left running and that does not do what is configured now.
    fn end(&self, process: &Process) {
        let pid = process.pid();
        warn!(pid, "ending the stenotype that an earlier daemon left running: it was started with other settings");
        let steps = [(false, self.shared.settings.stop_within), (true, Duration::from_secs(5))];
        for (kill, within) in steps {
            if let Err(e) = if kill { process.kill() } else { process.terminate() } {
                return warn!(pid, "cannot end it: {e}");
            }
            let until = Instant::now() + within;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if wait_readable(&[process.end_fd()], left).is_ok_and(|ready| ready.contains(&true)) {
                    return;
                }
            }
        }
        warn!(pid, "it does not end");
    }
}

/// Takes back a wake-up.
pub(super) fn drain(wake: &OwnedFd) {
    let mut count = [0; 8];
    let _ = rustix::io::read(wake, &mut count);
}
