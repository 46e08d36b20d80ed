//! Captures of 1.0.1's own pair, and what its daemon answered from them: made once, for all tests.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{LazyLock, Once},
    thread,
};

use super::{
    bench::{Bench, is_possible, run, shared, until},
    client::Client,
    daemon::{Daemon, Plan, Whose, steno_keys, stenokeys},
    language::{Draw, Item, Query, before},
    random::Random,
    scripts::{Printed, invocations, print},
    under_theirs::UNDER_THEIRS,
    universe::{Universe, count},
};

/// A query that gives every packet.
pub(crate) const ALL: &str = "after 2000-01-01T00:00:00Z";

/// Random numbers, the same for every draw of a run.
pub(crate) static RANDOM: LazyLock<Random> = LazyLock::new(Random::of_this_run);

/// What 1.0.1 captured, in the directories `pkt` and `idx` of the bench, and what it said of it. Nothing writes there any more.
pub(crate) struct Captured {
    pub(crate) bench: Bench,
    pub(crate) certs: PathBuf,
    pub(crate) universe: Universe,
    pub(crate) asked: Vec<Asked>,
    /// What single primitives lead to.
    pub(crate) sets: HashMap<String, Vec<u32>>,
    pub(crate) printed: Vec<Printed>,
}

/// A query, and the packets that 1.0.1's daemon answered with.
pub(crate) struct Asked {
    pub(crate) query: Query,
    pub(crate) theirs: Vec<u32>,
}

/// The corpus's capture, and certificates of `stenokeys`.
pub(crate) static MIXED: LazyLock<Captured> =
    LazyLock::new(|| Captured::make(&shared("corpus/mixed.pcap"), 5_000, 300, usize::MAX, stenokeys));

/// Traffic as a link might carry it, and certificates of `steno keys`.
pub(crate) static TRAFFIC: LazyLock<Captured> = LazyLock::new(|| {
    let bench = Bench::new();
    let file = bench.path("traffic.pcap");
    let _ = run(Command::new("python3").arg(shared("peer/traffic.py")).arg("300000").arg(&file));
    Captured::make(&file, 30_000, 140, 6, steno_keys)
});

/// Whether these tests are possible. If so, all captures are begun, next to one another: most of their time is waiting.
pub(crate) fn prepare() -> bool {
    static BEGUN: Once = Once::new();
    if !is_possible() {
        return false;
    }
    BEGUN.call_once(|| {
        for make in
            [(|| LazyLock::force(&MIXED).asked.len()) as fn() -> usize, || TRAFFIC.asked.len(), || UNDER_THEIRS.len()]
        {
            drop(thread::spawn(make));
        }
    });
    true
}

/// How many packets a capture file of one packet a record holds.
pub(crate) fn packets_of(file: &Path) -> usize {
    let (bytes, mut at, mut packets) = (fs::read(file).unwrap(), 24, 0);
    while at < bytes.len() {
        at += 16 + u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        packets += 1;
    }
    packets
}

/// Sends a capture file to a daemon's v1, and waits until the daemon answers with all packets of it and `before` others.
pub(crate) fn replay(bench: &Bench, daemon: &mut Daemon, file: &Path, a_second: u32, before: usize) -> usize {
    let expected = before + packets_of(file);
    bench.replay(file, a_second);
    daemon.until("all packets are in published files", |_| count(&bench.path("pkt")) >= expected);
    assert_eq!(count(&bench.path("pkt")), expected);
    expected
}

impl Captured {
    fn make(file: &Path, a_second: u32, queries: usize, wide: usize, keys: fn(&Bench, &str)) -> Self {
        let bench = Bench::new();
        keys(&bench, "certs");
        let certs = bench.path("certs");
        let mut daemon = Plan::new(&bench, "theirs", Whose::Theirs, Whose::Theirs, &certs).start(&bench);
        let expected = replay(&bench, &mut daemon, file, a_second, 0);
        let universe = Universe::read(&bench.path("pkt"));
        assert_eq!(universe.packets.len(), expected);
        let mut client = daemon.client(&bench);
        // It looks for new files four times a minute.
        until("1.0.1 has seen its files", || universe.place(Whose::Theirs, &client.packets(ALL)).0.len() == expected);
        let (asked, sets) = ask(&mut client, &universe, queries, wide);
        let printed =
            invocations(&universe, &asked).into_iter().map(|line| print(&bench, &daemon.config, line)).collect();
        drop(client);
        daemon.stop();
        Self { bench, certs, universe, asked, sets, printed }
    }

