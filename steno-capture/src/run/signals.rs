//! SIGTERM and SIGINT: the first asks everyone to stop, the second ends the process at once.
//!
//! The end of a parent with several threads sends SIGTERM for each of them, and a service manager may have sent one before:
//! SIGTERMs within a second are one.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use crate::{
    CaptureError,
    console::{self, info},
    control::Control,
    ring::Stop,
    sandbox::{self, Role},
};

/// Exit status of a process that a second signal ends.
const INTERRUPTED: i32 = 130;

/// How long a SIGTERM after a SIGTERM says nothing new.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Handlers that are installed. Signals that come before [`Self::obey`] wait for it.
pub(super) struct SignalHandlers {
    signals: Signals,
}

impl SignalHandlers {
    /// # Errors
    /// Where the system has no descriptor left for them.
    pub(super) fn install() -> Result<Self, CaptureError> {
        let signals = Signals::new([SIGTERM, SIGINT]);
        Ok(Self { signals: signals.map_err(|source| CaptureError::System { what: "handle signals", source })? })
    }

    /// Starts the thread that does what signals say. Closing the handle ends it.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub(super) fn obey(self, stop: Arc<Stop>, control: Control) -> Result<Handle, CaptureError> {
        let mut signals = self.signals;
        let handle = signals.handle();
        let listen = move || {
            sandbox::keep_to(Role::Signals);
            let mut terminated: Option<Instant> = None;
            for signal in signals.forever() {
                if signal == SIGTERM && terminated.is_some_and(|first| first.elapsed() < ONE_REQUEST) {
                    continue;
                }
                if signal == SIGTERM {
                    terminated = Some(Instant::now());
                }
                if stop.is_asked() {
                    info!("signal {signal} again: ending at once; hidden files stay where they are");
                    console::flush();
                    std::process::exit(INTERRUPTED);
                }
                info!("signal {signal}: writing and publishing what the ring holds");
                control.stopping();
                stop.ask();
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(listen);
        let _ = thread.map_err(|source| CaptureError::System { what: "start a thread", source })?;
        Ok(handle)
    }
}
