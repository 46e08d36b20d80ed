//! Clients of plain HTTP, and answers as they see them: data, trailers, and whether they came to their end.

use std::{future::poll_fn, net::SocketAddr, pin::Pin};

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;

use super::support::{Running, connect, within};

/// A connection.
pub(crate) enum Client {
    One(SocketAddr, http1::SendRequest<Body>),
    Two(SocketAddr, http2::SendRequest<Body>),
}

/// An answer to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// None where it came to its end; else what the client saw.
    pub(crate) broken: Option<hyper::Error>,
}

/// An answer that is still coming.
pub(crate) struct Coming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    taken: Vec<u8>,
}

fn speaking(mut client: ClientConfig, protocol: &[u8]) -> ClientConfig {
    client.alpn_protocols = vec![protocol.to_vec()];
    client
}

impl Client {
    /// Connects, to speak `version`.
    pub(crate) async fn new(running: &Running, version: Version) -> Self {
        Self::with_window(running, version, 1 << 20).await
    }

    /// One of HTTP/2 with a window of `bytes` for a stream and for all.
    pub(crate) async fn with_window(running: &Running, version: Version, bytes: u32) -> Self {
        Self::of(running.address, running.client(), version, bytes).await
    }

    /// The same of whoever `client` is.
    pub(crate) async fn of(at: SocketAddr, client: ClientConfig, version: Version, bytes: u32) -> Self {
        if version == Version::HTTP_2 {
            let io = TokioIo::new(connect(at, speaking(client, b"h2")).await.unwrap());
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.initial_stream_window_size(bytes).initial_connection_window_size(bytes);
            let (send, connection) = builder.handshake(io).await.unwrap();
            drop(tokio::spawn(connection));
            return Self::Two(at, send);
        }
        let io = TokioIo::new(connect(at, speaking(client, b"http/1.1")).await.unwrap());
        let (send, connection) = http1::handshake(io).await.unwrap();
        drop(tokio::spawn(connection));
        Self::One(at, send)
    }

    /// Sends a request and gives the answer as soon as it begins.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Coming {
        let (Self::One(at, _) | Self::Two(at, _)) = &*self;
        let at = *at;
        let mut request = Request::builder().method(method);
        request = match self {
            Self::One(..) => request.uri(path).header("host", at.to_string()),
            Self::Two(..) => request.uri(format!("https://{at}{path}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        match self {
            Self::One(_, send) => within("the end of the answer before", send.ready()).await.unwrap(),
            Self::Two(_, send) => within("room for a request", send.ready()).await.unwrap(),
        }
        let response = match self {
            Self::One(_, send) => within("the answer", send.send_request(request)).await,
            Self::Two(_, send) => within("the answer", send.send_request(request)).await,
        };
        let (head, body) = response.unwrap().into_parts();
        Coming { status: head.status, headers: head.headers, body, taken: Vec::new() }
    }

    /// Posts a query and takes the answer to its end. In HTTP/1.1 it says that it takes trailers.
    pub(crate) async fn post(&mut self, query: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![];
        if matches!(self, Self::One(..)) {
            all.push(("te", "trailers"));
        }
        all.extend_from_slice(headers);
        self.begin(Method::POST, "/query", &all, query.to_owned()).await.end().await
    }
}

impl Coming {
    /// Takes the next piece of it, which must be there.
    pub(crate) async fn take_one(&mut self) {
        let frame = within("data", poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx))).await;
        self.taken.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
    }

    /// Takes the rest.
    pub(crate) async fn end(mut self) -> Answer {
        let Self { status, headers, taken: body, .. } = self;
        let mut answer = Answer { status, headers, body, trailers: None, broken: None };
        loop {
            match within("the next frame", poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx))).await {
                None => return answer,
                Some(Err(broken)) => {
                    answer.broken = Some(broken);
                    return answer;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => answer.body.extend_from_slice(&data),
                    Err(other) => {
                        assert!(answer.trailers.replace(other.into_trailers().unwrap()).is_none());
                    }
                },
            }
        }
    }
}

impl Answer {
    /// The text of an answer.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The receipt of an answer that came to its end.
    pub(crate) fn receipt(&self) -> serde_json::Value {
        assert!(self.broken.is_none(), "{:?}", self.broken);
        let trailers = self.trailers.as_ref().unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(trailers["steno-receipt"].as_bytes()).unwrap();
        assert_eq!(receipt["bytes"], self.body.len());
        assert_eq!(receipt["blake3"], blake3::hash(&self.body).to_hex().as_str());
        receipt
    }

    /// The packets of a capture file, of which the bytes after the last whole one are to be none.
    pub(crate) fn packets(&self) -> usize {
        let (packets, rest) = packets(&self.body);
        assert_eq!(rest, 0);
        packets
    }
}

/// The packets of a microsecond pcap with 1.0.1's header, and the bytes that follow the last whole one.
pub(crate) fn packets(pcap: &[u8]) -> (usize, usize) {
    let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0];
    assert_eq!(pcap[..24], header);
    let (mut at, mut packets) = (24, 0);
    while let Some(record) = pcap.get(at..at + 16) {
        let captured = u32::from_le_bytes(record[8..12].try_into().unwrap()) as usize;
        if pcap.len() < at + 16 + captured {
            break;
        }
        (at, packets) = (at + 16 + captured, packets + 1);
    }
    (packets, pcap.len() - at)
}
