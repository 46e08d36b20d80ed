//! A sensor with a few packets in a directory of its own, and requests to what it serves.

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Body as _;
use steno_core::TimestampNs;
use steno_core::block::{Block, BlockWriter};
use steno_core::testkit::{block_of, recipe};
use steno_daemon::capture::ThreadDirectories;
use steno_daemon::sensor::Sensor;
use steno_index::Facts;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// 2023-11-14T22:13:30Z: what "ago" counts from.
pub const NOW: TimestampNs = TimestampNs(1_700_000_010_000_000_000);
/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(8);
const BLOCK_BYTES: u32 = 1 << 16;

/// The packets of its two segments.
const SEGMENTS: [&str; 2] = [
    "1700000000.000000001 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 20
     1700000000.000000900 ip 10.0.0.2 > 10.0.0.1 tcp 80 > 40000 data 9
     1700000000.1         vlan 100 ip 10.0.0.1 > 10.0.0.2 udp 5353 > 53 data 4 stripped
     1700000000.2         qinq 7 vlan 8 ip 2001:db8::1 > 2001:db8::2 udp 53 > 9",
    "1700000001.5         mpls 29 mpls 30 ip 2001:db8::1 > 2001:db8::2 tcp 1 > 2
     1700000002.0         ip 10.0.0.1 > 10.0.0.2 frag 77 0+ udp 1 > 2
     1700000002.1         ip 10.0.0.1 > 10.0.0.2 frag 77 185 udp 1 > 2
     1700000003.0         type 0x0806 data 28 wire 60
     1700000004.0         ip 10.0.0.1 > 10.0.0.9 proto 132 data 12
     1700000005.0         ip 10.0.0.1 > 10.0.0.9 tcp 1 > 2 snap 30",
];

/// What came of a request.
#[derive(Debug)]
pub struct Reply {
    /// What the first line of it says.
    pub status: StatusCode,
    /// What comes before the body.
    pub headers: HeaderMap,
    /// All of it that came.
    pub body: Vec<u8>,
    /// What comes behind it.
    pub trailers: HeaderMap,
    /// The body was broken off.
    pub broken: bool,
}

struct Served {
    runtime: ManuallyDrop<Runtime>,
    router: ManuallyDrop<Router>,
    _sensor: ManuallyDrop<Sensor>,
    // Removed when the process ends in order.
    _root: TempDir,
}

thread_local! {
    static SERVED: RefCell<Option<Served>> = const { RefCell::new(None) };
}

/// Asks the sensor of this thread, which is made first, if need be.
pub fn ask(request: Request<Body>) -> Reply {
    SERVED.with_borrow_mut(|served| {
        let served = served.get_or_insert_with(|| Served::new().expect("a sensor in a directory of its own"));
        let router = Router::clone(&served.router);
        let reply = served.runtime.block_on(async { tokio::time::timeout(PATIENCE, answer(router, request)).await });
        reply.expect("every answer comes to its end")
    })
}

async fn answer(router: Router, request: Request<Body>) -> Reply {
    let Ok(response) = router.oneshot(request).await;
    let (head, mut body) = response.into_parts();
    let mut reply = Reply {
        status: head.status,
        headers: head.headers,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        broken: false,
    };
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(bytes)) => reply.body.extend_from_slice(&bytes),
            Ok(Err(frame)) => reply.trailers.extend(frame.into_trailers().unwrap_or_default()),
            Err(_) => {
                reply.broken = true;
                break;
            }
        }
    }
    reply
}

impl Served {
    fn new() -> Result<Self, Box<dyn Error>> {
        let root = tempfile::Builder::new().prefix("steno-fuzz-").tempdir()?;
        let [packets, index] = ["PKT0", "IDX0"].map(|name| root.path().join(name));
        for directory in [&packets, &index] {
            fs::create_dir(directory)?;
        }
        for (second, text) in (0..).zip(SEGMENTS) {
            let name = (1_700_000_000_000_000u64 + second).to_string();
            let mut writer = BlockWriter::new(BLOCK_BYTES);
            let _ = block_of(&mut writer, &recipe(text)?)?;
            let block = writer.finish(1);
            let facts = Facts { block_bytes: BLOCK_BYTES, interface: "eth0".to_owned(), ..Facts::default() };
            let mut sealed = Vec::new();
            let mut used = Block::parse(block)?.used();
            let _ = steno_index::index_packet_file(&mut used, &facts, &mut sealed)?;
            fs::write(packets.join(&name), block)?;
            fs::write(index.join(&name), sealed)?;
        }
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let directories = ThreadDirectories { thread: 0, packets, index };
        let (sensor, router) = runtime.block_on(steno_daemon::fuzzing::sensor(directories, NOW))?;
        Ok(Self {
            runtime: ManuallyDrop::new(runtime),
            router: ManuallyDrop::new(router),
            _sensor: ManuallyDrop::new(sensor),
            _root: root,
        })
    }
}

/// A body that comes in pieces of so many bytes.
pub fn in_pieces(bytes: &[u8], piece: usize) -> Body {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        bytes.chunks(piece.max(1)).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(tokio_stream::iter(pieces))
}
