//! The end of connections, in two steps: first they take nothing new, then they are closed.

use tokio_util::sync::CancellationToken;

/// How far the stop has come. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopping {
    drain: CancellationToken,
    close: CancellationToken,
}

impl Stopping {
    /// From now on: no connections and no requests more; those under way go on.
    pub(super) fn drain(&self) {
        self.drain.cancel();
    }

    /// From now on: nothing.
    pub(super) fn close(&self) {
        self.drain.cancel();
        self.close.cancel();
    }

    pub(super) async fn draining(&self) {
        self.drain.cancelled().await;
    }

    pub(super) async fn closing(&self) {
        self.close.cancelled().await;
    }
}
