//! `steno.v1.Sensor`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use steno_proto::{
    legacy::stenographer_server::StenographerServer,
    v1::{
        ExplainRequest, ExplainResponse, FlowBatch, FlowsRequest, FlowsResponse, QueryRequest, QueryResponse, Segment,
        SegmentsRequest, SegmentsResponse, StatusRequest, StatusResponse, flows_response, query_response,
        sensor_server::{Sensor, SensorServer},
    },
};
use tokio_stream::StreamExt;
use tonic::{Extensions, Request, Response, Status};

use super::{
    Answers, Ask, HangUp, Host, LegacyLimits, LegacyService, Part, Turn, convert,
    replies::{Ready, Replies, pieces},
    status,
};
use crate::{
    access::{Action, Asker, Denied},
    metrics::{Method, Outcome},
};

/// Bytes of a chunk where the request does not say, and the bounds of what it may say.
const CHUNK_BYTES: usize = 256 << 10;
const CHUNK_BYTES_LEAST: usize = 4 << 10;
const CHUNK_BYTES_MOST: usize = 1 << 20;

/// `steno.v1.Sensor`, answered from [`Answers`].
#[derive(Clone)]
pub struct SensorService {
    answers: Answers,
    host: Arc<Host>,
}

/// The services, to be added to a router.
#[derive(Clone)]
pub struct Services {
    /// `steno.v1.Sensor`.
    pub sensor: SensorServer<SensorService>,
    /// `steno.Stenographer`.
    pub legacy: StenographerServer<LegacyService>,
}

/// Both services. `host` is what `Status` says of the daemon itself; `legacy` bounds 1.0.1's service. A daemon that serves
/// 1.0.1's service on a second port with other bounds makes another [`LegacyService`] from the same `answers`.
pub fn services(answers: &Answers, host: Host, legacy: LegacyLimits) -> Services {
    Services {
        sensor: SensorServer::new(SensorService::new(answers.clone(), host)),
        legacy: StenographerServer::new(LegacyService::new(answers.clone(), legacy)),
    }
}

impl SensorService {
    /// The service.
    pub fn new(answers: Answers, host: Host) -> Self {
        Self { answers, host: Arc::new(host) }
    }

    async fn ask(&self, method: Method, text: String, deadline_ms: u64, from: From) -> Result<Ask, Status> {
        let (asker, hang_up) = from;
        let query = self.answers.parse(method, &asker, &text).await?;
        let deadline = (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms));
        Ok(Ask { deadline, hang_up, text, ..Ask::new(asker, method, query) })
    }
}

