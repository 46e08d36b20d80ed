//! An answer of `POST /query` on its way: packets as they are found, and an end that says whether they are all.
//!
//! The end is a trailer with the receipt, or an error: hyper then resets the stream (HTTP/2), or closes the connection without
//! the last chunk (HTTP/1.1), and no client takes the answer for a whole one.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use hyper::body::{Body, Frame};
use steno_core::pcap::FILE_HEADER_BYTES;
use steno_proto::v1::Truncation;
use tokio_stream::{Stream, StreamExt};

use super::receipt;
use crate::answer::{Ending, Failed, Part, Parts};

/// The trailer with the receipt.
pub(super) const RECEIPT: HeaderName = HeaderName::from_static("steno-receipt");

/// The body of an answer.
#[derive(Debug)]
pub(super) struct PcapBody {
    /// What came before the answer was begun.
    begun: VecDeque<Part<Bytes>>,
    parts: Parts<Bytes>,
    takes_trailers: bool,
}

impl PcapBody {
    /// Waits until there is a packet, or an end without one. Clients hear of nothing before that, so that a query that fails
    /// until then can have a status of its own.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) async fn begin(mut parts: Parts<Bytes>, takes_trailers: bool) -> Result<Self, Failed> {
        let (mut begun, mut bytes) = (VecDeque::new(), 0);
        while let Some(part) = parts.next().await {
            let is_enough = match &part {
                Part::Item(item) => {
                    bytes += item.len();
                    bytes > FILE_HEADER_BYTES as usize
                }
                Part::Progress(_) => continue,
                Part::End(ending) => {
                    let _trailers = end(ending)?;
                    true
                }
            };
            begun.push_back(part);
            if is_enough {
                return Ok(Self { begun, parts, takes_trailers });
            }
        }
        Err(Failed::internal("the query ended without a word"))
    }
}

impl Body for PcapBody {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let this = self.get_mut();
        loop {
            let part = match this.begun.pop_front() {
                Some(part) => Some(part),
                None => ready!(Pin::new(&mut this.parts).poll_next(cx)),
            };
            let frame = match part {
                Some(Part::Item(bytes)) => Ok(Frame::data(bytes)),
                Some(Part::Progress(_)) => continue,
                Some(Part::End(ending)) => match end(&ending) {
                    Ok(_) if !this.takes_trailers => return Poll::Ready(None),
                    end => end.map(Frame::trailers),
                },
                None => return Poll::Ready(None),
            };
            return Poll::Ready(Some(frame));
        }
    }
}

/// The trailers of an answer that came to an end that its client asked for; else why it is broken off.
///
/// Files that could not be read are no reason to break off what was found in the others: their names are in the receipt.
fn end(ending: &Ending) -> Result<HeaderMap, Failed> {
    let Ending { receipt, failed } = ending;
    let Some(receipt) = receipt else {
        return Err(failed.clone().unwrap_or_else(|| Failed::internal("the query ended without a receipt")));
    };
    match failed {
        None | Some(Failed::DataLoss(_)) => {}
        Some(failed) => return Err(failed.clone()),
    }
    if receipt.truncated_by() == Truncation::Cancelled {
        return Err(Failed::internal("the query was cancelled"));
    }
    Ok(HeaderMap::from_iter([(RECEIPT, receipt::header(receipt))]))
}

#[cfg(test)]
mod tests {
    use steno_proto::v1::{Receipt, Unreadable};

    use super::*;

    #[test]
    fn only_what_the_client_asked_for_and_what_cannot_be_read_end_well() {
        let ending = |by: Truncation, failed: Option<Failed>| {
            let unreadable = vec![Unreadable { file: "PKT0/1".into(), reason: "gone".into(), may_hold_matches: true }];
            let receipt = Receipt { truncated_by: by.into(), unreadable, ..Receipt::default() };
            Ending { receipt: Some(receipt), failed }
        };
        let lost = || Some(Failed::DataLoss("PKT0/1: gone".into()));
        for (by, failed) in [
            (Truncation::Unspecified, None),
            (Truncation::LimitPackets, None),
            (Truncation::LimitBytes, None),
            (Truncation::Unspecified, lost()),
            (Truncation::LimitPackets, lost()),
        ] {
            let trailers = end(&ending(by, failed.clone())).unwrap();
            assert!(trailers[RECEIPT].to_str().unwrap().contains("PKT0/1"), "{by:?} {failed:?}");
        }
        for (by, failed) in [
            (Truncation::Deadline, Failed::Deadline),
            (Truncation::SensorLimitBytes, Failed::Bytes),
            (Truncation::Memory, Failed::Memory),
            (Truncation::Stopping, Failed::Stopping),
            (Truncation::Stalled, Failed::Stalled),
            (Truncation::Unfinished, Failed::internal("x")),
        ] {
            assert_eq!(end(&ending(by, Some(failed.clone()))), Err(failed), "{by:?}");
        }
        assert!(end(&ending(Truncation::Cancelled, None)).is_err());
        assert!(end(&Ending { receipt: None, failed: None }).is_err());
        let failed = Failed::internal("the query ended without a word");
        assert_eq!(end(&Ending { receipt: None, failed: Some(failed.clone()) }), Err(failed));
    }
}
