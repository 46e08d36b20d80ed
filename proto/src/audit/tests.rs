//! A small log, and what can be done to it.

use proptest::prelude::*;

use super::*;

fn asked(query: &str) -> Asked {
    Asked {
        principal: "CN=alice".into(),
        serial: "01:02".into(),
        address: "192.0.2.7:4711".into(),
        method: "Query".into(),
        query: Some(query.into()),
        text: Some(query.into()),
        ..Asked::default()
    }
}

fn open(file: OpenedAs, why: Why) -> Open {
    Open {
        file,
        why,
        version: "0.1.0".into(),
        pid: 7,
        torn: Vec::new(),
        damaged: Vec::new(),
        missing: None,
        lost: None,
    }
}

fn end(of: u64) -> Event {
    Event::End(End {
        of,
        outcome: "complete".into(),
        packets: 3,
        bytes: 400,
        blake3: Some("ab".into()),
        complete: true,
        why: None,
        duration_ns: 5,
    })
}

/// Lines that follow each other from `head` on, and where that comes to.
fn lines(mut head: Head, events: &[Event]) -> (Vec<Vec<u8>>, Head) {
    let mut all = Vec::new();
    for event in events {
        let mut line = Vec::new();
        head = seal(head, "2026-11-28T08:00:00.000000001Z", event, &mut line);
        all.push(line);
    }
    (all, head)
}

/// A log of six lines, two requests among them.
fn small() -> (Vec<Vec<u8>>, Head) {
    lines(
        Head::default(),
        &[
            Event::Open(open(OpenedAs::New, Why::Start)),
            Event::Begin(asked("port 53")),
            Event::Refused { why: "no \u{e9} \u{9b}31m\n".into(), asked: Box::new(asked("prt 53")) },
            end(2),
            Event::Begin(asked("host 10.0.0.1")),
            Event::TurnedAway(TurnedAway { address: "192.0.2.8:1".into(), why: "no".into(), more: 2 }),
        ],
    )
}

fn verify(files: &[&[u8]], heads: &[Head]) -> Report {
    let mut verifier = Verifier::new(heads.to_vec());
    for (name, file) in files.iter().enumerate() {
        verifier.file(&name.to_string(), *file).unwrap();
    }
    verifier.finish()
}

fn found(files: &[&[u8]], heads: &[Head]) -> Vec<What> {
    verify(files, heads).findings.into_iter().map(|finding| finding.what).collect()
}

#[test]
fn a_log_holds_and_is_counted() {
    let (lines, head) = small();
    let report = verify(&[&lines.concat()], &[head]);
    assert_eq!(report.findings, []);
    assert_eq!((report.lines, report.first, report.last, report.requests), (6, Some(1), head, 2));
    assert_eq!(report.without_end.into_iter().collect::<Vec<_>>(), [5]);
    // Over files, cut anywhere between lines, it is the same log.
    for at in 0..=lines.len() {
        let (first, second) = lines.split_at(at);
        assert!(verify(&[&first.concat(), &second.concat()], &[head]).holds(), "{at}");
    }
}

#[test]
fn a_line_is_printable_ascii_and_has_its_fields() {
    let (lines, head) = small();
    for line in &lines {
        let text = std::str::from_utf8(line.strip_suffix(b"\n").unwrap()).unwrap();
        assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text}");
        let _object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    }
    let text = String::from_utf8(lines[1].clone()).unwrap();
    let start = format!(
        "{{\"line\":2,\"before\":\"{}\",\"time\":\"2026-11-28T08:00:00.000000001Z\",\"event\":\"begin\",\
        \"principal\":\"CN=alice\",\"serial\":\"01:02\",\"address\":\"192.0.2.7:4711\",\"method\":\"Query\",\
        \"query\":\"port 53\",\"text\":\"port 53\",\"sha256\":\"",
        read(lines[0].trim_ascii()).unwrap().head.sha256
    );
    assert!(text.starts_with(&start), "{text}");
    assert_eq!(head.to_string().parse(), Ok(head));
    for none in ["", "1", "1:", ":ab", "+1:00", &format!("1:{}", "A".repeat(64)), &format!("x:{}", "0".repeat(64))] {
        assert!(none.parse::<Head>().is_err(), "{none}");
    }
}

