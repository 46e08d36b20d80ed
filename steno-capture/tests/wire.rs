//! What crosses a real wire is stored, indexed and published, packet for packet.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    thread,
    time::Duration,
};

use steno_core::{
    packet::{Frame, Network, decode},
    testkit::FrameBuilder,
};
use steno_index::{Index, verify_segment};
use support::{Wire, frames, names};

/// Conversations with both directions, some of them tagged once or twice.
fn conversations(count: u8) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for round in 0..3u8 {
        for i in 0..count {
            let (a, b) = ([10, 0, round, i], [192, 168, 7, i]);
            let ethernet = match i % 4 {
                1 => FrameBuilder::ethernet().tag(0x8100, 100 + u16::from(i)),
                2 => FrameBuilder::ethernet().tag(0x88a8, 7).tag(0x8100, 8),
                _ => FrameBuilder::ethernet(),
            };
            let payload = [i; 30];
            let port = 20_000 + u16::from(i);
            frames.push(ethernet.clone().ipv4(a, b).tcp(port, 443).payload(&payload).build());
            frames.push(ethernet.ipv4(b, a).tcp(443, port).payload(&payload).build());
        }
    }
    frames
}

fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}

fn wait() {
    thread::sleep(Duration::from_millis(300));
}

#[test]
fn every_frame_is_stored_with_its_tags_by_one_two_and_four_threads() {
    let Some(wire) = Wire::new() else { return };
    let sent = conversations(200);
    for threads in [1, 2, 4] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[&format!("--threads={threads}")]);
        wire.send(dir.path(), &sent, 20_000);
        wait();
        let log = dir.path().join("log");
        let (status, took) = capture.stop();
        assert_eq!(status, 0);
        assert!(took < Duration::from_secs(30), "a stop took {took:?}");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("captured 1200 packets") && log.contains("the kernel dropped 0"), "{log}");
        let by_thread: Vec<_> = (0..threads).map(|t| frames(dir.path(), t)).collect();
        assert_eq!(sorted(by_thread.concat()), sorted(sent.clone()), "{threads} threads");
        one_thread_a_conversation(&by_thread);
        for t in 0..threads {
            check_segments(dir.path(), t);
        }
    }
}

/// Both directions of a conversation must be in the same thread's files.
fn one_thread_a_conversation(by_thread: &[Vec<Vec<u8>>]) {
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut used = vec![0; by_thread.len()];
    for (thread, frames) in by_thread.iter().enumerate() {
        for frame in frames {
            let ip = frame.len() - 70;
            let (mut a, mut b) = (frame[ip + 12..ip + 16].to_vec(), frame[ip + 16..ip + 20].to_vec());
            if a > b {
                std::mem::swap(&mut a, &mut b);
            }
            let first = *seen.entry([a, b].concat()).or_insert(thread);
            assert_eq!(first, thread, "a conversation is split over threads");
            used[thread] += 1;
        }
    }
    assert!(used.iter().all(|&n| n > 0), "some thread got nothing: {used:?}");
}

/// Index and packet file of each segment agree, down to each packet decoded again.
fn check_segments(dir: &Path, thread: u32) {
    let (packets, index) = (dir.join(format!("PKT{thread}")), dir.join(format!("IDX{thread}")));
    assert_eq!(names(&packets), names(&index));
    for name in names(&index) {
        let report = verify_segment(&packets.join(&name), &index.join(&name));
        assert!(report.is_clean(), "{report:?}");
    }
}

#[test]
fn the_index_finds_what_was_sent_and_knows_the_circumstances() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let capture = wire.capture(dir.path(), &["--block_crc=on"]);
    wire.send(dir.path(), &conversations(20), 20_000);
    wait();
    assert_eq!(capture.stop().0, 0);
    let [name] = &names(&dir.path().join("IDX0"))[..] else { panic!("one segment was expected") };
    let path = dir.path().join("IDX0").join(name);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let index = Index::open(&path).unwrap();
    assert_eq!((index.packets(), index.conversations()), (120, 60));
    let facts = index.facts().unwrap();
    assert_eq!((facts.interface.as_str(), facts.link_type), ("v1", 1));
    assert!(facts.software.starts_with("stenotype "));
    assert!(index.block(0).unwrap().crc32c.is_some());
    let host: IpAddr = "10.0.1.5".parse().unwrap();
    let mut found = Vec::new();
    index.conversations_by_address(host..=host, &mut found).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn files_are_rotated_by_age_and_never_published_empty() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let capture = wire.capture(dir.path(), &["--fileage_sec=1"]);
    let first = capture.names("PKT0");
    assert!(matches!(&first[..], [name] if name.starts_with('.')), "one hidden file: {first:?}");
    thread::sleep(Duration::from_millis(1500));
    let idle = capture.names("PKT0");
    assert!(
        matches!(&idle[..], [name] if name.starts_with('.') && *name > first[0]),
        "renamed, not published: {idle:?}"
    );
    for round in 0..2 {
        wire.send(dir.path(), &conversations(10 + round), 20_000);
        thread::sleep(Duration::from_millis(1800));
    }
    assert_eq!(capture.stop().0, 0);
    let published = names(&dir.path().join("PKT0"));
    assert_eq!(published.len(), 2, "{published:?}");
    assert!(published.iter().all(|n| !n.starts_with('.')));
    assert_eq!(frames(dir.path(), 0).len(), 6 * 10 + 6 * 11);
    // A few packets take a few KiB, although their block is a MiB long.
    let size = fs::metadata(dir.path().join("PKT0").join(&published[0])).unwrap();
    assert_eq!(size.len(), 1 << 20);
    assert!(size.blocks() * 512 < 64 << 10, "{} bytes on disk", size.blocks() * 512);
}