    /// Copies what was captured to another bench's `pkt` and `idx`, with the hidden packet file that 1.0.1 leaves behind.
    pub(crate) fn copy_to(&self, bench: &Bench) {
        for dir in ["pkt", "idx"] {
            let to = bench.path(dir);
            fs::create_dir(&to).unwrap();
            for entry in fs::read_dir(self.bench.path(dir)).unwrap() {
                let entry = entry.unwrap();
                let _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }

    /// For which packets a part of a query holds as 1.0.1 has it, without the two faults that are accounted for: a time is the
    /// packet's own, and a tag that the kernel took out counts. `asked_us` is when the query was asked.
    pub(crate) fn leaf(&self, leaf: &Item, asked_us: u64) -> Vec<bool> {
        use super::language::At;
        let all = &self.universe.packets;
        match leaf {
            Item::Time { before, at } => {
                let us = match at {
                    At::Then(us, _) => *us,
                    At::Ago(seconds, _) => asked_us - seconds * 1_000_000,
                };
                all.iter().map(|packet| (packet.us < us) == *before).collect()
            }
            Item::Vlan(id) => {
                let mut holds = self.set(&leaf.to_string());
                all.iter()
                    .zip(&mut holds)
                    .filter(|(kept, _)| kept.stripped == Some(*id))
                    .for_each(|(_, holds)| *holds = true);
                holds
            }
            other => self.set(&other.to_string()),
        }
    }

    fn set(&self, primitive: &str) -> Vec<bool> {
        let mut holds = vec![false; self.universe.packets.len()];
        self.sets[primitive].iter().for_each(|number| holds[*number as usize] = true);
        holds
    }
}

/// Asks 1.0.1's daemon random queries, and the single primitives of those that are to be accounted for.
fn ask(
    client: &mut Client<'_>,
    universe: &Universe,
    queries: usize,
    mut wide: usize,
) -> (Vec<Asked>, HashMap<String, Vec<u32>>) {
    let random = RANDOM.clone();
    let times = universe.packets.iter().map(|packet| packet.us);
    let span_us = times.clone().min().zip(times.max());
    // Whatever is drawn, each fault of 1.0.1 has a query that shows it.
    let mut sure: Vec<Query> = universe.keys.vlans.iter().map(|id| Query::of(Item::Vlan(*id))).collect();
    sure.extend(span_us.map(|(first, last)| Query::of(before(first + (last - first) / 2))));
    let mut draw = Draw { random, keys: &universe.keys, span_us, ago: true, any_size: wide == usize::MAX };
    let (mut asked, mut sets) = (Vec::new(), HashMap::new());
    while asked.len() < queries {
        let is_sure = !sure.is_empty();
        let query = sure.pop().unwrap_or_else(|| draw.query());
        if !is_sure && query.is_wide() {
            let Some(left) = wide.checked_sub(1) else { continue };
            wide = left;
        }
        let (theirs, _) = universe.place(Whose::Theirs, &client.packets(&query.to_string()));
        // Also of some that need no accounting: there the evaluation itself is held against 1.0.1's.
        if query.has_time() || query.has_vlan() || asked.len() % 3 == 0 {
            for leaf in query.leaves().iter().filter(|leaf| !matches!(leaf, Item::Time { .. })) {
                let _ = sets
                    .entry(leaf.to_string())
                    .or_insert_with_key(|text| universe.place(Whose::Theirs, &client.packets(text)).0);
            }
        }
        asked.push(Asked { query, theirs });
    }
    (asked, sets)
}
