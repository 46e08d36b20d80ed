//! What stenotype tells a daemon, and that it does not depend on being heard. The test is the daemon: it has the other end
//! of the socket.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(unused_results, reason = "commands are built step by step")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair},
    process::Signal,
};
use steno_core::testkit::{FrameBuilder, need};
use support::{Stenotype, Wire, frames, frames_of_blocks, names};

const VARIABLE: &str = "STENO_CONTROL_FD";

/// The daemon's end.
struct Daemon {
    socket: OwnedFd,
    heard: Vec<String>,
}

impl Daemon {
    /// The other end becomes the standard input of `command`, as the daemon does it.
    fn of(command: &mut Command) -> Self {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        command.stdin(Stdio::from(theirs)).env(VARIABLE, "0");
        Self { socket, heard: Vec::new() }
    }

    /// Takes what has been said; false: the other end is closed.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 513];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return false,
                Ok((n, _)) => self.heard.push(String::from_utf8(buffer[..n].to_vec()).unwrap()),
                Err(_) => return true,
            }
        }
    }

    fn wait_for(&mut self, what: &str, done: impl Fn(&[String]) -> bool) {
        let begun = Instant::now();
        while !done(&self.heard) {
            assert!(begun.elapsed() < Duration::from_secs(20), "not within 20 s: {what}: {:?}", self.heard);
            let _ = self.listen();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything that was said, once the other end is closed.
    fn all(mut self) -> Vec<String> {
        let begun = Instant::now();
        while self.listen() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the socket stays open");
            thread::sleep(Duration::from_millis(5));
        }
        self.heard
    }
}

fn some_frames(count: u16) -> Vec<Vec<u8>> {
    let frame = |i: u16| {
        let [high, low] = i.to_be_bytes();
        FrameBuilder::ethernet().ipv4([10, 1, high, low], [10, 2, low, high]).udp(i, 53).payload(&[3; 600]).build()
    };
    (0..count).map(frame).collect()
}

fn published(dir: &Path, thread: u32) -> Vec<String> {
    names(&dir.join(format!("IDX{thread}"))).into_iter().filter(|name| !name.starts_with('.')).collect()
}

fn fields(message: &str) -> Vec<u64> {
    message.split(' ').skip(1).map(|field| field.parse().unwrap()).collect()
}

/// Sum of a counter over the last message of each thread.
fn last_counters(heard: &[String], field: usize) -> u64 {
    let counters = heard.iter().filter(|m| m.starts_with("counters "));
    let last: BTreeMap<u64, u64> = counters.map(|m| (fields(m)[0], fields(m)[field])).collect();
    last.values().sum()
}

#[test]
fn a_daemon_hears_of_the_start_of_each_segment_of_the_counters_and_of_the_end() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Whoever the capture becomes, what it was given stays its own.
    let flags = ["--threads=2", "--fileage_sec=1", "--uid=nobody", "--gid=nogroup"];
    let mut command = wire.stenotype(dir.path(), &flags);
    let mut daemon = Daemon::of(&mut command);
    let capture = Stenotype::start(command, dir.path());
    daemon.wait_for("ready", |heard| heard.contains(&"ready 2".to_owned()));
    // A thread may open its first file before all of them run.
    let first: Vec<_> = daemon.heard.iter().filter(|message| !message.starts_with("log ")).take(2).collect();
    assert_eq!(first, ["starting", "ready 2"]);
    let sent = some_frames(600);
    for part in sent[..540].chunks(180) {
        wire.send(dir.path(), part, 1_000);
        thread::sleep(Duration::from_millis(700));
    }
    daemon.wait_for("segments", |heard| heard.iter().filter(|m| m.starts_with("sealed ")).count() >= 2);
    for message in daemon.heard.iter().filter(|m| m.starts_with("sealed ")) {
        let [thread, name] = fields(message)[..] else { panic!("{message}") };
        for kind in ["PKT", "IDX"] {
            assert!(dir.path().join(format!("{kind}{thread}/{name}")).exists(), "{message}: said too early");
        }
    }
    // These are still in the rings when the stop is asked for.
    wire.send(dir.path(), &sent[540..], 5_000);
    assert_eq!(capture.stop().0, 0);
    let heard = daemon.all();
    for thread in 0..2u32 {
        let prefix = format!("sealed {thread} ");
        let told: Vec<&str> = heard.iter().filter_map(|m| m.strip_prefix(&prefix)).collect();
        assert_eq!(told, published(dir.path(), thread), "each once, ascending");
        let counters: Vec<_> = heard.iter().filter(|m| m.starts_with(&format!("counters {thread} "))).collect();
        assert!(counters.len() >= 3, "each second: {counters:?}");
        for pair in counters.windows(2) {
            let (before, after) = (fields(pair[0]), fields(pair[1]));
            assert_eq!(before.len(), 15, "{pair:?}");
            assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{pair:?}");
        }
    }
    assert_eq!(heard.iter().filter(|m| *m == "stopping").count(), 1);
    let place = |message: &str| heard.iter().rposition(|m| m.starts_with(message)).unwrap();
    assert!(place("stopping") < place("sealed ") && place("sealed ") < place("counters "), "{heard:?}");
    assert_eq!(heard[heard.len() - 2..].iter().filter(|m| m.starts_with("counters ")).count(), 2, "a last set");
    assert_eq!((last_counters(&heard, 1), last_counters(&heard, 7)), (sent.len() as u64, 0));
    assert_eq!(last_counters(&heard, 2), sent.iter().map(|frame| frame.len() as u64).sum::<u64>());
    assert!(last_counters(&heard, 5) > 0, "blocks are counted");
}

