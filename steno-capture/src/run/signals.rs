//! SIGTERM and SIGINT: the first asks everyone to stop, the second ends the process at once.

use std::{sync::Arc, thread};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use crate::{
    CaptureError,
    console::{self, info},
    control::Control,
    ring::Stop,
};

/// Exit status of a process that a second signal ends.
const INTERRUPTED: i32 = 130;

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
            for signal in signals.forever() {
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
