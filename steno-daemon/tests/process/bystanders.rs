//! What bulk answers, and clients that do not take theirs, mean for the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use steno_core::pcap::Format;
use steno_proto::v1::Truncation;
use tokio::time::sleep;
use tonic::{Code, Streaming};

use super::{
    daemon::{Daemon, Plan},
    store,
    wire::{Taken, request, sum, within},
};

const BULK: &str = "tcp";
const SELECTIVE: &str = "port 53";

fn answer(plan: &Plan, query: &str) -> Vec<u8> {
    store::answer(plan.root.path(), query, Format::PcapNs)
}

/// A selective query that is asked while four bulk answers are under way is at its end before any of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_selective_query_does_not_wait_for_bulk_ones() {
    let plan = Plan::new();
    store::fill(plan.root.path(), 4);
    let (bulk, selective) = (Arc::new(answer(&plan, BULK)), answer(&plan, SELECTIVE));
    assert!(bulk.len() > 20_000_000 && selective.len() < 100_000, "{} {}", bulk.len(), selective.len());
    let daemon = plan.start();
    let mut client = daemon.sensor().await;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..8 {
        let ended = Arc::new(AtomicUsize::new(0));
        let mut readers = Vec::new();
        let began = Instant::now();
        for i in 0..4u64 {
            let mut stream = daemon.sensor().await.query(request(BULK)).await.unwrap().into_inner();
            let mut taken = Taken::default();
            assert!(taken.next(&mut stream).await);
            let (ended, bulk) = (Arc::clone(&ended), Arc::clone(&bulk));
            readers.push(tokio::spawn(async move {
                // Two as fast as they can, two with a rest after each message.
                while taken.next(&mut stream).await {
                    sleep(Duration::from_millis(i / 2 * 5)).await;
                }
                let _before = ended.fetch_add(1, Ordering::SeqCst);
                assert!(taken.whole() == bulk.as_slice());
                began.elapsed()
            }));
        }
        let asked = Instant::now();
        let stream = client.query(request(SELECTIVE)).await.unwrap().into_inner();
        let taken = Taken::all(stream, Duration::ZERO).await;
        let before = ended.load(Ordering::SeqCst);
        times[0].push(asked.elapsed());
        assert_eq!(before, 0, "bulk answers that were at their end first");
        assert!(taken.whole() == selective);
        for reader in readers {
            times[1].push(within("a bulk answer", reader).await.unwrap());
        }
    }
    let [selective, bulk] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    eprintln!("medians: selective {selective:?}, bulk {bulk:?}");
    assert!(selective * 4 < bulk, "{selective:?} of {bulk:?}");
}

/// A client that takes the first message of a bulk answer, and then nothing.
async fn stalled(daemon: &Daemon) -> (Taken, Streaming<steno_proto::v1::QueryResponse>) {
    let mut stream = daemon.sensor().await.query(request(BULK)).await.unwrap().into_inner();
    let mut taken = Taken::default();
    assert!(taken.next(&mut stream).await);
    (taken, stream)
}

/// The daemon gives a client up that takes nothing for so long.
const PATIENCE_S: u64 = 60;
/// What ten answers may hold that nobody takes: each two chunks and one that waits, a send buffer of 1 MiB, and what is read
/// ahead of it; half of the 26 MB of an answer would be twice as much already.
const TEN_KIB: usize = 64 << 10;

/// Clients that answer pings, and do not read: each loses its answer when the daemon's patience is at its end, and is told so.
/// One that hangs altogether loses its connection. Memory stays bounded meanwhile, and others are served.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stop_reading_lose_their_answers() {
    let plan = Plan::new();
    store::fill(plan.root.path(), 4);
    let (bulk, selective) = (answer(&plan, BULK), answer(&plan, SELECTIVE));
    let daemon = plan.start();
    let mut client = daemon.sensor().await;
    // What a daemon has to make once.
    let whole = Taken::all(client.query(request(BULK)).await.unwrap().into_inner(), Duration::ZERO).await;
    assert!(whole.whole() == bulk);
    let base = daemon.held();

    let began = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(stalled(&daemon).await);
    }
    // Its runtime stands still, so that it neither reads from its socket nor answers a ping.
    let (done, hangs) = std::sync::mpsc::channel::<()>();
    let (address, config) = (daemon.address, daemon.client());
    let hanging = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = runtime.block_on(async {
            let channel = super::wire::channel(address, config).await.unwrap();
            let mut client = steno_proto::v1::sensor_client::SensorClient::new(channel);
            let mut stream = client.query(request(BULK)).await.unwrap().into_inner();
            assert!(Taken::default().next(&mut stream).await);
            stream
        });
        let _ = hangs.recv();
        runtime.block_on(async { Taken::all(stream, Duration::ZERO).await })
    });
    daemon.until("all eleven are connected", || daemon.log().matches("is connected").count() >= 12);

    let (mut most, mut first_end) = (base, None);
    loop {
        let metrics = daemon.metrics().await;
        let active = sum(&metrics, "steno_streams_active");
        let taken = Taken::all(client.query(request(SELECTIVE)).await.unwrap().into_inner(), Duration::ZERO).await;
        assert!(taken.whole() == selective, "others are served");
        let held = daemon.held();
        most = if held.resident_kib > most.resident_kib { held } else { most };
        if active < 10.0 && first_end.is_none() {
            first_end = Some(began.elapsed());
        }
        if active == 0.0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(PATIENCE_S + 30), "{active} streams");
        sleep(Duration::from_millis(500)).await;
    }
    eprintln!("first end after {first_end:?}, last after {:?}; base {base:?}, most {most:?}", began.elapsed());
    assert!(first_end.unwrap() >= Duration::from_secs(PATIENCE_S - 1), "{first_end:?}");
    assert!(most.resident_kib < base.resident_kib + TEN_KIB, "base {base:?}, most {most:?}");

    for (mut taken, mut stream) in waiting {
        while taken.next(&mut stream).await {}
        let receipt = taken.receipt();
        assert_eq!((receipt.truncated_by(), receipt.complete), (Truncation::Stalled, false));
        assert_eq!(taken.status.as_ref().unwrap().code(), Code::DeadlineExceeded, "{:?}", taken.status);
        assert!(bulk.starts_with(&taken.bytes) && taken.bytes.len() < bulk.len());
    }
    done.send(()).unwrap();
    let taken = tokio::task::spawn_blocking(move || hanging.join()).await.unwrap().unwrap();
    assert!(taken.receipt.is_none() && taken.status.is_some(), "{:?} {:?}", taken.receipt, taken.status);
    let metrics = daemon.metrics().await;
    assert_eq!(sum(&metrics, "steno_queries_total{method=\"Query\",outcome=\"cancelled\""), 11.0, "{metrics}");
}
