//! Clients: of TLS, of HTTP/1.1 for the metrics, and of gRPC.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use steno_proto::{
    certs::client_tls,
    v1::{QueryRequest, QueryResponse, Receipt, query_response::Part, sensor_client::SensorClient},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::daemon::{Daemon, PATIENCE};

/// `future`, which must not take for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

pub(crate) async fn shake_hands(tcp: TcpStream, client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::IpAddress(tcp.peer_addr()?.ip().into());
    TlsConnector::from(Arc::new(client)).connect(name, tcp).await
}

/// Asks for `/metrics` over HTTP/1.1; or why there is no answer.
pub(crate) async fn get_metrics(tcp: TcpStream, mut client: ClientConfig) -> io::Result<String> {
    if client.alpn_protocols.contains(&b"h2".to_vec()) {
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let mut stream = shake_hands(tcp, client).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    let read = within("the answer", stream.read_to_end(&mut answer)).await;
    match answer.is_empty() {
        false => Ok(String::from_utf8(answer).unwrap()),
        true => Err(read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())),
    }
}

impl Daemon {
    /// What a client of its own CA calls it with.
    pub(crate) fn client(&self) -> ClientConfig {
        client_tls(&self.certs).unwrap().config
    }

    /// What it exposes.
    pub(crate) async fn metrics(&self) -> String {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let answer = get_metrics(tcp, self.client()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answer
    }

    /// A connection of its own.
    pub(crate) async fn sensor(&self) -> SensorClient<Channel> {
        SensorClient::new(within("connecting", channel(self.address, self.client())).await.unwrap())
    }
}

/// The sum of a metric over its labels. `name` may hold some of the labels.
pub(crate) fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ', ',', '}'])));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// A channel of gRPC that never connects a second time.
pub(crate) async fn channel(address: SocketAddr, client: ClientConfig) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let client = client.clone();
        async move { shake_hands(TcpStream::connect(address).await?, client).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_with_connector(connector).await
}

pub(crate) fn request(query: &str) -> QueryRequest {
    QueryRequest { query: query.to_owned(), ..QueryRequest::default() }
}

/// What came of a stream.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) bytes: Vec<u8>,
    pub(crate) receipt: Option<Receipt>,
    pub(crate) status: Option<Status>,
}

impl Taken {
    /// Takes one message. `false` at the end.
    pub(crate) async fn next(&mut self, stream: &mut Streaming<QueryResponse>) -> bool {
        let message = match within("a message", stream.message()).await {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(status) => {
                self.status = Some(status);
                return false;
            }
        };
        assert!(self.receipt.is_none(), "a message after the receipt: {message:?}");
        match message.part.unwrap() {
            Part::Chunk(bytes) => self.bytes.extend_from_slice(&bytes),
            Part::Progress(_) => {}
            Part::Receipt(receipt) => self.receipt = Some(receipt),
        }
        true
    }

    /// All of it, with a pause after each message.
    pub(crate) async fn all(mut stream: Streaming<QueryResponse>, pause: Duration) -> Self {
        let mut taken = Self::default();
        while taken.next(&mut stream).await {
            tokio::time::sleep(pause).await;
        }
        taken
    }

    /// The receipt, which must speak of the bytes that came.
    pub(crate) fn receipt(&self) -> &Receipt {
        let receipt = self.receipt.as_ref().unwrap_or_else(|| panic!("no receipt, but {:?}", self.status));
        assert_eq!(receipt.bytes, self.bytes.len() as u64, "{receipt:?}");
        assert_eq!(receipt.blake3, blake3::hash(&self.bytes).to_hex().as_str(), "{receipt:?}");
        receipt
    }

    /// A whole answer's bytes.
    pub(crate) fn whole(&self) -> &[u8] {
        let receipt = self.receipt();
        assert!(receipt.complete && self.status.is_none(), "{receipt:?} {:?}", self.status);
        &self.bytes
    }
}
