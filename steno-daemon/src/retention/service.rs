//! Runs a [`Keeper`] on a thread of its own: each second, and with each segment that comes.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use super::{Keeper, ThreadStatus};
use crate::capture::SegmentEvent;

/// How long nothing may happen before the disks are looked at again.
const EVERY: Duration = Duration::from_secs(1);
/// The same while a query keeps what should go.
const EVERY_WAITING: Duration = Duration::from_millis(100);

/// Retention, until it is dropped.
pub struct Retention {
    shared: Arc<Shared>,
    /// None: it is to end.
    events: Sender<Option<SegmentEvent>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    status: Mutex<Vec<ThreadStatus>>,
    stop: AtomicBool,
}

/// Asks about a [`Retention`] that another owns.
#[derive(Clone)]
pub struct RetentionWatcher {
    shared: Arc<Shared>,
}

impl Retention {
    /// Makes a first pass on the calling thread, so that a status is there, and then goes on by itself.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut keeper: Keeper) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (events, news) = channel();
        keeper.pass(|| false);
        shared.publish(keeper.status());
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("retention".into()).spawn(move || {
            let shared = of_thread;
            loop {
                match news.recv_timeout(if keeper.is_waiting() { EVERY_WAITING } else { EVERY }) {
                    Ok(Some(event)) => {
                        keeper.note(event);
                        // One pass for all that came meanwhile.
                        news.try_iter().flatten().for_each(|event| keeper.note(event));
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
                }
                if shared.stop.load(Ordering::SeqCst) {
                    return;
                }
                keeper.pass(|| shared.stop.load(Ordering::SeqCst));
                shared.publish(keeper.status());
            }
        })?;
        Ok(Self { shared, events, thread: Some(thread) })
    }

    /// What a [`crate::capture::SegmentWatch`] is to call with what it hears.
    pub fn listener(&self) -> impl Fn(SegmentEvent) + Send + 'static {
        let events = self.events.clone();
        move |event| {
            let _ = events.send(Some(event));
        }
    }

    /// A handle for those who only ask.
    pub fn watcher(&self) -> RetentionWatcher {
        RetentionWatcher { shared: Arc::clone(&self.shared) }
    }
}

impl RetentionWatcher {
    /// What was known after the last pass, by thread.
    pub fn status(&self) -> Vec<ThreadStatus> {
        self.shared.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn publish(&self, status: Vec<ThreadStatus>) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = self.events.send(None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
