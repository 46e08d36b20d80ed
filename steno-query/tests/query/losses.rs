//! What was never captured is told in every kind of answer, also for times that no packet is of.

use crate::support::{Shape, TestStore, query};
use steno_core::{TimestampNs, testkit::recipe};
use steno_index::{Drops, Facts, Gap};
use steno_query::{Options, Receipt};

fn at(secs: u32) -> TimestampNs {
    TimestampNs::from_parts(secs, 0)
}

/// Packets from 100 to 101 s and from 200 to 201 s; the second segment tells of what lies between.
fn store(facts: Facts) -> TestStore {
    let mut store = TestStore::new();
    for (second, facts) in [(100, Facts::default()), (200, facts)] {
        let lines =
            format!("{second} ip 10.0.0.1 > 10.0.0.2 udp 1 > 2\n{}.5 ip 10.0.0.2 > 10.0.0.1 udp 2 > 1", second + 1);
        store.add(0, second * 1_000_000, &recipe(&lines).unwrap(), &Shape { facts, ..Shape::default() });
    }
    store
}

/// The receipts of a query in packets, in flows, and explained.
fn receipts(store: &TestStore, text: &str) -> [Receipt; 3] {
    let (opened, asked) = (store.open(), query(text));
    let mut answer = opened.answer(&asked, Options::default());
    while answer.next_packet().is_some() {}
    let options = Options::default();
    [answer.receipt(), opened.flows(&asked, &options).receipt().clone(), opened.explain(&asked, &options).receipt]
}

#[test]
fn a_gap_is_told_where_it_lies_and_not_where_its_segment_does() {
    let gap = Gap { from: at(101), to: at(199), reason: "capture was down".to_owned() };
    let store = store(Facts { gaps: vec![gap], ..Facts::default() });
    for (text, told) in [
        ("udp", 1),
        ("udp and after 1970-01-01T00:02:00Z and before 1970-01-01T00:02:01Z", 1),
        ("udp and before 1970-01-01T00:01:41Z", 0),
        ("udp and before 1970-01-01T00:01:42Z", 1),
        ("udp and after 1970-01-01T00:03:19Z", 1),
        ("udp and after 1970-01-01T00:03:20Z", 0),
    ] {
        for receipt in receipts(&store, text) {
            assert_eq!(receipt.gaps.len(), told, "{text}: {receipt}");
            assert!(receipt.is_complete(), "what was never captured is not missing from the store");
        }
    }
    let [receipt, ..] = receipts(&store, "udp and after 1970-01-01T00:02:00Z and before 1970-01-01T00:02:01Z");
    assert_eq!((receipt.segments.considered, receipt.packets), (0, 0), "no packet is of that time");
}

#[test]
fn drops_count_in_the_seconds_in_which_they_were() {
    let drops = [(150, 5), (151, 7), (200, 11)].map(|(second, packets)| Drops { second, packets });
    let store = store(Facts { drops: drops.to_vec(), ..Facts::default() });
    for (text, told) in [
        ("udp", 23),
        ("tcp", 23),
        ("after 1970-01-01T00:02:30.9Z and before 1970-01-01T00:02:31Z", 5),
        ("after 1970-01-01T00:02:31Z", 18),
        ("before 1970-01-01T00:02:30Z", 0),
        ("before 1970-01-01T00:02:30Z or after 1970-01-01T00:03:20Z", 11),
    ] {
        for receipt in receipts(&store, text) {
            assert_eq!(receipt.kernel_drops, told, "{text}: {receipt}");
        }
    }
}
