//! What goes wrong while a capture runs: links that go away, rings that are full, signals, processes that share a link.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use steno_core::testkit::{FrameBuilder, need};
use steno_index::{Cause, Gap, Index};
use support::{Stenotype, Wire, frames, frames_of_blocks, names};

fn some_frames(count: u16) -> Vec<Vec<u8>> {
    let frame = |i: u16| {
        let [high, low] = i.to_be_bytes();
        FrameBuilder::ethernet().ipv4([10, 1, high, low], [10, 2, low, high]).udp(i, 53).payload(&[3; 600]).build()
    };
    (0..count).map(frame).collect()
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// The only index of thread 0.
fn index(dir: &Path) -> Index {
    let names = names(&dir.join("IDX0"));
    assert_eq!(names.len(), 1, "{names:?}");
    Index::open(&dir.join("IDX0").join(&names[0])).unwrap()
}

#[test]
fn a_link_that_goes_down_and_comes_up_again_leaves_a_gap() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(40);
    let mut capture = wire.capture(dir.path(), &[]);
    wire.send(dir.path(), &sent[..20], 10_000);
    // A link that goes down takes with it what the kernel has not delivered yet.
    thread::sleep(Duration::from_millis(300));
    wire.link(&["set", "v1", "down"]);
    capture.wait_for("v1 is down");
    thread::sleep(Duration::from_millis(1500));
    assert!(capture.is_running());
    wire.link(&["set", "v1", "up"]);
    thread::sleep(Duration::from_millis(200));
    wire.send(dir.path(), &sent[20..], 10_000);
    capture.wait_for("v1 is up again");
    assert_eq!(capture.stop().0, 0);
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
    let facts = index(dir.path()).facts().unwrap().clone();
    let [gap] = facts.gaps.as_slice() else { panic!("one gap was expected: {:?}", facts.gaps) };
    assert_eq!(gap.reason, "v1 was down");
    assert!(gap.to.as_ns() - gap.from.as_ns() > 1_000_000_000, "{gap:?}");
}

#[test]
fn a_link_that_is_removed_ends_the_capture_and_costs_nothing() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(20);
    let mut capture = wire.capture(dir.path(), &["--blockage_sec=600"]);
    wire.send(dir.path(), &sent, 10_000);
    thread::sleep(Duration::from_millis(300));
    wire.link(&["del", "v1"]);
    assert_eq!(capture.wait(), 1);
    let log = capture.log();
    assert!(log.trim_end().ends_with("Start again when it is back"), "{log}");
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
}

#[test]
fn a_full_ring_drops_packets_and_the_index_says_how_many() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(2000);
    let capture = wire.capture(dir.path(), &["--blocks=4", "--blocksize_kb=64"]);
    capture.signal(Signal::STOP);
    wire.send(dir.path(), &sent, 50_000);
    capture.signal(Signal::CONT);
    assert_eq!(capture.stop().0, 0);
    let stored = frames_of_blocks(dir.path(), 0, 64 << 10);
    assert!(!stored.is_empty() && stored.len() < sent.len(), "{} of {} are stored", stored.len(), sent.len());
    let index = index(dir.path());
    let dropped: u64 = index.facts().unwrap().drops.iter().map(|drops| drops.packets).sum();
    assert_eq!(dropped, (sent.len() - stored.len()) as u64);
    assert_eq!(index.packets() as usize, stored.len());
    assert!(lost(&index, Cause::RingFull) > 0);
}

#[test]
fn what_the_interface_drops_itself_and_what_a_filter_cuts_is_in_the_index() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    // BPF: return 64, of every packet.
    let capture = wire.capture(dir.path(), &["--filter=0006000000000040"]);
    // An end of a veth pair drops what is larger than it takes (`____dev_forward_skb`), and counts that as rx_dropped.
    wire.link(&["set", "v1", "mtu", "1000"]);
    // Sent by the system: tcpreplay tries again for ever what is dropped there.
    assert!(wire.command("ip").args(["address", "add", "10.9.0.1/24", "dev", "v0"]).status().unwrap().success());
    let script = "for i in {1..7}; do printf %01400d 0 > /dev/udp/10.9.0.2/9; done";
    let _status_of_the_last = wire.command("bash").args(["-c", script]).status().unwrap();
    wire.send(dir.path(), &some_frames(5), 1_000);
    // It is looked each second.
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(capture.stop().0, 0);
    let index = index(dir.path());
    assert_eq!((index.packets(), lost(&index, Cause::Cut)), (5, 5));
    assert_eq!(lost(&index, Cause::InterfaceDropped), 7);
    assert!(frames(dir.path(), 0).iter().all(|frame| frame.len() == 64));
}

