//! How long a packet takes from the wire into an answer. The times are printed, and not judged: `STENO_MARKS=1000 STENO_RATE=100000
//! cargo test --release -p steno-daemon --test real fresh -- --nocapture` measures.

use std::{
    env,
    net::UdpSocket,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::support::{Bench, Client, Traffic};

const FLAGS: [&str; 4] = ["--blocks=128", "--fileage_sec=60", "--uid=0", "--gid=0"];

fn number(variable: &str, default: u32) -> u32 {
    env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Sends marked datagrams at random times, and gives when each was sent.
fn marks(count: u32) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    let _detached = thread::spawn(move || {
        let socket = UdpSocket::bind("10.9.9.1:40001").unwrap();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for mark in 0..count {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            thread::sleep(Duration::from_micros(5_000 + random % 90_000));
            let sent = Instant::now();
            let _ = socket.send_to(&mark.to_be_bytes(), "10.9.9.2:7").unwrap();
            tell.send(sent).unwrap();
        }
    });
    told
}

/// How long each of so many marks takes; those of a thread are found in the order in which they are sent.
fn measure(client: &mut Client, count: u32, before: u64) -> Vec<Duration> {
    let (told, mut sent, mut took) = (marks(count), Vec::new(), Vec::new());
    let begun = Instant::now();
    while took.len() < count as usize {
        let found = client.query("udp dst port 7").unwrap().receipt.packets - before;
        let now = Instant::now();
        let found = usize::try_from(found).unwrap();
        while sent.len() < found {
            // No more are found than were sent.
            sent.push(told.recv().unwrap());
        }
        let new = sent.get(took.len()..found).unwrap_or_default();
        took.extend(new.iter().map(|sent| now.saturating_duration_since(*sent)));
        assert!(begun.elapsed() < Duration::from_secs(60 + u64::from(count)), "{} of {count} marks", took.len());
        thread::sleep(Duration::from_millis(5));
    }
    took.sort();
    took
}

#[test]
fn marked_packets_are_found_on_a_quiet_link_and_on_a_busy_one() {
    let Some(bench) = Bench::enter() else { return };
    let (count, rate) = (number("STENO_MARKS", 20), number("STENO_RATE", 5_000));
    bench.configure(&FLAGS, None);
    let daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    bench.wait_for_captures(1);
    let mut before = 0;
    for (link, load) in [("quiet", None), ("busy", Some(rate))] {
        let traffic = load.map(|rate| (Instant::now(), Traffic::start(rate)));
        let took = measure(&mut client, count, before);
        before += u64::from(count);
        let at = |share: usize| took[(took.len() - 1) * share / 100];
        let (median, late, worst) = (at(50), at(99), took[took.len() - 1]);
        eprint!(
            "{link} link: {count} packets found after {median:?} (median), {late:?} (99 of 100), {worst:?} (worst)"
        );
        if let Some((begun, traffic)) = traffic {
            let sent = traffic.stop();
            eprint!(", beside {:.0} packets/s", sent as f64 / begun.elapsed().as_secs_f64());
            let _ = client.wait_for_packets("udp port 9", sent);
        }
        eprintln!();
    }
    drop(daemon);
}
