//! Each flag that no other test depends on does what it says: seen from outside, on a real wire.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fs,
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use steno_core::testkit::{FrameBuilder, need};
use support::{Stenotype, Wire, frames, names, output};

fn some_frames(count: u16) -> Vec<Vec<u8>> {
    let frame = |i: u16| FrameBuilder::ethernet().ipv4([10, 1, 1, 1], [10, 2, 2, 2]).udp(i, 53).build();
    (0..count).map(frame).collect()
}

fn statistics(log: &str) -> usize {
    log.lines().filter(|line| line.contains("Thread 0 stats: ")).count()
}

#[test]
fn aiops_is_how_many_writes_are_under_way_at_most() {
    let Some(wire) = Wire::new() else { return };
    for (flags, entries) in [(&["--aiops=4"][..], 4), (&["--aiops=16"], 16), (&[], 32)] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), flags);
        capture.wait_for("writes by");
        if !need(capture.log().contains("writes by io_uring"), "io_uring") {
            return;
        }
        // The kernel tells the size of the submission queue (io_uring(7)).
        let infos = fs::read_dir(format!("/proc/{}/fdinfo", capture.pid())).unwrap();
        let infos: Vec<_> = infos.filter_map(|info| fs::read_to_string(info.unwrap().path()).ok()).collect();
        let mask = infos.iter().find_map(|info| info.lines().find_map(|line| line.strip_prefix("SqMask:")));
        let mask = u32::from_str_radix(mask.unwrap().trim().trim_start_matches("0x"), 16).unwrap();
        assert_eq!(mask + 1, entries, "{flags:?}: without it 128, or as many as there are blocks");
        assert_eq!(capture.stop().0, 0);
    }
}

#[test]
fn files_belong_to_the_user_and_the_group_that_are_asked_for() {
    let Some(wire) = Wire::new() else { return };
    for (flags, owner) in [(["--uid=daemon", "--gid=mail"], (1, 8)), (["--uid=54321", "--gid=43210"], (54_321, 43_210))]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = dir.path().join("store");
        let capture = Stenotype::start(wire.stenotype(&store, &flags), dir.path());
        capture.wait_for("capturing from");
        wire.send(dir.path(), &some_frames(3), 10_000);
        thread::sleep(Duration::from_millis(300));
        let status = fs::read_to_string(format!("/proc/{}/status", capture.pid())).unwrap();
        for (line, id) in [("Uid:", owner.0), ("Gid:", owner.1)] {
            let ids = status.lines().find_map(|l| l.strip_prefix(line)).unwrap();
            assert!(ids.split_whitespace().all(|found| found == id.to_string()), "{line} {ids}");
        }
        assert_eq!(capture.stop().0, 0);
        let [packets, index] = ["PKT0", "IDX0"].map(|name| store.join(name));
        let files = [packets.join(&names(&packets)[0]), index.join(&names(&index)[0])];
        for path in [&store, &packets, &index].into_iter().chain(&files) {
            let metadata = fs::metadata(path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), owner, "{}", path.display());
        }
    }
}

#[test]
fn an_open_file_has_the_space_that_is_set_aside() {
    let Some(wire) = Wire::new() else { return };
    for (flags, least_mb) in [(&["--preallocate_file_mb=8"][..], 8), (&[], 0)] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), flags);
        capture.wait_for("writes by");
        let name = capture.names("PKT0").remove(0);
        let path = dir.path().join("PKT0").join(name);
        let begun = Instant::now();
        let mb = || fs::metadata(&path).unwrap().blocks() >> 11;
        while mb() < least_mb {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} MiB are set aside", mb());
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(mb(), least_mb);
        assert_eq!(capture.stop().0, 0);
    }
}

#[test]
fn a_block_waits_for_its_timer() {
    let Some(wire) = Wire::new() else { return };
    for (flag, least, most) in [("--blockage_sec=2", 1_200, 30_000), ("--blockage_sec=0.1", 0, 450)] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), &[flag, "--stats_blocks=1"]);
        // A block that is opened with nothing in it may be near its end: the timer starts anew with the next one.
        wire.send(dir.path(), &some_frames(1), 10_000);
        capture.wait_for("Thread 0 stats: ");
        let begun = Instant::now();
        wire.send(dir.path(), &some_frames(1), 10_000);
        capture.wait_for("packets=2 blocks=2");
        let took = begun.elapsed().as_millis();
        assert!((least..most).contains(&took), "{flag}: a block came after {took} ms");
        assert_eq!(capture.stop().0, 0);
    }
}

