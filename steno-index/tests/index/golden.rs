//! Golden files: each recipe gives the bytes that lie beside it, and those bytes answer as they did. They pin versions
//! 3.0, 3.1, 3.2 and 4.0 of the format; `examples/golden_index.rs` makes one from a new recipe, and no test writes one.

use std::{fs, path::PathBuf};

use crate::segments::{ask, golden_facts_of, index_of, packet_file_of_blocks};
use steno_core::testkit::recipe;
use steno_index::{Index, Sealer, verify_segment};

fn golden(name: &str) -> (Vec<u8>, Vec<u8>) {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let recipe = recipe(&fs::read_to_string(dir.join(name).with_extension("recipe")).unwrap()).unwrap();
    (
        packet_file_of_blocks(&recipe, golden_facts_of(name).block_bytes),
        fs::read(dir.join(name).with_extension("idx")).unwrap(),
    )
}

fn check(name: &str, version: (u16, u16)) {
    let (packet_file, expected) = golden(name);
    let made = index_of(&packet_file, &golden_facts_of(name));
    let differs = made.iter().zip(&expected).position(|(a, b)| a != b);
    assert!(differs.is_none() && made.len() == expected.len(), "{name}: first difference at byte {differs:?}");
    let index = Index::from_bytes(expected).unwrap();
    assert_eq!(index.version(), version);
    index.verify().unwrap();
    assert_eq!(index.facts().unwrap(), &golden_facts_of(name));
    assert!(ask(&index).iter().all(|(_, answer)| answer.is_ok()));
}

#[test]
fn empty() {
    check("empty", (3, 0));
}

#[test]
fn mixed() {
    check("mixed", (3, 1));
}

/// A file from before fragments were told: it answers as one of today does, but for them.
#[test]
fn a_file_of_version_3_0_answers_as_it_did() {
    let (packet_file, today) = golden("mixed");
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let old = Index::from_bytes(fs::read(dir.join("mixed-3.0.idx")).unwrap()).unwrap();
    let today = Index::from_bytes(today).unwrap();
    assert_eq!((old.version(), today.version()), ((3, 0), (3, 1)));
    old.verify().unwrap();
    let answers = |index: &Index| {
        let all = ask(index).into_iter().filter(|(question, _)| !question.starts_with("fragments"));
        all.map(|(question, answer)| (question, answer.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(answers(&old), answers(&today));
    assert_eq!((old.tells_fragments().unwrap(), today.tells_fragments().unwrap()), (false, true));
    let scratch = tempfile::tempdir().unwrap();
    let packets = scratch.path().join("packets");
    fs::write(&packets, packet_file).unwrap();
    let report = verify_segment(&packets, &dir.join("mixed-3.0.idx"));
    assert!(report.is_clean(), "{:?}", report.problems);
}

#[test]
fn groups() {
    check("groups", (3, 0));
}

#[test]
fn rows() {
    check("rows", (4, 0));
}

#[test]
fn losses() {
    check("losses", (3, 1));
}

#[test]
fn pieces() {
    check("pieces", (3, 2));
    let index = Index::from_bytes(golden("pieces").1).unwrap();
    let running = |no| index.checksums(no).unwrap().unwrap().running().len();
    assert_eq!((index.block_count(), [0, 1, 2].map(running)), (3, [5, 5, 0]));
}

/// What the mixed recipe is there for, so that the file that pins it does not pin a mistake.
#[test]
fn the_mixed_recipe_groups_as_its_lines_say() {
    let index = Index::from_bytes(golden("mixed").1).unwrap();
    let lines: Vec<String> = index.iter().map(|c| c.unwrap().1.to_string()).collect();
    assert_eq!(
        lines,
        [
            "ip tcp 10.0.0.1:40000 > 10.0.0.2:80 3 packets 283 bytes, back 1 packets 1454 bytes",
            "vlan 100 ip udp 10.0.0.1:5353 > 10.0.0.2:53 1 packets 66 bytes, back 0 packets 0 bytes",
            "vlan 7 vlan 8 ip udp 10.0.0.1:5353 > 10.0.0.2:53 1 packets 70 bytes, back 1 packets 350 bytes",
            "mpls 29 mpls 30 ip6 tcp [2001:db8::1]:443 > [2001:db8::2]:443 1 packets 82 bytes, back 1 packets 91 bytes",
            "ip udp 10.0.0.1:53 > 10.0.0.2:5353 1 packets 1442 bytes, back 0 packets 0 bytes",
            "ip udp fragments 10.0.0.1 > 10.0.0.2 1 packets 642 bytes, back 0 packets 0 bytes",
            "ip6 proto 44 fragments 2001:db8::1 > 2001:db8::2 1 packets 130 bytes, back 0 packets 0 bytes",
            "type 0x0806 - > - 1 packets 60 bytes, back 0 packets 0 bytes",
            "ip gre 10.0.0.1 > 10.0.0.9 1 packets 42 bytes, back 0 packets 0 bytes",
            "ip udp 10.0.0.9:9 > 10.0.0.9:9 2 packets 84 bytes, back 0 packets 0 bytes",
            "ip icmp 10.0.0.3 > 10.0.0.1 1 packets 90 bytes, back 0 packets 0 bytes",
            "vlan 5 type 0x0800 - > - 1 packets 23 bytes, back 0 packets 0 bytes",
        ]
    );
}

/// A sealer that has sealed other logs before leaves no trace of them.
#[test]
fn the_memory_of_a_sealer_does_not_show() {
    let (mut sealer, mut log) = (Sealer::new(), steno_index::Log::new());
    for name in ["groups", "pieces", "mixed", "rows", "empty", "mixed", "rows", "pieces", "groups"] {
        let ((packet_file, expected), facts) = (golden(name), golden_facts_of(name));
        log.clear();
        let damage = steno_index::note_packet_file(&mut &packet_file[..], facts.block_bytes, &mut log);
        assert_eq!(damage.unwrap(), None);
        let mut made = Vec::new();
        let _ = sealer.seal(&log, &facts, &mut made).unwrap();
        assert!(made == expected, "{name} came out otherwise");
    }
}
