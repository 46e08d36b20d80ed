//! A wire in a namespace, traffic on it, the daemon at its end, and a client of the daemon.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use steno_core::testkit::need;
pub(crate) use steno_core::testkit::{PATIENCE, is_gone, until};
use steno_proto::{
    certs::{CertDir, client_tls},
    v1::{
        QueryRequest, Receipt, Segment, SegmentsRequest, StatusRequest, StatusResponse, query_response::Part,
        sensor_client::SensorClient,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// A directory of the test's own, and a namespace with a wire from v0 to v1 that its thread is in: what the thread starts,
/// threads and programs, is in it too.
pub(crate) struct Bench {
    root: tempfile::TempDir,
    _namespace: Namespace,
}

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

impl Bench {
    /// `None` where this cannot be: the test is skipped.
    pub(crate) fn enter() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = rustix::process::geteuid().is_root();
        let ip_is_there = Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
        let stenotype = stenographer().with_file_name("stenotype");
        if !need(root && ip_is_there && stenotype.is_file(), "root, ip(8), and stenotype beside stenographer") {
            return None;
        }
        let name = format!("stenoreal{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let namespace = Namespace(name);
        let file = fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network)).unwrap();
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        for link in ["v0", "v1"] {
            // No neighbour discovery among the packets.
            fs::write(format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6"), "1").unwrap();
            ip(&["link", "set", link, "up"]);
        }
        ip(&["link", "set", "lo", "up"]);
        ip(&["addr", "add", "10.9.9.1/24", "dev", "v0"]);
        ip(&["neigh", "add", "10.9.9.2", "lladdr", "02:00:00:00:00:02", "dev", "v0", "nud", "permanent"]);
        Some(Self { root: tempfile::tempdir().unwrap(), _namespace: namespace })
    }

    /// Where the daemon keeps everything.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Has the daemon make its embedded default, and changes it: the whole flags of stenotype, and its path.
    pub(crate) fn configure(&self, flags: &[&str], stenotype: Option<&str>) {
        let mut daemon = self.start();
        daemon.wait_for("capturing interface=\"v1\"");
        assert_eq!(daemon.stop().code(), Some(0), "{}", self.log());
        let file = self.data().join("config");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        config["Flags"] = flags.iter().copied().collect();
        if let Some(path) = stenotype {
            config["StenotypePath"] = path.into();
        }
        fs::write(&file, config.to_string()).unwrap();
        fs::write(self.root.path().join("log"), "").unwrap();
    }

    /// Gives what is there to a user.
    pub(crate) fn give_to(&self, user: u32) {
        let status = Command::new("chown").arg("-R").arg(user.to_string()).arg(self.root.path()).status().unwrap();
        assert!(status.success());
    }

    /// Starts the daemon on v1. Its log is added to the file `log`.
    pub(crate) fn start(&self) -> Daemon {
        self.start_by(&[])
    }

    /// Starts it by a command that becomes it, as `setpriv ...`.
    pub(crate) fn start_by(&self, before: &[&str]) -> Daemon {
        let line = [before, &[stenographer().to_str().unwrap()]].concat();
        let log = self.root.path().join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = Command::new(line[0])
            .args(&line[1..])
            .args(["-interface", "v1", "-syslog=false", "-v", "1", "-data"])
            .arg(self.data())
            // It leaves a link to its data where it is started.
            .current_dir(self.root.path())
            .env("TMPDIR", self.root.path())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("STENO_LOG")
            .env_remove("STENO_LOG_FORMAT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        Daemon { child, log }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    /// Waits until captures on v1 have begun this often since the log does. What is sent before is captured by nobody: the daemon
    /// takes clients before its stenotype has a socket.
    pub(crate) fn wait_for_captures(&self, times: usize) {
        until("it captures", || self.log().matches("capturing interface=\"v1\"").count() >= times);
    }

    /// Names of indexes, ascending; hidden ones too, where asked for.
    pub(crate) fn indexes(&self, hidden: bool) -> Vec<String> {
        names(&self.data().join("IDX0"), hidden)
    }

    /// Names of packet files.
    pub(crate) fn packet_files(&self, hidden: bool) -> Vec<String> {
        names(&self.data().join("PKT0"), hidden)
    }
}

fn names(dir: &Path, hidden: bool) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_segment = |name: &str| name.trim_start_matches('.').parse::<u64>().is_ok();
    let mut names: Vec<String> = entries.filter(|name| name.starts_with('.') == hidden && is_segment(name)).collect();
    names.sort();
    names
}

fn stenographer() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_stenographer"))
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A daemon that runs. A test that fails kills it, and its stenotype.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn wait_for(&mut self, text: &str) {
        let log = || fs::read_to_string(&self.log).unwrap_or_default();
        let begun = Instant::now();
        while !log().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "no {text:?} in\n{}", log());
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon has ended:\n{}", log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The number of the process that starts stenotype for it.
    pub(crate) fn launcher(&self) -> Option<u32> {
        children(self.child.id()).into_iter().find(|child| !is_gone(*child))
    }

    /// The number of its stenotype, if one runs: as the kernel knows it, before the daemon may.
    pub(crate) fn stenotype(&self) -> Option<u32> {
        children(self.launcher()?).into_iter().find(|child| !is_gone(*child))
    }
}

/// The children of a process.
fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|text| text.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<_>>()).collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let stenotype = self.stenotype();
            let _ = self.child.kill();
            let _ = self.child.wait();
            if let Some(stenotype) = stenotype {
                let _ = kill_process(pid(stenotype), Signal::KILL);
            }
        }
    }
}