#[test]
fn every_flipped_byte_is_found() {
    let (lines, _) = small();
    let log = lines.concat();
    for at in 0..log.len() {
        for bit in 0..8 {
            let mut log = log.clone();
            log[at] ^= 1 << bit;
            let report = verify(&[&log], &[]);
            // The end of the last line is all that a sensor may have been stopped before.
            let is_torn = at == log.len() - 1 && report.unfinished.is_some();
            assert!(!report.holds() || is_torn, "byte {at} bit {bit}");
        }
    }
}

#[test]
fn every_cut_is_told_and_every_one_behind_the_head_is_found() {
    let (lines, head) = small();
    let log = lines.concat();
    for at in 0..log.len() {
        let report = verify(&[&log[..at]], &[head]);
        let last = log[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        // A line that lacks nothing but the byte that ends it is all there.
        let last = last + u64::from(log[at] == b'\n');
        let expected = if last == 6 { vec![] } else { vec![What::CutOff { last, head: 6 }] };
        assert_eq!(report.findings.iter().map(|f| f.what.clone()).collect::<Vec<_>>(), expected, "{at}");
        let is_between = at == 0 || log[at - 1] == b'\n';
        assert_eq!(report.unfinished.is_none(), is_between, "{at}");
        // Nobody who was not told the head can know of a cut between two lines.
        assert!(verify(&[&log[..at]], &[]).holds(), "{at}");
    }
    // At its beginning: the first line is none that begins a file, or is not whole.
    for at in 1..log.len() - 1 {
        assert!(!verify(&[&log[at..]], &[]).holds(), "{at}");
    }
}

#[test]
fn injuries_are_called_by_their_names() {
    let (all, head) = small();
    let without = |gone: usize| [&all[..gone], &all[gone + 1..]].concat().concat();
    let swapped = |one: usize, other: usize| {
        let mut all = all.clone();
        all.swap(one, other);
        all.concat()
    };
    let put_in = |at: usize, line: &[u8]| [&all[..at], &[line.to_vec()], &all[at..]].concat().concat();
    assert_eq!(found(&[&without(0)], &[]), [What::Beginning(2)]);
    assert_eq!(found(&[&without(2)], &[]), [What::Gone { first: 3, last: 3, next: 4 }]);
    assert_eq!(found(&[&without(5)], &[head]), [What::CutOff { last: 5, head: 6 }]);
    assert_eq!(
        found(&[&swapped(2, 3)], &[])[..2],
        [What::Gone { first: 3, last: 3, next: 4 }, What::Order { line: 3, after: 4 }]
    );
    // A line of another log, with its own hash and the number that is expected.
    let (others, other_head) = lines(Head::default(), &[Event::Close, Event::Close, Event::Close]);
    let replaced = [&all[..2], &others[2..3], &all[3..]].concat().concat();
    assert_eq!(found(&[&replaced], &[]), [What::Link(3), What::Link(4)]);
    assert_eq!(found(&[&put_in(2, &others[2])], &[])[0], What::Link(3));
    assert_eq!(found(&[&put_in(2, b"{}\n")], &[]), [What::Line(LineFault::NotSealed)]);
    assert_eq!(found(&[&put_in(2, &all[1])], &[]), [What::Order { line: 2, after: 2 }]);
    assert_eq!(found(&[&all.concat()], &[other_head]), [What::Head(3)]);
    let long = [vec![b'x'; MOST_LINE_BYTES + 5], b"\n".to_vec()].concat();
    assert_eq!(found(&[&put_in(1, &long)], &[]), [What::TooLong]);
    let (first, second) = (all[..3].concat(), all[3..].concat());
    assert_eq!(found(&[&second, &first], &[])[0], What::Beginning(4), "files in the wrong order");
    // Altered, and sealed anew, as who knows the format can: the next line has the hash that it had.
    let (forged, _) = lines(read(all[0].trim_ascii()).unwrap().head, &[Event::Begin(asked("port 54"))]);
    let altered = [&all[..1], &forged, &all[2..]].concat().concat();
    assert_eq!(found(&[&altered], &[]), [What::Link(3)]);
    let mut twice = all.clone();
    let (more, _) = lines(head, &[end(2), end(9)]);
    twice.extend(more);
    assert_eq!(found(&[&twice.concat()], &[]), [What::NotUnderWay(2)]);
}

#[test]
fn a_torn_line_is_told_apart_from_one_that_was_altered() {
    let (all, head) = small();
    let torn = &all[5][..40];
    let known = Fragment { bytes: 40, sha256: Digest::of(torn) };
    let before = read(all[4].trim_ascii()).unwrap().head;
    let again = Event::Open(Open { torn: vec![known], ..open(OpenedAs::Same, Why::Start) });
    let (more, last) = lines(before, &[again, end(5)]);
    let log = |torn: &[u8]| [all[..5].concat(), torn.to_vec(), b"\n".to_vec(), more.concat()].concat();
    let report = verify(&[&log(torn)], &[last]);
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.torn, report.unfinished, report.without_end.len()), (1, None, 0));
    // Of another one it does not tell.
    assert_eq!(found(&[&log(b"{\"line\":6,")], &[]), [What::Line(LineFault::NotSealed)]);
    // Nor where nothing tells of it.
    let (untold, _) = lines(before, &[Event::Open(open(OpenedAs::Same, Why::Start))]);
    let log = [all[..5].concat(), torn.to_vec(), b"\n".to_vec(), untold.concat()].concat();
    assert_eq!(found(&[&log], &[]), [What::Line(LineFault::NotSealed)]);
    // What a daemon has found wrong at its start is found for ever.
    let missing = Open { missing: Some(head.into()), ..open(OpenedAs::Same, Why::Start) };
    let (more, _) = lines(before, &[Event::Open(missing)]);
    assert_eq!(found(&[&[all[..5].concat(), more.concat()].concat()], &[]), [What::Missing(head.into())]);
}

