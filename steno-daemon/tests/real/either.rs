//! Capture, daemon, or both are killed while tcpreplay sends numbered packets: what had been written is found, once, and what was
//! lost is told. `STENO_KILLS=200 cargo test --release -p steno-daemon --test real whoever -- --nocapture` has it for long.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::{Signal, kill_process};
use steno_core::{
    Clock, SystemClock, TimestampNs,
    block::Block,
    packet::Frame,
    pcap::{CaptureMeta, CaptureWriter, Format, Record},
    testkit::{FrameBuilder, need},
};
use steno_proto::v1::CaptureState;
use steno_query::{Options, Store, parse};

use super::{
    random::Random,
    support::{Bench, Client, Daemon, Orphan, is_gone, pid, until},
};

/// Packets that are sent at the end.
const LAST: u64 = 1_000;
const FLAGS: [&str; 4] = ["--blocks=32", "--fileage_sec=2", "--uid=0", "--gid=0"];
/// Blocks of the ring.
const BLOCK_BYTES: usize = 1 << 20;
/// Packets a second, and in a round.
const RATE: u32 = 20_000;
const IN_A_ROUND: u64 = 30_000;
/// Where the number lies in a frame: behind the headers of Ethernet, IPv4 and UDP.
const NUMBER_AT: usize = 14 + 20 + 8;

/// A capture file of packets with these numbers.
fn numbered(path: &Path, from: u64) {
    let writer = CaptureWriter::new(Format::Pcap, CaptureMeta::default());
    let mut out = Vec::new();
    writer.start(&mut out);
    for number in from..from + IN_A_ROUND {
        let payload = [&number.to_be_bytes()[..], &[7; 100]].concat();
        let frame = FrameBuilder::ethernet().ipv4([10, 1, 1, 1], [10, 2, 2, 2]).udp(7, 4_000).payload(&payload).build();
        let wire_len = u32::try_from(frame.len()).unwrap();
        let time = TimestampNs::new(number * 1_000);
        writer.packet(&mut out, &Record { time, wire_len, frame: Frame::new(&frame), interface: 0 });
    }
    fs::write(path, out).unwrap();
}

fn number(frame: &[u8]) -> u64 {
    u64::from_be_bytes(*frame.get(NUMBER_AT..).unwrap().first_chunk().unwrap())
}

/// Sends a file, until it has, or is dropped.
struct Replay(Child);

