//! `POST /query` by HTTP/1.1, one connection for all questions, as fast as either daemon is.

use std::{future::poll_fn, net::TcpStream, path::Path, pin::Pin, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Request};
use hyper::{body::Body as _, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use steno_proto::certs::{CertDir, client_tls};
use tokio::{runtime::Runtime, time::timeout};
use tokio_rustls::TlsConnector;

use super::bench::{Bench, PATIENCE};

/// With the client certificate of a directory.
pub(crate) struct Client<'a> {
    bench: &'a Bench,
    runtime: Runtime,
    tls: Arc<ClientConfig>,
    send: Option<http1::SendRequest<Body>>,
}

/// An answer as far as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// None where it came to its end.
    pub(crate) broken: Option<String>,
}

impl Answer {
    /// The receipt in our daemon's trailer.
    pub(crate) fn receipt(&self) -> serde_json::Value {
        let trailers = self.trailers.as_ref().unwrap();
        serde_json::from_slice(trailers["steno-receipt"].as_bytes()).unwrap()
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(bench: &'a Bench, certs: &Path) -> Self {
        let mut tls = client_tls(&CertDir::new(certs)).unwrap().config;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { bench, runtime, tls: Arc::new(tls), send: None }
    }

    /// Asks, and takes the answer to its end.
    pub(crate) fn post(&mut self, query: &str) -> Answer {
        let tcp = self.send.is_none().then(|| {
            let tcp = self.bench.inside(|| TcpStream::connect(("127.0.0.1", 1234)).unwrap());
            tcp.set_nonblocking(true).unwrap();
            tcp
        });
        let (tls, send) = (Arc::clone(&self.tls), &mut self.send);
        let asked = async {
            if let Some(tcp) = tcp {
                let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
                let host = ServerName::try_from("127.0.0.1").unwrap();
                let io = TokioIo::new(TlsConnector::from(tls).connect(host, tcp).await.unwrap());
                let (new, connection) = http1::handshake(io).await.unwrap();
                drop(tokio::spawn(connection));
                *send = Some(new);
            }
            let send = send.as_mut().unwrap();
            send.ready().await.unwrap();
            let request = Request::post("/query").header("host", "127.0.0.1:1234").header("te", "trailers");
            let response = send.send_request(request.body(Body::from(query.to_owned())).unwrap()).await.unwrap();
            let (head, mut body) = response.into_parts();
            let mut answer = Answer { status: head.status.as_u16(), body: Vec::new(), trailers: None, broken: None };
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => answer.body.extend_from_slice(&data),
                    Ok(Err(other)) => answer.trailers = other.into_trailers().ok(),
                    Err(e) => {
                        answer.broken = Some(e.to_string());
                        break;
                    }
                }
            }
            answer
        };
        let answer = self.runtime.block_on(async { timeout(PATIENCE, asked).await });
        let answer = answer.unwrap_or_else(|_| panic!("no answer within {PATIENCE:?}: {query}"));
        if answer.broken.is_some() || answer.status != 200 {
            self.send = None;
        }
        answer
    }

    /// The capture file of an answer that is whole.
    pub(crate) fn packets(&mut self, query: &str) -> Vec<u8> {
        let answer = self.post(query);
        let text = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(500)]).into_owned();
        assert_eq!((answer.status, &answer.broken), (200, &None), "{query}: {}", text());
        if answer.trailers.is_some() {
            let receipt = answer.receipt();
            assert_eq!(receipt["complete"], true, "{query}: {receipt}");
        }
        answer.body
    }
}