#[test]
fn files_are_rotated_by_size() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let large: Vec<_> = (0..400u16)
        .map(|i| FrameBuilder::ethernet().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).udp(i, 9).payload(&[7; 8000]).build())
        .collect();
    let capture = wire.capture(dir.path(), &["--filesize_mb=1"]);
    wire.send(dir.path(), &large, 20_000);
    wait();
    assert_eq!(capture.stop().0, 0);
    assert!(names(&dir.path().join("PKT0")).len() >= 3);
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(large));
    check_segments(dir.path(), 0);
}

#[test]
fn a_stop_takes_the_packets_of_a_block_that_is_far_from_its_timer() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = conversations(5);
    let capture = wire.capture(dir.path(), &["--blockage_sec=600"]);
    wire.send(dir.path(), &sent, 20_000);
    wait();
    let (status, took) = capture.stop();
    assert_eq!(status, 0);
    assert!(took < Duration::from_secs(30), "a stop took {took:?}");
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
}

#[test]
fn every_way_to_write_stores_the_same() {
    let Some(wire) = Wire::new() else { return };
    let sent = conversations(30);
    let shm = Path::new("/dev/shm");
    // tmpfs refuses O_DIRECT where it is older than Linux 6.6; either way the file must be right.
    for (way, place) in [("--io=uring", None), ("--io=sync", None), ("--io=sync", shm.is_dir().then_some(shm))] {
        let dir = place.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
        let capture = wire.capture(dir.path(), &[way, "--preallocate_file_mb=4", "--aiops=1"]);
        wire.send(dir.path(), &sent, 20_000);
        wait();
        assert_eq!(capture.stop().0, 0, "{way}");
        assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent.clone()), "{way} in {place:?}");
        check_segments(dir.path(), 0);
        let packets = dir.path().join("PKT0");
        let size = fs::metadata(packets.join(&names(&packets)[0])).unwrap().len();
        assert_eq!(size, 1 << 20, "what was preallocated is given back");
    }
}

#[test]
fn count_ends_the_capture_at_the_packet() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = conversations(50);
    let mut capture = wire.capture(dir.path(), &["--count=77"]);
    wire.send(dir.path(), &sent, 20_000);
    assert_eq!(capture.wait(), 0);
    assert_eq!(frames(dir.path(), 0), sent[..77]);
    check_segments(dir.path(), 0);
}

#[test]
fn a_filter_keeps_the_rest_out() {
    let Some(wire) = Wire::new() else { return };
    // `ip host 10.0.1.3` on Ethernet, by hand: code, jump if true, jump if false, k (bpf(4)).
    let program = [
        (0x28, 0, 0, 12),
        (0x15, 0, 5, 0x800),
        (0x20, 0, 0, 26),
        (0x15, 2, 0, 0x0a00_0103),
        (0x20, 0, 0, 30),
        (0x15, 0, 1, 0x0a00_0103),
        (0x06, 0, 0, 0x0004_0000),
        (0x06, 0, 0, 0),
    ];
    let hex: String =
        program.iter().map(|(c, t, f, k): &(u16, u8, u8, u32)| format!("{c:04x}{t:02x}{f:02x}{k:08x}")).collect();
    let plain = ["host 10.0.1.3", "tcp and net 10.0.1.3/32 and not (port 80 or 53)"];
    let mut spellings = vec![hex];
    spellings.extend(plain.map(str::to_owned));
    let tcpdump = std::process::Command::new("tcpdump").arg("--version").output();
    if tcpdump.is_ok_and(|o| o.status.success()) {
        // Round 1 of the conversation whose tag this is: the kernel has taken it out of the frame.
        spellings.push("vlan 101 and host 10.0.1.1".to_owned());
    }
    for filter in spellings {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[&format!("--filter={filter}")]);
        wire.send(dir.path(), &conversations(20), 20_000);
        wait();
        assert_eq!(capture.stop().0, 0);
        assert_eq!(frames(dir.path(), 0).len(), 2, "{filter}");
        let name = &names(&dir.path().join("IDX0"))[0];
        let index = Index::open(&dir.path().join("IDX0").join(name)).unwrap();
        assert_eq!(index.facts().unwrap().filter, filter);
    }
}

