//! Requests over gRPC: what a sensor's services make of messages, and what its client makes of their answers.
//!
//! The first byte is the method, and says with its highest bit that the rest is framed already. No message that can be decoded
//! is answered with an error of the sensor's own, every answer ends with a status, and where that is good, a client takes it
//! for a whole one.

#![no_main]

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, Version, header::CONTENT_TYPE};
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message;
use steno_cli::fuzzing::{flows, packets};
use steno_core::pcap::Format;
use steno_fuzz::served::{Reply, ask, in_pieces};
use steno_proto::legacy::{PcapRequest, PcapResponse};
use steno_proto::v1::{
    CaptureFormat, ExplainRequest, ExplainResponse, FlowsRequest, FlowsResponse, QueryRequest, QueryResponse,
    SegmentsRequest, SegmentsResponse, StatusRequest, StatusResponse,
};

const METHODS: [&str; 9] = [
    "/steno.v1.Sensor/Query",
    "/steno.v1.Sensor/Flows",
    "/steno.v1.Sensor/Explain",
    "/steno.v1.Sensor/Status",
    "/steno.v1.Sensor/Segments",
    "/steno.Stenographer/RetrievePcap",
    "/grpc.health.v1.Health/Check",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The first byte of an input that is framed already.
const FRAMED: u8 = 0x80;
/// Compressed or not, and the length of the message.
const FRAME_HEADER_BYTES: usize = 5;
/// Statuses that a sensor gives for a fault of its own.
const FAULTS: [i32; 3] = [tonic_code::UNKNOWN, tonic_code::INTERNAL, tonic_code::DATA_LOSS];

/// `google.rpc.Code`.
mod tonic_code {
    pub(crate) const OK: i32 = 0;
    pub(crate) const UNKNOWN: i32 = 2;
    pub(crate) const INTERNAL: i32 = 13;
    pub(crate) const DATA_LOSS: i32 = 15;
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&first, rest)) = input.split_first() else { return Corpus::Reject };
    let Some(path) = METHODS.get(usize::from(first & !FRAMED)) else { return Corpus::Reject };
    let framed = if first & FRAMED == 0 { frame(rest) } else { rest.to_vec() };
    let message = frames(&framed).first().copied();
    // Such an answer goes on until its client has enough.
    if message.is_some_and(|message| QueryRequest::decode(message).is_ok_and(|request| request.follow)) {
        return Corpus::Reject;
    }
    let request = Request::post(*path)
        .version(Version::HTTP_2)
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .body(if first & 1 == 0 { Body::from(framed.clone()) } else { in_pieces(&framed, 3) });
    let Ok(request) = request else { return Corpus::Reject };
    let reply = ask(request);
    assert_eq!((reply.status, reply.broken), (StatusCode::OK, false), "{path}");
    let code = code(&reply);
    if first & FRAMED == 0 && decodes(path, rest) {
        assert!(!FAULTS.contains(&code), "{path}: {reply:?}");
    }
    if code == tonic_code::OK {
        look(path, message.unwrap_or_default(), &reply.body);
    }
    Corpus::Keep
});

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("inputs are short");
    [&[0], &length.to_be_bytes()[..], message].concat()
}

/// The messages in a body that are whole.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) {
        let Some(length) = header.get(1..).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes) else {
            break;
        };
        let Some((message, behind)) = rest.split_at_checked(usize::try_from(length).unwrap_or(usize::MAX)) else {
            break;
        };
        all.push(message);
        bytes = behind;
    }
    all
}

fn code(reply: &Reply) -> i32 {
    let code = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
    code(&reply.trailers).or_else(|| code(&reply.headers)).expect("every answer ends with a status")
}

/// Whether it is a message that the method takes.
fn decodes(path: &str, message: &[u8]) -> bool {
    match path.rsplit('/').next() {
        Some("Query") => QueryRequest::decode(message).is_ok(),
        Some("Flows") => FlowsRequest::decode(message).is_ok(),
        Some("Explain") => ExplainRequest::decode(message).is_ok(),
        Some("Status") => StatusRequest::decode(message).is_ok(),
        Some("Segments") => SegmentsRequest::decode(message).is_ok(),
        Some("RetrievePcap") => PcapRequest::decode(message).is_ok(),
        // Of others' making.
        _ => false,
    }
}

/// An answer that is whole.
fn look(path: &str, request: &[u8], body: &[u8]) {
    let frames = frames(body);
    assert_eq!(frames.iter().map(|frame| frame.len() + FRAME_HEADER_BYTES).sum::<usize>(), body.len(), "{path}");
    match path.rsplit('/').next() {
        Some("Query") => {
            let format = match QueryRequest::decode(request).unwrap_or_default().format() {
                CaptureFormat::Pcap => Format::Pcap,
                CaptureFormat::Pcapng => Format::PcapNg,
                CaptureFormat::PcapNs | CaptureFormat::Unspecified => Format::PcapNs,
            };
            let answered = packets(format, all::<QueryResponse>(&frames));
            let (receipt, _) = answered.ended.expect("a good status is that of a whole answer");
            assert_eq!(receipt.packets, answered.packets);
        }
        Some("Flows") => {
            let (found, ended) = flows(all::<FlowsResponse>(&frames));
            let receipt = ended.expect("a good status is that of a whole answer");
            let packets: u64 = found.iter().map(|flow| flow.a_to_b.packets + flow.b_to_a.packets).sum();
            assert_eq!(packets, receipt.packets);
        }
        Some("Explain") => assert_eq!(all::<ExplainResponse>(&frames).len(), 1),
        Some("Status") => assert_eq!(all::<StatusResponse>(&frames).len(), 1),
        Some("Segments") => drop(all::<SegmentsResponse>(&frames)),
        Some("RetrievePcap") => drop(all::<PcapResponse>(&frames)),
        _ => {}
    }
}

fn all<M: Message + Default>(frames: &[&[u8]]) -> Vec<M> {
    frames.iter().map(|frame| M::decode(*frame).expect("what is sent can be decoded")).collect()
}
