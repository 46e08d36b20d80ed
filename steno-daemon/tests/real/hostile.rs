//! Sixty-four clients that misbehave, each in its own way, while packets come and an honest client asks.
//!
//! As part of all tests it takes seconds, and holds what holds on any machine: no packet is lost that nobody tells of, every
//! answer to the honest client is whole, memory is bounded, and nothing is left of the others. With `STENO_HOSTILE=60` it goes
//! on for so many seconds, and holds the times of the honest client against those before.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, to_bytes};
use http::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use steno_proto::{
    certs::{CertDir, client_tls},
    v1::QueryRequest,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::StreamExt;

use super::support::{Bench, Client, Traffic, until};

const CLIENTS: usize = 64;
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1234);
/// What the daemon may take more than before: the memory of all queries, and something for each connection.
const MORE_KIB: u64 = 512 << 10;
/// Threads that the daemon may have at once.
const MOST_THREADS: usize = 80;
/// Between two attempts of one of them: this process shares the machine with those whom it tests.
const BREATH: Duration = Duration::from_millis(50);

/// One of those who misbehave.
#[derive(Clone)]
struct Mallory {
    tls: ClientConfig,
    attempts: Arc<AtomicU64>,
}

impl Mallory {
    async fn connect(&self, protocol: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(ADDRESS).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(Arc::new(tls)).connect(ServerName::IpAddress(ADDRESS.ip().into()), tcp).await
    }

    /// Does its worst for ever, in the way of this number.
    async fn misbehave(self, way: usize) {
        loop {
            let _whatever = self.attempts.fetch_add(1, Ordering::Relaxed);
            // However it ends, it is tried again.
            let _ended = match way % 9 {
                0 => self.half_a_handshake().await,
                1 => self.a_byte_a_second().await,
                2 => self.never_reads().await,
                3 => self.endless_headers().await,
                4 => self.a_thousand_streams().await,
                5 => self.random_bytes().await,
                6 => self.monstrous_queries().await,
                7 => self.asks_and_resets().await,
                _ => self.asks_and_never_reads().await,
            };
            sleep(BREATH).await;
        }
    }

