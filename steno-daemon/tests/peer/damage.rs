//! Index files of version 2 that are wrong: each sets its segment aside, with the reason in log and receipt, and the rest answers.

use std::{collections::BTreeMap, fs};

use super::{
    bench::{Bench, names},
    captured::{MIXED, prepare},
    daemon::{Plan, Whose},
    table::{Entry, entries, write},
};

/// What is done to an index, and what is said of it.
type Wrong = (&'static str, fn(Vec<u8>) -> Vec<u8>);

fn changed(index: Vec<u8>, change: fn(&mut Vec<Entry>)) -> Vec<u8> {
    let mut all = entries(index);
    change(&mut all);
    write(&all)
}

const WRONG: [Wrong; 5] = [
    ("the index has version 3.0, this program reads version 2", |index| changed(index, |all| all[0].1[3] = 3)),
    ("a key is out of order", |index| changed(index, |all| all.swap(5, 6))),
    ("checksum of a block of keys at offset 0 is ", |mut index| {
        index[20] ^= 1;
        index
    }),
    ("the length of a value is no multiple of four", |index| {
        changed(index, |all| {
            let tcp = all.iter_mut().find(|(key, _)| *key == [1, 6]).unwrap();
            let _ = tcp.1.pop();
        })
    }),
    ("a packet past the end of the packet file", |index| {
        changed(index, |all| {
            let tcp = all.iter_mut().find(|(key, _)| *key == [1, 6]).unwrap();
            tcp.1.extend(0xffff_fff0_u32.to_be_bytes());
        })
    }),
];

#[test]
fn an_index_that_is_wrong_sets_its_segment_aside_and_the_rest_answers() {
    if !prepare() {
        return;
    }
    let bench = Bench::new();
    MIXED.copy_to(&bench);
    let daemon = Plan::new(&bench, "ours", Whose::Ours, Whose::Ours, &MIXED.certs).start(&bench);
    let mut client = daemon.client(&bench);
    let right = client.packets("tcp");
    assert!(MIXED.universe.place(Whose::Ours, &right).0.len() > 1_000);
    // The index with the most in it once more for each, under names of an hour before.
    let indexes = names(&bench.path("idx")).into_iter().filter(|name| !name.starts_with('.'));
    let name = indexes.max_by_key(|name| fs::metadata(bench.path("idx").join(name)).unwrap().len()).unwrap();
    let index = fs::read(bench.path("idx").join(&name)).unwrap();
    let mut expected = BTreeMap::new();
    for (n, (reason, wrong)) in (60..).zip(WRONG) {
        let earlier = (name.parse::<u64>().unwrap() - n * 60_000_000).to_string();
        let _ = fs::copy(bench.path("pkt").join(&name), bench.path("pkt").join(&earlier)).unwrap();
        fs::write(bench.path("idx").join(&earlier), wrong(index.clone())).unwrap();
        let _ = expected.insert(format!("IDX0/{earlier}"), reason);
    }
    let answer = client.post("tcp");
    assert_eq!((answer.status, &answer.broken), (200, &None));
    assert!(answer.body == right, "{} and {} bytes", answer.body.len(), right.len());
    let receipt = answer.receipt();
    assert_eq!((&receipt["complete"], &receipt["segments"]["unreadable"]), (&false.into(), &5.into()), "{receipt}");
    for unreadable in receipt["unreadable"].as_array().unwrap() {
        assert_eq!(unreadable["may_hold_matches"], true);
        let (file, reason) = (unreadable["file"].as_str().unwrap(), unreadable["reason"].as_str().unwrap());
        let wanted = expected.remove(file).unwrap();
        assert!(reason.contains(wanted), "{file}: {reason}");
        let (log, line) = (daemon.log(), format!("{file}: {reason}"));
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert!(expected.is_empty(), "{expected:?}");
    // An index that is written anew is right where it was not changed.
    let anew = (name.parse::<u64>().unwrap() - 50 * 60_000_000).to_string();
    let _ = fs::copy(bench.path("pkt").join(&name), bench.path("pkt").join(&anew)).unwrap();
    fs::write(bench.path("idx").join(&anew), changed(index, |_| {})).unwrap();
    let receipt = client.post("tcp").receipt();
    assert_eq!(receipt["segments"]["unreadable"], 5, "{receipt}");
    assert!(receipt["packets"].as_u64().unwrap() > MIXED.universe.place(Whose::Ours, &right).0.len() as u64);
}
