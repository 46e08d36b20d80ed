//! 1.0.1's daemon runs our stenotype, which writes indexes of version 2: what it answers is what an oracle that shares no code
//! with either says of the capture file that was sent, fragments after the first without ports and the outer VLAN tag found.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
};

use super::{
    bench::{Bench, shared, until},
    captured::{ALL, RANDOM, packets_of, prepare, replay},
    daemon::{Plan, Whose, stenokeys},
    language::Draw,
    universe::{Universe, each_stored},
};

const QUERIES: usize = 200;

/// Prints, for each query of its standard input, which packets of a capture file it matches, counted from 0.
const ORACLE: &str = r"
import sys
sys.path.insert(0, sys.argv[1])
import expect
expect.FRAGMENTS = 'none'
packets = [keys for ts, data, keys in expect.keyed(sys.argv[2])]
for line in sys.stdin:
    holds = expect.parse(line.rstrip('\n'))
    print(*[number for number, keys in enumerate(packets) if holds(keys, 0)])
";

/// Queries, and the packets that were answered: the numbers that they have in the capture file.
pub(crate) static UNDER_THEIRS: LazyLock<Vec<(String, Vec<u32>)>> = LazyLock::new(|| {
    let (bench, file) = (Bench::new(), corpus());
    stenokeys(&bench, "certs");
    let plan = Plan::new(&bench, "theirs", Whose::Theirs, Whose::Ours, &bench.path("certs"));
    let mut daemon = plan.with_flag("--index_format=leveldb").start(&bench);
    let expected = replay(&bench, &mut daemon, &file, 10_000, 0);
    assert_eq!(frames_of(&file), restored(&bench.path("pkt")), "what was sent is what is stored, in that order");
    let universe = Universe::read(&bench.path("pkt"));
    let mut client = daemon.client(&bench);
    until("1.0.1 has seen our files", || universe.place(Whose::Theirs, &client.packets(ALL)).0.len() == expected);
    let mut draw = Draw { random: RANDOM.clone(), keys: &universe.keys, span_us: None, ago: false, any_size: true };
    let mut queries: Vec<String> = universe.keys.vlans.iter().map(|id| format!("vlan {id}")).collect();
    queries.extend((0..QUERIES).map(|_| draw.query().to_string()));
    draw.random.shuffle(&mut queries);
    let mut answer = |query: String| {
        let theirs = universe.place(Whose::Theirs, &client.packets(&query)).0;
        (query, theirs)
    };
    // Files are found by their names, with a minute to spare.
    for (query, packets) in
        [("before 2h ago", 0), ("before 1h ago or after 5m ago", expected), ("after 2h ago", expected)]
    {
        assert_eq!(answer(query.to_owned()).1.len(), packets, "{query}");
    }
    let answers = queries.into_iter().map(&mut answer).collect();
    drop(client);
    daemon.stop();
    answers
});

pub(crate) fn corpus() -> PathBuf {
    shared("corpus/mixed.pcap")
}

fn restored(dir: &Path) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    each_stored(dir, &mut |stored| frames.push(stored.restored()));
    frames
}

fn frames_of(file: &Path) -> Vec<Vec<u8>> {
    let (bytes, mut at, mut frames) = (fs::read(file).unwrap(), 24, Vec::new());
    while at < bytes.len() {
        let captured = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        frames.push(bytes[at + 16..at + 16 + captured].to_vec());
        at += 16 + captured;
    }
    frames
}

/// What the oracle says of `queries`.
pub(crate) fn oracle(file: &Path, queries: &[&str]) -> Vec<Vec<u32>> {
    let mut command = Command::new("python3");
    let _ = command.args(["-c", ORACLE]).arg(shared("corpus")).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = command.spawn().unwrap();
    let (mut stdin, lines) = (python.stdin.take().unwrap(), queries.join("\n") + "\n");
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.split_whitespace().map(|n| n.parse().unwrap()).collect()).collect()
}

#[test]
fn our_capture_under_their_daemon_is_answered_as_the_oracle_says() {
    if !prepare() {
        return;
    }
    let queries: Vec<&str> = UNDER_THEIRS.iter().map(|(query, _)| query.as_str()).collect();
    let expected = oracle(&corpus(), &queries);
    assert_eq!(expected.len(), queries.len());
    for ((query, theirs), expected) in UNDER_THEIRS.iter().zip(&expected) {
        assert!(theirs == expected, "{query}: {} packets, the oracle has {}", theirs.len(), expected.len());
    }
    let found = |kind: &str| UNDER_THEIRS.iter().any(|(query, packets)| query.starts_with(kind) && !packets.is_empty());
    assert!(found("vlan") && found("host"));
    assert_eq!(packets_of(&corpus()), 25_417);
}