    async fn half_a_handshake(&self) -> std::io::Result<()> {
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut tcp = TcpStream::connect(ADDRESS).await?;
            // The head of a record of a handshake, and a little of it.
            tcp.write_all(&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).await?;
            held.push(tcp);
        }
        for mut tcp in held {
            let _until_it_is_closed = tcp.read_to_end(&mut Vec::new()).await;
        }
        Ok(())
    }

    async fn a_byte_a_second(&self) -> std::io::Result<()> {
        let mut stream = self.connect(b"http/1.1").await?;
        for byte in b"POST /query HTTP/1.1\r\nHost: sensor\r\nContent-Length: 3\r\n\r\nudp".iter().cycle() {
            stream.write_all(&[*byte]).await?;
            stream.flush().await?;
            sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    async fn endless_headers(&self) -> std::io::Result<()> {
        let mut stream = self.connect(b"http/1.1").await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n").await?;
        for n in 0u64.. {
            stream.write_all(format!("X-{n}: {}\r\n", "y".repeat(100)).as_bytes()).await?;
            stream.flush().await?;
        }
        Ok(())
    }

    async fn random_bytes(&self) -> std::io::Result<()> {
        let mut state = self.attempts.load(Ordering::Relaxed) | 1;
        let mut noise = vec![0; 8 << 10];
        for byte in &mut noise {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = state.to_be_bytes()[0];
        }
        // Before the handshake, and in the place of HTTP/2 after it.
        let mut tcp = TcpStream::connect(ADDRESS).await?;
        tcp.write_all(&noise).await?;
        let mut stream = self.connect(b"h2").await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        stream.write_all(&noise).await?;
        let _until_it_is_closed = stream.read_to_end(&mut Vec::new()).await;
        Ok(())
    }

    /// HTTP/1.1: one request after the other, and nothing is taken of any answer.
    async fn asks_and_never_reads(&self) -> std::io::Result<()> {
        let mut stream = self.connect(b"http/1.1").await?;
        loop {
            stream.write_all(b"POST /query HTTP/1.1\r\nHost: sensor\r\nContent-Length: 3\r\n\r\nudp").await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n").await?;
            stream.flush().await?;
        }
    }

    async fn http2(&self) -> std::io::Result<http2::SendRequest<Body>> {
        let io = TokioIo::new(self.connect(b"h2").await?);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.initial_stream_window_size(1).max_concurrent_streams(10_000);
        let (send, connection) = builder.handshake(io).await.map_err(std::io::Error::other)?;
        drop(tokio::spawn(connection));
        Ok(send)
    }

    /// HTTP/2: answers with a window of a byte, in which nothing is ever taken.
    async fn never_reads(&self) -> std::io::Result<()> {
        let mut send = self.http2().await?;
        let mut held = Vec::new();
        // One that takes a place among queries; the others leave room to those who have their queries run.
        let metrics = || Request::get(format!("https://{ADDRESS}/metrics")).body(Body::empty()).unwrap();
        for request in std::iter::once(grpc(message("udp", true))).chain(std::iter::repeat_with(metrics).take(7)) {
            send.ready().await.map_err(std::io::Error::other)?;
            held.push(send.send_request(request).await.map_err(std::io::Error::other)?);
        }
        while !send.is_closed() {
            sleep(BREATH).await;
        }
        Ok(())
    }

    /// A thousand streams, of which none is ever asked for all.
    async fn a_thousand_streams(&self) -> std::io::Result<()> {
        let mut send = self.http2().await?;
        let mut asked = JoinSet::new();
        for _ in 0..1_000 {
            send.ready().await.map_err(std::io::Error::other)?;
            let begun = tokio_stream::once(Ok::<_, std::io::Error>(Bytes::from_static(&[0, 0, 3, 0, 0, 10])));
            let never = tokio_stream::pending::<std::io::Result<Bytes>>();
            let _handle = asked.spawn(send.send_request(grpc(Body::from_stream(begun.chain(never)))));
        }
        while let Some(_whatever) = asked.join_next().await {}
        Ok(())
    }

    /// What takes a while to be made or to be read is asked for, and reset before there is an answer.
    async fn asks_and_resets(&self) -> std::io::Result<()> {
        let mut send = self.http2().await?;
        let long = message(&vec!["port abxyz"; 4_500].join(" or "), false);
        let metrics = || Request::get(format!("https://{ADDRESS}/metrics")).body(Body::empty()).unwrap();
        for n in 0.. {
            send.ready().await.map_err(std::io::Error::other)?;
            let request = if n % 2 == 0 { metrics() } else { grpc(long.clone()) };
            let asked = send.send_request(request);
            let _given_up = timeout(Duration::from_millis(2), asked).await;
            if n % 8 == 7 {
                sleep(BREATH).await;
            }
        }
        Ok(())
    }

    /// As large as queries may be: of every two, one that looks at all and finds nothing, and one that finds all and is given up.
    async fn monstrous_queries(&self) -> std::io::Result<()> {
        let ports: Vec<String> = (0..990).map(|n| format!("not port {}", 20_000 + n)).collect();
        let everything = ports.join(" and ");
        let nothing = format!("({everything}) and not net 10.0.0.0/9");
        let io = TokioIo::new(self.connect(b"h2").await?);
        let handshake = http2::handshake(TokioExecutor::new(), io).await;
        let (mut send, connection) = handshake.map_err(std::io::Error::other)?;
        drop(tokio::spawn(connection));
        for _ in 0..50 {
            send.ready().await.map_err(std::io::Error::other)?;
            let answer = send.send_request(grpc(message(&nothing, false))).await.map_err(std::io::Error::other)?;
            let _all = to_bytes(Body::new(answer.into_body()), usize::MAX).await.map_err(std::io::Error::other)?;
            send.ready().await.map_err(std::io::Error::other)?;
            drop(send.send_request(grpc(message(&everything, false))).await.map_err(std::io::Error::other)?);
        }
        Ok(())
    }
}

fn grpc(body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("https://{ADDRESS}/steno.v1.Sensor/Query"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body.into())
        .unwrap()
}

fn message(query: &str, follow: bool) -> Vec<u8> {
    let message = QueryRequest { query: query.to_owned(), follow, ..QueryRequest::default() }.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(message);
    bytes
}

/// How long each of the questions took that an honest client asked until it was stopped.
fn ask(client: &mut Client, stop: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = client.query("port 53 and last 5s").unwrap_or_else(|e| panic!("after {} others: {e}", took.len()));
        assert!(answer.receipt.complete, "after {} others: {:?}", took.len(), answer.receipt);
        took.push(begun.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
    took.sort();
    took
}

fn for_a_while(client: &mut Client, time: Duration) -> Vec<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let over = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        })
    };
    let took = ask(client, &stop);
    over.join().unwrap();
    took
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// What a process holds: its resident memory, descriptors and threads.
fn held(number: u32) -> (u64, usize, usize) {
    let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let count = |name: &str| fs::read_dir(format!("/proc/{number}/{name}")).unwrap().count();
    (resident.trim().trim_end_matches(" kB").parse().unwrap(), count("fd"), count("task"))
}

