//! What crosses a real wire is the same by AF_XDP as by packet sockets; and what becomes of the host's own packets.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{fs, path::Path, thread, time::Duration};

use rustix::process::Signal;
use steno_core::{
    block::{Block, TP_STATUS_BLK_TMO},
    testkit::{FrameBuilder, need},
};
use steno_index::{Index, verify_segment};
use support::{Stenotype, Wire, frames, names};

const XDP: &str = "--source=af_xdp";

/// Conversations with tags and without, from the shortest frames to such that take several chunks.
fn frames_of_all_sizes() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for i in 0..300u16 {
        let [high, low] = i.to_be_bytes();
        let ethernet = match i % 4 {
            1 => FrameBuilder::ethernet().tag(0x8100, 100 + i % 7),
            2 => FrameBuilder::ethernet().tag(0x88a8, 7).tag(0x8100, 8),
            _ => FrameBuilder::ethernet(),
        };
        let len = [10, 200, 1400, 1750, 3600, 8900][usize::from(i) % 6];
        let payload = vec![low; len];
        let (a, b) = ([10, 0, high, low], [192, 168, high, low]);
        frames.push(ethernet.ipv4(a, b).udp(20_000 + i, 443).payload(&payload).build());
    }
    frames
}

fn some_frames(count: u16) -> Vec<Vec<u8>> {
    let frame =
        |i: u16| FrameBuilder::ethernet().ipv4([10, 1, 1, 1], [10, 2, 2, 2]).udp(i, 53).payload(&[3; 90]).build();
    (0..count).map(frame).collect()
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

/// A capture by AF_XDP to which these frames were sent; none of its blocks is ended by time. `None` where the test is skipped.
fn captured(wire: &Wire, dir: &Path, sent: &[Vec<u8>]) -> Option<Stenotype> {
    let capture = wire.capture(dir, &[XDP, "--blockage_sec=600"]);
    has_xdp(&capture).then(|| wire.send(dir, sent, 10_000))?;
    Some(capture)
}

/// AF_XDP is to be had here, or the test is skipped.
fn has_xdp(capture: &Stenotype) -> bool {
    let log = capture.log();
    need(!log.contains("no permission to") && !log.contains("address family not supported"), "AF_XDP")
}

/// The indexes of a thread, in the order of time.
fn indexes(dir: &Path, thread: u32) -> Vec<Index> {
    let dir = dir.join(format!("IDX{thread}"));
    names(&dir).iter().map(|name| Index::open(&dir.join(name)).unwrap()).collect()
}

fn has_program(wire: &Wire) -> bool {
    let shown = support::output({
        let mut command = wire.command("ip");
        let _ = command.args(["-d", "link", "show", "v1"]);
        command
    });
    String::from_utf8(shown.stdout).unwrap().contains("prog/xdp")
}

#[test]
fn the_same_frames_are_stored_by_either_source() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let sent = frames_of_all_sizes();
    let mut stored = Vec::new();
    for (queues, flags, how) in [
        ("1", vec![], "by AF_PACKET"),
        ("1", vec![XDP, "--threads=2"], "by AF_XDP (native, copy)"),
        // Native XDP wants as many queues at this end as the other one sends from.
        ("2", vec![XDP], "by AF_XDP (generic, copy)"),
    ] {
        wire.ethtool(&["-L", "v0", "tx", queues]);
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[&flags[..], &["--blockage_sec=0.2"]].concat());
        if !has_xdp(&capture) {
            return;
        }
        let log = capture.log();
        assert!(log.contains(how), "{log}");
        // In two parts, so that blocks end by their timer as well.
        for part in sent.chunks(200) {
            wire.send(dir.path(), part, 20_000);
            thread::sleep(Duration::from_millis(700));
        }
        let log = dir.path().join("log");
        assert_eq!(capture.stop().0, 0);
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("captured 300 packets") && log.contains("dropped 0"), "{log}");
        let threads = if flags.contains(&"--threads=2") { 2 } else { 1 };
        let all: Vec<_> = (0..threads).flat_map(|thread| frames(dir.path(), thread)).collect();
        assert!(sorted(all) == sorted(sent.clone()), "{how}: other frames are stored than were sent");
        let facts: Vec<_> = (0..threads).flat_map(|thread| indexes(dir.path(), thread)).collect();
        let sum = |of: fn(&Index) -> u32| facts.iter().map(of).sum::<u32>();
        stored.push((sum(Index::packets), sum(Index::conversations)));
        for index in &facts {
            let software = &index.facts().unwrap().software;
            assert_eq!(software.contains("(AF_XDP, "), how.contains("AF_XDP"), "{software}");
        }
        (0..threads).for_each(|thread| check_blocks(dir.path(), thread));
    }
    assert_eq!(stored, [(300, 300); 3]);
}

