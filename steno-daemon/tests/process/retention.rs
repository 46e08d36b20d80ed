//! The disks while packets come: a minute of continuous traffic through the real `stenotype` into a budget of 64 MiB.
//!
//! Every packet bears a number. The test keeps every packet file that was ever begun (a second link to it) and reads these
//! files by itself, so that it knows the truth about each answer without the daemon, its index or its receipt:
//!
//! - The budget: what all files of the thread take, looked at from outside five times a second, is never more than the budget
//!   and one segment.
//! - The order: whenever a segment is gone, every older one is gone too, but for those that a query was reading.
//! - The pins: what a slow client's answer is made of is there until all of it is on its way to the client.
//! - The answers: each holds all matches of every segment that was there from before the question until the answer began; of
//!   every other segment all matches or none, or the first ones where it was being written; no packet twice; nothing that does not match. Its receipt counts what came, says that
//!   it is complete, and what it says is held spans all that came.
//! - The truth itself: the numbers in the files are all that were sent, without a hole.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use steno_core::{block::Block, testkit::need};
use steno_proto::v1::{StatusRequest, Truncation, sensor_client::SensorClient};
use tonic::transport::Channel;

use super::{
    daemon::Plan,
    namespace::Namespace,
    traffic::{FIRST_PORT, HEADER_BYTES, PORTS, send},
    wire::{Taken, channel, request, within},
};

const BUDGET: u64 = 64 << 20;
const SEGMENT_MIB: u64 = 8;
/// A segment with its index.
const SEGMENT: u64 = (SEGMENT_MIB << 20) + (512 << 10);
const TIME: Duration = Duration::from_secs(60);
const PACKETS_A_SECOND: u64 = 3_200;
/// Bytes of a frame: Ethernet, IPv4 and UDP, the number, and something.
const FRAME_BYTES: usize = 1_000;

/// Bytes of an answer that are between the disk and a slow client: windows, buffers and chunks.
const ON_THEIR_WAY: usize = 10 << 20;

type Names = BTreeSet<u64>;

/// The directories of the thread, and a second link to every packet file that was ever begun.
#[derive(Clone)]
struct Disk {
    packets: PathBuf,
    index: PathBuf,
    archive: PathBuf,
}

impl Disk {
    fn names(&self) -> Names {
        let of = |path: &Path| -> Names {
            fs::read_dir(path).unwrap().filter_map(|e| e.unwrap().file_name().to_str().unwrap().parse().ok()).collect()
        };
        &of(&self.packets) & &of(&self.index)
    }

    /// What all files take.
    fn bytes(&self) -> u64 {
        let files = [&self.packets, &self.index].map(|path| fs::read_dir(path).unwrap());
        // One that goes meanwhile takes nothing.
        files.into_iter().flatten().filter_map(|file| file.unwrap().metadata().ok()).map(|m| m.blocks() * 512).sum()
    }

    /// Names of packet files that are being written.
    fn hidden(&self) -> Names {
        let names = fs::read_dir(&self.packets).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix('.')?.parse().ok()).collect()
    }

    /// One that is published may be gone at once, so that it is kept while it is written.
    fn keep(&self, name: u64) {
        fs::hard_link(self.packets.join(format!(".{name}")), self.archive.join(name.to_string())).unwrap();
    }

    /// The numbers in a segment that was kept, in the order of its file.
    fn numbers(&self, name: &str) -> Vec<u64> {
        let file = fs::read(self.archive.join(name)).unwrap();
        let frames = file.chunks(1 << 20).flat_map(|bytes| {
            let block = Block::parse(bytes).unwrap();
            block.packets().map(|packet| number(&packet.unwrap().frame().to_vec())).collect::<Vec<_>>()
        });
        frames.collect()
    }
}

fn number(frame: &[u8]) -> u64 {
    assert_eq!(frame.len(), FRAME_BYTES);
    u64::from_be_bytes(frame[HEADER_BYTES..HEADER_BYTES + 8].try_into().unwrap())
}