#[test]
fn sixty_four_clients_that_misbehave_cost_neither_packets_nor_answers() {
    let Some(bench) = Bench::enter() else { return };
    let seconds: Option<u64> = std::env::var("STENO_HOSTILE").ok().map(|text| text.parse().unwrap());
    let (quiet, hostile) = (Duration::from_secs(seconds.map_or(4, |n| n / 3)), seconds.unwrap_or(15));
    bench.configure(&["--blocks=256", "--fileage_sec=10", "--uid=0", "--gid=0"], None);
    let daemon = bench.start();
    bench.wait_for_captures(1);
    let certs = CertDir::new(bench.data().join("certs"));
    let tls = client_tls(&certs.issue_client("mallory").unwrap()).unwrap().config;
    let mut client = Client::connect(&bench.data());
    let traffic = Traffic::start(50_000);
    until("packets are found", || client.query("udp and last 5s").unwrap().receipt.packets > 0);
    let before = for_a_while(&mut client, quiet);
    let (resident_kib, ..) = held(daemon.pid());

    let mallory = Mallory { tls, attempts: Arc::default() };
    let attempts = Arc::clone(&mallory.attempts);
    // They would have processors of their own: what they ask for is to cost others something, not that they ask.
    let be_nice = || {
        let _value = rustix::process::nice(10).unwrap();
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).on_thread_start(be_nice).enable_all().build().unwrap();
    let mut all = JoinSet::new();
    for way in 0..CLIENTS {
        let _handle = all.spawn_on(mallory.clone().misbehave(way), runtime.handle());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching = {
        let (stop, number) = (Arc::clone(&stop), daemon.pid());
        thread::spawn(move || {
            let mut most = (0, 0, 0);
            while !stop.load(Ordering::Relaxed) {
                let now = held(number);
                most = (now.0.max(most.0), now.1.max(most.1), now.2.max(most.2));
                thread::sleep(Duration::from_millis(100));
            }
            most
        })
    };
    let during = for_a_while(&mut client, Duration::from_secs(hostile));
    stop.store(true, Ordering::Relaxed);
    let most = watching.join().unwrap();
    let connections = client.metric("steno_connections_active");
    runtime.block_on(async { timeout(Duration::from_secs(10), all.shutdown()).await.unwrap() });
    runtime.shutdown_timeout(Duration::from_secs(10));

    // Nothing is left of them: their connections, their streams, what was kept for them.
    until("all are gone", || client.metric("steno_connections_active") <= 2.0);
    until("no answer is under way", || client.metric("steno_streams_active{method=\"Query\"}") == 0.0);
    let sent = traffic.stop();
    let mut receipt = client.query("udp port 9").unwrap().receipt;
    until("all that was sent is accounted for", || {
        receipt = client.query("udp port 9").unwrap().receipt;
        let losses = receipt.losses.unwrap_or_default();
        receipt.packets + receipt.kernel_drops + losses.not_written_packets + losses.uncaptured_packets >= sent
    });
    println!(
        "{hostile} s, {} attempts, {connections} connections at the end; the daemon held at most {most:?} (before: \
         {resident_kib} KiB)",
        attempts.load(Ordering::Relaxed),
    );
    println!("packets: {sent} sent, {} found, {} dropped by the kernel", receipt.packets, receipt.kernel_drops);
    let times = |took: &[Duration]| [50, 99, 100].map(|percent| percentile(took, percent));
    println!(
        "honest answers before: {} in {:?}; meanwhile: {} in {:?}",
        before.len(),
        times(&before),
        during.len(),
        times(&during)
    );
    assert!(receipt.complete && receipt.gaps.is_empty(), "{receipt:?}");
    assert!(most.0 < resident_kib + MORE_KIB, "{most:?}");
    assert!(attempts.load(Ordering::Relaxed) > CLIENTS as u64, "they did misbehave");
    let (_, descriptors, threads) = held(daemon.pid());
    assert!(descriptors < 100, "{descriptors} descriptors, {threads} threads");
    // Of queries, of those who serve, and a few for what may block.
    assert!(most.2 < MOST_THREADS, "{most:?}");
    if seconds.is_some() {
        assert_eq!((receipt.kernel_drops, receipt.packets), (0, sent));
        assert!(percentile(&during, 99) < 3 * percentile(&before, 99), "{:?} {:?}", times(&before), times(&during));
    }
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
}
