//! `--index_format=leveldb` beside the real stenotype 1.0.1, on the same wire at the same time: the same keys, the same
//! packets, at the same positions, but for its two faults.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::Ipv6Addr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use steno_core::{
    block::{RawPacket, packet_at},
    packet::{Fragment, Frame, Network, Tag, decode},
    testkit::need,
};
use steno_index::{Attribute, Facts, Version2Index, index_packet_file_version2, verify_segment};
use support::{Stenotype, Wire, names};

const REAL: &str = "/usr/sbin/stenotype";

/// Attributes, and the positions of their packets.
type Lists = BTreeMap<Attribute, Vec<u32>>;

/// A packet file and its index.
struct Captured {
    packets: Vec<u8>,
    lists: Lists,
    paths: [PathBuf; 2],
}

impl Captured {
    /// The one segment of a capture.
    fn of(dir: &Path) -> Self {
        let published: Vec<_> = names(&dir.join("IDX0")).into_iter().filter(|name| !name.starts_with('.')).collect();
        let [name] = &published[..] else { panic!("one segment was expected: {published:?}") };
        let paths = ["PKT0", "IDX0"].map(|thread| dir.join(thread).join(name));
        let index = Version2Index::open(&paths[1]).unwrap();
        Self { packets: fs::read(&paths[0]).unwrap(), lists: lists(&index), paths }
    }

    fn packet(&self, position: u32) -> RawPacket<'_> {
        packet_at(&self.packets, position).unwrap()
    }

    /// Takes out what 1.0.1 does not tell, the tags that the kernel took out; says how many.
    fn without_outer_tags(&self, lists: &mut Lists) -> usize {
        let mut tags = Vec::new();
        take_out(lists, |attribute, position| {
            let Attribute::Vlan(id) = attribute else { return false };
            let _decoded = decode(&Frame::new(self.packet(position).bytes), &mut tags);
            !tags.contains(&Tag::Vlan(id))
        })
    }

    /// Takes out what only 1.0.1 tells, ports of fragments after the first; says how many.
    fn without_ports_of_later_fragments(&self, lists: &mut Lists) -> usize {
        take_out(lists, |attribute, position| {
            let decoded = decode(&self.packet(position).frame(), &mut Vec::new());
            let later = decoded.fragment == Fragment::Later && matches!(decoded.network, Network::V4 { .. });
            matches!(attribute, Attribute::Port(_)) && later
        })
    }

    /// The frames of each list, tags put back, in any order: two sockets may see packets of two processors in either.
    fn frames(&self, lists: &Lists) -> BTreeMap<Attribute, Vec<Vec<u8>>> {
        let frames = |positions: &Vec<u32>| {
            let mut frames: Vec<_> = positions.iter().map(|&at| self.packet(at).frame().to_vec()).collect();
            frames.sort();
            frames
        };
        lists.iter().map(|(attribute, positions)| (*attribute, frames(positions))).collect()
    }

    fn is_clean(&self) {
        let report = verify_segment(&self.paths[0], &self.paths[1]);
        assert!(report.is_clean() && report.attributes > 0, "{:?}", report.problems);
    }
}

fn lists(index: &Version2Index) -> Lists {
    let (mut lists, all) = (Lists::new(), Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from_bits(u128::MAX)));
    let read = index.each(all, &mut |attribute, positions| {
        let _none = lists.insert(attribute, positions.iter().map(|p| p.0).collect());
        ControlFlow::Continue(())
    });
    read.unwrap();
    lists
}

fn take_out(lists: &mut Lists, mut wrong: impl FnMut(Attribute, u32) -> bool) -> usize {
    let mut taken = 0;
    for (attribute, positions) in lists.iter_mut() {
        let before = positions.len();
        positions.retain(|&position| !wrong(*attribute, position));
        taken += before - positions.len();
    }
    lists.retain(|_, positions| !positions.is_empty());
    taken
}

/// The real one on v1, beside whoever else listens there.
fn start_real(wire: &Wire, dir: &Path) -> Stenotype {
    for thread in ["PKT0", "IDX0"] {
        fs::create_dir(dir.join(thread)).unwrap();
    }
    let mut command = wire.command(REAL);
    let _ = command.arg(format!("--dir={}", dir.display())).args(["--iface=v1", "--blocks=128", "--blockage_sec=1"]);
    let _ = command
        .args(["--fileage_sec=8", "-v", "--no_watchdogs", "--seccomp=none", "--uid=root", "--gid=root"])
        .stdin(Stdio::null());
    let real = Stenotype::start(command, dir);
    until(&real, || names(&dir.join("PKT0")).iter().any(|name| name.starts_with('.')));
    real
}

fn until(real: &Stenotype, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", real.log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_real_stenotype_writes_the_same_keys_with_the_same_packets() {
    let Some(wire) = Wire::new() else { return };
    let mixed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus/mixed.pcap");
    if !need(mixed.exists() && Path::new(REAL).exists(), "the corpus, and stenographer 1.0.1") {
        return;
    }
    let (ours_dir, real_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = start_real(&wire, real_dir.path());
    let ours = wire.capture(ours_dir.path(), &["--index_format=leveldb"]);
    wire.replay(&mixed, 20_000);
    // Until its block has run out.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(ours.stop().0, 0);
    // Told to stop on a quiet link, the real one would publish half of its segment and stay. So its file has to grow old.
    let published = |dir| names(&real_dir.path().join(dir)).iter().any(|name| !name.starts_with('.'));
    until(&real, || published("IDX0") && published("PKT0"));
    drop(real);

    let (ours, real) = (Captured::of(ours_dir.path()), Captured::of(real_dir.path()));
    ours.is_clean();
    real.is_clean();
    assert!(real.lists.len() > 1000, "{} keys", real.lists.len());
    let mut of_real = real.lists.clone();
    let ports = real.without_ports_of_later_fragments(&mut of_real);
    assert!(ports > 0, "nothing to account for: ports of later fragments");

    // The same packets for each key, of two captures.
    let mut of_ours = ours.lists.clone();
    assert!(ours.without_outer_tags(&mut of_ours) > 0, "nothing to account for: outer tags");
    assert_eq!(ours.without_ports_of_later_fragments(&mut of_ours), 0);
    assert!(ours.frames(&of_ours) == real.frames(&of_real), "packets differ for some key");
    assert!(ours.frames(&of_ours) != real.frames(&real.lists), "the ports had to be accounted for");
    assert!(ours.frames(&ours.lists) != real.frames(&of_real), "the tags had to be accounted for");

    // The same positions for each key, of one packet file.
    let (mut bytes, mut file) = (Vec::new(), File::open(&real.paths[0]).unwrap());
    let _built = index_packet_file_version2(&mut file, &Facts::default(), &mut bytes).unwrap();
    let mut rebuilt = lists(&Version2Index::from_bytes(bytes).unwrap());
    assert_ne!(rebuilt, of_real);
    assert!(real.without_outer_tags(&mut rebuilt) > 0);
    assert_ne!(rebuilt, real.lists);
    assert!(rebuilt == of_real, "positions differ for some key");
}
