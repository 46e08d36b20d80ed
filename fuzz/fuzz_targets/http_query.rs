//! Requests over HTTP, as they come out of hyper: what a sensor serves to them, `POST /query` above all.
//!
//! The input is the head of a request, an empty line, and its body. No request is answered with an error of the sensor's own,
//! however its body is cut into pieces it is answered the same, and an answer that is not broken off is a capture file, which
//! its receipt agrees with.

#![no_main]

use axum::body::Body;
use http::{Request, StatusCode, Version};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use steno_cli::import::reader::CaptureReader;
use steno_fuzz::served::{Reply, ask, in_pieces};

/// Bytes of a piece of the body.
const PIECE: usize = 7;

fuzz_target!(|input: &[u8]| -> Corpus {
    let (head, body) = parts(input);
    let Some(request) = request(head, Body::from(body.to_vec())) else { return Corpus::Reject };
    let is_query = request.uri().path() == "/query";
    let reply = ask(request);
    assert_ne!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{reply:?}");
    if !is_query {
        return Corpus::Keep;
    }
    if reply.status == StatusCode::OK {
        look(&reply);
    }
    if let Some(request) = self::request(head, in_pieces(body, PIECE)) {
        let other = ask(request);
        assert_eq!(
            (reply.status, reply.body, reply.trailers, reply.broken),
            (other.status, other.body, other.trailers, other.broken),
            "in pieces"
        );
    }
    Corpus::Keep
});

/// Head and body.
fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, rest) = input.split_at(end.unwrap_or(input.len()));
    (head, rest.get(2..).unwrap_or_default())
}

/// A request; none where hyper would hand on none.
fn request(head: &[u8], body: Body) -> Option<Request<Body>> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.split(|byte| *byte == b' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    let version = match version {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/2" => Version::HTTP_2,
        _ => return None,
    };
    let mut builder = Request::builder().method(method).uri(target).version(version);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(at);
        builder = builder.header(name, value.get(1..)?.trim_ascii());
    }
    builder.body(body).ok()
}

fn look(reply: &Reply) {
    assert!(!reply.broken, "nothing is broken off: all can be read");
    let mut reader = CaptureReader::open(&reply.body[..]).expect("a capture file");
    let mut packets = 0u64;
    while reader.next_record().expect("records that are whole").is_some() {
        packets += 1;
    }
    let Some(receipt) = reply.trailers.get("steno-receipt") else { return };
    let receipt: Value = serde_json::from_slice(receipt.as_bytes()).expect("a receipt is JSON");
    assert_eq!(receipt.get("packets").and_then(Value::as_u64), Some(packets), "{receipt}");
    assert_eq!(receipt.get("bytes").and_then(Value::as_u64), Some(reply.body.len() as u64), "{receipt}");
    let digest = blake3::hash(&reply.body).to_hex();
    assert_eq!(receipt.get("blake3").and_then(Value::as_str), Some(digest.as_str()), "{receipt}");
}