#[test]
fn both_directions_of_whatever_conversation_share_a_thread() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let v6 = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, last];
    let mut sent = Vec::new();
    for i in 1..=60u8 {
        let (a, b, port) = ([10, 3, 0, i], [10, 4, i, 1], 30_000 + u16::from(i));
        for (outer, inner) in [(None, None), (Some(0x8100), None), (Some(0x88a8), Some(0x8100))] {
            let tags = || {
                let ethernet = FrameBuilder::ethernet();
                let ethernet = outer.map_or(ethernet.clone(), |tpid| ethernet.tag(tpid, 300));
                inner.map_or(ethernet.clone(), |tpid| ethernet.tag(tpid, 301))
            };
            sent.push(tags().ipv4(a, b).udp(port, 53).build());
            sent.push(tags().ipv4(b, a).udp(53, port).build());
            sent.push(tags().ipv6(v6(i), v6(200)).tcp(port, 443).build());
            sent.push(tags().ipv6(v6(200), v6(i)).tcp(443, port).build());
            sent.push(tags().ipv4(b, a).protocol(47, &[0; 8]).build());
            sent.push(tags().ipv4(a, b).protocol(47, &[0; 8]).build());
        }
        // A datagram in two fragments, of which only the first has ports.
        let fragment =
            |offset, more| FrameBuilder::ethernet().ipv4([10, 5, 0, i], b).fragment(u32::from(i), offset, more);
        sent.push(fragment(0, true).udp(port, 53).payload(&[1; 16]).build());
        sent.push(fragment(3, false).payload(&[2; 16]).build());
    }
    let capture = wire.capture(dir.path(), &["--threads=4"]);
    wire.send(dir.path(), &sent, 20_000);
    wait();
    assert_eq!(capture.stop().0, 0);
    let by_thread: Vec<_> = (0..4).map(|t| frames(dir.path(), t)).collect();
    assert_eq!(sorted(by_thread.concat()), sorted(sent));
    let mut homes = BTreeMap::new();
    for (thread, frames) in by_thread.iter().enumerate() {
        for frame in frames {
            let mut tags = Vec::new();
            let decoded = decode(&Frame::new(frame), &mut tags);
            let ends = match decoded.network {
                Network::V4 { src, dst } => [IpAddr::V4(src), IpAddr::V4(dst)],
                Network::V6 { src, dst } => [IpAddr::V6(src), IpAddr::V6(dst)],
                Network::None { .. } => panic!("only IP was sent"),
            };
            let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            // The fragments of a datagram have one home; they have addresses of their own here.
            let home = *homes.entry((low, high, decoded.protocol)).or_insert(thread);
            assert_eq!(home, thread, "{low} and {high}, protocol {:?}", decoded.protocol);
        }
    }
    assert!((0..4).all(|thread| homes.values().any(|home| *home == thread)), "each thread has some");
}

#[test]
fn any_other_way_to_share_packets_can_be_asked_for() {
    let Some(wire) = Wire::new() else { return };
    let sent = conversations(40);
    // PACKET_FANOUT_LB: one after the other.
    for kind in ["1", "0x1"] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &["--threads=2", &format!("--fanout_type={kind}")]);
        wire.send(dir.path(), &sent, 20_000);
        wait();
        assert_eq!(capture.stop().0, 0);
        let stored = [frames(dir.path(), 0), frames(dir.path(), 1)];
        assert!(stored[0].len().abs_diff(stored[1].len()) <= 2, "{} and {}", stored[0].len(), stored[1].len());
        assert_eq!(sorted(stored.concat()), sorted(sent.clone()));
    }
    let dir = tempfile::tempdir().unwrap();
    let result = support::output(wire.stenotype(dir.path(), &["--threads=2", "--fanout_type=99"]));
    let text = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(text.contains("fan-out type 99") && text.contains("packet(7)"), "{text}");
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn without_an_index_the_packets_are_published_all_the_same() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = conversations(10);
    let capture = wire.capture(dir.path(), &["--no_index"]);
    wire.send(dir.path(), &sent, 20_000);
    wait();
    assert_eq!(capture.stop().0, 0);
    assert_eq!(names(&dir.path().join("IDX0")), Vec::<String>::new());
    assert_eq!(sorted(frames(dir.path(), 0)), sorted(sent));
}

