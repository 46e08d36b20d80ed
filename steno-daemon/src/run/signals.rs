//! What the daemon is told by signals: SIGTERM and SIGINT stop it, in order; another of them stops it without waiting for
//! clients; SIGHUP has it read its certificates again, which it does by itself when they have changed, too, and look whether its
//! audit log was moved away.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{audit::AuditLog, serve::Certificates};

/// The orders that have come.
pub(super) struct Orders {
    /// The end is to begin.
    pub(super) stop: CancellationToken,
    /// It is not to wait for clients.
    pub(super) at_once: CancellationToken,
}

/// Listens for SIGTERM and SIGINT from now on.
///
/// # Errors
/// The system refuses to tell of signals.
pub(super) fn listen() -> io::Result<Orders> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let orders = Orders { stop: CancellationToken::new(), at_once: CancellationToken::new() };
    let tokens = [orders.stop.clone(), orders.at_once.clone()];
    let _detached = tokio::spawn(async move {
        for token in tokens {
            let _some = tokio::select! {
                some = terminate.recv() => some,
                some = interrupt.recv() => some,
            };
            token.cancel();
        }
    });
    Ok(orders)
}

/// Has `certificates` read again, and `audit` go on in a new file where the old one was moved, with each SIGHUP, for as long as
/// the runtime lives.
///
/// # Errors
/// The system refuses to tell of signals.
pub(super) fn reload_on_hangup(certificates: Certificates, audit: AuditLog) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let _detached = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            match certificates.reload() {
                Ok(()) => info!("certificates read again"),
                Err(e) => error!("what does not hold of the certificates stays as it was: {e}"),
            }
            audit.reopen().await;
        }
    });
    Ok(())
}
