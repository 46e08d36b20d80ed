//! Capture and daemon live apart: what either does is known to the other, and one goes on without the other.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::ExitStatusExt,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};

use super::support::{Bench, Client, Orphan, Traffic, is_gone, pid, until};

const FLAGS: [&str; 4] = ["--blocks=32", "--fileage_sec=1", "--uid=0", "--gid=0"];

#[test]
fn a_segment_is_answered_from_within_a_second_of_its_publication() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&FLAGS, None);
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let traffic = Traffic::start(500);
    for _ in 0..4 {
        let before = bench.indexes(false);
        until("another segment is published", || bench.indexes(false).len() > before.len());
        let published = Instant::now();
        let name = bench.indexes(false).pop().unwrap();
        let query = "udp";
        let at_least = |client: &mut Client| {
            let segments = client.segments().unwrap();
            segments.iter().any(|segment| segment.id.to_string() == name && segment.packets > 0)
        };
        until("it is listed", || at_least(&mut client));
        assert!(client.query(query).unwrap().receipt.packets > 0);
        assert!(published.elapsed() < Duration::from_secs(10), "it took {:?}", published.elapsed());
    }
    let capture = &client.status().unwrap().captures[0];
    assert!(capture.speaks, "{capture:?}");
    let sent = traffic.stop();
    let receipt = client.wait_for_packets("udp", sent);
    assert!(receipt.complete && receipt.gaps.is_empty() && receipt.kernel_drops == 0, "{receipt:?}");
    until("all is counted", || {
        client.metric("steno_capture_packets_total{interface=\"v1\",thread=\"0\"}")
            >= f64::from(u32::try_from(sent).unwrap())
    });
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let log = bench.log();
    assert!(!log.contains("ERROR") && !log.contains(" WARN "), "{log}");
    // Its lines are passed on as what they are.
    assert!(log.contains("INFO stenotype: captured "), "{log}");
    assert!(bench.packet_files(true).is_empty() && bench.indexes(true).is_empty(), "nothing hidden stays");
}

/// `/proc/PID/task/*/status`.
fn threads(process: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    value.unwrap_or_else(|| panic!("no {name} in {status}")).to_owned()
}

/// Each thread of both processes, of a daemon that is started by these words and becomes `user`.
fn every_thread_is_confined(bench: &Bench, before: &[&str], user: u32) {
    let daemon = bench.start_by(before);
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let traffic = Traffic::start(500);
    until("its segments are answered from", || client.query("udp").unwrap().receipt.packets > 0);
    let stenotype = client.status().unwrap().captures.remove(0).pid;
    assert_eq!(Some(stenotype), daemon.stenotype(), "it tells the number that the system has");
    let expected = ["serve", "catalogue", "retention", "segments", "capture", "packet0", "index0", "signals"];
    let all: Vec<String> = [daemon.pid(), stenotype].into_iter().flat_map(threads).collect();
    for name in expected {
        assert!(all.iter().any(|status| field(status, "Name") == name), "{name} is not among {all:?}");
    }
    for status in &all {
        let uids = format!("{user}\t{user}\t{user}\t{user}");
        assert_eq!(["NoNewPrivs", "Seccomp", "Uid"].map(|name| field(status, name)), ["1", "2", &uids], "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(status, set), "0000000000000000", "{set} of {status}");
        }
    }
    let launcher = fs::read_to_string(format!("/proc/{}/status", daemon.launcher().unwrap())).unwrap();
    let seen = ["Name", "Threads", "NoNewPrivs", "Seccomp"].map(|name| field(&launcher, name));
    assert_eq!(seen, ["launcher", "1", "1", "2"], "{launcher}");
    // It has no port open, and no socket but the one to the daemon, as standard input and once more.
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.launcher().unwrap())).unwrap().flatten();
    let sockets =
        open.filter_map(|one| fs::read_link(one.path()).ok()).filter(|to| to.to_string_lossy().starts_with("socket:"));
    assert_eq!(sockets.count(), 2);
    let sent = traffic.stop();
    let _ = client.wait_for_packets("udp", sent);
    let launcher = daemon.launcher().unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    until("the launcher ends, too", || is_gone(launcher));
    let log = bench.log();
    assert!(!log.contains("ERROR") && !log.contains(" WARN "), "{log}");
}

#[test]
fn every_thread_of_daemon_and_capture_is_confined() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&FLAGS, None);
    every_thread_is_confined(&bench, &[], 0);
}

#[test]
fn every_thread_is_confined_of_a_daemon_that_is_started_as_the_service_is() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&["--blocks=32", "--fileage_sec=1"], None);
    let user = 65_534;
    bench.give_to(user);
    let (ids, caps) = (user.to_string(), "+net_raw,+net_admin,+ipc_lock");
    let before = ["setpriv", "--reuid", &ids, "--regid", &ids, "--clear-groups", "--no-new-privs", "--inh-caps", caps];
    let bounded = ["--ambient-caps", caps, "--bounding-set", "-all,+net_raw,+net_admin,+ipc_lock"];
    every_thread_is_confined(&bench, &[&before[..], &bounded].concat(), user);
}