impl Replay {
    /// Sends the first so many packets of it.
    fn start(path: &Path, packets: u64) -> Self {
        let mut command = Command::new("tcpreplay");
        let (rate, limit) = (format!("--pps={RATE}"), format!("--limit={packets}"));
        let _ = command.args(["-q", "-i", "v0", "--preload-pcap", &rate, &limit]).arg(path);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn finish(mut self) {
        assert!(self.0.wait().unwrap().success(), "tcpreplay");
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The numbers of the packets in whole blocks of a packet file.
fn written(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap_or_default();
    let whole = bytes.chunks(BLOCK_BYTES).filter_map(|bytes| Block::parse(bytes).ok());
    let of = |block: Block<'_>| -> Vec<u64> {
        block.packets().map(|packet| number(&packet.unwrap().frame().to_vec())).collect()
    };
    whole.filter(|block| block.header().num_pkts > 0).flat_map(of).collect()
}

/// Packet files that are being written, or were.
fn hidden(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("PKT0")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('.')).collect()
}

/// Asks without a pause, whoever is killed meanwhile. An answer that is called complete has at least what was on the disk when
/// it was asked for, and no more than was sent. Gives how many were answered, and how many of them were complete.
fn ask(data: &Path, stop: &AtomicBool, on_disk: &AtomicU64, sent: &AtomicU64) -> (u32, u32) {
    let (mut answered, mut complete) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(data);
        loop {
            let least = on_disk.load(Ordering::Acquire);
            // With the daemon gone there is no answer.
            let Ok(answer) = client.query("udp dst port 4000") else { break };
            let (receipt, most) = (answer.receipt, sent.load(Ordering::Acquire));
            answered += 1;
            assert!(receipt.packets <= most, "{} packets of {most}", receipt.packets);
            if receipt.complete {
                complete += 1;
                assert!(receipt.packets >= least, "{} packets, {least} are on the disk: {receipt:?}", receipt.packets);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    (answered, complete)
}

/// The stenotype, once it captures and the daemon hears of it.
fn capturing(client: &mut Client) -> u32 {
    let mut stenotype = 0;
    until("it captures", || {
        let status = client.status().unwrap();
        stenotype = status.captures[0].pid;
        stenotype != 0 && status.captures[0].speaks && status.captures[0].state() == CaptureState::Running
    });
    stenotype
}

/// Kills one of them, or both, and looks at what is on the disk then. Gives who goes on as the daemon.
fn kill(turn: usize, bench: &Bench, daemon: Daemon, stenotype: u32, seen: &mut BTreeSet<u64>) -> Daemon {
    let (is_capture, is_daemon) = [(true, false), (false, true), (true, true)][turn % 3];
    if is_daemon {
        daemon.signal(Signal::KILL);
    }
    if is_capture {
        kill_process(pid(stenotype), Signal::KILL).unwrap();
        until("it is gone", || is_gone(stenotype));
    }
    seen.extend(hidden(&bench.data()).iter().flat_map(|path| written(path)));
    if !is_daemon {
        return daemon;
    }
    let _killed = daemon.wait();
    bench.start()
}

/// What is in the store, and what it tells: the numbers of its packets, packets that were lost.
fn stored(data: &Path) -> (Vec<u64>, u64) {
    let query = parse("udp dst port 4000", SystemClock.now()).unwrap();
    let mut answer = Store::open(data).unwrap().answer(&query, Options::default());
    let mut numbers = Vec::new();
    while let Some(packet) = answer.next_packet() {
        numbers.push(number(&packet.frame.to_vec()));
    }
    let receipt = answer.receipt();
    assert!(receipt.is_complete(), "{receipt}");
    (numbers, receipt.kernel_drops + receipt.losses.uncaptured_packets + receipt.losses.not_written_packets)
}

#[test]
fn what_was_written_is_found_and_what_was_lost_is_told_whoever_is_killed() {
    let tcpreplay = Command::new("tcpreplay").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let Some(bench) = Bench::enter().filter(|_| need(tcpreplay.is_ok(), "tcpreplay")) else { return };
    let kills = env::var("STENO_KILLS").map_or(9, |text| text.parse().unwrap());
    let mut random = Random::of_this_run();
    bench.configure(&FLAGS, None);
    // The capture that was asked for its configuration has seen what the host itself sent when the link came up.
    let told_before = stored(&bench.data()).1;
    let mut daemon = bench.start();
    // The one that runs, whoever its daemon is.
    let mut orphan = Orphan(0);
    let (stop, on_disk, sent) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let asking = thread::spawn({
        let (data, stop, on_disk, sent) = (bench.data(), Arc::clone(&stop), Arc::clone(&on_disk), Arc::clone(&sent));
        move || ask(&data, &stop, &on_disk, &sent)
    });
    let file = bench.data().parent().unwrap().join("numbered.pcap");
    let mut seen = BTreeSet::new();
    let mut total = 0;
    for turn in 0..kills {
        let mut client = Client::connect(&bench.data());
        let stenotype = capturing(&mut client);
        orphan.0 = stenotype;
        numbered(&file, total);
        sent.store(total + IN_A_ROUND, Ordering::Release);
        let replay = Replay::start(&file, IN_A_ROUND);
        thread::sleep(Duration::from_millis(100 + random.below(1_500) as u64));
        daemon = kill(turn, &bench, daemon, stenotype, &mut seen);
        // From here on, whether or not the daemon has seen yet that anybody is gone.
        on_disk.store(seen.len() as u64, Ordering::Release);
        replay.finish();
        total += IN_A_ROUND;
        assert!(!asking.is_finished(), "{:?}", asking.join().err());
    }
    let mut client = Client::connect(&bench.data());
    orphan.0 = capturing(&mut client);
    // Which goes on beside capture, and below it. That an answer is complete does not show it: the log of a killed capture, where it
    // has all blocks of its file, is as good as an index.
    until("all that was left is recovered", || hidden(&bench.data()).len() <= 1);
    until("nothing is missing", || client.query("udp").unwrap().receipt.complete);
    // Two ticks of the ledger; and some packets, for losses are told by the next index, and a file without packets gets none: until
    // then the ledger owes them.
    thread::sleep(Duration::from_secs(2));
    numbered(&file, total);
    sent.store(total + LAST, Ordering::Release);
    Replay::start(&file, LAST).finish();
    total += LAST;
    stop.store(true, Ordering::Relaxed);
    let (answered, complete) = asking.join().unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());

    let (numbers, told) = stored(&bench.data());
    let found: BTreeSet<u64> = numbers.iter().copied().collect();
    let (lost, told) = (total - found.len() as u64, told - told_before);
    eprintln!(
        "{kills} kills: {total} packets sent, {} found, {} had been seen on the disk; {lost} lost, {told} told as lost; \
         {answered} answers, {complete} of them complete",
        found.len(),
        seen.len()
    );
    assert_eq!(found.len(), numbers.len(), "none is there twice");
    assert!(found.last() < Some(&total));
    let missing: Vec<_> = seen.difference(&found).collect();
    assert!(missing.is_empty(), "{} of those on the disk are not found: {missing:?}", missing.len());
    assert!(seen.len() > 1_000 && lost > 0 && complete > 0, "the test has seen too little");
    // For each kill, what came behind the last block on the disk until the next capture: one run of numbers at most.
    let runs = (0..total).filter(|number| !found.contains(number) && (*number == 0 || found.contains(&(number - 1))));
    assert!(runs.count() <= kills, "packets were lost at other times");
    // What passes while the counts are read may be in one of them and not in the other.
    assert!(told.abs_diff(lost) <= 4 * kills as u64, "{lost} packets were lost, and {told} are told");
}
