//! A sensor without capture that listens on loopback, clients for it, and its log.

use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
pub(crate) use steno_core::testkit::PATIENCE;
use steno_core::{
    BLOCK_BYTES, SystemClock, TimestampNs,
    block::{Block, BlockWriter, Push},
    testkit::FrameBuilder,
};
use steno_daemon::{
    access::Rule,
    capture::ThreadDirectories,
    config::{Config, Limits, RpcConfig, ThreadConfig},
    metrics::Metrics,
    retention::{Bounds, ThreadRetention},
    sensor::{Sensor, SensorSettings},
    serve::{Certificates, Health, ServeError, Server, Tuning},
};
use steno_proto::certs::{CertDir, client_tls};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

/// A running server, its directory, and what it was configured with.
pub(crate) struct Running {
    pub(crate) root: TempDir,
    pub(crate) certs: CertDir,
    pub(crate) address: SocketAddr,
    pub(crate) rpc_address: Option<SocketAddr>,
    pub(crate) metrics: Metrics,
    pub(crate) certificates: Certificates,
    pub(crate) health: Health,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Result<(), ServeError>>,
    _sensor: Sensor,
}

/// What a test wants to be different.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) tuning: Tuning,
    /// A second port, with a CA of its own in `rpc/`.
    pub(crate) rpc: bool,
    /// A segment with [`PACKETS`] packets of port 53.
    pub(crate) packets: bool,
    /// So many segments more, of [`PACKETS`] packets with [`BULK_PAYLOAD`] each.
    pub(crate) bulk: u32,
    pub(crate) limits: Limits,
    /// Who may ask what.
    pub(crate) access: Option<Vec<Rule>>,
    /// The packets of one segment more, by time.
    pub(crate) frames: Vec<(TimestampNs, Vec<u8>)>,
    /// An audit log in `audit.log`.
    pub(crate) audit: bool,
}

/// Packets of a segment that a test has made.
pub(crate) const PACKETS: u32 = 1_000;
/// Bytes of payload that make those packets almost fill a block.
pub(crate) const BULK_PAYLOAD: usize = 900;

pub(crate) async fn start(wanted: Wanted) -> Running {
    let _said = log();
    let root = tempfile::tempdir().unwrap();
    let certs = CertDir::new(root.path().join("certs"));
    let _made = certs.init(&["127.0.0.1"]).unwrap();
    let audit = wanted.audit.then(|| root.path().join("audit.log"));
    let mut config = Config { limits: wanted.limits, access: wanted.access, audit, ..config(root.path()) };
    if wanted.rpc {
        let other = CertDir::new(root.path().join("rpc"));
        let _made = other.init(&["127.0.0.1"]).unwrap();
        config.rpc = Some(RpcConfig {
            ca_cert: other.ca_cert(),
            server_cert: other.server_cert(),
            server_key: other.server_key(),
            port: 0,
            server_max_bytes: None,
            client_chunk_bytes: 1_000,
            client_max_bytes: None,
        });
    }
    let (metrics, clock) = (Metrics::new(), Arc::new(SystemClock));
    let sensor = sensor(&config, &metrics);
    if wanted.packets {
        fill(&config.threads[0], EPOCH_S, &[]);
    }
    for i in 0..wanted.bulk {
        fill(&config.threads[0], EPOCH_S + 100 * (i + 1), &[i.to_le_bytes()[0]; BULK_PAYLOAD]);
    }
    if let [(first, _), ..] = wanted.frames.as_slice() {
        publish(&config.threads[0], u32::try_from(first.secs()).unwrap(), &wanted.frames);
    }
    let server = Server::bind(&config, sensor.view(), metrics.clone(), clock, wanted.tuning).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, rpc_address) = (server.address(), server.rpc_address());
    let (certificates, health) = (server.certificates(), server.health());
    let ended = tokio::spawn(server.run(async {
        let _gone = stopped.await;
    }));
    Running {
        root,
        certs,
        address,
        rpc_address,
        metrics,
        certificates,
        health,
        stop: Some(stop),
        ended,
        _sensor: sensor,
    }
}

/// One thread in `root`, on an interface that no capture process is started for.
pub(crate) fn config(root: &Path) -> Config {
    Config {
        threads: vec![ThreadConfig {
            packets_directory: root.join("PKT0"),
            index_directory: root.join("IDX0"),
            interface: "none0".into(),
            disk_free_percentage: 1,
            max_directory_files: None,
            max_age: None,
            max_bytes: None,
        }],
        stenotype_path: "/bin/false".into(),
        flags: Vec::new(),
        index_format: None,
        host: Ipv4Addr::LOCALHOST.into(),
        port: 0,
        cert_path: root.join("certs"),
        crl: None,
        max_open_files: 1_000,
        rpc: None,
        access: None,
        audit: None,
        audit_failure: steno_daemon::audit::OnFailure::default(),
        limits: Limits::default(),
        scrub: None,
    }
}

