//! The place that an answer has among those that are given at once, from its admission until its client has the end of it.
//!
//! What is found and not yet taken lies in memory. So the place is not given back with the end of the search, but with the
//! end of the delivery; and where a client does not take that either, its connection is hung up.

use std::sync::{Arc, Mutex, PoisonError};

use http::Extensions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::limits::Ticket;

/// A place, as the query's own thread has it. Clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ticket: Mutex<Option<Ticket>>,
    free: CancellationToken,
}

/// A place, as the delivery has it: given back when this is dropped.
#[derive(Debug)]
pub(super) struct Hold(Place);

impl Place {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self(Arc::new(Inner { ticket: Mutex::new(Some(ticket)), free: CancellationToken::new() }))
    }

    pub(super) fn hold(&self) -> Hold {
        Hold(self.clone())
    }

    /// Gives it back, if that was not done before.
    pub(super) fn give_back(&self) {
        drop(self.0.ticket.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.0.free.cancel();
    }

    /// Waits until it was given back.
    pub(super) async fn given_back(&self) {
        self.0.free.cancelled().await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// The turn of a connection to have a look at the sensor as a whole: it has one at a time, so that all connections have theirs.
/// Whoever serves connections puts one among the extensions of each request; clones are the same one.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Semaphore>);

impl Default for Turn {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turn {
    /// The turn of the connection that a request with these extensions came by.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Waits for it. It is over when what is returned is dropped.
    pub(super) async fn come(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// Asks the transport to hang up on a client that takes nothing any more. Whoever serves connections puts one among the
/// extensions of each request; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct HangUp(CancellationToken);

impl HangUp {
    /// Asks for it.
    pub(super) fn now(&self) {
        self.0.cancel();
    }

    /// Waits until it is asked for.
    pub async fn asked(&self) {
        self.0.cancelled().await;
    }
}
