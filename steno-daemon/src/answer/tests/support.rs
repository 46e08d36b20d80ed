//! A sensor without capture over a store that the test made, and its services on a loopback port without TLS.

use std::{
    fs,
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use steno_core::{
    FixedClock, SegmentId, TimestampNs,
    block::{Block, BlockWriter, Push},
    testkit::FrameBuilder,
};
use steno_index::{Facts, Log, note_block, seal};
use steno_proto::{legacy::stenographer_client::StenographerClient, v1::sensor_client::SensorClient};
use steno_query::{Options, Store, store::ThreadDirs};
use tempfile::TempDir;
use tonic::transport::{Channel, Server, server::TcpIncoming};

use crate::{
    access::{Access, Asker, Principal},
    answer::{Answers, Bounds, Host, LegacyLimits, services},
    audit::AuditLog,
    capture::ThreadDirectories,
    metrics::Metrics,
    retention::{Pins, ThreadRetention},
    sensor::{Sensor, SensorSettings},
};

/// The time of the first packet.
pub(super) const EPOCH_S: u32 = 1_700_000_000;
const BLOCK_BYTES: u32 = 1 << 16;

/// A store whose segments hold a packet a millisecond, one each second to port 53.
pub(super) struct TestStore {
    pub(super) root: TempDir,
    threads: u32,
}

impl TestStore {
    /// `threads` threads with `segments` segments each of `packets` packets with `payload` bytes.
    pub(super) fn new(threads: u32, segments: u32, packets: u32, payload: usize) -> Self {
        let store = Self { root: tempfile::tempdir().unwrap(), threads };
        for thread in 0..threads {
            let ThreadDirectories { packets, index, .. } = store.directories(thread);
            fs::create_dir(packets).unwrap();
            fs::create_dir(index).unwrap();
        }
        for thread in 0..threads {
            for segment in 0..segments {
                store.add(thread, segment, packets, payload);
            }
        }
        store
    }

    pub(super) fn directories(&self, thread: u32) -> ThreadDirectories {
        let at = |kind: &str| self.root.path().join(format!("{kind}{thread}"));
        ThreadDirectories { thread, packets: at("PKT"), index: at("IDX") }
    }

    /// Removes a segment as retention does.
    pub(super) fn remove(&self, pins: &Pins, thread: u32, segment: u32) {
        let claim = pins.claim(thread, SegmentId(Self::id(segment))).expect("nobody reads it");
        let directories = self.directories(thread);
        for directory in [directories.index, directories.packets] {
            fs::remove_file(directory.join(Self::id(segment).to_string())).unwrap();
        }
        claim.removed();
    }

    /// The name of a thread's segment.
    pub(super) fn id(segment: u32) -> u64 {
        (u64::from(EPOCH_S) + u64::from(segment) * 1000) * 1_000_000
    }

    pub(super) fn packet_file(&self, thread: u32, segment: u32) -> PathBuf {
        self.directories(thread).packets.join(Self::id(segment).to_string())
    }

    /// The bytes that the store itself answers with.
    pub(super) fn bytes(&self, query: &str, options: Options) -> Vec<u8> {
        let threads = (0..self.threads).map(|thread| {
            let ThreadDirectories { thread, packets, index } = self.directories(thread);
            ThreadDirs { thread, packets, index }
        });
        let query = steno_query::parse(query, TimestampNs::from_parts(EPOCH_S, 0)).unwrap();
        let mut answer = Store::of_threads(threads.collect()).answer(&query, options);
        let (mut all, mut chunk) = (Vec::new(), Vec::new());
        while answer.next_chunk(&mut chunk) {
            all.extend_from_slice(&chunk);
        }
        all
    }

    pub(super) fn add(&self, thread: u32, segment: u32, packets: u32, payload: usize) {
        let (mut file, mut log, mut writer) = (Vec::new(), Log::new(), BlockWriter::new(BLOCK_BYTES));
        let mut finish = |writer: &mut BlockWriter| {
            let offset = file.len() as u64;
            let bytes = writer.finish(offset / u64::from(BLOCK_BYTES) + 1);
            let _captured = note_block(&mut log, offset, &Block::parse(bytes).unwrap(), None).unwrap();
            file.extend_from_slice(bytes);
            writer.clear();
        };
        let data: Vec<u8> = (0..payload).map(|i| i.to_le_bytes()[0]).collect();
        for i in 0..packets {
            let time = TimestampNs::from_parts(EPOCH_S + segment * 1000 + i / 1000, i % 1000 * 1_000_000 + thread);
            let port = if i % 1000 == 0 { 53 } else { 443 };
            let host = u8::try_from(i % 200).unwrap();
            let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, host], [10, 0, 1, 1]).udp(40_000, port);
            let frame = frame.payload(&data).build();
            let wire_len = u32::try_from(frame.len()).unwrap();
            if writer.push(time, wire_len, &frame).unwrap() == Push::Full {
                finish(&mut writer);
                assert_ne!(writer.push(time, wire_len, &frame).unwrap(), Push::Full);
            }
        }
        finish(&mut writer);
        let mut index = Vec::new();
        let facts = Facts { block_bytes: BLOCK_BYTES, thread, interface: "eth7".into(), ..Facts::default() };
        let _sealed = seal(&log, &facts, &mut index).unwrap();
        let directories = self.directories(thread);
        fs::write(directories.packets.join(Self::id(segment).to_string()), file).unwrap();
        fs::write(directories.index.join(Self::id(segment).to_string()), index).unwrap();
    }
}

