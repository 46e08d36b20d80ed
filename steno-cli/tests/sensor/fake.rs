//! A sensor that a test plays: real TLS and gRPC on loopback, and answers as written down.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use steno_core::{
    TimestampNs,
    packet::Frame,
    pcap::{CaptureMeta, CaptureWriter, Format, InterfaceMeta, Record},
    testkit::FrameBuilder,
};
use steno_proto::{
    certs::{CertDir, ServerFiles, server_tls},
    v1::{
        self, ExplainRequest, ExplainResponse, FlowsRequest, FlowsResponse, QueryRequest, QueryResponse,
        SegmentsRequest, SegmentsResponse, StatusRequest, StatusResponse, query_response,
        sensor_server::{Sensor, SensorServer},
    },
};
use tokio::{runtime::Runtime, sync::mpsc, time::sleep};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::run::{Run, Running, command, steno};

/// A step of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step<M> {
    Say(M),
    Fail(Status),
    Wait(Duration),
    /// The connection is cut.
    Cut,
    /// Nothing more, until the client goes.
    Hang,
}

/// What a sensor does when it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Play {
    /// Before anything else.
    pub(crate) refuse: Option<Status>,
    pub(crate) query: Vec<Step<QueryResponse>>,
    pub(crate) flows: Vec<Step<FlowsResponse>>,
    pub(crate) explain: ExplainResponse,
    pub(crate) status: StatusResponse,
}

/// A running sensor, in a directory that goes away with it.
pub(crate) struct Fake {
    pub(crate) root: tempfile::TempDir,
    pub(crate) certs: CertDir,
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _runtime: Runtime,
}

/// What became of what was asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The last request for packets.
    pub(crate) query: Mutex<Option<QueryRequest>>,
    /// Messages that were taken.
    pub(crate) said: AtomicU64,
    /// A client went before its answer ended.
    pub(crate) gone: AtomicBool,
    /// The connections.
    open: Mutex<Vec<TcpStream>>,
}

impl Fake {
    /// A sensor with certificates for 127.0.0.1.
    pub(crate) fn start(play: Play) -> Self {
        let root = tempfile::tempdir().unwrap();
        let certs = CertDir::new(root.path().join("certs"));
        let _made = certs.init(&["127.0.0.1"]).unwrap();
        let files = ServerFiles::from(&certs);
        Self::with(root, certs, &files, play)
    }

    /// A sensor that listens with `files`; its clients have `certs`.
    pub(crate) fn with(root: tempfile::TempDir, certs: CertDir, files: &ServerFiles, play: Play) -> Self {
        let runtime = Runtime::new().unwrap();
        let acceptor = TlsAcceptor::from(server_tls(files).unwrap().config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shaken, incoming) = mpsc::channel::<std::io::Result<_>>(8);
        let service = SensorServer::new(Service { play, seen: Arc::clone(&seen) });
        let open = Arc::clone(&seen);
        listener.set_nonblocking(true).unwrap();
        let _accepting = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let tcp = tcp.into_std().unwrap();
                open.open.lock().unwrap().push(tcp.try_clone().unwrap());
                let (acceptor, shaken) = (acceptor.clone(), shaken.clone());
                let _handshake = tokio::spawn(async move {
                    let tcp = tokio::net::TcpStream::from_std(tcp).unwrap();
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        let _closed = shaken.send(Ok(tls)).await;
                    }
                });
            }
        });
        let server = tonic::transport::Server::builder().add_service(service);
        let _serving = runtime.spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        Self { root, certs, address, seen, _runtime: runtime }
    }

    /// The arguments that name it.
    pub(crate) fn named(&self) -> Vec<String> {
        vec!["--server".into(), self.address.to_string(), "--certs".into(), self.certs.path().display().to_string()]
    }

    /// Asks it.
    pub(crate) fn steno(&self, args: &[&str]) -> Run {
        let all: Vec<String> = args.iter().map(|&arg| arg.to_owned()).chain(self.named()).collect();
        steno(self.root.path(), &all)
    }

    /// Begins to ask it.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        Running::start(command(env!("CARGO_BIN_EXE_steno"), self.root.path()).args(args).args(self.named()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A configuration that names it.
    pub(crate) fn config(&self) -> PathBuf {
        let path = self.path("config");
        let certs = self.certs.path().display();
        let text = format!(r#"{{"host": "127.0.0.1", "PORT": {}, "CertPath": "{certs}"}}"#, self.address.port());
        fs::write(&path, text).unwrap();
        path
    }
}

struct Service {
    play: Play,
    seen: Arc<Seen>,
}

type Answer<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

impl Service {
    fn begin(&self) -> Result<(), Status> {
        self.play.refuse.clone().map_or(Ok(()), Err)
    }