/// A stenotype that has lost its daemon; a test that fails does not leave it behind.
pub(crate) struct Orphan(pub(crate) u32);

impl Drop for Orphan {
    fn drop(&mut self) {
        if !is_gone(self.0) {
            let _ = kill_process(pid(self.0), Signal::KILL);
        }
    }
}

/// Datagrams from 10.9.9.1 to 10.9.9.2, port 9, which nobody answers, until it is stopped or five minutes are over.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

impl Traffic {
    pub(crate) fn start(a_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let socket = UdpSocket::bind("10.9.9.1:40000").unwrap();
            let (begun, mut sent) = (Instant::now(), 0u64);
            while !asked.load(Ordering::Relaxed) && begun.elapsed() < Duration::from_secs(300) {
                let due = begun.elapsed().as_micros() * u128::from(a_second) / 1_000_000;
                while u128::from(sent) < due {
                    let _ = socket.send_to(&[7; 200], "10.9.9.2:9").unwrap();
                    sent += 1;
                }
                thread::sleep(Duration::from_millis(2));
            }
            sent
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and says how many datagrams were sent.
    pub(crate) fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A client, with the certificate that the daemon has made.
pub(crate) struct Client {
    runtime: Runtime,
    sensor: SensorClient<Channel>,
    tls: ClientConfig,
}

/// What a query gave.
pub(crate) struct Answer {
    pub(crate) bytes: usize,
    pub(crate) receipt: Receipt,
}

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1234);

async fn connect(tls: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(ADDRESS).await?;
    // As `steno` does; else most of what an answer takes is a packet that waits for another.
    tcp.set_nodelay(true)?;
    TlsConnector::from(Arc::new(tls)).connect(ServerName::IpAddress(ADDRESS.ip().into()), tcp).await
}

impl Client {
    /// Waits until the daemon takes it.
    pub(crate) fn connect(data: &Path) -> Self {
        // With a thread of its own, which answers the pings of the daemon between two questions.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let begun = Instant::now();
        let tls = loop {
            match client_tls(&CertDir::new(data.join("certs"))) {
                Ok(tls) => break tls.config,
                Err(e) => assert!(begun.elapsed() < PATIENCE, "{e}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let channel = loop {
            let tls = tls.clone();
            let connector = tower::service_fn(move |_| {
                let tls = tls.clone();
                async move { connect(tls).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_shared(format!("http://{ADDRESS}")).unwrap();
            match runtime.block_on(endpoint.connect_with_connector(connector)) {
                Ok(channel) => break channel,
                Err(e) => assert!(begun.elapsed() < PATIENCE, "{e:?}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        Self { runtime, sensor: SensorClient::new(channel).max_decoding_message_size(16 << 20), tls }
    }

    pub(crate) fn status(&mut self) -> Result<StatusResponse, Status> {
        let sensor = &mut self.sensor;
        let asked = async { timeout(PATIENCE, sensor.status(StatusRequest {})).await.unwrap() };
        self.runtime.block_on(asked).map(tonic::Response::into_inner)
    }

    /// The packets of a query: an error is what its stream ends with, an answer always has a receipt.
    pub(crate) fn query(&mut self, query: &str) -> Result<Answer, Status> {
        let (answer, end) = self.query_with_its_end(query);
        end.map(|()| answer.unwrap_or_else(|| panic!("{query:?} ended well and without a receipt")))
    }

    /// Waits until the query gives so many packets, and gives the receipt that says so. More are no answer that is waited for.
    pub(crate) fn wait_for_packets(&mut self, query: &str, packets: u64) -> Receipt {
        let begun = Instant::now();
        loop {
            let receipt = self.query(query).unwrap().receipt;
            assert!(receipt.packets <= packets, "more than {packets} packets: {receipt:?}");
            if receipt.packets == packets {
                return receipt;
            }
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {packets} packets in {receipt:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Follows a query until the last clone of what counts its bytes is dropped.
    pub(crate) fn follow(&mut self, query: &str) -> Arc<AtomicU64> {
        let request = QueryRequest { query: query.to_owned(), follow: true, ..QueryRequest::default() };
        let (counted, mut sensor) = (Arc::new(AtomicU64::new(0)), self.sensor.clone());
        let bytes = Arc::downgrade(&counted);
        let _detached = self.runtime.spawn(async move {
            let mut stream = sensor.query(request).await.unwrap().into_inner();
            while let Some(message) = stream.message().await.unwrap() {
                let Some(bytes) = bytes.upgrade() else { return };
                match message.part.unwrap() {
                    Part::Chunk(chunk) => drop(bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed)),
                    Part::Progress(_) => {}
                    Part::Receipt(receipt) => panic!("it ended: {receipt:?}"),
                }
            }
        });
        counted
    }

    /// The packets of a query, and the status of its stream beside them.
    pub(crate) fn query_with_its_end(&mut self, query: &str) -> (Option<Answer>, Result<(), Status>) {
        let request = QueryRequest { query: query.to_owned(), ..QueryRequest::default() };
        let sensor = &mut self.sensor;
        let ask = async move {
            let mut answer = None;
            let mut bytes = 0;
            let mut stream = match sensor.query(request).await {
                Ok(stream) => stream.into_inner(),
                Err(status) => return (None, Err(status)),
            };
            loop {
                match stream.message().await {
                    Ok(Some(message)) => match message.part.unwrap() {
                        Part::Chunk(chunk) => bytes += chunk.len(),
                        Part::Progress(_) => {}
                        Part::Receipt(receipt) => answer = Some(Answer { bytes, receipt }),
                    },
                    Ok(None) => return (answer, Ok(())),
                    Err(status) => return (answer, Err(status)),
                }
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, ask).await.unwrap() })
    }

    pub(crate) fn segments(&mut self) -> Result<Vec<Segment>, Status> {
        let sensor = &mut self.sensor;
        let ask = async move {
            let mut segments = Vec::new();
            let mut stream = sensor.segments(SegmentsRequest::default()).await?.into_inner();
            while let Some(message) = stream.message().await? {
                segments.extend(message.segments);
            }
            Ok(segments)
        };
        self.runtime.block_on(async { timeout(PATIENCE, ask).await.unwrap() })
    }

    /// The value of a series of `/metrics`.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let ask = async move {
            let mut stream = connect(tls).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let text = self.runtime.block_on(async { timeout(PATIENCE, ask).await.unwrap() });
        let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}
