//! SIGINT and SIGTERM as a flag that long work looks at, so that it can end in order and say what it did.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

use crate::exit::Exit;

/// A flag that the first SIGINT or SIGTERM sets. The second one ends the process at once.
///
/// # Errors
/// Where the system takes no signal handler.
pub(crate) fn flag_on_signal() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the handler that ends the process sees the flag as it was before this signal.
        let status = i32::from(Exit::Interrupted.status());
        let _ = flag::register_conditional_shutdown(signal, status, Arc::clone(&interrupted))?;
        let _ = flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}