#[test]
fn the_interface_is_promiscuous_unless_that_is_not_wanted() {
    let Some(wire) = Wire::new() else { return };
    let counted = || {
        let mut show = wire.command("ip");
        let _ = show.args(["-d", "-o", "link", "show", "v1"]);
        let text = String::from_utf8(output(show).stdout).unwrap();
        text.split("promiscuity ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    for (flags, during) in [(&[][..], "1"), (&["--no_promisc"], "0")] {
        let dir = tempfile::tempdir().unwrap();
        let capture = wire.capture(dir.path(), flags);
        assert_eq!(counted(), during, "{flags:?}");
        assert_eq!(capture.stop().0, 0);
        assert_eq!(counted(), "0", "{flags:?}: given back");
    }
}

#[test]
fn statistics_come_by_seconds_where_they_are_asked_for() {
    let Some(wire) = Wire::new() else { return };
    for (flags, lines, least_sec) in [
        (&["--stats_sec=1"][..], 2, 2),
        (&["--stats_sec=3"], 1, 3),
        (&["--stats_sec=0"], 0, 0),
        (&["--stats_sec=1", "-q"], 0, 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let begun = Instant::now();
        let capture = Stenotype::start(wire.stenotype(dir.path(), flags), dir.path());
        if lines == 0 {
            thread::sleep(Duration::from_millis(3_300));
        }
        while statistics(&capture.log()) < lines {
            assert!(begun.elapsed() < Duration::from_secs(30), "{flags:?}: not {lines} lines: {}", capture.log());
            thread::sleep(Duration::from_millis(10));
        }
        let (took, log) = (begun.elapsed(), capture.log());
        assert_eq!(statistics(&log), lines, "{flags:?}: {log}");
        assert!(took >= Duration::from_secs(least_sec), "{flags:?}: after {took:?}: {log}");
        assert_eq!(capture.stop().0, 0);
    }
}

#[test]
fn statistics_come_by_blocks_where_they_are_asked_for() {
    let Some(wire) = Wire::new() else { return };
    let large: Vec<_> = (0..250u16)
        .map(|i| FrameBuilder::ethernet().ipv4([1, 1, 1, 1], [2, 2, 2, 2]).udp(i, 9).payload(&[7; 8000]).build())
        .collect();
    for (flag, one_in) in [("--stats_blocks=1", 1), ("--stats_blocks=7", 7), ("--stats_blocks=0", 0)] {
        let dir = tempfile::tempdir().unwrap();
        let flags = [flag, "--stats_sec=0", "--blocksize_kb=64", "--blocks=256"];
        let capture = wire.capture(dir.path(), &flags);
        wire.send(dir.path(), &large, 2_000);
        thread::sleep(Duration::from_millis(800));
        let log = dir.path().join("log");
        assert_eq!(capture.stop().0, 0);
        let packets = dir.path().join("PKT0");
        let bytes: u64 = names(&packets).iter().map(|n| fs::metadata(packets.join(n)).unwrap().len()).sum();
        let blocks = usize::try_from(bytes >> 16).unwrap();
        assert!(blocks > 30, "{blocks} blocks");
        let lines = statistics(&fs::read_to_string(log).unwrap());
        assert_eq!(lines, blocks.checked_div(one_in).unwrap_or(0), "{flag}: {blocks} blocks");
    }
}

#[test]
fn verbosity_chooses_what_is_told() {
    let Some(wire) = Wire::new() else { return };
    // The wire's own flags have one -v.
    for (flags, debug, info, warning) in [
        (&[][..], true, true, true),
        (&["-q"], false, true, true),
        (&["-qq"], false, false, true),
        (&["-qq", "-q"], false, false, false),
        (&["-q", "-vq", "-v"], true, true, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        // A capture that ends at once, and has something to warn of.
        let result = output(wire.stenotype(dir.path(), &[flags, &["--count=0", "--stats_sec=1", "stray"]].concat()));
        let text = String::from_utf8(result.stderr).unwrap();
        assert_eq!(result.status.code(), Some(0), "{text}");
        let told = |level: &str| text.lines().any(|line| line.split(' ').nth(1) == Some(level));
        assert_eq!((told("debug"), told("info"), told("warning")), (debug, info, warning), "{flags:?}: {text}");
        assert_eq!(text.contains("\"stray\" is no flag"), warning, "{text}");
    }
}

#[test]
fn the_last_packet_that_count_lets_in_is_the_last_of_all_threads() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut capture = wire.capture(dir.path(), &["--threads=2", "--count=120"]);
    let sent: Vec<_> = (0..200u8)
        .map(|i| FrameBuilder::ethernet().ipv4([10, 9, 9, i], [10, 8, i, 1]).udp(1_000 + u16::from(i), 53).build())
        .collect();
    wire.send(dir.path(), &sent, 20_000);
    assert_eq!(capture.wait(), 0);
    let stored = [frames(dir.path(), 0).len(), frames(dir.path(), 1).len()];
    assert_eq!(stored[0] + stored[1], 120, "{stored:?}");
    assert!(stored.iter().all(|&n| n > 0), "{stored:?}");
}

/// Starts a capture by a shell that stays, and is killed.
fn outlives_its_shell(wire: &Wire, dir: &Path, flags: &[&str]) -> bool {
    let pid = dir.join("pid");
    let capture = wire.stenotype(dir, flags);
    let mut shell = std::process::Command::new("bash");
    let script = "\"$@\" & echo $! >\"$0.new\"; mv \"$0.new\" \"$0\"; wait";
    let _ = shell.args(["-c", script]).arg(&pid).arg(capture.get_program()).args(capture.get_args());
    let log = fs::File::create(dir.join("log")).unwrap();
    let mut shell = shell.stdin(Stdio::null()).stderr(log).process_group(0).spawn().unwrap();
    let log = || fs::read_to_string(dir.join("log")).unwrap();
    let begun = Instant::now();
    while !(pid.exists() && log().contains("capturing from")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not start: {}", log());
        thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(fs::read_to_string(pid).unwrap().trim().parse().unwrap()).unwrap();
    wire.send(dir, &some_frames(7), 10_000);
    shell.kill().unwrap();
    let _ = shell.wait().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if log().contains("captured 7 packets into 1 files") {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    kill_process(pid, Signal::KILL).unwrap();
    true
}

#[test]
fn whoever_started_it_takes_it_along_but_for_another_user() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    assert!(!outlives_its_shell(&wire, dir.path(), &[]), "it stays behind");
    assert_eq!(frames(dir.path(), 0), some_frames(7), "what it had is published");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(outlives_its_shell(&wire, dir.path(), &["--uid=nobody", "--gid=nogroup"]), "the kernel does not tell it");
}
