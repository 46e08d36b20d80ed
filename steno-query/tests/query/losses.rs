//! What was never captured is told in every kind of answer, also for times that no packet is of.

use crate::support::{Shape, TestStore, assert_scan, query};
use steno_core::{TimestampNs, testkit::recipe};
use steno_index::{ClockStep, Drops, Facts, Gap};
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

/// A capture during which the clock is set forward by an hour, and later back by as much, within one file and between two.
#[test]
fn queries_by_time_are_exact_however_the_clock_was_set_and_are_told_that_it_was() {
    const HOUR: u32 = 3_600;
    let mut store = TestStore::new();
    let line = |second: u32| format!("{second}.25 ip 10.0.0.1 > 10.0.0.2 udp {} > 2\n", second % 50_000);
    let lines = |seconds: &[u32]| recipe(&seconds.iter().map(|second| line(*second)).collect::<String>()).unwrap();
    let step = |from: u32, to: u32| ClockStep { from: at(from), to: at(to) };
    let start = 7_200;
    let files: [(&[u32], Vec<ClockStep>); 3] = [
        (&[start, start + 1, start + 2 + HOUR, start + 3 + HOUR], vec![step(start + 2, start + 2 + HOUR)]),
        (
            &[start + 4, start + 5, start + 6 - HOUR],
            vec![step(start + 4 + HOUR, start + 4), step(start + 6, start + 6 - HOUR)],
        ),
        (&[start + 7, start + 8], vec![step(start + 7 - HOUR, start + 7)]),
    ];
    for (n, (seconds, clock_steps)) in (0u64..).zip(files) {
        let facts = Facts { clock_steps, ..Facts::default() };
        // Names ascend whatever the clock says.
        let shape = Shape { facts, block_packets: 1, block_bytes: 4096, ..Shape::default() };
        store.add(0, (u64::from(start + HOUR) + n) * 1_000_000, &lines(seconds), &shape);
    }
    assert_eq!(assert_scan(&store, "udp"), 9);
    for (from, until, packets, steps) in [
        (start, start + 2, 2, 3),
        (start + 4, start + 6, 2, 4),
        (start + 2, start + HOUR, 4, 4),
        (start + HOUR, start + 2 * HOUR, 2, 2),
        (start - HOUR, start - 100, 1, 2),
        (start + 7, start + 9, 2, 4),
        (start + 6 + HOUR, start + 2 * HOUR, 0, 0),
    ] {
        let time = |second: u32| steno_query::rfc3339(at(second));
        let text = format!("udp and after {} and before {}", time(from), time(until));
        assert_eq!(assert_scan(&store, &text), packets, "{text}");
        for receipt in receipts(&store, &text) {
            assert_eq!(receipt.clock_steps.len(), steps, "{text}: {receipt}");
            assert!(receipt.is_complete());
        }
    }
}