#[test]
fn privileges_are_dropped_for_the_account_that_is_asked_for() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let capture = wire.capture(dir.path(), &["--threads=2", "--uid=nobody", "--gid=nogroup"]);
    for task in fs::read_dir(format!("/proc/{}/task", capture.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let uids = status.lines().find(|l| l.starts_with("Uid:")).unwrap();
        assert!(uids.split_whitespace().skip(1).all(|uid| uid == "65534"), "{uids}");
        let groups = status.lines().find_map(|l| l.strip_prefix("Groups:")).unwrap();
        assert!(groups.split_whitespace().all(|gid| gid == "65534"), "groups of root stay: {groups}");
    }
    wire.send(dir.path(), &conversations(10), 20_000);
    wait();
    assert_eq!(capture.stop().0, 0);
    let file = fs::metadata(dir.path().join("PKT0")).unwrap();
    assert_eq!((file.uid(), file.permissions().mode() & 0o777), (65534, 0o700));
    assert_eq!(frames(dir.path(), 0).len() + frames(dir.path(), 1).len(), 60);
}

#[test]
fn a_quiet_link_is_no_fault_and_index_threads_are_nice() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut capture = wire.capture(dir.path(), &["--fileage_sec=1", "--index_nicelevel=7"]);
    thread::sleep(Duration::from_secs(3));
    assert!(capture.is_running());
    let nice: Vec<(String, String)> = fs::read_dir(format!("/proc/{}/task", capture.pid()))
        .unwrap()
        .map(|task| {
            let task = task.unwrap().path();
            let stat = fs::read_to_string(task.join("stat")).unwrap();
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect();
            (fs::read_to_string(task.join("comm")).unwrap().trim().to_owned(), fields[16].clone())
        })
        .collect();
    assert!(nice.contains(&("index0".to_owned(), "7".to_owned())), "{nice:?}");
    let packet = nice.iter().find(|(name, _)| name == "packet0");
    let main = nice.iter().find(|(name, _)| name == "stenotype");
    assert_eq!(packet.map(|(_, nice)| nice), main.map(|(_, nice)| nice), "{nice:?}");
    // Whoever confines a capture to some cores confines its index threads too.
    let cores = |path: &str| {
        let status = fs::read_to_string(path).unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).map(str::to_owned)
    };
    for task in fs::read_dir(format!("/proc/{}/task", capture.pid())).unwrap() {
        let task = task.unwrap().path();
        if fs::read_to_string(task.join("comm")).unwrap().starts_with("index") {
            assert_eq!(cores(&task.join("status").display().to_string()), cores("/proc/self/status"));
        }
    }
    assert_eq!(capture.stop().0, 0);
    assert_eq!(names(&dir.path().join("PKT0")), Vec::<String>::new(), "nothing came, nothing stays");
}

#[test]
fn a_full_disk_costs_packets_and_nothing_else() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "none"])
        .arg(&disk)
        .status()
        .is_ok_and(|s| s.success());
    if !steno_core::testkit::need(mounted, "the right to mount a tmpfs") {
        return;
    }
    let large: Vec<_> = (0..1200u16)
        .map(|i| FrameBuilder::ethernet().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).udp(i, 9).payload(&[7; 8000]).build())
        .collect();
    let mut capture = wire.capture(&disk, &["--fileage_sec=1"]);
    wire.send(dir.path(), &large, 5_000);
    thread::sleep(Duration::from_secs(1));
    assert!(capture.is_running(), "{}", capture.log());
    let log = capture.log();
    assert!(log.contains("packets are dropped and counted"), "{log}");
    // What was published before the disk was full is whole.
    let stored = frames(&disk, 0).len();
    assert!(stored < large.len());
    // With room again, capture goes on by itself.
    for name in names(&disk.join("PKT0")) {
        let _ = fs::remove_file(disk.join("PKT0").join(&name));
        let _ = fs::remove_file(disk.join("IDX0").join(&name));
    }
    thread::sleep(Duration::from_millis(1500));
    let few = conversations(10);
    wire.send(dir.path(), &few, 20_000);
    wait();
    let (status, _) = capture.stop();
    let after = frames(&disk, 0);
    let _ = std::process::Command::new("umount").arg(&disk).status();
    assert_eq!(status, 0);
    assert_eq!(sorted(after), sorted(few));
}