#[tonic::async_trait]
impl Sensor for SensorService {
    type QueryStream = Replies<Bytes, QueryResponse>;
    type FlowsStream = Replies<FlowBatch, FlowsResponse>;
    type SegmentsStream = Replies<Vec<Segment>, SegmentsResponse>;

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let (from, request) = taken_apart(request)?;
        let Some(format) = convert::format(request.format) else {
            let why = format!("format {} is not known: it is 1 (pcap), 2 (pcap-ns) or 3 (pcapng)", request.format);
            self.answers.refuse(Method::Query, &from.0, Some(&request.query), &why).await;
            return Err(Status::invalid_argument(why));
        };
        let ask = Ask {
            format,
            max_packets: request.max_packets,
            max_bytes: request.max_bytes,
            follow: request.follow,
            ..self.ask(Method::Query, request.query, request.deadline_ms, from).await?
        };
        let chunk_bytes = match usize::try_from(request.chunk_bytes).unwrap_or(usize::MAX) {
            0 => CHUNK_BYTES,
            asked => asked.clamp(CHUNK_BYTES_LEAST, CHUNK_BYTES_MOST),
        };
        let parts = self.answers.packets(ask).await?;
        Ok(Response::new(Replies::new(parts, move |part, ready| query_messages(part, chunk_bytes, ready))))
    }

    async fn flows(&self, request: Request<FlowsRequest>) -> Result<Response<Self::FlowsStream>, Status> {
        let (from, request) = taken_apart(request)?;
        let ask = self.ask(Method::Flows, request.query, request.deadline_ms, from).await?;
        let parts = self.answers.flows(ask).await?;
        Ok(Response::new(Replies::new(parts, flow_messages)))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let (from, request) = taken_apart(request)?;
        let ask = self.ask(Method::Explain, request.query, request.deadline_ms, from).await?;
        let mut parts = self.answers.explain(ask).await?;
        let mut explained = None;
        while let Some(part) = parts.next().await {
            match part {
                Part::Item(item) => explained = Some(item),
                Part::Progress(_) => {}
                // What cannot be read is part of what is explained.
                Part::End(ending) => match ending.failed {
                    None | Some(super::Failed::DataLoss(_)) => {}
                    Some(failed) => return Err(failed.into()),
                },
            }
        }
        explained.map(Response::new).ok_or_else(|| Status::internal("the query was not explained"))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let turn = Turn::of(request.extensions());
        let ((asker, _), _) = taken_apart(request)?;
        if let Err(denied) = asker.may(Action::Status) {
            self.answers.refuse(Method::Status, &asker, None, &denied.to_string()).await;
            return Err(denied.into());
        }
        let meter = self.answers.metrics().query(Method::Status);
        let (answers, host) = (self.answers.clone(), Arc::clone(&self.host));
        let said = self.answers.blocking(&turn, move || status::status(&answers, &host)).await;
        meter.finish(if said.is_ok() { Outcome::Complete } else { Outcome::Failed });
        Ok(Response::new(said?))
    }

    async fn segments(&self, request: Request<SegmentsRequest>) -> Result<Response<Self::SegmentsStream>, Status> {
        let ((asker, hang_up), request) = taken_apart(request)?;
        let parts = self.answers.segments(asker, request, hang_up).await?;
        Ok(Response::new(Replies::new(parts, segment_messages)))
    }
}

/// Who sent a request, and who hangs up on them.
type From = (Asker, HangUp);

/// Where a request comes from, and its message.
fn taken_apart<M>(request: Request<M>) -> Result<(From, M), Denied> {
    let (_, extensions, message) = request.into_parts();
    Ok((from(&extensions)?, message))
}

/// Who sent a request, and who hangs up on them; where nobody said so, nobody does.
pub(super) fn from(extensions: &Extensions) -> Result<From, Denied> {
    Ok((Asker::of(extensions)?.clone(), extensions.get::<HangUp>().cloned().unwrap_or_default()))
}

fn query_messages(part: Part<Bytes>, chunk_bytes: usize, ready: &mut Ready<QueryResponse>) {
    use query_response::Part as Message;
    let message = |part| Ok(QueryResponse { part: Some(part) });
    match part {
        Part::Item(bytes) => ready.extend(pieces(bytes, chunk_bytes).map(|piece| message(Message::Chunk(piece)))),
        Part::Progress(progress) => ready.push_back(message(Message::Progress(progress))),
        Part::End(ending) => {
            ready.extend(ending.receipt.map(|receipt| message(Message::Receipt(receipt))));
            ready.extend(ending.failed.map(|failed| Err(failed.into())));
        }
    }
}

fn flow_messages(part: Part<FlowBatch>, ready: &mut Ready<FlowsResponse>) {
    use flows_response::Part as Message;
    let message = |part| Ok(FlowsResponse { part: Some(part) });
    match part {
        Part::Item(batch) => ready.push_back(message(Message::Flows(batch))),
        Part::Progress(progress) => ready.push_back(message(Message::Progress(progress))),
        Part::End(ending) => {
            ready.extend(ending.receipt.map(|receipt| message(Message::Receipt(receipt))));
            ready.extend(ending.failed.map(|failed| Err(failed.into())));
        }
    }
}

fn segment_messages(part: Part<Vec<Segment>>, ready: &mut Ready<SegmentsResponse>) {
    match part {
        Part::Item(segments) => ready.push_back(Ok(SegmentsResponse { segments })),
        Part::Progress(_) => {}
        Part::End(ending) => ready.extend(ending.failed.map(|failed| Err(failed.into()))),
    }
}
