//! Either half of 1.0.1 in the place of ours, and either daemon on the files of the other: 1.0.1's stenotype below our daemon,
//! our files of version 2 under its daemon, its files under ours. (Our stenotype below its daemon: `under_theirs`.)

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    bench::{Bench, names, run, shared, until},
    captured::{ALL, MIXED, RANDOM, prepare, replay},
    daemon::{Plan, Whose, is_gone, steno_keys},
    language::Draw,
    under_theirs::{corpus, oracle},
    universe::Universe,
};

/// The last bytes of an index of version 2 (LevelDB, `table/format.h`: `kTableMagicNumber`).
const VERSION_2: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Some traffic, for when it does not matter what.
fn traffic(bench: &Bench, packets: usize) -> PathBuf {
    let file = bench.path("traffic.pcap");
    let _ = run(Command::new("python3").arg(shared("peer/traffic.py")).arg(packets.to_string()).arg(&file));
    file
}

#[test]
fn our_daemon_bears_their_stenotype() {
    if !prepare() {
        return;
    }
    let bench = Bench::new();
    let file = traffic(&bench, 3_000);
    steno_keys(&bench, "certs");
    // With its watchdog, which ends it on a quiet link.
    let plan =
        Plan::new(&bench, "ours", Whose::Ours, Whose::Theirs, &bench.path("certs")).without_flag("--no_watchdogs");
    let mut daemon = plan.start(&bench);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let certs_client = daemon.client(&bench);
    thread::scope(|scope| {
        // All the while somebody asks, and is always answered; never with less than before.
        let asker = scope.spawn(|| {
            let (mut client, mut most) = (certs_client, 0);
            while !over.load(Ordering::Relaxed) {
                let answer = client.post(ALL);
                assert_eq!((answer.status, &answer.broken), (200, &None));
                let packets = answer.receipt()["packets"].as_u64().unwrap();
                assert!(packets >= most, "{packets} after {most}: {}", answer.receipt());
                most = packets;
                let _ = asked.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
            most
        });
        let _ended = SetAtEnd(&over);
        let first = replay(&bench, &mut daemon, &file, 20_000, 0);
        let starts = |log: &str| log.matches("stenotype started").count();
        daemon.until("its watchdog has ended it", |d| d.log().contains("nothing is captured until it runs again"));
        daemon.until("it is started again", |d| starts(&d.log()) >= 2 && d.stenotype().is_some());
        let before = names(&bench.path("pkt"));
        daemon.until("it captures again", |_| {
            names(&bench.path("pkt")).iter().any(|name| name.starts_with('.') && !before.contains(name))
                || names(&bench.path("pkt")).len() > before.len()
        });
        let second = replay(&bench, &mut daemon, &file, 20_000, first);
        let begun = asked.load(Ordering::Relaxed);
        until("it is asked again", || asked.load(Ordering::Relaxed) > begun + 1);
        over.store(true, Ordering::Relaxed);
        assert_eq!(asker.join().unwrap(), second as u64);
    });
    assert!(asked.load(Ordering::Relaxed) > 50);
    // On a quiet link it seals its file on SIGTERM and never exits.
    let stenotype = daemon.stenotype();
    let begun = Instant::now();
    daemon.signal(Signal::TERM);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    assert!(stenotype.is_none_or(is_gone));
}

struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn their_daemon_answers_from_what_our_pair_wrote() {
    if !prepare() {
        return;
    }
    let bench = Bench::new();
    steno_keys(&bench, "certs");
    let certs = bench.path("certs");
    let mut plan = Plan::new(&bench, "ours", Whose::Ours, Whose::Ours, &certs);
    plan.config["IndexFormat"] = "leveldb".into();
    let mut daemon = plan.start(&bench);
    let expected = replay(&bench, &mut daemon, &corpus(), 10_000, 0);
    let universe = Universe::read(&bench.path("pkt"));
    let mut client = daemon.client(&bench);
    until("ours has seen its files", || universe.place(Whose::Ours, &client.post(ALL).body).0.len() == expected);
    let mut draw = Draw { random: RANDOM.clone(), keys: &universe.keys, span_us: None, ago: false, any_size: true };
    let queries: Vec<String> = universe
        .keys
        .vlans
        .iter()
        .map(|id| format!("vlan {id}"))
        .chain((0..60).map(|_| draw.query().to_string()))
        .collect();
    let oracle = oracle(&corpus(), &queries.iter().map(String::as_str).collect::<Vec<_>>());
    for (query, expected) in queries.iter().zip(&oracle) {
        let (ours, in_order) = universe.place(Whose::Ours, &client.packets(query));
        assert!(in_order && ours == *expected, "{query}: {} packets, the oracle has {}", ours.len(), expected.len());
    }
    drop(client);
    daemon.stop();
    for name in names(&bench.path("idx")) {
        assert!(fs::read(bench.path("idx").join(&name)).unwrap().ends_with(&VERSION_2), "{name}");
    }
    let daemon = Plan::new(&bench, "theirs", Whose::Theirs, Whose::Theirs, &certs).start(&bench);
    let mut client = daemon.client(&bench);
    until("1.0.1 has seen our files", || universe.place(Whose::Theirs, &client.packets(ALL)).0.len() == expected);
    for (query, expected) in queries.iter().zip(&oracle) {
        let (theirs, _) = universe.place(Whose::Theirs, &client.packets(query));
        assert!(theirs == *expected, "{query}: {} packets, the oracle has {}", theirs.len(), expected.len());
    }
}

/// Everything of a bench's two directories: name, owner's mode, time of change, content.
fn tree(bench: &Bench) -> BTreeMap<PathBuf, (u32, i64, i64, blake3::Hash)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeMap::new();
    for dir in ["pkt", "idx"] {
        for name in names(&bench.path(dir)) {
            let path = bench.path(dir).join(name);
            let metadata = fs::metadata(&path).unwrap();
            let content = blake3::hash(&fs::read(&path).unwrap());
            let _ = all.insert(path, (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), content));
        }
    }
    all
}