/// Index and packet file agree; blocks have the times of their packets, and end by the timer but for the last.
fn check_blocks(dir: &Path, thread: u32) {
    let (packets, index) = (dir.join(format!("PKT{thread}")), dir.join(format!("IDX{thread}")));
    assert_eq!(names(&packets), names(&index));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for name in names(&index) {
        let report = verify_segment(&packets.join(&name), &index.join(&name));
        assert!(report.is_clean(), "{report:?}");
        let file = fs::read(packets.join(&name)).unwrap();
        let mut last = 0;
        let blocks = file.len().div_ceil(1 << 20) as u64;
        for (number, bytes) in (1..).zip(file.chunks(1 << 20)) {
            let block = Block::parse(bytes).unwrap();
            assert_eq!(block.header().seq_num, number);
            assert!(block.header().status & TP_STATUS_BLK_TMO != 0 || number == blocks);
            for packet in block.packets() {
                let time = packet.unwrap().timestamp();
                // Two processors may hand over what they got at the same time in either order, and one of them may be held up
                // before it does; but not until the next part is sent.
                assert!(time.as_ns() + 500_000_000 >= last && now - time.secs() < 30, "{time} after {last}");
                last = last.max(time.as_ns());
            }
        }
    }
}

#[test]
fn the_program_goes_with_the_capture_however_that_ends() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let sent = some_frames(50);
    for signal in [Signal::KILL, Signal::TERM] {
        let dir = tempfile::tempdir().unwrap();
        let mut capture = wire.capture(dir.path(), &[XDP]);
        if !has_xdp(&capture) {
            return;
        }
        assert!(has_program(&wire), "{}", capture.log());
        capture.signal(signal);
        let _status = capture.wait();
        assert!(!has_program(&wire), "{signal:?}");
        // The host gets its packets again: a packet socket sees them.
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[]);
        wire.send(dir.path(), &sent, 10_000);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(capture.stop().0, 0);
        assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent.clone()));
    }
}

#[test]
fn two_captures_of_an_interface_do_not_take_it_from_each_other() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let (first_dir, second_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = wire.capture(first_dir.path(), &[XDP]);
    if !has_xdp(&first) {
        return;
    }
    let second = wire.capture(second_dir.path(), &[XDP]);
    assert!(second.log().contains("another program has it; its packets are taken by AF_PACKET"), "{}", second.log());
    let sent = some_frames(50);
    wire.send(first_dir.path(), &sent, 10_000);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((second.stop().0, first.stop().0), (0, 0));
    assert_eq!(sorted(frames(first_dir.path(), 0)), sorted(sent));
}

#[test]
fn where_af_xdp_is_not_to_be_had_packet_sockets_take_its_place() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let sent = some_frames(50);
    wire.link(&["add", "b1", "type", "bridge"]);
    wire.link(&["set", "b1", "up"]);
    let without_bpf = ["--bounding-set", "-sys_admin,-bpf"];
    for (flags, address, wrap, why) in [
        (vec![XDP], Some("10.9.0.1/24"), false, "the host has the address 10.9.0.1 there"),
        (vec![XDP, "--filter=udp"], None, false, "it has no --filter"),
        (vec![XDP, "--fanout_id=7"], None, false, "it shares no packets with other processes"),
        (vec![XDP], None, true, "no permission to make a map of sockets"),
        (vec![XDP, "--iface=b1"], None, false, "it is a bridge, and VLAN tags are taken out of frames before"),
        (vec![XDP, "--iface=v0"], None, false, "`ethtool -K v0 rxvlan off` leaves them in"),
    ] {
        let address_of_v1 = |what: &str| {
            if let Some(address) = address {
                assert!(wire.command("ip").args(["address", what, address, "dev", "v1"]).status().unwrap().success());
            }
        };
        let dir = tempfile::tempdir().unwrap();
        address_of_v1("add");
        let capture = if wrap {
            let program = wire.stenotype(dir.path(), &flags);
            let mut command = wire.command("setpriv");
            // Behind `ip netns exec NAME`.
            let _ = command.args(without_bpf).args(program.get_args().skip(3));
            let capture = Stenotype::start(command, dir.path());
            capture.wait_for("capturing from");
            capture
        } else {
            wire.capture(dir.path(), &flags)
        };
        address_of_v1("del");
        let log = capture.log();
        let line = log.lines().find(|line| line.contains("AF_XDP is not to be had on ")).unwrap_or_default();
        assert!(
            line.contains(" warning ") && line.contains(why) && line.ends_with("taken by AF_PACKET"),
            "{why}: {log}"
        );
        assert!(!has_program(&wire));
        let is_of_v1 = !flags.iter().any(|flag| flag.starts_with("--iface"));
        wire.send(dir.path(), &sent, 10_000);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(capture.stop().0, 0);
        if is_of_v1 {
            assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent.clone()));
        }
    }
}

