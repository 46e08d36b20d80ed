//! The requests of one connection: whether any is under way, whether their answers are taken, and how much of them has come.
//!
//! Whatever the protocol and the method: an answer is under way until the transport has taken the end of it from its maker. The
//! transport asks for a piece when it has sent the one before, so that a client that takes nothing shows as an answer of
//! which nothing more is asked for. It keeps the last piece to itself: that is made small.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, interval, sleep};
use tonic::Status;

use super::{
    Tuning,
    tuning::{MESSAGE_BYTES, REQUEST_BYTES},
};

/// An answer that stalls is first ended by who makes it, and has its end to be taken after that; then the connection goes.
const STALLS: u32 = 3;
/// The end of a piece, which goes by itself.
const TAIL_BYTES: usize = 1 << 10;

/// The requests of one connection. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Flights(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    next: u64,
    /// Those that are under way.
    flying: BTreeMap<u64, Flying>,
    /// Since when none is.
    idle_since: Instant,
    had_one: bool,
    /// Since when the client takes nothing of what is sent.
    blocked_since: Option<Instant>,
}

/// One that is under way.
#[derive(Debug)]
struct Flying {
    /// Since when the transport has asked for nothing of its answer.
    unasked_since: Option<Instant>,
    /// Bytes of the request, which are held until there is an answer.
    held_bytes: usize,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was asked for too long.
    Idle,
    /// Nothing of an answer was taken for too long.
    Stalled,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Flights,
    number: u64,
}

impl Flights {
    pub(super) fn new() -> Self {
        let (flying, idle_since) = (BTreeMap::new(), Instant::now());
        Self(Arc::new(Mutex::new(State { next: 0, flying, idle_since, had_one: false, blocked_since: None })))
    }

    /// One more request. The transport may have no room for its answer, and not ask for it yet.
    pub(super) fn begin(&self) -> Flight {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.had_one = true;
        let _new = state.flying.insert(number, Flying { unasked_since: Some(Instant::now()), held_bytes: 0 });
        Flight { flights: self.clone(), number }
    }

    /// The client takes something of what is sent, or does not.
    pub(super) fn is_blocked(&self, blocked: bool) {
        let mut state = self.state();
        state.blocked_since = blocked.then(|| state.blocked_since.unwrap_or_else(Instant::now));
    }

    /// Waits until the connection is to end.
    pub(super) async fn verdict(&self, tuning: &Tuning) -> Verdict {
        let shortest = tuning.stall_after.min(tuning.idle_after).min(tuning.header_within);
        let every = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut ticks = interval(every);
        loop {
            let now = ticks.tick().await;
            let state = self.state();
            let may_be_idle = if state.had_one { tuning.idle_after } else { tuning.header_within };
            if state.flying.is_empty() && now.duration_since(state.idle_since) >= may_be_idle {
                return Verdict::Idle;
            }
            let is_stalled =
                |since: &Option<Instant>| since.is_some_and(|t| now.duration_since(t) >= STALLS * tuning.stall_after);
            let flying = state.flying.values().map(|flying| &flying.unasked_since);
            if flying.chain([&state.blocked_since]).any(is_stalled) {
                return Verdict::Stalled;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// The transport has, or has not, what it asked for.
    fn is_taken(&self, since: Option<Instant>) {
        if let Some(flying) = self.flights.state().flying.get_mut(&self.number) {
            flying.unasked_since = since;
        }
    }

    /// The transport has asked for the answer.
    pub(super) fn is_asked_for(&self) {
        self.is_taken(None);
    }

    /// `body` as the answer of this request.
    pub(super) fn answer<B: Body<Data = Bytes>>(self, body: B) -> Sent<B> {
        if let Some(flying) = self.flights.state().flying.get_mut(&self.number) {
            *flying = Flying { unasked_since: Some(Instant::now()), held_bytes: 0 };
        }
        let is_empty = body.is_end_stream();
        Sent { body: Box::pin(body), tail: None, flight: self, is_empty }
    }

    /// `body` as this request has it, within its bounds.
    pub(super) fn request<B: Body<Data = Bytes>>(&self, body: B, tuning: &Tuning) -> Received<B> {
        Received {
            body: Box::pin(body),
            until: Box::pin(sleep(tuning.request_within)),
            within: tuning.request_within,
            flights: self.flights.clone(),
            number: self.number,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.flights.state();
        let _gone = state.flying.remove(&self.number);
        if state.flying.is_empty() {
            state.idle_since = Instant::now();
        }
    }
}

/// An answer on its way.
pub(super) struct Sent<B> {
    body: Pin<Box<B>>,
    /// What comes before the next of that.
    tail: Option<Bytes>,
    flight: Flight,
    is_empty: bool,
}

impl<B: Body<Data = Bytes>> Body for Sent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.flight.is_taken(None);
        let frame = match self.tail.take() {
            Some(tail) => Some(Ok(Frame::data(tail))),
            None => ready!(self.body.as_mut().poll_frame(cx)),
        };
        self.flight.is_taken(Some(Instant::now()));
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.without_tail(frame))))
    }

    /// The end is told when it is asked for: then what was before it has been taken.
    fn is_end_stream(&self) -> bool {
        self.is_empty
    }

    /// Asked for before the first piece.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Sent<B> {
    fn without_tail(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) if data.len() > 2 * TAIL_BYTES => {
                self.tail = Some(data.split_off(data.len() - TAIL_BYTES));
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }
}