#[test]
fn our_pair_goes_on_in_their_directories_and_changes_nothing_there() {
    if !prepare() {
        return;
    }
    let bench = Bench::new();
    MIXED.copy_to(&bench);
    let file = traffic(&bench, 3_000);
    let before = tree(&bench);
    let mut daemon = Plan::new(&bench, "ours", Whose::Ours, Whose::Ours, &MIXED.certs).start(&bench);
    let old = MIXED.universe.packets.len();
    let all = replay(&bench, &mut daemon, &file, 20_000, old);
    let universe = Universe::read(&bench.path("pkt"));
    let mut client = daemon.client(&bench);
    until("ours has seen all files", || universe.place(Whose::Ours, &client.post(ALL).body).0.len() == all);
    // Of both kinds of index, in one answer, by time: the old packets are the first of all.
    for asked in MIXED.asked.iter().filter(|asked| !asked.query.has_time() && !asked.query.has_vlan()).take(40) {
        let (ours, in_order) = universe.place(Whose::Ours, &client.packets(&asked.query.to_string()));
        let ours: Vec<u32> = ours.into_iter().filter(|number| (*number as usize) < old).collect();
        assert!(in_order && ours == asked.theirs, "{}: {} and {}", asked.query, ours.len(), asked.theirs.len());
    }
    let (of_new, in_order) = universe.place(Whose::Ours, &client.packets("tcp or udp"));
    assert!(in_order && of_new.iter().any(|number| (*number as usize) < old));
    assert_eq!(
        of_new.iter().filter(|number| **number as usize >= old).count(),
        all - old,
        "traffic is TCP and UDP alone"
    );
    let receipt = client.post("tcp").receipt();
    let (of_theirs, total) = (receipt["segments"]["of_1_0_1"].as_u64(), receipt["segments"]["total"].as_u64());
    assert!(of_theirs > Some(0) && of_theirs < total, "{receipt}");
    drop(client);
    daemon.stop();
    let after = tree(&bench);
    for (path, content) in &before {
        assert_eq!(after.get(path), Some(content), "{}", path.display());
    }
    let is_native = |path: &PathBuf| !fs::read(path).unwrap().ends_with(&VERSION_2);
    assert!(
        after
            .keys()
            .filter(|path| !before.contains_key(*path))
            .any(|p| p.starts_with(bench.path("idx")) && is_native(p))
    );
}
