//! A disk that fills in seconds: what is written next has its room before it comes.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use steno_core::testkit::{LoopDisk, need};

use rustls::ClientConfig;
use steno_proto::v1::sensor_client::SensorClient;
use tokio::{net::TcpStream, time::sleep};

use super::{
    daemon::Plan,
    namespace::Namespace,
    traffic::send,
    wire::{Taken, channel, get_metrics, request, sum, within},
};

const DISK_BYTES: u64 = 256 << 20;
const TIME: Duration = Duration::from_secs(60);
/// Bytes of a frame.
const FRAME_BYTES: u64 = 1_000;
/// 12 MB/s: the disk is full after twenty seconds.
const PACKETS_A_SECOND: u64 = 12_000;

/// Asks for a minute; gives how often, what was free at the least, and the metrics after that.
fn ask(disk: &Path, address: SocketAddr, config: &ClientConfig) -> (u32, u64, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = within("connecting", channel(address, config.clone())).await.unwrap();
        let mut client = SensorClient::new(channel);
        let (began, mut asked, mut least) = (Instant::now(), 0, u64::MAX);
        while began.elapsed() < TIME {
            let stat = rustix::fs::statvfs(disk).unwrap();
            least = least.min(stat.f_bavail * stat.f_frsize);
            let stream = client.query(request("port 7003")).await.unwrap().into_inner();
            let taken = within("an answer", Taken::all(stream, Duration::ZERO)).await;
            let receipt = taken.receipt();
            assert!(receipt.unreadable.is_empty() && receipt.gaps.is_empty(), "{receipt:?}");
            asked += 1;
            sleep(Duration::from_millis(100)).await;
        }
        (asked, least, get_metrics(TcpStream::connect(address).await.unwrap(), config.clone()).await.unwrap())
    })
}

#[test]
fn retention_is_ahead_of_the_writer_on_a_small_disk() {
    let stenotype = Path::new(env!("CARGO_BIN_EXE_stenographer")).with_file_name("stenotype");
    if !need(stenotype.exists(), "stenotype beside stenographer: cargo build -p steno-capture --bins") {
        return;
    }
    // Later versions make no XFS of less than 300 MB unless told to.
    let of_kinds = [&["mkfs.ext4", "-q"][..], &["mkfs.xfs", "-q", "--unsupported"][..]];
    std::thread::scope(|scope| of_kinds.iter().for_each(|mkfs| drop(scope.spawn(|| a_minute_on(mkfs, &stenotype)))));
}

fn a_minute_on(mkfs: &[&str], stenotype: &Path) {
    let Some(space) = Namespace::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::new(dir.path(), mkfs, DISK_BYTES).unwrap() else { return };
    let mut plan = Plan::new();
    plan.before = space.before();
    plan.config["Interface"] = json!("v1");
    plan.config["StenotypePath"] = json!(stenotype);
    for (key, name) in [("PacketsDirectory", "PKT0"), ("IndexDirectory", "IDX0")] {
        fs::create_dir(disk.path().join(name)).unwrap();
        plan.config["Threads"][0][key] = json!(disk.path().join(name));
    }
    plan.config["Flags"] =
        json!(["--uid=root", "--gid=root", "--blocks=64", "--blockage_sec=1", "--filesize_mb=16", "--fileage_sec=5"]);
    let daemon = plan.start();
    daemon.until("it captures", || daemon.log().contains("capturing from"));
    let stop = Arc::new(AtomicBool::new(false));
    let sender = space.spawn({
        let stop = Arc::clone(&stop);
        move || send(&stop, PACKETS_A_SECOND, usize::try_from(FRAME_BYTES).unwrap())
    });
    let (address, config, at) = (daemon.address, daemon.client(), disk.path().to_owned());
    let asker = space.spawn(move || ask(&at, address, &config));
    let (asked, least, metrics) = asker.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    let (removed, packets) =
        (sum(&metrics, "steno_retention_removed_segments_total"), sum(&metrics, "steno_capture_packets_total"));
    eprintln!(
        "{}: {sent} packets sent, {packets} captured, {removed} segments removed, {} MiB free at the least, {asked} queries",
        mkfs[0],
        least >> 20
    );
    assert!(sent * FRAME_BYTES > 2 * DISK_BYTES, "{sent} packets are too few to fill it");
    assert!(removed > 10.0, "{metrics}");
    assert_eq!(sum(&metrics, "steno_capture_write_errors_total"), 0.0, "{metrics}");
    let not_written = "steno_capture_dropped_packets_total{interface=\"v1\",thread=\"0\",cause=\"not_written\"";
    assert!(metrics.contains(not_written) && sum(&metrics, not_written) == 0.0, "{metrics}");
    assert_eq!(sum(&metrics, "steno_retention_errors_total"), 0.0, "{metrics}");
    let log = daemon.log();
    assert!(!log.contains("No space left") && !log.contains("ERROR"), "{log}");
    drop(daemon);
    drop(disk);
}