/// The packets of a pcap file with nanoseconds: their times and numbers.
fn packets(pcap: &[u8]) -> Vec<(u64, u64)> {
    assert_eq!(pcap[..4], [0x4d, 0x3c, 0xb2, 0xa1]);
    let records = pcap[24..].chunks(16 + FRAME_BYTES).map(|record| {
        let field = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
        assert_eq!(usize::try_from(field(8)).unwrap(), FRAME_BYTES);
        (u64::from(field(0)) * 1_000_000_000 + u64::from(field(4)), number(&record[16..]))
    });
    records.collect()
}

/// A query that runs: what was there when it was asked.
#[derive(Default)]
struct Running(Mutex<BTreeMap<u64, Names>>);

/// An answer, and what the disk held about it.
struct Answered {
    query: &'static str,
    port: Option<u64>,
    /// There before it was asked and after its first bytes had come.
    sure: Names,
    pcap: Vec<u8>,
    held: (u64, u64),
}

/// Asks, with a rest of `pause` after each message, and holds the receipt against what came.
async fn ask(
    mut client: SensorClient<Channel>,
    disk: &Disk,
    running: &Running,
    (query, port): (&'static str, Option<u64>),
    pause: Duration,
) -> Answered {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = NEXT.fetch_add(1, Ordering::Relaxed);
    let before = disk.names();
    let _none = running.0.lock().unwrap().insert(key, before.clone());
    let mut stream = client.query(request(query)).await.unwrap().into_inner();
    let mut taken = Taken::default();
    assert!(taken.next(&mut stream).await);
    let sure = &before & &disk.names();
    let mut first_gone = None;
    while taken.next(&mut stream).await {
        tokio::time::sleep(pause).await;
        if first_gone.is_none() && !sure.is_subset(&disk.names()) {
            first_gone = Some(taken.bytes.len());
        }
    }
    // The daemon has read all when the last bytes are still on their way.
    let left = taken.bytes.len() - first_gone.unwrap_or(taken.bytes.len());
    assert!(left < ON_THEIR_WAY, "removed under a query that had {left} bytes to go");
    let _ended = running.0.lock().unwrap().remove(&key);
    let receipt = taken.receipt().clone();
    let count = packets(&taken.bytes).len() as u64;
    assert_eq!((receipt.packets, receipt.kernel_drops, receipt.gaps.len()), (count, 0, 0), "{receipt:?}");
    let counts = receipt.segments.unwrap();
    assert_eq!((counts.unreadable, counts.not_reached, receipt.unreadable.len()), (0, 0, 0), "{receipt:?}");
    // Nothing is missing but what is still being written.
    assert!(
        taken.status.is_none() && receipt.truncated_by() == Truncation::Unspecified,
        "{:?} {receipt:?}",
        taken.status
    );
    assert_eq!(receipt.complete, !receipt.unsealed.iter().any(|file| file.may_hold_matches), "{receipt:?}");
    let held = (receipt.held_oldest_ns.unwrap_or(0), receipt.held_newest_ns.unwrap_or(0));
    Answered { query, port, sure, pcap: taken.bytes, held }
}

/// What was seen from outside.
#[derive(Default)]
struct Seen {
    samples: u64,
    most_bytes: u64,
    published: u64,
    removed: u64,
    /// Segments that went before older ones did, which a query was reading.
    out_of_order: u64,
}

/// Looks at the disk until it is told to stop.
fn watch(disk: &Disk, running: &Running, stop: &AtomicBool) -> Seen {
    let (mut seen, mut before, mut kept) = (Seen::default(), Names::new(), Names::new());
    let mut pinned = Names::new();
    while !stop.load(Ordering::Relaxed) {
        // Files are kept as soon as they are there, the rest is looked at now and then.
        for _ in 0..10 {
            for name in &disk.hidden() - &kept {
                disk.keep(name);
                let _new = kept.insert(name);
            }
            running.0.lock().unwrap().values().for_each(|names| pinned.extend(names));
            sleep(Duration::from_millis(20));
        }
        let (now, bytes) = (disk.names(), disk.bytes());
        running.0.lock().unwrap().values().for_each(|names| pinned.extend(names));
        seen.samples += 1;
        seen.most_bytes = seen.most_bytes.max(bytes);
        assert!(bytes <= BUDGET + SEGMENT, "{bytes} bytes, {} over the budget", bytes - BUDGET);
        for gone in &before - &now {
            seen.removed += 1;
            let older: Names = now.range(..gone).copied().collect();
            let free = &older - &pinned;
            assert!(free.is_empty(), "{gone} went before {free:?}, which no query was reading");
            seen.out_of_order += u64::from(!older.is_empty());
        }
        before = now;
        pinned.clear();
    }
    seen.published = kept.len() as u64;
    seen
}

/// Holds an answer against the segments that there ever were.
fn check(answered: &Answered, segments: &BTreeMap<u64, BTreeSet<u64>>) {
    let query = answered.query;
    let matches = |number: &&u64| answered.port.is_none_or(|port| **number % PORTS == port - u64::from(FIRST_PORT));
    let packets = packets(&answered.pcap);
    let got: BTreeSet<u64> = packets.iter().map(|(_, number)| *number).collect();
    assert_eq!(got.len(), packets.len(), "{query}: a packet came twice");
    assert!(packets.is_sorted_by_key(|(time, _)| *time), "{query}: not in order of time");
    let (oldest, newest) = answered.held;
    assert!(packets.iter().all(|(time, _)| (oldest..=newest).contains(time)), "{query}: more than is held came");
    let mut of_segments = 0;
    for (name, numbers) in segments {
        let all: BTreeSet<u64> = numbers.iter().filter(matches).copied().collect();
        let here: Vec<u64> = got.intersection(&all).copied().collect();
        // The last one may have been written just then.
        let is_beginning = all.iter().zip(&here).all(|(a, b)| a == b) && !answered.sure.contains(name);
        let (here, matches) = (here.len(), all.len());
        assert!(
            is_beginning || here == 0 || here == matches,
            "{query}: {here} of the {matches} matches of segment {name}"
        );
        assert!(here > 0 || !answered.sure.contains(name), "{query}: segment {name} was there, and is left out");
        of_segments += here;
    }
    assert_eq!(of_segments, got.len(), "{query}: packets that are in no segment, or do not match");
}

/// Asks for a minute: often for a part, now and then for all, and once for all at a rate that takes some seconds.
fn ask_all(disk: &Disk, running: &Arc<Running>, plan: (std::net::SocketAddr, rustls::ClientConfig)) -> Vec<Answered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, running) = (disk.clone(), Arc::clone(running));
    runtime.block_on(async move {
        let (address, config) = plan;
        let connect =
            || async { SensorClient::new(within("connecting", channel(address, config.clone())).await.unwrap()) };
        let client = connect().await;
        let began = Instant::now();
        let (mut answers, mut slow) = (Vec::new(), None);
        let mut turn = 0;
        while began.elapsed() < TIME - Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if slow.is_none() && began.elapsed() > TIME / 2 {
                let (client, disk, running) = (connect().await, disk.clone(), Arc::clone(&running));
                slow = Some(tokio::spawn(async move {
                    ask(client, &disk, &running, ("udp", None), Duration::from_millis(30)).await
                }));
            }
            let what = match turn % 8 {
                0 => ("udp", None),
                _ => ("udp port 7005", Some(7_005)),
            };
            answers.push(ask(client.clone(), &disk, &running, what, Duration::ZERO).await);
            turn += 1;
        }
        answers.push(within("the slow answer", slow.unwrap()).await.unwrap());
        let mut client = client;
        let status = client.status(StatusRequest {}).await.unwrap().into_inner();
        assert!(status.problems.is_empty(), "{:?}", status.problems);
        answers
    })
}