#[test]
fn the_time_between_two_captures_is_a_gap_also_where_the_first_was_killed() {
    let Some(wire) = Wire::new() else { return };
    for killed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = wire.capture(dir.path(), &["--blockage_sec=1"]);
        wire.send(dir.path(), &some_frames(5), 1_000);
        // Until it is on the disk.
        thread::sleep(Duration::from_millis(1_500));
        if killed {
            first.signal(Signal::KILL);
            let _status = first.wait();
        } else {
            assert_eq!(first.stop().0, 0);
        }
        thread::sleep(Duration::from_millis(600));
        let second = wire.capture(dir.path(), &[]);
        wire.send(dir.path(), &some_frames(3), 1_000);
        let begun = Instant::now();
        while killed && names(&dir.path().join("IDX0")).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "not recovered within 20 s");
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(second.stop().0, 0);
        let indexes = names(&dir.path().join("IDX0"));
        assert_eq!(indexes.len(), 2, "{indexes:?}");
        let [first, second] = [0, 1].map(|i: usize| Index::open(&dir.path().join("IDX0").join(&indexes[i])).unwrap());
        let (first_facts, second_facts) = (first.facts().unwrap(), second.facts().unwrap());
        assert_eq!((first_facts.ended.is_some(), second_facts.ended.is_some()), (!killed, true));
        let [gap] = second_facts.gaps.as_slice() else { panic!("one gap was expected: {second_facts:?}") };
        let (before, after) = (first.time_range().unwrap().1, second.time_range().unwrap().0);
        assert!(before <= gap.from && gap.to <= after, "{before} {gap:?} {after}");
        assert!(gap.to.as_ns() - gap.from.as_ns() > 600_000_000, "{gap:?}");
        assert!(first_facts.ended.is_none_or(|ended| ended == gap.from), "{gap:?}");
        assert_eq!(gap.reason, Gap::BETWEEN_CAPTURES);
    }
}

#[test]
fn what_nobody_captured_is_counted_by_the_next_capture() {
    let Some(wire) = Wire::new() else { return };
    for (killed, threads) in [(true, "--threads=1"), (true, "--threads=3"), (false, "--threads=2")] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = wire.capture(dir.path(), &["--blockage_sec=1", threads]);
        wire.send(dir.path(), &some_frames(100), 10_000);
        // On the disk, and in the ledger.
        thread::sleep(Duration::from_millis(2_500));
        if killed {
            wire.send(dir.path(), &some_frames(7), 100_000);
            first.signal(Signal::KILL);
            let _status = first.wait();
        } else {
            assert_eq!(first.stop().0, 0);
        }
        wire.send(dir.path(), &some_frames(11), 10_000);
        let mut second = wire.capture(dir.path(), &["--blockage_sec=1", threads]);
        second.wait_for("packets were not captured");
        wire.send(dir.path(), &some_frames(40), 10_000);
        thread::sleep(Duration::from_millis(2_500));
        // What it had to tell is sealed nowhere yet.
        second.signal(Signal::KILL);
        let _status = second.wait();
        wire.send(dir.path(), &some_frames(5), 10_000);
        let third = wire.capture(dir.path(), &[threads]);
        third.wait_for("packets were not captured");
        wire.send(dir.path(), &some_frames(20), 10_000);
        assert_eq!(third.stop().0, 0);
        let of_indexes = |thread: u32| {
            let index_dir = dir.path().join(format!("IDX{thread}"));
            names(&index_dir).into_iter().map(move |name| Index::open(&index_dir.join(name)).unwrap())
        };
        let all: Vec<Index> =
            (0..3).filter(|n| dir.path().join(format!("IDX{n}")).exists()).flat_map(of_indexes).collect();
        let stored: u32 = all.iter().map(Index::packets).sum();
        let uncaptured: u64 = all.iter().map(|index| lost(index, Cause::Uncaptured)).sum();
        let sent = 100 + if killed { 7 } else { 0 } + 11 + 40 + 5 + 20;
        assert!(stored >= 160 && uncaptured >= 16, "{killed}, {threads}: {stored} and {uncaptured}");
        assert_eq!(u64::from(stored) + uncaptured, sent, "{killed}, {threads}: {}", third_log(dir.path()));
    }
}