/// What is done to a log.
#[derive(Clone, Debug)]
enum Injury {
    Flip(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Twice(prop::sample::Index, prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
    PutIn(prop::sample::Index, Vec<u8>),
}

fn injury() -> impl Strategy<Value = Injury> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), 1u8..).prop_map(|(at, bits)| Injury::Flip(at, bits)),
        any::<Index>().prop_map(Injury::Remove),
        any::<(Index, Index)>().prop_map(|(line, at)| Injury::Twice(line, at)),
        any::<(Index, Index)>().prop_map(|(one, other)| Injury::Swap(one, other)),
        any::<Index>().prop_map(Injury::Cut),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Injury::PutIn(at, bytes)),
    ]
}

fn injured(all: &[Vec<u8>], injury: &Injury) -> Vec<u8> {
    let mut lines = all.to_vec();
    let mut log = all.concat();
    match injury {
        Injury::Flip(at, bits) => {
            let at = at.index(log.len());
            log[at] ^= bits;
            return log;
        }
        Injury::Cut(at) => {
            log.truncate(at.index(log.len()));
            return log;
        }
        Injury::PutIn(at, bytes) => {
            let at = at.index(log.len());
            drop(log.splice(at..at, bytes.iter().copied()));
            return log;
        }
        Injury::Remove(line) => drop(lines.remove(line.index(lines.len()))),
        Injury::Twice(line, at) => {
            let line = lines[line.index(lines.len())].clone();
            lines.insert(at.index(lines.len()), line);
        }
        Injury::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
    }
    lines.concat()
}

proptest! {
    /// Any single injury to a log, of which the head is known, is found, but for the loss of what ends the last line.
    #[test]
    fn any_injury_is_found(n in 2u64..40, injury in injury()) {
        let mut events = vec![Event::Open(open(OpenedAs::New, Why::Start))];
        for i in 0..n {
            events.push(if i % 2 == 0 { Event::Begin(asked(&format!("port {i}"))) } else { end(i + 1) });
        }
        let (all, head) = lines(Head::default(), &events);
        let before = all.concat();
        prop_assert!(verify(&[&before], &[head]).holds());
        let after = injured(&all, &injury);
        let lacks_its_end = after == before[..before.len() - 1];
        let report = verify(&[&after], &[head]);
        prop_assert!(after == before || !report.holds() || lacks_its_end, "{:?}", injury);
    }

    /// No bytes whatever make it panic, and none but a log hold.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let report = verify(&[&bytes], &[]);
        prop_assert_eq!(report.lines, 0);
        prop_assert!(bytes.is_empty() || !report.holds() || report.unfinished.is_some());
    }
}