#[test]
fn what_the_kernel_drops_is_in_the_last_counters() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sent = some_frames(2000);
    let mut command = wire.stenotype(dir.path(), &["--blocks=4", "--blocksize_kb=64"]);
    let mut daemon = Daemon::of(&mut command);
    let capture = Stenotype::start(command, dir.path());
    daemon.wait_for("ready", |heard| heard.contains(&"ready 1".to_owned()));
    capture.signal(Signal::STOP);
    wire.send(dir.path(), &sent, 50_000);
    capture.signal(Signal::CONT);
    assert_eq!(capture.stop().0, 0);
    let stored = frames_of_blocks(dir.path(), 0, 64 << 10).len() as u64;
    let heard = daemon.all();
    assert_eq!((last_counters(&heard, 1), last_counters(&heard, 3)), (stored, sent.len() as u64 - stored));
    assert!(last_counters(&heard, 4) > 0, "the ring was full");
}

#[test]
fn a_daemon_that_never_listens_holds_nothing_up() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    // A segment a block: more messages than the socket holds.
    let flags = ["--blockage_sec=0.001", "--blocksize_kb=1024", "--filesize_mb=1", "--blocks=256"];
    let mut command = wire.stenotype(dir.path(), &flags);
    let daemon = Daemon::of(&mut command);
    let capture = Stenotype::start(command, dir.path());
    capture.wait_for("capturing from");
    let sent = some_frames(700);
    wire.send(dir.path(), &sent, 300);
    // Everything is published while nobody listens, not first at the end. A slow disk may take its time.
    let begun = Instant::now();
    while capture.names("PKT0").iter().filter(|name| name.starts_with('.')).count() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} segments", capture.names("PKT0").len());
        thread::sleep(Duration::from_millis(20));
    }
    capture.wait_for("the daemon does not read what it is told");
    assert_eq!(capture.stop().0, 0);
    assert_eq!(frames(dir.path(), 0).len(), sent.len());
    let heard = daemon.all();
    let (told, segments) = (heard.iter().filter(|m| m.starts_with("sealed ")).count(), published(dir.path(), 0).len());
    assert!(told > 10 && told < segments, "{told} of {segments} fitted");
}

#[test]
fn a_daemon_that_goes_away_is_told_nothing_more_and_capture_goes_on() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut command = wire.stenotype(dir.path(), &["--fileage_sec=1"]);
    let mut daemon = Daemon::of(&mut command);
    let capture = Stenotype::start(command, dir.path());
    daemon.wait_for("ready", |heard| heard.contains(&"ready 1".to_owned()));
    let sent = some_frames(60);
    wire.send(dir.path(), &sent[..30], 1_000);
    daemon.wait_for("a segment", |heard| heard.iter().any(|m| m.starts_with("sealed ")));
    drop(daemon);
    capture.wait_for("the daemon is gone");
    wire.send(dir.path(), &sent[30..], 1_000);
    let begun = Instant::now();
    while published(dir.path(), 0).len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing more is published");
        thread::sleep(Duration::from_millis(20));
    }
    let log = capture.log();
    assert_eq!(capture.stop().0, 0);
    assert_eq!(frames(dir.path(), 0), sent);
    assert_eq!(log.matches("the daemon is gone").count(), 1, "{log}");
}

/// Programs that stenotype starts have neither the variable nor the socket; here it is not standard input.
#[test]
fn programs_that_it_starts_do_not_get_the_socket() {
    let Some(wire) = Wire::new() else { return };
    if !need(Command::new("tcpdump").arg("--version").output().is_ok(), "tcpdump") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tcpdump");
    let report = dir.path().join("report");
    let script = format!(
        "#!/bin/sh\n(env; ls -l /proc/$$/fd) > {}\nPATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin exec tcpdump \"$@\"\n",
        report.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = wire.command("sh");
    // A filter that is left to tcpdump.
    let stenotype = format!(
        "exec 7<&0 </dev/null; exec {} --dir={} --iface=v1 --blocks=8 --uid=root --gid=root -v '--filter=len < 9000'",
        env!("CARGO_BIN_EXE_stenotype"),
        dir.path().join("store").display()
    );
    let paths = format!("{}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin", dir.path().display());
    command.args(["-c", &stenotype]).env("PATH", paths);
    let mut daemon = Daemon::of(&mut command);
    command.env(VARIABLE, "7");
    let capture = Stenotype::start(command, dir.path());
    daemon.wait_for("ready", |heard| heard.contains(&"ready 1".to_owned()));
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("PATH=") && report.contains("/dev/null"), "{report}");
    assert!(!report.contains(VARIABLE) && !report.contains("socket:"), "{report}");
    assert_eq!(capture.stop().0, 0);
}

#[test]
fn a_variable_that_does_not_hold_is_a_warning() {
    let Some(wire) = Wire::new() else { return };
    for (value, why) in [
        ("x", "it takes the number of a descriptor"),
        ("77", "bad file descriptor"),
        ("0", "socket operation on non-socket"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = wire.stenotype(dir.path(), &[]);
        command.env(VARIABLE, value);
        let capture = Stenotype::start(command, dir.path());
        capture.wait_for("capturing from");
        let log = capture.log();
        assert!(log.contains(&format!("warning main: {VARIABLE}={value} is not used")) && log.contains(why), "{log}");
        let sent = some_frames(5);
        wire.send(dir.path(), &sent, 1_000);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(capture.stop().0, 0);
        assert_eq!(frames(dir.path(), 0), sent);
    }
}
