//! `steno.Stenographer`, the service of stenographer 1.0.1, for the clients that were written for it.
//!
//! Its answers have no receipt, so that only the status can say whether one is whole: an answer that was cut short by
//! anything but `max_size` or its configured default ends with an error. Nothing that a client sends becomes part of a path.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use steno_core::pcap::Format;
use steno_proto::legacy::{PcapRequest, PcapResponse, stenographer_server::Stenographer};
use tokio_stream::{Empty, Stream};
use tonic::{Request, Response, Status};
use tracing::debug;
use uuid::Uuid;

use super::{Answers, Ask, Ending, Failed, Part, Parts, Unread, messages::Messages, sensor::from};
use crate::metrics::Method;

/// Bytes of a name that a client may give its request.
const UID_BYTES_MOST: usize = 256;

/// The limits of 1.0.1's service, from the `Rpc` section of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyLimits {
    /// Bytes of a response where the request does not say: `ClientPcapChunkSize`.
    pub chunk_bytes: u64,
    /// The most bytes of an answer where the request does not say: `ClientPcapMaxSize`; none: any number.
    pub max_bytes: Option<u64>,
    /// The most bytes of an answer whatever is asked for: `ServerPcapMaxSize`; none: any number.
    pub server_max_bytes: Option<u64>,
}

impl Default for LegacyLimits {
    fn default() -> Self {
        Self { chunk_bytes: 64 << 10, max_bytes: None, server_max_bytes: None }
    }
}

/// `steno.Stenographer`, answered from [`Answers`].
#[derive(Clone)]
pub struct LegacyService {
    answers: Answers,
    limits: LegacyLimits,
}

/// What an answer is made of.
type Replies = Pin<Box<dyn Stream<Item = Result<PcapResponse, Status>> + Send>>;

impl LegacyService {
    /// The service.
    pub fn new(answers: Answers, limits: LegacyLimits) -> Self {
        Self { answers, limits }
    }

    /// The messages that a request asks for; or the sentence that says what is wrong with it.
    fn messages(&self, request: &PcapRequest) -> Result<Messages, String> {
        let asked = |name: &str, value: i64| match u64::try_from(value) {
            Ok(0) => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{name} {value} is negative; it is a number of bytes, or 0 for the default")),
        };
        if request.uid.len() > UID_BYTES_MOST {
            return Err(format!("uid of {} bytes is too long; {UID_BYTES_MOST} are the most", request.uid.len()));
        }
        let chunk_bytes = asked("chunk_size", request.chunk_size)?.unwrap_or(self.limits.chunk_bytes);
        let max_bytes = asked("max_size", request.max_size)?.or(self.limits.max_bytes);
        Ok(Messages::new(chunk_bytes, max_bytes, self.limits.server_max_bytes))
    }
}

#[tonic::async_trait]
impl Stenographer for LegacyService {
    type RetrievePcapStream = Replies;

    async fn retrieve_pcap(&self, request: Request<PcapRequest>) -> Result<Response<Replies>, Status> {
        let (asker, hang_up) = from(request.extensions())?;
        let request = request.into_inner();
        let messages = match self.messages(&request) {
            Ok(messages) => messages,
            Err(why) => {
                self.answers.refuse(Method::RetrievePcap, &asker, Some(&request.query), &why).await;
                return Err(Status::invalid_argument(why));
            }
        };
        let query = match self.answers.parse(Method::RetrievePcap, &asker, &request.query).await {
            Ok(query) => query,
            Err(Unread::Refused(refused)) => return Err(refused.into()),
            Err(Unread::Faults(errors)) => {
                debug!("empty answer, as 1.0.1 gives: {errors}");
                let nothing: Empty<Result<PcapResponse, Status>> = tokio_stream::empty();
                return Ok(Response::new(Box::pin(nothing)));
            }
        };
        let ask = Ask {
            format: Format::PcapLegacy,
            max_bytes: messages.ask_bytes(),
            hang_up,
            text: request.query,
            ..Ask::new(asker, Method::RetrievePcap, query)
        };
        let uid = if request.uid.is_empty() { Uuid::new_v4().to_string() } else { request.uid };
        let parts = self.answers.packets(ask).await?;
        Ok(Response::new(Box::pin(Answer { uid, parts, messages, ended: None })))
    }
}

/// An answer, a message at a time, however small they are.
struct Answer {
    uid: String,
    parts: Parts<Bytes>,
    messages: Messages,
    /// The last part, once it has come.
    ended: Option<Option<Failed>>,
}

impl Stream for Answer {
    type Item = Result<PcapResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pcap) = this.messages.next(this.ended.is_some()) {
                return Poll::Ready(Some(Ok(PcapResponse { uid: this.uid.clone(), pcap })));
            }
            if let Some(failed) = &mut this.ended {
                return Poll::Ready(failed.take().map(|failed| Err(failed.into())));
            }
            match ready!(Pin::new(&mut this.parts).poll_next(cx)) {
                Some(Part::Item(bytes)) => this.messages.push(bytes),
                Some(Part::Progress(_)) => {}
                Some(Part::End(ending)) => this.ended = Some(failure(*ending, &this.messages)),
                None => this.ended = Some(None),
            }
        }
    }
}

/// Why an answer must not be taken for all that was asked for.
fn failure(ending: Ending, messages: &Messages) -> Option<Failed> {
    match ending.failed {
        // All that the client wants is there; what happened after that is nothing to it.
        Some(Failed::DataLoss(lost)) => Some(Failed::DataLoss(lost)),
        failed if messages.is_cut() => messages.is_capped().then(|| failed.unwrap_or(Failed::Bytes)),
        failed => failed,
    }
}