    fn answer<M: Send + 'static>(&self, steps: Vec<Step<M>>) -> Response<Answer<M>> {
        let (sender, messages) = mpsc::channel(1);
        let seen = Arc::clone(&self.seen);
        let _playing = tokio::spawn(async move {
            for step in steps {
                let sent = match step {
                    Step::Say(message) => sender.send(Ok(message)).await,
                    Step::Fail(status) => sender.send(Err(status)).await,
                    Step::Wait(time) => {
                        sleep(time).await;
                        Ok(())
                    }
                    Step::Cut => {
                        // What was said before is on its way.
                        sleep(Duration::from_millis(300)).await;
                        for tcp in seen.open.lock().unwrap().drain(..) {
                            tcp.shutdown(std::net::Shutdown::Both).unwrap();
                        }
                        Ok(())
                    }
                    Step::Hang => {
                        sender.closed().await;
                        seen.gone.store(true, Ordering::Relaxed);
                        Ok(())
                    }
                };
                if sent.is_err() {
                    seen.gone.store(true, Ordering::Relaxed);
                    return;
                }
                let _before = seen.said.fetch_add(1, Ordering::Relaxed);
            }
        });
        Response::new(Box::pin(ReceiverStream::new(messages)))
    }
}

#[tonic::async_trait]
impl Sensor for Service {
    type QueryStream = Answer<QueryResponse>;
    type FlowsStream = Answer<FlowsResponse>;
    type SegmentsStream = Answer<SegmentsResponse>;

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        *self.seen.query.lock().unwrap() = Some(request.into_inner());
        self.begin()?;
        Ok(self.answer(self.play.query.clone()))
    }

    async fn flows(&self, _request: Request<FlowsRequest>) -> Result<Response<Self::FlowsStream>, Status> {
        self.begin()?;
        Ok(self.answer(self.play.flows.clone()))
    }

    async fn explain(&self, _request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        self.begin()?;
        Ok(Response::new(self.play.explain.clone()))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.begin()?;
        Ok(Response::new(self.play.status.clone()))
    }

    async fn segments(&self, _request: Request<SegmentsRequest>) -> Result<Response<Self::SegmentsStream>, Status> {
        Err(Status::unimplemented("nobody asks for these"))
    }
}

/// A nanosecond pcap with this many packets, and where its records end, that of the file header first.
pub(crate) fn capture(packets: u32) -> (Vec<u8>, Vec<usize>) {
    let meta = CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("e")], ..CaptureMeta::default() };
    let writer = CaptureWriter::new(Format::PcapNs, meta);
    let mut bytes = Vec::new();
    writer.start(&mut bytes);
    let mut ends = vec![bytes.len()];
    for i in 0..packets {
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(40_000, 53).build();
        let time = TimestampNs::from_parts(1_700_000_000, i);
        let wire_len = u32::try_from(frame.len()).unwrap();
        writer.packet(&mut bytes, &Record { time, wire_len, frame: Frame::new(&frame), interface: 0 });
        ends.push(bytes.len());
    }
    (bytes, ends)
}

pub(crate) fn chunk(bytes: &[u8]) -> Step<QueryResponse> {
    Step::Say(QueryResponse { part: Some(query_response::Part::Chunk(bytes.to_vec().into())) })
}

pub(crate) fn progress() -> Step<QueryResponse> {
    Step::Say(QueryResponse { part: Some(query_response::Part::Progress(v1::Progress::default())) })
}

/// The receipt of a whole answer.
pub(crate) fn receipt(bytes: &[u8], packets: u64) -> v1::Receipt {
    v1::Receipt {
        query: "udp".into(),
        packets,
        bytes: bytes.len() as u64,
        complete: true,
        blake3: blake3::hash(bytes).to_hex().to_string(),
        ..v1::Receipt::default()
    }
}

pub(crate) fn end(receipt: v1::Receipt) -> Step<QueryResponse> {
    Step::Say(QueryResponse { part: Some(query_response::Part::Receipt(receipt)) })
}

/// PEM of a certificate that the CA of `dir` has signed, as `alter` wants it, and of its key.
pub(crate) fn signed(dir: &CertDir, alter: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - time::Duration::DAY, now + time::Duration::DAY);
    alter(&mut params);
    let key = KeyPair::generate().unwrap();
    let issuer_key = KeyPair::from_pem(&fs::read_to_string(dir.ca_key()).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(dir.ca_cert()).unwrap(), issuer_key).unwrap();
    (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// Writes a certificate and its key.
pub(crate) fn put(cert: &Path, key: &Path, pair: &(String, String)) {
    fs::write(cert, &pair.0).unwrap();
    fs::write(key, &pair.1).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}