#[test]
fn a_daemon_whose_launcher_is_killed_ends_and_the_next_one_takes_capture_over() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&FLAGS, None);
    let first = bench.start();
    bench.wait_for_captures(1);
    let stenotype = Orphan(first.stenotype().unwrap());
    kill_process(pid(first.launcher().unwrap()), Signal::KILL).unwrap();
    assert_eq!(first.wait().code(), Some(1), "{}", bench.log());
    assert!(bench.log().contains("the process that starts stenotype has ended"), "{}", bench.log());
    assert!(!is_gone(stenotype.0));
    let mut second = bench.start();
    second.wait_for("taking over the stenotype that an earlier daemon started");
    second.wait_for("has called");
    assert_eq!(second.stop().code(), Some(0), "{}", bench.log());
    until("it was stopped by a daemon whose child it is not", || is_gone(stenotype.0));
}

#[test]
fn a_stenotype_that_gives_up_root_is_heard_and_writes_where_the_daemon_reads() {
    let Some(bench) = Bench::enter() else { return };
    // Without --uid and --gid it becomes nobody, as in 1.0.1. What the daemon makes for it is its own.
    bench.configure(&["--blocks=32", "--fileage_sec=1"], None);
    for dir in ["PKT0", "IDX0"] {
        fs::remove_dir_all(bench.data().join(dir)).unwrap();
    }
    for dir in [bench.data().parent().unwrap(), &bench.data()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).unwrap();
    }
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let traffic = Traffic::start(500);
    until("its segments are answered from", || client.query("udp").unwrap().receipt.packets > 0);
    let capture = client.status().unwrap().captures.remove(0);
    assert!(capture.speaks, "{capture:?}");
    let process = fs::read_to_string(format!("/proc/{}/status", capture.pid)).unwrap();
    let user = fs::metadata(bench.data().join("PKT0")).unwrap().uid();
    let ids = process.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert_ne!(user, 0);
    assert!(ids.split_whitespace().all(|id| id == user.to_string()), "{ids} is not {user}");
    let sent = traffic.stop();
    let _ = client.wait_for_packets("udp", sent);
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    assert!(bench.packet_files(true).is_empty());
}

#[test]
fn capture_goes_on_while_the_daemon_is_gone_and_the_next_one_takes_it_over() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&FLAGS, None);
    let first = bench.start();
    bench.wait_for_captures(1);
    let stenotype = first.stenotype().unwrap();
    let traffic = Traffic::start(500);
    until("a segment is published", || !bench.indexes(false).is_empty());
    let _orphan = Orphan(stenotype);
    first.signal(Signal::KILL);
    assert_eq!(first.wait().signal(), Some(9));
    let before = bench.indexes(false).len();
    until("segments are published without a daemon", || bench.indexes(false).len() >= before + 2);
    assert!(!is_gone(stenotype));

    let mut second = bench.start();
    let mut client = Client::connect(&bench.data());
    second.wait_for("taking over the stenotype");
    until("it is known", || client.status().unwrap().captures[0].pid == stenotype);
    // It calls this daemon within a second or so.
    let before = client.segments().unwrap().len();
    until("its segments are noticed", || client.segments().unwrap().len() >= before + 2);
    let sent = traffic.stop();
    let receipt = client.wait_for_packets("udp", sent);
    assert!(receipt.complete && receipt.gaps.is_empty(), "{receipt:?}");
    let status = client.status().unwrap();
    assert_eq!((status.captures[0].restarts, status.captures[0].speaks), (0, true));
    assert_eq!(second.stop().code(), Some(0), "{}", bench.log());
    assert!(is_gone(stenotype));
    assert!(bench.packet_files(true).is_empty(), "it was given the time to seal");
}

#[test]
fn a_stenotype_whose_daemon_is_gone_seals_everything_when_it_is_asked_to_end() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&["--blocks=32", "--fileage_sec=60", "-v", "--stats_blocks=1", "--uid=0", "--gid=0"], None);
    let daemon = bench.start();
    bench.wait_for_captures(1);
    let stenotype = daemon.stenotype().unwrap();
    let traffic = Traffic::start(500);
    thread::sleep(Duration::from_secs(1));
    let _orphan = Orphan(stenotype);
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait().signal(), Some(9));
    // With socket and log gone, it goes on logging into nothing.
    thread::sleep(Duration::from_secs(2));
    let sent = traffic.stop();
    thread::sleep(Duration::from_millis(200));
    rustix::process::kill_process(super::support::pid(stenotype), Signal::TERM).unwrap();
    until("it ends", || is_gone(stenotype));
    assert!(bench.packet_files(true).is_empty() && bench.indexes(true).is_empty());
    // The next daemon starts its own, and answers from what is there.
    let next = bench.start();
    let mut client = Client::connect(&bench.data());
    assert_eq!(client.query("udp").unwrap().receipt.packets, sent);
    until("it captures", || client.status().unwrap().captures[0].pid != 0);
    assert_ne!(client.status().unwrap().captures[0].pid, stenotype);
    assert_eq!(next.stop().code(), Some(0), "{}", bench.log());
}
