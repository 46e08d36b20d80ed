//! An answer on its way from the thread that finds it to the client: parts, and an ending.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use steno_proto::v1;
use steno_query::Cancel;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Sleep, sleep},
};
use tokio_stream::Stream;

use super::{Failed, place::Hold};

/// How long nothing comes before the client is told how far the work is, and then how often.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<T> {
    /// The next of what was asked for.
    Item(T),
    /// Nothing was to be had for a while; this is how far the work is.
    Progress(v1::Progress),
    /// The end: the last part.
    End(Box<Ending>),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ending {
    /// What was delivered, and what is missing. None only where the query failed without a word.
    pub receipt: Option<v1::Receipt>,
    /// Why the answer must not be taken for a whole one, where the client did not ask for that itself.
    pub failed: Option<Failed>,
}

/// What has been delivered so far. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivered(Arc<(AtomicU64, AtomicU64)>);

impl Delivered {
    pub(super) fn set(&self, packets: u64, bytes: u64) {
        self.0.0.store(packets, Ordering::Relaxed);
        self.0.1.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn packets(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// What the thread leaves when it ends.
#[derive(Debug)]
pub(super) struct Last<T> {
    /// Found, and not taken in time.
    pub(super) rest: Option<T>,
    pub(super) ending: Ending,
    /// Given back with the ending.
    pub(super) hold: Option<Hold>,
}

/// The parts of an answer, [`Part::End`] last. Dropped before, it ends the query.
#[derive(Debug)]
pub struct Parts<T> {
    items: mpsc::Receiver<T>,
    last: Option<oneshot::Receiver<Last<T>>>,
    /// To come after the items.
    ending: Option<(Ending, Option<Hold>)>,
    quiet: Pin<Box<Sleep>>,
    cancel: Cancel,
    delivered: Delivered,
    began: Instant,
}

impl<T> Parts<T> {
    pub(super) fn new(
        items: mpsc::Receiver<T>,
        last: oneshot::Receiver<Last<T>>,
        cancel: Cancel,
        delivered: Delivered,
        began: Instant,
    ) -> Self {
        let quiet = Box::pin(sleep(PROGRESS_EVERY));
        Self { items, last: Some(last), ending: None, quiet, cancel, delivered, began }
    }

    /// Items that are there and were not taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.items.len()
    }

    fn rest(&mut self) {
        self.quiet.as_mut().reset(tokio::time::Instant::now() + PROGRESS_EVERY);
    }

    fn progress(&self) -> v1::Progress {
        v1::Progress {
            packets: self.delivered.packets(),
            bytes: self.delivered.bytes(),
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl<T: Unpin> Stream for Parts<T> {
    type Item = Part<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part<T>>> {
        let this = self.get_mut();
        if let Some((ending, hold)) = this.ending.take() {
            // Before the client can know of the end, so that it may ask again at once.
            drop(hold);
            return Poll::Ready(Some(Part::End(Box::new(ending))));
        }
        let Some(last) = &mut this.last else { return Poll::Ready(None) };
        match this.items.poll_recv(cx) {
            Poll::Ready(Some(item)) => {
                this.rest();
                return Poll::Ready(Some(Part::Item(item)));
            }
            Poll::Ready(None) => {
                // The thread says how it ended before it lets go of the items.
                let last = ready!(Pin::new(last).poll(cx));
                this.last = None;
                let Last { rest, ending, hold } = last.unwrap_or_else(|_| Last {
                    rest: None,
                    ending: Ending { receipt: None, failed: Some(Failed::internal("the query ended without a word")) },
                    hold: None,
                });
                let Some(rest) = rest else {
                    drop(hold);
                    return Poll::Ready(Some(Part::End(Box::new(ending))));
                };
                this.ending = Some((ending, hold));
                return Poll::Ready(Some(Part::Item(rest)));
            }
            Poll::Pending => {}
        }
        ready!(this.quiet.as_mut().poll(cx));
        this.rest();
        // Polled again so that the new time wakes the task.
        let _pending = this.quiet.as_mut().poll(cx);
        Poll::Ready(Some(Part::Progress(this.progress())))
    }
}

impl<T> Drop for Parts<T> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn parts() -> (mpsc::Sender<u32>, oneshot::Sender<Last<u32>>, Cancel, Parts<u32>) {
        let (items, taken) = mpsc::channel(2);
        let (last, ending) = oneshot::channel();
        let (cancel, delivered) = (Cancel::default(), Delivered::default());
        delivered.set(3, 4);
        let parts = Parts::new(taken, ending, cancel.clone(), delivered, Instant::now());
        (items, last, cancel, parts)
    }

    #[tokio::test]
    async fn progress_comes_each_second_while_nothing_else_does() {
        let (items, last, _, mut parts) = parts();
        for at_least_ms in [1_000, 2_000] {
            let Some(Part::Progress(progress)) = parts.next().await else { panic!("no progress") };
            assert_eq!((progress.packets, progress.bytes), (3, 4));
            assert!(progress.elapsed_ms >= at_least_ms, "{progress:?}");
        }
        items.send(7).await.unwrap();
        assert_eq!(parts.next().await, Some(Part::Item(7)));
        let ending = Ending { receipt: Some(v1::Receipt::default()), failed: None };
        last.send(Last { rest: Some(8), ending: ending.clone(), hold: None }).unwrap();
        drop(items);
        assert_eq!(parts.next().await, Some(Part::Item(8)), "what was not taken in time comes before the end");
        assert_eq!(parts.next().await, Some(Part::End(Box::new(ending))));
        assert_eq!(parts.next().await, None);
    }

    #[tokio::test]
    async fn a_thread_that_ends_without_a_word_is_an_error() {
        let (items, last, _, mut parts) = parts();
        drop((last, items));
        let Some(Part::End(ending)) = parts.next().await else { panic!("no end") };
        assert!(ending.receipt.is_none() && matches!(ending.failed, Some(Failed::Internal(_))), "{ending:?}");
        assert_eq!(parts.next().await, None);
    }

    #[tokio::test]
    async fn dropping_the_parts_cancels_the_query() {
        let (_items, _last, cancel, parts) = parts();
        assert!(!cancel.is_cancelled());
        drop(parts);
        assert!(cancel.is_cancelled());
    }
}