/// The store of `config`, empty, with nothing that captures into it.
pub(crate) fn sensor(config: &Config, metrics: &Metrics) -> Sensor {
    let thread = &config.threads[0];
    let (packets, index) = (thread.packets_directory.clone(), thread.index_directory.clone());
    for directory in [&packets, &index] {
        fs::create_dir(directory).unwrap();
    }
    let directories = ThreadDirectories { thread: 0, packets, index };
    let threads = vec![ThreadRetention { directories, bounds: Bounds::default() }];
    Sensor::open(SensorSettings { threads, ..SensorSettings::default() }, Arc::new(SystemClock), metrics).unwrap()
}

/// When the first packet was captured, and what the segment is called after.
const EPOCH_S: u32 = 1_700_000_000;

/// Publishes a segment that was opened at this second, and whose packets have this payload.
fn fill(thread: &ThreadConfig, opened_s: u32, payload: &[u8]) {
    let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(40_000, 53).payload(payload).build();
    let frames: Vec<_> = (0..PACKETS).map(|i| (TimestampNs::from_parts(opened_s, i), frame.clone())).collect();
    publish(thread, opened_s, &frames);
}

/// Publishes a segment that was opened at this second, of these packets.
fn publish(thread: &ThreadConfig, opened_s: u32, frames: &[(TimestampNs, Vec<u8>)]) {
    let (mut log, mut writer) = (steno_index::Log::new(), BlockWriter::new(BLOCK_BYTES));
    for (time, frame) in frames {
        assert_ne!(writer.push(*time, u32::try_from(frame.len()).unwrap(), frame).unwrap(), Push::Full);
    }
    let block = writer.finish(1);
    let _captured = steno_index::note_block(&mut log, 0, &Block::parse(block).unwrap(), None).unwrap();
    let name = format!("{opened_s}000000");
    fs::write(thread.packets_directory.join(&name), block).unwrap();
    let mut index = Vec::new();
    let facts = steno_index::Facts { block_bytes: BLOCK_BYTES, ..steno_index::Facts::default() };
    let _summary = steno_index::seal(&log, &facts, &mut index).unwrap();
    fs::write(thread.index_directory.join(&name), index).unwrap();
}

impl Running {
    /// The packet file of the segment that was asked for.
    pub(crate) fn packet_file(&self) -> PathBuf {
        self.root.path().join(format!("PKT0/{EPOCH_S}000000"))
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Duration {
        let began = Instant::now();
        drop(self.stop.take());
        within("the end", self.ended).await.unwrap().unwrap();
        began.elapsed()
    }

    pub(crate) fn client(&self) -> ClientConfig {
        client_tls(&self.certs).unwrap().config
    }

    pub(crate) async fn channel(&self) -> Channel {
        channel(self.address, self.client()).await.unwrap()
    }

    /// A count out of the metrics.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// `future`, which must not take for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes too long"))
}

/// Shakes hands with `address`.
pub(crate) async fn connect(address: SocketAddr, client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(Arc::new(client)).connect(name, tcp).await
}

/// A client of gRPC.
pub(crate) async fn channel(address: SocketAddr, client: ClientConfig) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let client = client.clone();
        async move { connect(address, client).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    within("connecting", endpoint.connect_with_connector(connector)).await
}

/// Asks for `/metrics` over HTTP/1.1 and gives the first line of the answer, or why there is none.
pub(crate) async fn get_metrics(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    let read = within("the answer", stream.read_to_end(&mut answer)).await;
    let text = String::from_utf8_lossy(&answer);
    match text.lines().next() {
        Some(line) => Ok(line.to_owned()),
        None => Err(read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// What was logged, of all tests of this process.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

/// Who called, and when: ports are used again.
pub(crate) struct Caller {
    address: SocketAddr,
    since: usize,
}

impl Log {
    /// Calls `address`. What is said of the call comes after what was said before it.
    pub(crate) async fn call(&self, address: SocketAddr) -> (TcpStream, Caller) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        let tcp = TcpStream::connect(address).await.unwrap();
        let address = tcp.local_addr().unwrap();
        (tcp, Caller { address, since })
    }

    /// All that was said.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The reason for which a client was refused, once it is there.
    pub(crate) async fn refusal(&self, caller: &Caller) -> String {
        let wanted = format!("refused {}: ", caller.address);
        let look = async {
            loop {
                let text = {
                    let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    String::from_utf8_lossy(&all[caller.since..]).into_owned()
                };
                if let Some((_, reason)) = text.lines().find_map(|line| line.split_once(&wanted)) {
                    return reason.split(" peer=").next().unwrap_or_default().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the line in the log", look).await
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    })
    .clone()
}