/// A request that is coming.
pub(super) struct Received<B> {
    body: Pin<Box<B>>,
    until: Pin<Box<Sleep>>,
    within: Duration,
    flights: Flights,
    number: u64,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Received<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = self.body.as_mut().poll_frame(cx) else {
            ready!(self.until.as_mut().poll(cx));
            let why = format!("the request has not come within {} s", self.within.as_secs_f32());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(why).into())));
        };
        let bytes = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        if !self.hold(bytes) {
            let why = format!(
                "the requests under way on this connection have more than {REQUEST_BYTES} bytes; send the next when one is answered"
            );
            return Poll::Ready(Some(Err(Status::resource_exhausted(why).into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Received<B> {
    /// So many bytes more have come, which whoever answers may hold until then, and no more than a message of them. Whether that is
    /// within the bound.
    fn hold(&self, bytes: usize) -> bool {
        let mut state = self.flights.state();
        // Without it nothing of its answer is waited for any more.
        let Some(flying) = state.flying.get_mut(&self.number) else { return true };
        flying.held_bytes = flying.held_bytes.saturating_add(bytes).min(MESSAGE_BYTES);
        state.flying.values().map(|flying| flying.held_bytes).sum::<usize>() <= REQUEST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    #[tokio::test]
    async fn requests_without_an_answer_are_held_to_their_bound_wherever_they_wait() {
        let flights = Flights::new();
        // As a service reads it: to its end, and then its body is gone.
        let come = async |flight: &Flight, bytes: usize| {
            let body = flight.request(Body::from(vec![b'x'; bytes]), &Tuning::default());
            to_bytes(Body::new(body), usize::MAX).await.map(|read| assert_eq!(read.len(), bytes))
        };
        let mut waiting: Vec<Flight> = (0..4).map(|_| flights.begin()).collect();
        for flight in &waiting {
            come(flight, MESSAGE_BYTES).await.unwrap();
        }
        let refused = come(&flights.begin(), 1).await.unwrap_err();
        assert!(refused.to_string().contains("send the next when one is answered"), "{refused}");
        // One is answered, and another reset.
        let _answer = waiting.pop().unwrap().answer(Body::from("answer"));
        come(&flights.begin(), MESSAGE_BYTES).await.unwrap();
        let next = flights.begin();
        come(&next, MESSAGE_BYTES).await.unwrap();
        assert!(come(&flights.begin(), 1).await.is_err());
        drop(waiting.pop());
        come(&flights.begin(), 1).await.unwrap();
        // One that is longer than a message is told so by who reads it, and holds no more.
        drop((waiting, next));
        come(&flights.begin(), 3 * REQUEST_BYTES).await.unwrap();
    }
}
