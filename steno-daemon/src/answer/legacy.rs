//! `steno.Stenographer`, the service of stenographer 1.0.1, for the clients that were written for it.
//!
//! Its answers have no receipt, so that only the status can say whether one is whole: an answer that was cut short by
//! anything but `max_size` ends with an error. Nothing that a client sends becomes part of a path.

use bytes::Bytes;
use steno_core::pcap::Format;
use steno_proto::{
    legacy::{PcapRequest, PcapResponse, stenographer_server::Stenographer},
    v1::Truncation,
};
use tokio_stream::{Empty, Stream};
use tonic::{Request, Response, Status};
use tracing::debug;
use uuid::Uuid;

use super::{
    Answers, Ask, Failed, Part,
    replies::{Ready, Replies, pieces},
    sensor::hang_up,
};
use crate::metrics::Method;

/// Bytes of the header of a pcap file: an answer with no more has no packets.
const PCAP_HEADER_BYTES: usize = 24;
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

/// What a request comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// Bytes of pcap in a response, at most.
    chunk_bytes: usize,
    /// Where the answer ends.
    max_bytes: Option<u64>,
    /// That is less than was wanted.
    capped: bool,
}

/// What an answer is made of.
type Messages = std::pin::Pin<Box<dyn Stream<Item = Result<PcapResponse, Status>> + Send>>;

impl LegacyService {
    /// The service.
    pub fn new(answers: Answers, limits: LegacyLimits) -> Self {
        Self { answers, limits }
    }

    /// What a request asks for; or the sentence that says what is wrong with it.
    fn bounds(&self, request: &PcapRequest) -> Result<Wanted, String> {
        let asked = |name: &str, value: i64| match u64::try_from(value) {
            Ok(0) => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(format!("{name} {value} is negative; it is a number of bytes, or 0 for the default")),
        };
        if request.uid.len() > UID_BYTES_MOST {
            return Err(format!("uid of {} bytes is too long; {UID_BYTES_MOST} are the most", request.uid.len()));
        }
        let chunk_bytes = asked("chunk_size", request.chunk_size)?.unwrap_or(self.limits.chunk_bytes);
        let wanted = asked("max_size", request.max_size)?.or(self.limits.max_bytes);
        let cap = self.limits.server_max_bytes.filter(|cap| wanted.is_none_or(|wanted| *cap < wanted));
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX);
        Ok(Wanted { chunk_bytes, max_bytes: cap.or(wanted), capped: cap.is_some() })
    }
}

#[tonic::async_trait]
impl Stenographer for LegacyService {
    type RetrievePcapStream = Messages;

    async fn retrieve_pcap(&self, request: Request<PcapRequest>) -> Result<Response<Messages>, Status> {
        let hang_up = hang_up(request.extensions());
        let request = request.into_inner();
        let wanted = self.bounds(&request).map_err(|why| {
            self.answers.refuse(Method::RetrievePcap);
            Status::invalid_argument(why)
        })?;
        let query = match self.answers.parse(Method::RetrievePcap, &request.query) {
            Ok(query) => query,
            Err(errors) => {
                debug!("empty answer, as 1.0.1 gives: {errors}");
                let nothing: Empty<Result<PcapResponse, Status>> = tokio_stream::empty();
                return Ok(Response::new(Box::pin(nothing)));
            }
        };
        let ask =
            Ask { format: Format::Pcap, max_bytes: wanted.max_bytes, hang_up, ..Ask::new(Method::RetrievePcap, query) };
        let uid = if request.uid.is_empty() { Uuid::new_v4().to_string() } else { request.uid };
        let parts = self.answers.packets(ask)?;
        let mut header = None;
        let messages = Replies::new(parts, move |part, ready| messages(part, &uid, wanted, &mut header, ready));
        Ok(Response::new(Box::pin(messages)))
    }
}

/// The messages of a part. `header` is that of the file, until the first packets come.
fn messages(part: Part<Bytes>, uid: &str, wanted: Wanted, header: &mut Option<Bytes>, ready: &mut Ready<PcapResponse>) {
    let message = |pcap| Ok(PcapResponse { uid: uid.to_owned(), pcap });
    match part {
        Part::Item(bytes) if bytes.len() <= PCAP_HEADER_BYTES && header.is_none() => *header = Some(bytes),
        Part::Item(bytes) => {
            let all = header.replace(Bytes::new()).into_iter().chain([bytes]);
            ready.extend(all.flat_map(|bytes| pieces(bytes, wanted.chunk_bytes)).map(message));
        }
        Part::Progress(_) => {}
        Part::End(ending) => {
            let by = ending.receipt.map_or(Truncation::Unspecified, |receipt| receipt.truncated_by());
            let capped = (wanted.capped && by == Truncation::LimitBytes).then_some(Failed::Bytes);
            ready.extend(ending.failed.or(capped).map(|failed| Err(failed.into())));
        }
    }
}
