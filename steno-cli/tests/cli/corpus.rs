//! Every capture of the corpus through the binary, held against its own tables of expected counts.

use std::fs::{self, File};

use crate::support::{ALL, TestStore, captures::Sample, packets};
use steno_core::{
    TimestampNs,
    packet::{Decoded, Fragment, Frame, Network, decode},
    testkit::{need, shared_dir},
};
use steno_query::{Fields, parse};

fn corpus() -> Option<std::path::PathBuf> {
    let dir = shared_dir(env!("CARGO_MANIFEST_DIR")).map(|shared| shared.join("corpus"));
    need(dir.is_some(), "the corpus of captures in ../shared").then_some(dir).flatten()
}

/// Queries of the columns behind `bytes` in files_expected.tsv.
const COLUMNS: [&str; 12] = [
    "net 0.0.0.0/0",
    "net ::/0",
    "tcp",
    "udp",
    "icmp",
    "ip proto 58",
    "ip proto 47",
    "port 53",
    "port 80",
    "port 443",
    "vlan",
    "mpls",
];

#[test]
fn every_file_imports_or_is_refused_as_its_row_says() {
    let Some(corpus) = corpus() else { return };
    let table = fs::read_to_string(corpus.join("files_expected.tsv")).unwrap();
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let file = cells[0];
        // Done below, with many more queries.
        if file == "mixed.pcap" {
            continue;
        }
        rows += 1;
        let store = TestStore::new();
        let run = store.import(&corpus.join(file));
        let Some(ethernet) = cells.get(2) else {
            assert_eq!((run.status, store.path().exists()), (Some(1), false), "{file}: {run:?}");
            assert!(run.err.contains(file) && run.err.contains("not a pcap or pcapng file"), "{run:?}");
            continue;
        };
        let (all, ethernet): (usize, usize) = (cells[1].parse().unwrap(), ethernet.parse().unwrap());
        let cut = file.contains("cut-short");
        let status = if all == ethernet && !cut { 0 } else { 1 };
        assert_eq!(run.status, Some(status), "{file}: {run:?}");
        assert_eq!(run.err.contains("is cut"), cut, "{file}: {run:?}");
        assert_eq!(store.path().exists(), ethernet > 0, "{file}");
        if ethernet == 0 {
            continue;
        }
        assert_eq!(store.read(ALL, &[]).1.len(), ethernet, "{file}");
        let source = file.contains("frag").then(|| packets(File::open(corpus.join(file)).unwrap()));
        for (query, expected) in COLUMNS.iter().zip(&cells[4..]) {
            let expected: usize = expected.parse().unwrap();
            let (run, found) = store.read(query, &[]);
            assert_eq!(run.status, Some(0), "{file}: {query}: {run:?}");
            // The table was made by 1.0.1's rule, by which later fragments have ports, and of all link types.
            let Some(source) = &source else {
                assert_eq!(found.len(), expected, "{file}: {query}: {run:?}");
                continue;
            };
            if !query.starts_with("port") {
                assert_eq!(scan(source, query, Rule::None).len(), expected, "{file}: {query}");
            }
            assert!(found == scan(source, query, Rule::Datagrams), "{file}: {query}: {run:?}");
        }
    }
    assert!(rows > 75, "only {rows} rows");
}

#[test]
fn every_query_on_mixed_pcap_gives_what_a_linear_scan_selects() {
    let Some(corpus) = corpus() else { return };
    let source = packets(File::open(corpus.join("mixed.pcap")).unwrap());
    let store = TestStore::new();
    let run = store.import(&corpus.join("mixed.pcap"));
    assert_eq!(run.status, Some(0), "{run:?}");
    let table = fs::read_to_string(corpus.join("expected.tsv")).unwrap();
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let query = if cells[0] == "(all)" { ALL } else { cells[0] };
        let (run, found) = store.read(query, &[]);
        assert_eq!((run.status, found.len()), (Some(0), cells[3].parse().unwrap()), "{query}: {run:?}");
        assert!(found == scan(&source, query, Rule::Datagrams), "{query}: other packets than a linear scan selects");
        rows += 1;
    }
    assert!(rows > 45, "only {rows} rows");
    let verified = store.run(&["verify"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
}

/// What fragments after the first are taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// They have what they say.
    None,
    /// They have the protocol and the ports of their datagram.
    Datagrams,
}

/// What tells a datagram from others.
type Datagram = (Network, Option<u8>, u32);

/// The packets for which the query's predicate holds, by decoding every one of them. They are in order of time.
fn scan(source: &[Sample], query: &str, rule: Rule) -> Vec<Sample> {
    let query = parse(query, TimestampNs::MAX).unwrap();
    let mut tags = Vec::new();
    let datagram = |d: &Decoded| -> Datagram {
        (d.network, d.protocol.filter(|_| matches!(d.network, Network::V4 { .. })), d.identification)
    };
    let mut firsts: Vec<(Datagram, u64, Decoded)> = Vec::new();
    if rule == Rule::Datagrams {
        let decoded = source.iter().map(|sample| (sample.ns, decode(&Frame::new(&sample.data), &mut tags)));
        firsts.extend(decoded.filter(|(_, d)| d.fragment == Fragment::First).map(|(ns, d)| (datagram(&d), ns, d)));
    }
    let holds = |sample: &&Sample| {
        let mut decoded = decode(&Frame::new(&sample.data), &mut tags);
        if decoded.fragment == Fragment::Later {
            let mine = firsts.iter().filter(|(other, ..)| *other == datagram(&decoded));
            let near = mine.filter(|(_, ns, _)| ns.abs_diff(sample.ns) <= 60_000_000_000);
            let first = near.min_by_key(|(_, ns, _)| (ns.abs_diff(sample.ns), *ns));
            decoded = first.map_or(decoded, |(.., first)| *first);
        }
        query.expr.matches(&Fields::of(&decoded, &tags), TimestampNs::new(sample.ns))
    };
    source.iter().filter(holds).cloned().collect()
}
