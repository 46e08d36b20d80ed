//! What is in a file that is being written is found as soon as it is on the disk, and once, whatever becomes of the file.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};

use super::support::{Bench, Client, Traffic, pid, until};

const LONG: [&str; 4] = ["--blocks=32", "--fileage_sec=300", "--uid=0", "--gid=0"];
const SHORT: [&str; 4] = ["--blocks=32", "--fileage_sec=1", "--uid=0", "--gid=0"];

/// Sends for some time, and gives how many packets.
fn burst(time: Duration) -> u64 {
    let traffic = Traffic::start(2_000);
    thread::sleep(time);
    traffic.stop()
}

#[test]
fn packets_are_found_before_their_file_is_sealed_and_the_same_ones_after() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&LONG, None);
    let before = bench.indexes(false).len();
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let mut sent = 0;
    for _ in 0..3 {
        sent += burst(Duration::from_millis(400));
        let _ = client.wait_for_packets("udp port 9", sent);
    }
    let open = client.query("udp port 9").unwrap().receipt;
    assert_eq!(bench.indexes(false).len(), before, "nothing is sealed");
    assert!(open.complete && open.unsealed.is_empty() && open.unreadable.is_empty(), "{open:?}");
    assert_eq!(open.segments.as_ref().unwrap().read, 1, "{open:?}");
    assert_eq!(client.query("udp port 10").unwrap().receipt.packets, 0);
    // The list still calls it unsealed.
    assert_eq!(client.segments().unwrap().iter().filter(|segment| segment.packets > 0).count(), 0);

    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    let sealed = client.wait_for_packets("udp port 9", sent);
    assert_eq!((sealed.packets, sealed.bytes, &sealed.blake3), (open.packets, open.bytes, &open.blake3));
    drop(daemon);
}

#[test]
fn no_packet_is_missed_or_found_twice_while_files_are_sealed() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&SHORT, None);
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let (mut sent, mut asked, mut sealed, mut turns) = (0, 0, 0, 0);
    while sealed < 4 {
        assert!(turns < 40, "in {turns} turns {sealed} files were sealed while a question was asked");
        turns += 1;
        // Begun at another time in a file's life each time.
        sent += burst(Duration::from_millis(100 + 130 * (turns % 7)));
        until("all are found", || client.query("udp port 9").unwrap().receipt.packets >= sent);
        let (files, begun) = (bench.indexes(false).len(), Instant::now());
        while begun.elapsed() < Duration::from_millis(1_200) {
            let receipt = client.query("udp port 9").unwrap().receipt;
            assert_eq!(receipt.packets, sent, "after {asked} questions: {receipt:?}");
            asked += 1;
        }
        sealed += usize::from(bench.indexes(false).len() > files);
    }
    eprintln!("{sent} packets, asked for {asked} times while {sealed} files were sealed");
    drop(daemon);
}

#[test]
fn what_a_killed_capture_was_writing_is_found_all_the_while() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&LONG, None);
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let mut sent = 0;
    for kill in 1..=3 {
        sent += burst(Duration::from_millis(500));
        let _ = client.wait_for_packets("udp port 9", sent);
        kill_process(pid(daemon.stenotype().unwrap()), Signal::KILL).unwrap();
        let begun = Instant::now();
        let recovered = || bench.log().matches("recovery of thread 0 is done").count() >= kill;
        while !recovered() {
            let receipt = client.query("udp port 9").unwrap().receipt;
            assert_eq!(receipt.packets, sent, "{receipt:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", bench.log());
        }
        bench.wait_for_captures(kill + 1);
        let _ = client.wait_for_packets("udp port 9", sent);
    }
    drop(daemon);
}

#[test]
fn a_follower_gets_each_packet_once_while_files_are_sealed_and_captures_killed() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&SHORT, None);
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let mut sent = burst(Duration::from_millis(300));
    let followed = client.follow("udp port 9");
    let other = client.follow("udp port 9 and host 10.0.0.1");
    for turn in 1..=3 {
        for i in 0..5 {
            sent += burst(Duration::from_millis(150 + 210 * i));
        }
        let _ = client.wait_for_packets("udp port 9", sent);
        let bytes = client.query("udp port 9").unwrap().receipt.bytes;
        until("all have come", || followed.load(Ordering::Relaxed) >= bytes);
        kill_process(pid(daemon.stenotype().unwrap()), Signal::KILL).unwrap();
        bench.wait_for_captures(turn + 1);
        let _ = client.wait_for_packets("udp port 9", sent);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(followed.load(Ordering::Relaxed), bytes, "nothing comes twice");
    }
    eprintln!("{sent} packets followed over {} files and 3 kills", bench.indexes(false).len());
    drop((followed, other));
    drop(daemon);
}

#[test]
fn the_next_daemon_finds_what_is_in_the_open_file_of_the_capture_that_it_takes_over() {
    let Some(bench) = Bench::enter() else { return };
    bench.configure(&LONG, None);
    let first = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let mut sent = burst(Duration::from_millis(500));
    let _ = client.wait_for_packets("udp port 9", sent);
    let stenotype = first.stenotype().unwrap();
    first.signal(Signal::KILL);
    let _killed = first.wait();
    // While there is no daemon.
    sent += burst(Duration::from_millis(500));
    let second = bench.start();
    let mut client = Client::connect(&bench.data());
    until("it has called", || bench.log().contains("the stenotype that was taken over has called"));
    let _ = client.wait_for_packets("udp port 9", sent);
    sent += burst(Duration::from_millis(500));
    let open = client.wait_for_packets("udp port 9", sent);
    assert!(open.complete && open.unsealed.is_empty(), "{open:?}");
    let status = client.status().unwrap();
    assert_eq!((status.captures[0].pid, status.captures[0].speaks), (stenotype, true), "{:?}", status.captures);
    assert_eq!(second.stop().code(), Some(0), "{}", bench.log());
}
