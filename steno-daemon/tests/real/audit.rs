//! The audit log beside a real capture: a daemon that is killed in the midst of it, and a disk that is full.

use std::{
    fs,
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::process::Signal;
use steno_core::testkit::LoopDisk;
use steno_proto::audit::{Report, Verifier};
use tonic::Code;

use super::support::{Bench, Client, Orphan, Traffic, until};

const FLAGS: [&str; 4] = ["--blocks=32", "--fileage_sec=2", "--uid=0", "--gid=0"];
const KILLS: u64 = 4;

/// Has the daemon keep its audit log there.
fn keep_at(bench: &Bench, path: &Path) {
    let file = bench.data().join("config");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["Audit"] = path.display().to_string().into();
    fs::write(&file, config.to_string()).unwrap();
}

fn verify(path: &Path) -> Report {
    let mut head = path.as_os_str().to_owned();
    head.push(".head");
    let head = fs::read_to_string(head).unwrap().parse().unwrap();
    let mut verifier = Verifier::new(vec![head]);
    verifier.file("audit.log", fs::read(path).unwrap().as_slice()).unwrap();
    verifier.finish()
}

/// Asks until the daemon has gone, and says how often it was answered.
fn ask(mut client: Client, stop: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) && client.query("udp and last 5s").is_ok() {
        answered += 1;
    }
    answered
}

#[test]
fn a_daemon_that_is_killed_leaves_a_log_that_holds() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&FLAGS, None);
    let path = bench.data().join("audit.log");
    keep_at(&bench, &path);
    let traffic = Traffic::start(500);
    let (mut answered, mut capture) = (0, None);
    for _ in 0..KILLS {
        let daemon = bench.start();
        let stop = Arc::new(AtomicBool::new(false));
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let (client, stop) = (Client::connect(&bench.data()), Arc::clone(&stop));
                thread::spawn(move || ask(client, &stop))
            })
            .collect();
        until("it captures", || daemon.stenotype().is_some() || capture.is_some());
        let stenotype = daemon.stenotype();
        thread::sleep(Duration::from_millis(700));
        daemon.signal(Signal::KILL);
        let _killed = daemon.wait();
        stop.store(true, Ordering::Relaxed);
        answered += asking.into_iter().map(|asking| asking.join().unwrap()).sum::<u64>();
        capture = capture.or(stenotype.map(Orphan));
        // Whoever was answered is there, whatever happened to the end of it; what is torn is told from what is altered.
        let report = verify(&path);
        assert_eq!(report.findings, []);
        assert!(report.requests >= answered, "{} of {answered}", report.requests);
    }
    let mut daemon = bench.start();
    daemon.wait_for("the audit log ");
    let mut client = Client::connect(&bench.data());
    until("packets are found", || client.query("udp").unwrap().receipt.packets > 0);
    let _sent = traffic.stop();
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let report = verify(&path);
    println!("{answered} answers, {KILLS} kills: {} without an end, {} torn", report.without_end.len(), report.torn);
    assert_eq!((report.findings, report.unfinished), (vec![], None));
    assert!(answered > 20, "{answered}");
    drop(capture);
}

#[test]
fn a_full_disk_under_the_log_stops_answers_and_not_the_capture() {
    let Some(bench) = Bench::enter() else { return };
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = LoopDisk::new(root.path(), &["mkfs.ext4", "-q"], 4 << 20).unwrap() else { return };
    bench.configure(&FLAGS, None);
    let path = disk.path().join("audit.log");
    keep_at(&bench, &path);
    let daemon = bench.start();
    bench.wait_for_captures(1);
    let mut client = Client::connect(&bench.data());
    let traffic = Traffic::start(2_000);
    until("packets are found", || client.query("udp").unwrap().receipt.packets > 0);
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let threads: Vec<String> = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect();
    let writer = threads.iter().find(|status| status.starts_with("Name:\taudit\n")).unwrap();
    assert!(writer.contains("\nSeccomp:\t2\n"), "who writes what clients have sent is confined: {writer}");

    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let mut refused = None;
    until("a query is refused", || {
        refused = client.query("udp").err();
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("the audit log cannot be written") && refused.message().contains("No space"));
    let packets = |client: &mut Client| client.status().unwrap().threads[0].packets;
    let before = packets(&mut client);
    until("more is captured", || packets(&mut client) > before + 4_000);
    assert!(client.query("udp").is_err(), "nothing is answered meanwhile");

    drop(file);
    fs::remove_file(&filler).unwrap();
    until("queries are answered again", || client.query("udp").is_ok());
    let sent = traffic.stop();
    let receipt = client.wait_for_packets("udp port 9", sent);
    assert!(receipt.gaps.is_empty() && receipt.kernel_drops == 0, "{receipt:?}");
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let report = verify(&path);
    assert_eq!(report.findings, []);
    assert!(report.lost >= 2, "{report:?}");
    drop(disk);
}
