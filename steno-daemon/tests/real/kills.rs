//! The capture process is killed again and again, and queries are answered all the while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Signal, kill_process};
use steno_proto::v1::{CaptureState, Unsealed};

use super::{
    random::Random,
    support::{Bench, Client, Traffic, is_gone, pid, until},
};

const KILLS: usize = 20;

/// A random time of a range.
fn between(random: &mut Random, (from_ms, until_ms): (usize, usize)) -> Duration {
    Duration::from_millis((from_ms + random.below(until_ms - from_ms)) as u64)
}

/// What was asked meanwhile.
struct Asked {
    queries: u64,
    with_packets: u64,
    longest: Duration,
}

/// Asks until it is stopped. Every query must be answered well, and end with a receipt.
fn ask(mut client: Client, stop: &AtomicBool) -> Asked {
    let mut asked = Asked { queries: 0, with_packets: 0, longest: Duration::ZERO };
    while !stop.load(Ordering::Relaxed) {
        for query in ["udp and last 5s", "host 10.9.9.2 and port 9 and last 20s", "tcp"] {
            let begun = Instant::now();
            let answer =
                client.query(query).unwrap_or_else(|e| panic!("{query:?} after {} others: {e}", asked.queries));
            asked.longest = asked.longest.max(begun.elapsed());
            asked.queries += 1;
            asked.with_packets += u64::from(answer.receipt.packets > 0);
            assert!(answer.bytes >= 24, "a capture file at least");
        }
        let status = client.status().unwrap();
        assert_eq!(status.captures.len(), 1);
        thread::sleep(Duration::from_millis(50));
    }
    asked
}

#[test]
fn twenty_kills_under_load_are_twenty_restarts_and_every_query_is_answered() {
    let Some(bench) = Bench::enter() else { return };
    let mut random = Random::of_this_run();
    bench.configure(&["--blocks=32", "--fileage_sec=1", "--uid=0", "--gid=0"], None);
    let begun = Instant::now();
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    let traffic = Traffic::start(500);
    let stop = Arc::new(AtomicBool::new(false));
    let asking = {
        let (client, stop) = (Client::connect(&bench.data()), Arc::clone(&stop));
        thread::spawn(move || ask(client, &stop))
    };

    let mut killed = 0;
    let mut kills: Vec<u64> = Vec::new();
    for kill in 0..KILLS {
        until("another stenotype runs", || daemon.stenotype().is_some_and(|number| number != killed));
        killed = daemon.stenotype().unwrap();
        // Some of them before they capture, or hardly after; the others at work.
        let within = if kill % 5 == 3 { (0, 1_000) } else { (1_300, 3_000) };
        thread::sleep(between(&mut random, within));
        kill_process(pid(killed), Signal::KILL).unwrap();
        kills.push(u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap());
        assert!(!asking.is_finished(), "a query was not answered: {:?}", asking.join().err());
    }
    let is_running = |client: &mut Client| client.status().unwrap().captures[0].state() == CaptureState::Running;
    until("it captures again", || client.status().unwrap().captures[0].restarts == 20 && is_running(&mut client));
    let (before, took) = (client.segments().unwrap().len(), begun.elapsed());
    until("it seals again", || client.segments().unwrap().len() > before);
    stop.store(true, Ordering::Relaxed);
    let asked = asking.join().unwrap();
    let sent = traffic.stop();
    println!("{KILLS} kills in {took:?}; {} queries, the longest {:?}", asked.queries, asked.longest);
    assert!(asked.queries > 200 && asked.with_packets > 50, "{} with packets", asked.with_packets);
    assert!(asked.longest < Duration::from_secs(30));

    // In Status, in metrics and in the log.
    let status = client.status().unwrap();
    let capture = &status.captures[0];
    assert_eq!((capture.last_exit.as_str(), capture.speaks), ("was killed by signal 9", true));
    assert!(capture.last_exit_ns() >= *kills.last().unwrap());
    assert_eq!(client.metric("steno_capture_restarts_total{interface=\"v1\"}"), 20.0);
    assert_eq!(client.metric("steno_capture_up{interface=\"v1\"}"), 1.0);
    let log = bench.log();
    assert_eq!(log.matches("stenotype was killed by signal 9; nothing is captured").count(), KILLS, "{log}");
    assert_eq!(log.matches("stenotype started").count(), KILLS + 1, "{log}");

    // In the receipt: one gap for each that captured, and every kill is in one. Of those that were killed at once nothing may have
    // come to the disk: then two are one.
    until("what was sent is sealed", || {
        let receipt = client.query("udp").unwrap().receipt;
        let is_done = |file: &Unsealed| file.bytes == 0 || is_left_behind(file.opened_ns, capture.state_ns());
        receipt.unsealed.iter().all(is_done)
    });
    let receipt = client.query("udp").unwrap().receipt;
    let captured = log.matches("capturing interface=\"v1\"").count();
    let short_lived = KILLS / 5;
    assert!((captured - 1 - short_lived..captured).contains(&receipt.gaps.len()), "{captured}: {:?}", receipt.gaps);
    assert!(captured > 15, "{captured} of them captured");
    for pair in receipt.gaps.windows(2) {
        assert!(pair[0].from_ns < pair[0].until_ns && pair[0].until_ns < pair[1].from_ns, "{pair:?}");
    }
    for at in &kills {
        let gap = receipt.gaps.iter().find(|gap| gap.until_ns > *at);
        let gap = gap.unwrap_or_else(|| panic!("no gap for the kill at {at}: {:?}", receipt.gaps));
        assert!(gap.from_ns < at + 1_000_000_000, "the kill at {at} was seen late: {gap:?}");
        assert_eq!((gap.thread, gap.reason.as_str()), (0, "stenotype was killed by signal 9"));
    }

    // What was sealed, at once or when it was recovered, is there, once, in order; what was in a ring is not.
    let (mut receipt, mut segments) = (receipt, Vec::new());
    // The open file is answered from before it is sealed, and then is in no list of segments.
    until("all that is answered from is sealed", || {
        receipt = client.query("udp").unwrap().receipt;
        segments = client.segments().unwrap();
        receipt.packets == segments.iter().map(|segment| segment.packets).sum::<u64>()
    });
    let sealed: Vec<_> = segments.iter().filter(|segment| segment.packets > 0).collect();
    assert!(sealed.is_sorted_by(|a, b| a.id < b.id && a.last_ns() <= b.first_ns()), "{sealed:?}");
    assert!(receipt.packets > sent / 10 && receipt.packets < sent, "{} of {sent}", receipt.packets);

    let last = daemon.stenotype().unwrap();
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    assert!(is_gone(last));
}

/// A file from before the process that captures now: nobody will seal it.
fn is_left_behind(opened_ns: u64, captures_since_ns: u64) -> bool {
    opened_ns + 1_000_000_000 < captures_since_ns
}