#[test]
fn a_minute_of_traffic_in_a_budget_of_64_mib() {
    let stenotype = Path::new(env!("CARGO_BIN_EXE_stenographer")).with_file_name("stenotype");
    if !need(stenotype.exists(), "stenotype beside stenographer: cargo build -p steno-capture --bins") {
        return;
    }
    let Some(space) = Namespace::new() else { return };
    let mut plan = Plan::new();
    plan.before = space.before();
    plan.config["Interface"] = json!("v1");
    plan.config["StenotypePath"] = json!(stenotype);
    plan.config["Threads"][0]["MaxBytes"] = json!(BUDGET);
    let size = format!("--filesize_mb={SEGMENT_MIB}");
    plan.config["Flags"] =
        json!(["--uid=root", "--gid=root", "--blocks=64", "--blockage_sec=1", size, "--fileage_sec=5"]);
    let (packets, index, archive) = (plan.path("PKT0"), plan.path("IDX0"), plan.path("archive"));
    fs::create_dir(&archive).unwrap();
    let disk = Disk { packets, index, archive };
    let daemon = plan.start();
    daemon.until("it captures", || daemon.log().contains("capturing from"));

    let (stop, running) = (Arc::new(AtomicBool::new(false)), Arc::new(Running::default()));
    let sender = space.spawn({
        let stop = Arc::clone(&stop);
        move || send(&stop, PACKETS_A_SECOND, FRAME_BYTES)
    });
    let watcher = std::thread::spawn({
        let (disk, running, stop) = (disk.clone(), Arc::clone(&running), Arc::clone(&stop));
        move || watch(&disk, &running, &stop)
    });
    let (address, config) = (daemon.address, daemon.client());
    let asker = space.spawn({
        let (disk, running) = (disk.clone(), Arc::clone(&running));
        move || ask_all(&disk, &running, (address, config))
    });
    let began = Instant::now();
    while !asker.is_finished() {
        assert!(began.elapsed() < 2 * TIME && !watcher.is_finished(), "{}", daemon.log());
        sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    let (sent, seen) = (sender.join().unwrap(), watcher.join().unwrap());
    let answers = asker.join().unwrap();

    // So that all is sealed that answers may have been made of.
    daemon.signal(Signal::TERM);
    daemon.until("all is sealed", || daemon.log().contains("capture has stopped"));
    let open = disk.hidden();
    let mut segments = BTreeMap::new();
    for file in fs::read_dir(&disk.archive).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if open.contains(&name.parse().unwrap()) {
            continue;
        }
        let numbers = disk.numbers(&name);
        let all: BTreeSet<u64> = numbers.iter().copied().collect();
        assert_eq!(all.len(), numbers.len(), "a packet is in segment {name} twice");
        let _new = segments.insert(name.parse::<u64>().unwrap(), all);
    }
    let mut numbers: Vec<u64> = segments.values().flatten().copied().collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "the files do not hold all that was sent");
    assert!(numbers.len() as u64 * 1_000 > 5 * BUDGET / 2, "{} of {sent} packets", numbers.len());
    let whole = answers.iter().filter(|answered| answered.port.is_none()).count();
    eprintln!(
        "{sent} packets sent, {} in {} segments, {} removed ({} out of order); at most {} bytes over the budget in {} looks; {} answers, {whole} of them of all that is held",
        numbers.len(),
        seen.published,
        seen.removed,
        seen.out_of_order,
        seen.most_bytes.saturating_sub(BUDGET),
        seen.samples,
        answers.len()
    );
    answers.iter().for_each(|answered| check(answered, &segments));
    assert!(seen.removed > 10 && seen.samples > 200 && answers.len() > 20 && whole > 3);
    assert!(answers.iter().filter(|answered| answered.sure.len() > 5).count() > 20);
}
