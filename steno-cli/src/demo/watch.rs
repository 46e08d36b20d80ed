//! Patience: every wait of the demo ends, by success, by a limit, or by Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGHUP;

use super::DemoError;
use crate::interrupt::flag_on_signal;

/// Between two looks at a condition.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Notices Ctrl-C and keeps time.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    interrupted: Arc<AtomicBool>,
    /// When the demo as a whole has had its time.
    end: Instant,
    whole: Duration,
}

impl Watch {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted instead of ending the process at once, so
    /// that the sensor is stopped and the temporary folder removed. No thread is started.
    ///
    /// # Errors
    /// Where the handlers cannot be installed.
    pub(super) fn begin(whole: Duration) -> io::Result<Self> {
        let interrupted = flag_on_signal()?;
        let _ = signal_hook::flag::register(SIGHUP, Arc::clone(&interrupted))?;
        Ok(Self { interrupted, end: Instant::now() + whole, whole })
    }

    /// A flag that is set by a signal, and when the demo has had its time, for waits that look at a flag alone. Starts a
    /// thread.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub(super) fn flag(&self) -> Result<Arc<AtomicBool>, DemoError> {
        let (over, watch) = (Arc::new(AtomicBool::new(false)), self.clone());
        let raised = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("demo-watch".to_owned());
        // Not joined: it ends with the process.
        let started = thread.spawn(move || {
            while watch.check().is_ok() {
                std::thread::sleep(POLL_EVERY);
            }
            raised.store(true, Ordering::Relaxed);
        });
        drop(started.map_err(DemoError::at("start a thread"))?);
        Ok(over)
    }

    /// # Errors
    /// [`DemoError::Interrupted`] after a signal, [`DemoError::TimedOut`] past the end.
    pub(super) fn check(&self) -> Result<(), DemoError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        if Instant::now() > self.end {
            return Err(DemoError::TimedOut { what: "finish the demo".to_owned(), limit: self.whole });
        }
        Ok(())
    }

    /// Calls `poll` until it gives a value, but no longer than `limit`; `what` reads after "failed to".
    ///
    /// # Errors
    /// Those of `poll` and of [`Self::check`]; [`DemoError::TimedOut`].
    pub(super) fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut poll: impl FnMut() -> Result<Option<T>, DemoError>,
    ) -> Result<T, DemoError> {
        let started = Instant::now();
        loop {
            if let Some(value) = poll()? {
                return Ok(value);
            }
            self.check()?;
            if started.elapsed() > limit {
                return Err(DemoError::TimedOut { what: what.to_owned(), limit });
            }
            std::thread::sleep(POLL_EVERY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DemoError, Watch};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    fn watch(whole: Duration) -> Watch {
        Watch { interrupted: Arc::new(AtomicBool::new(false)), end: Instant::now() + whole, whole }
    }

    #[test]
    fn a_wait_ends_by_value_limit_and_signal() {
        let watch = watch(Duration::from_secs(60));
        let mut looks = 0;
        let third = watch.until("count", Duration::from_secs(30), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(third.unwrap(), 3);
        let late = watch.until::<()>("see it", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(late.to_string(), "see it: no result after 0 s");
        watch.interrupted.store(true, Ordering::Relaxed);
        let stopped = watch.until::<()>("see it", Duration::from_secs(30), || Ok(None)).unwrap_err();
        assert!(stopped.is_interrupted(), "{stopped}");
    }

    #[test]
    fn the_whole_is_bounded() {
        let error = watch(Duration::ZERO).until::<()>("see it", Duration::from_secs(30), || Ok(None)).unwrap_err();
        assert!(matches!(error, DemoError::TimedOut { ref what, .. } if what == "finish the demo"), "{error}");
    }
}