fn third_log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap()
}

fn lost(index: &Index, cause: Cause) -> u64 {
    index.facts().unwrap().losses.iter().filter(|loss| loss.cause == cause).map(|loss| loss.count).sum()
}

#[test]
fn a_locked_filter_lets_a_stop_wait_a_second_and_a_second_signal_none() {
    let Some(wire) = Wire::new() else { return };
    let program = "--filter=0006000000040000";
    for threads in ["--threads=1", "--threads=2"] {
        let dir = tempfile::tempdir().unwrap();
        let sent = some_frames(30);
        let capture = wire.capture(dir.path(), &[program, threads, "--blockage_sec=600"]);
        wire.send(dir.path(), &sent, 10_000);
        let (status, took) = capture.stop();
        assert_eq!(status, 0);
        assert!(took < Duration::from_secs(30), "a stop took {took:?}");
        let mut stored = frames(dir.path(), 0);
        if threads.ends_with('2') {
            stored.extend(frames(dir.path(), 1));
        }
        assert_eq!(sorted(stored), sorted(sent), "{threads}");
    }
    // While it waits for the block timer, a second signal does not.
    let dir = tempfile::tempdir().unwrap();
    let mut capture = wire.capture(dir.path(), &[program, "--blockage_sec=600"]);
    wire.send(dir.path(), &some_frames(3), 10_000);
    capture.signal(Signal::TERM);
    capture.wait_for("writing and publishing");
    capture.signal(Signal::INT);
    assert_eq!(capture.wait(), 130, "{}", capture.log());
}

#[test]
fn a_request_to_stop_that_comes_several_times_at_once_is_one() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(30);
    // It waits for the block timer.
    let mut capture = wire.capture(dir.path(), &["--filter=0006000000040000", "--blockage_sec=600"]);
    wire.send(dir.path(), &sent, 10_000);
    for _ in 0..20 {
        capture.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(capture.wait(), 0, "{}", capture.log());
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
}

/// Each segment that waits to be published is an open file.
#[test]
fn as_many_files_may_be_open_as_the_hard_limit_lets() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let program = wire.stenotype(dir.path(), &[]);
    let mut command = wire.command("prlimit");
    // Behind `ip netns exec NAME`.
    let _ = command.arg("--nofile=1000:1500").args(program.get_args().skip(3));
    let capture = Stenotype::start(command, dir.path());
    capture.wait_for("capturing from");
    let limits = fs::read_to_string(format!("/proc/{}/limits", capture.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("1500"), "{files}");
    assert_eq!(capture.stop().0, 0);
}

#[test]
fn processes_with_the_same_fanout_id_share_the_packets() {
    let Some(wire) = Wire::new() else { return };
    let sent = some_frames(400);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let captures: Vec<_> = dirs.iter().map(|dir| wire.capture(dir.path(), &["--fanout_id=77"])).collect();
    wire.send(dirs[0].path(), &sent, 20_000);
    thread::sleep(Duration::from_millis(200));
    captures.into_iter().for_each(|capture| assert_eq!(capture.stop().0, 0));
    let stored = dirs.each_ref().map(|dir| frames(dir.path(), 0));
    assert!(stored.iter().all(|frames| !frames.is_empty()), "each gets a part");
    assert_eq!(sorted(stored.concat()), sorted(sent));
}

#[test]
fn packets_that_the_host_itself_sends_are_captured() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(10);
    let capture = wire.capture(dir.path(), &[]);
    wire.send_from("v1", dir.path(), &sent, 10_000);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(capture.stop().0, 0);
    assert_eq!(frames(dir.path(), 0), sent);
}

/// Flags that make many lines: a statistic a block, and small blocks.
const TALKATIVE: [&str; 4] = ["--stats_blocks=1", "--blockage_sec=0.001", "--blocksize_kb=12", "--blocks=4096"];

/// Ends when it is asked to, with status 0, although its log is a pipe that does not take it.
fn stop(child: &mut Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), Signal::TERM).unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "stenotype waits for someone to read its log");
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(0));
}