#[test]
fn what_finds_no_room_is_dropped_and_counted() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let dir = tempfile::tempdir().unwrap();
    // 4096 chunks, the least.
    let capture = wire.capture(dir.path(), &[XDP, "--blocks=8"]);
    if !has_xdp(&capture) {
        return;
    }
    let sent = some_frames(6_000);
    capture.signal(Signal::STOP);
    wire.send(dir.path(), &sent, 20_000);
    capture.signal(Signal::CONT);
    assert_eq!(capture.stop().0, 0);
    let [index] = &indexes(dir.path(), 0)[..] else { panic!("one segment was expected") };
    let dropped: u64 = index.facts().unwrap().drops.iter().map(|drops| drops.packets).sum();
    assert!(index.packets() >= 4_096 && dropped > 0, "{} stored", index.packets());
    assert_eq!(u64::from(index.packets()) + dropped, 6_000);
    assert_eq!(frames(dir.path(), 0), sent[..index.packets() as usize]);
    // All of them were taken at once, long after they had come: none has the time of that, the first of a block neither.
    let times = times(dir.path(), 0);
    assert!(times.is_sorted(), "{} after {}", times[1], times[0]);
    assert!(times[times.len() - 1] - times[0] > 100_000_000, "as they were sent");
}

/// The times of a thread's packets, in nanoseconds.
fn times(dir: &Path, thread: u32) -> Vec<u64> {
    let packets = dir.join(format!("PKT{thread}"));
    let mut times = Vec::new();
    for name in names(&packets) {
        for bytes in fs::read(packets.join(name)).unwrap().chunks(1 << 20) {
            let block = Block::parse(bytes).unwrap();
            times.extend(block.packets().map(|packet| packet.unwrap().timestamp().as_ns()));
        }
    }
    times
}

#[test]
fn a_link_that_goes_down_and_comes_up_again_leaves_a_gap() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(40);
    let mut capture = wire.capture(dir.path(), &[XDP]);
    if !has_xdp(&capture) {
        return;
    }
    wire.send(dir.path(), &sent[..20], 10_000);
    thread::sleep(Duration::from_millis(300));
    wire.link(&["set", "v1", "down"]);
    capture.wait_for("v1 is down");
    thread::sleep(Duration::from_millis(500));
    assert!(capture.is_running());
    wire.link(&["set", "v1", "up"]);
    thread::sleep(Duration::from_millis(200));
    wire.send(dir.path(), &sent[20..], 10_000);
    capture.wait_for("v1 is up again");
    assert_eq!(capture.stop().0, 0);
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
    let [index] = &indexes(dir.path(), 0)[..] else { panic!("one segment was expected") };
    assert_eq!(index.facts().unwrap().gaps.len(), 1);
}

/// What comes by a queue that was not there at the start has no socket.
#[test]
fn more_queues_than_sockets_end_the_capture_and_leave_a_gap() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let (dir, sent) = (tempfile::tempdir().unwrap(), some_frames(20));
    let Some(mut capture) = captured(&wire, dir.path(), &sent) else { return };
    thread::sleep(Duration::from_millis(1_300));
    assert!(capture.is_running(), "{}", capture.log());
    wire.ethtool(&["-L", "v1", "rx", "2"]);
    assert_eq!(capture.wait(), 1);
    let log = capture.log();
    assert!(log.contains("v1 has 2 receive queues now, and sockets for 1 of them"), "{log}");
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
    let [index] = &indexes(dir.path(), 0)[..] else { panic!("one segment was expected") };
    let [gap] = &index.facts().unwrap().gaps[..] else { panic!("one gap was expected: {:?}", index.facts()) };
    assert_eq!(gap.reason, "v1 had 2 receive queues, and 1 of them were captured");
    assert!(gap.from < gap.to && gap.to <= index.facts().unwrap().ended.unwrap(), "{gap:?}");
    // All of them are had at the next start.
    let dir = tempfile::tempdir().unwrap();
    let capture = wire.capture(dir.path(), &[XDP]);
    assert!(capture.log().contains("from 2 queues"), "{}", capture.log());
    assert_eq!(capture.stop().0, 0);
}

#[test]
fn a_driver_that_does_not_tell_its_queues_is_warned_of() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    assert!(wire.command("ip").args(["address", "flush", "dev", "lo"]).status().unwrap().success());
    for (interface, is_warned_of) in [("lo", true), ("v1", false)] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[XDP, &format!("--iface={interface}")]);
        if !has_xdp(&capture) {
            return;
        }
        let log = capture.log();
        assert!(log.contains("come by AF_XDP"), "{log}");
        assert_eq!(log.contains("does not say how many receive queues it has"), is_warned_of, "{log}");
        assert_eq!(capture.stop().0, 0);
    }
}

#[test]
fn a_link_that_is_removed_ends_the_capture_and_costs_nothing() {
    let Some(wire) = Wire::that_keeps_tags() else { return };
    let (dir, sent) = (tempfile::tempdir().unwrap(), some_frames(20));
    let Some(mut capture) = captured(&wire, dir.path(), &sent) else { return };
    thread::sleep(Duration::from_millis(300));
    wire.link(&["del", "v1"]);
    assert_eq!(capture.wait(), 1);
    assert!(capture.log().trim_end().ends_with("Start again when it is back"), "{}", capture.log());
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
}
