//! What bulk answers, and clients that do not take theirs, mean for the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
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

/// Selective queries are answered while four bulk answers are under way: two whose clients have stopped to take theirs, and two
/// whose clients take as fast as they can and ask again.
#[tokio::test(flavor = "multi_thread")]
async fn selective_queries_are_answered_while_bulk_ones_are_under_way() {
    let plan = Plan::new();
    store::fill(plan.root.path(), 4);
    let (bulk, selective) = (Arc::new(answer(&plan, BULK)), answer(&plan, SELECTIVE));
    assert!(bulk.len() > 20_000_000 && selective.len() < 100_000, "{} {}", bulk.len(), selective.len());
    let daemon = plan.start();
    let mut client = daemon.sensor().await;
    let waiting = [stalled(&daemon).await, stalled(&daemon).await];
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (mut client, bulk, done) = (daemon.sensor().await, Arc::clone(&bulk), Arc::clone(&done));
        readers.push(tokio::spawn(async move {
            let mut answers = 0;
            while !done.load(Ordering::SeqCst) {
                let taken = Taken::all(client.query(request(BULK)).await.unwrap().into_inner(), Duration::ZERO).await;
                assert!(taken.whole() == bulk.as_slice());
                answers += 1;
            }
            answers
        }));
    }
    for _ in 0..8 {
        let stream = within("an answer", client.query(request(SELECTIVE))).await.unwrap().into_inner();
        assert!(within("its end", Taken::all(stream, Duration::ZERO)).await.whole() == selective);
    }
    assert!(sum(&daemon.metrics().await, "steno_streams_active") >= 2.0);
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(within("bulk answers", reader).await.unwrap() > 0);
    }
    for (mut taken, mut stream) in waiting {
        while taken.next(&mut stream).await {}
        assert!(taken.whole() == bulk.as_slice());
    }
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
/// ahead of it; half of the 26 MB of each answer would be more already.
const TEN_KIB: usize = 96 << 10;

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