fn wait_for_capture(dir: &Path) {
    let begun = Instant::now();
    while names(dir).is_empty() || names(&dir.join("PKT0")).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "stenotype does not start");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminal_that_is_held_does_not_hold_the_capture() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    // A pipe that nobody reads, and more lines than it and the queue before it hold.
    let mut child = wire.stenotype(dir.path(), &TALKATIVE).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_capture(dir.path());
    let sent = some_frames(3000);
    wire.send(dir.path(), &sent, 1_500);
    thread::sleep(Duration::from_millis(200));
    stop(&mut child);
    assert_eq!(frames_of_blocks(dir.path(), 0, 12 << 10).len(), sent.len());
}

#[test]
fn lines_that_nobody_read_are_counted() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut child = wire.stenotype(dir.path(), &TALKATIVE).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_capture(dir.path());
    let sent = some_frames(3000);
    wire.send(dir.path(), &sent, 1_500);
    let mut log = child.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = log.read_to_string(&mut text).unwrap();
        text
    });
    thread::sleep(Duration::from_millis(500));
    stop(&mut child);
    let text = reader.join().unwrap();
    let said = text.lines().filter(|line| line.contains("Thread 0 stats: ")).count();
    let left_out = text.lines().find_map(|line| line.split_once(" log lines were left out")?.0.rsplit(' ').next());
    let left_out: usize = left_out.unwrap_or_else(|| panic!("no count in {text}")).parse().unwrap();
    assert!(left_out > 100, "{left_out} lines were left out");
    // One line for each block: each is there or counted. Files are told too, with -v.
    let blocks = text.lines().filter_map(|line| line.split_once(" blocks=")?.1.split(' ').next()).next_back().unwrap();
    assert!(said + left_out >= blocks.parse().unwrap(), "{said} lines, {left_out} left out, {blocks} blocks");
    assert_eq!(frames_of_blocks(dir.path(), 0, 12 << 10).len(), sent.len());
}

#[test]
fn a_log_that_is_closed_is_no_reason_to_end() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut command = wire.stenotype(dir.path(), &TALKATIVE);
    let _ = command.arg("--fileage_sec=1");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_capture(dir.path());
    drop((child.stdout.take(), child.stderr.take()));
    let sent = some_frames(300);
    wire.send(dir.path(), &sent, 1_000);
    let begun = Instant::now();
    while names(&dir.path().join("IDX0")).iter().all(|name| name.starts_with('.')) {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is sealed");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(child.try_wait().unwrap().is_none());
    stop(&mut child);
    assert_eq!(frames_of_blocks(dir.path(), 0, 12 << 10).len(), sent.len());
}

#[test]
fn a_start_that_fails_says_so_with_its_status_where_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_stenotype"));
    let _ = command.arg(format!("--dir={}", dir.path().display())).arg("--testimony=/x").stdin(Stdio::null());
    assert_eq!(command.stderr(writer).status().unwrap().code(), Some(1));
}

#[test]
fn an_ordinary_user_captures_in_a_namespace_of_their_own() {
    let root = rustix::process::geteuid().is_root();
    let tools = ["unshare", "setpriv", "ip"].iter().all(|t| Command::new(t).arg("-V").output().is_ok());
    // A capture of two packets of a user who is root in there, and no one else: nobody does not exist. The packets are
    // those by which the kernel's IPv6 asks who else is there when a link comes up.
    let script = "set -e; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up; \
                  \"$0\" --iface=v1 --dir=\"$1\" --blocks=8 --count=2 & p=$!; \
                  (while kill -0 $p 2>/dev/null; do ip link set v0 down; ip link set v0 up; sleep 0.5; done) & \
                  wait $p";
    let inside = ["unshare", "-rn", "bash", "-c", script, env!("CARGO_BIN_EXE_stenotype")];
    let mut probe = Command::new("setpriv");
    let _ = probe.args(["--reuid=65533", "--regid=65533", "--clear-groups", "unshare", "-rn", "true"]);
    let allowed = root && tools && probe.status().is_ok_and(|status| status.success());
    if !need(allowed, "root, to become an ordinary user, and user namespaces") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(65_533), Some(65_533)).unwrap();
    let mut command = Command::new("setpriv");
    let _ =
        command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]).args(inside).arg(dir.path().join("store"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("has no user nobody"), "{text}");
    assert_eq!(frames(&dir.path().join("store"), 0).len(), 2, "{text}");
}