/// The services of a sensor, and clients of theirs.
pub(super) struct Served {
    pub(super) store: TestStore,
    pub(super) answers: Answers,
    pub(super) metrics: Metrics,
    pub(super) client: SensorClient<Channel>,
    pub(super) legacy: StenographerClient<Channel>,
    server: tokio::task::JoinHandle<Result<(), tonic::transport::Error>>,
    // Dropped last: it keeps the directories.
    _sensor: Sensor,
}

impl Served {
    pub(super) async fn new(store: TestStore, bounds: Bounds) -> Self {
        Self::with_legacy(store, bounds, LegacyLimits::default()).await
    }

    pub(super) async fn with_legacy(store: TestStore, bounds: Bounds, legacy: LegacyLimits) -> Self {
        let clock = Arc::new(FixedClock(TimestampNs::from_parts(EPOCH_S, 0)));
        let metrics = Metrics::new();
        let directories: Vec<_> = (0..store.threads).map(|thread| store.directories(thread)).collect();
        let kept = directories
            .iter()
            .map(|d| ThreadRetention { directories: d.clone(), bounds: crate::retention::Bounds::default() });
        let settings = SensorSettings { threads: kept.collect(), ..SensorSettings::default() };
        let sensor = Sensor::open(settings, Arc::<FixedClock>::clone(&clock), &metrics).unwrap();
        let answers = Answers::new(sensor.view(), bounds, clock, metrics.clone(), AuditLog::none());
        let host = Host { started: TimestampNs(5), directories, certificates: Arc::new(|| None) };
        let services = services(&answers, host, legacy);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = tower::util::MapRequestLayer::new(|mut request: http::Request<tonic::body::Body>| {
            let _ = request.extensions_mut().insert(asker());
            request
        });
        let router = Server::builder().layer(known).add_service(services.sensor).add_service(services.legacy);
        let server = tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener)));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let client = SensorClient::new(channel.clone());
        let legacy = StenographerClient::new(channel);
        Self { store, answers, metrics, client, legacy, server, _sensor: sensor }
    }

    pub(super) fn value(&self, series: &str) -> f64 {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find(|l| l.starts_with(series));
        line.map_or(-1.0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Waits until no query runs.
    pub(super) async fn idle(&self) {
        within("no query runs", self.answers.idle()).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Whom these tests ask as, for want of a certificate.
pub(super) fn asker() -> Asker {
    Access::new(None, Metrics::new()).asker(Principal::unknown(), ([127, 0, 0, 1], 0).into())
}

/// Fails where `future` takes longer than a query of these tests may on a busy machine.
pub(super) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let began = Instant::now();
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {:?}: {what}", began.elapsed()),
    }
}
