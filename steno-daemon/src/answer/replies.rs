//! The parts of an answer as the messages of a service.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{Failed, Part, Parts, Refused, Unread, diagnostic};
use crate::access::Denied;

/// Messages that are ready, the next one first.
pub(super) type Ready<M> = VecDeque<Result<M, Status>>;

/// Makes messages of a part.
type Convert<T, M> = Box<dyn FnMut(Part<T>, &mut Ready<M>) + Send>;

/// The messages of an answer.
pub struct Replies<T, M> {
    parts: Parts<T>,
    ready: Ready<M>,
    convert: Convert<T, M>,
}

impl<T, M> Replies<T, M> {
    pub(super) fn new(parts: Parts<T>, convert: impl FnMut(Part<T>, &mut Ready<M>) + Send + 'static) -> Self {
        Self { parts, ready: Ready::new(), convert: Box::new(convert) }
    }
}

impl<T: Unpin, M: Unpin> Stream for Replies<T, M> {
    type Item = Result<M, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(message) = this.ready.pop_front() {
                return Poll::Ready(Some(message));
            }
            match ready!(Pin::new(&mut this.parts).poll_next(cx)) {
                Some(part) => (this.convert)(part, &mut this.ready),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// `bytes` in pieces of `most` bytes at the most, as few as can be and of one size but for the last, so that none is tiny.
pub(super) fn pieces(mut bytes: Bytes, most: usize) -> impl Iterator<Item = Bytes> {
    let most = most.max(1);
    let pieces = bytes.len().div_ceil(most).max(1);
    let size = bytes.len().div_ceil(pieces).max(1);
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(size.min(bytes.len()))))
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::TooMany { .. } | Refused::TooManyOfOne { .. } => Code::ResourceExhausted,
            Refused::Stopping | Refused::Audit(_) => Code::Unavailable,
            Refused::Denied(_) => Code::PermissionDenied,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Faults(errors) => diagnostic::status(&errors),
            Unread::Refused(refused) => refused.into(),
        }
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Self::permission_denied(denied.to_string())
    }
}

impl From<Failed> for Status {
    fn from(failed: Failed) -> Self {
        let code = match failed {
            Failed::Deadline | Failed::Stalled => Code::DeadlineExceeded,
            Failed::Bytes | Failed::Memory => Code::ResourceExhausted,
            Failed::Stopping => Code::Unavailable,
            Failed::DataLoss(_) => Code::DataLoss,
            Failed::Internal(_) => Code::Internal,
        };
        Self::new(code, failed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_within_the_bound_of_one_size_and_lose_nothing() {
        let all = Bytes::from((0..1000u32).map(|i| i.to_le_bytes()[0]).collect::<Vec<u8>>());
        for most in [0, 1, 7, 499, 500, 999, 1000, 5000] {
            let got: Vec<Bytes> = pieces(all.clone(), most).collect();
            assert_eq!(got.concat(), all, "{most}");
            assert!(got.iter().all(|piece| piece.len() <= most.max(1)), "{most}");
            assert_eq!(got.len(), 1000usize.div_ceil(most.max(1)), "{most}");
        }
        let sizes: Vec<usize> = pieces(all, 900).map(|piece| piece.len()).collect();
        assert_eq!(sizes, [500, 500]);
        assert_eq!(pieces(Bytes::new(), 10).count(), 0);
    }
}
