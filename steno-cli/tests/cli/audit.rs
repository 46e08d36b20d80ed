//! `steno audit verify`: a log as a sensor writes it, what is done to it, and what is said of that.

use std::{fs, path::PathBuf};

use steno_proto::audit::{Asked, End, Event, Head, Open, OpenedAs, Why, seal};

use crate::support::{Run, steno};

struct Log {
    dir: tempfile::TempDir,
    head: Head,
}

impl Log {
    /// Six lines in two files, and the head beside the second.
    fn new() -> Self {
        let mut log = Self { dir: tempfile::tempdir().unwrap(), head: Head::default() };
        log.write("audit.log.1", &[log.open(Why::Start), begin("port 53"), end(2)]);
        log.write("audit.log", &[log.open(Why::Rotation), begin("host 10.0.0.1"), Event::Close]);
        fs::write(log.path("audit.log.head"), format!("{}\n", log.head)).unwrap();
        log
    }

    fn open(&self, why: Why) -> Event {
        let (torn, damaged) = (Vec::new(), Vec::new());
        let (version, pid, missing, lost) = ("0.1.0".to_owned(), 7, None, None);
        Event::Open(Open { file: OpenedAs::New, why, version, pid, torn, damaged, missing, lost })
    }

    fn write(&mut self, name: &str, events: &[Event]) {
        let mut bytes = Vec::new();
        for event in events {
            self.head = seal(self.head, "2026-11-28T08:00:00.000000001Z", event, &mut bytes);
        }
        fs::write(self.path(name), bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn verify(&self, names: &[&str], more: &[&str]) -> Run {
        let mut words = vec!["audit".to_owned(), "verify".to_owned()];
        words.extend(names.iter().map(|name| self.path(name).display().to_string()));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        steno(&words)
    }

    fn change(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        fs::write(self.path(name), change(&text)).unwrap();
    }
}

fn begin(query: &str) -> Event {
    Event::Begin(Asked { principal: "CN=alice".into(), query: Some(query.into()), ..Asked::default() })
}

fn end(of: u64) -> Event {
    Event::End(End {
        of,
        outcome: "complete".into(),
        packets: 1,
        bytes: 2,
        blake3: None,
        complete: true,
        why: None,
        duration_ns: 3,
    })
}

const BOTH: [&str; 2] = ["audit.log.1", "audit.log"];

#[test]
fn a_log_that_holds_is_said_to() {
    let log = Log::new();
    let run = log.verify(&BOTH, &[]);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    assert!(run.out.starts_with("6 lines, 1 to 6, 2 requests; 0 findings\n"), "{run:?}");
    assert!(run.out.contains("no end is told of the requests of lines 5: "), "{run:?}");
    assert!(run.out.ends_with(&format!("head {}\n", log.head)), "{run:?}");
    // Old files may be deleted, but not be left out.
    let second = log.verify(&BOTH[1..], &[]);
    assert!(
        second.status == Some(0) && second.out.starts_with("3 lines, 4 to 6, 1 request; 0 findings\n"),
        "{second:?}"
    );
    let first = log.verify(&BOTH[..1], &[]);
    assert!(first.status == Some(0) && first.out.contains("whether its end was cut off is not known"), "{first:?}");
    let known = log.verify(&BOTH[..1], &["--head", &log.head.to_string()]);
    assert!(known.status == Some(1) && known.out.contains("but line 6 had been written"), "{known:?}");
}

/// An injury by name, the file and what becomes of its text, and what is said.
type Injury = (&'static str, &'static str, fn(&str) -> String, &'static str);

#[test]
fn what_was_done_to_a_log_is_said_with_its_place() {
    let injuries: [Injury; 6] = [
        (
            "altered",
            "audit.log.1",
            |text| text.replace("port 53", "port 54"),
            "audit.log.1, row 2: its text is not the one",
        ),
        ("removed", "audit.log.1", |text| lines(text, |all| all[1] = ""), "line 2 is missing before line 3"),
        ("reordered", "audit.log", |text| lines(text, |all| all.swap(1, 2)), "line 5 after line 6: lines were put in"),
        ("cut", "audit.log", |text| lines(text, |all| all[2] = ""), "ends with line 5, but line 6 had been written"),
        ("put in", "audit.log", |text| format!("{text}{{}}\n"), "audit.log, row 4: it does not end with its hash"),
        ("emptied", "audit.log", |_| String::new(), "ends with line 3, but line 6 had been written"),
    ];
    for (name, file, change, said) in injuries {
        let log = Log::new();
        log.change(file, change);
        let run = log.verify(&BOTH, &[]);
        assert_eq!(run.status, Some(1), "{name}: {run:?}");
        assert!(run.out.contains(said), "{name}: {run:?}");
    }
    let log = Log::new();
    log.change("audit.log.1", |text| lines(text, |all| all[0] = ""));
    let run = log.verify(&BOTH, &[]);
    assert!(run.status == Some(1) && run.out.contains("line 2 is not the first of a file"), "{run:?}");
    let swapped = Log::new().verify(&["audit.log", "audit.log.1"], &[]);
    assert!(swapped.status == Some(1) && swapped.out.contains("line 1 after line 6"), "{swapped:?}");
}

fn lines(text: &str, change: impl FnOnce(&mut Vec<&str>)) -> String {
    let mut all: Vec<&str> = text.split_inclusive('\n').collect();
    change(&mut all);
    all.concat()
}

#[test]
fn a_line_that_a_crash_left_half_is_no_injury_and_what_cannot_be_read_is_an_error() {
    let log = Log::new();
    log.change("audit.log", |text| format!("{text}{{\"line\":7,\"befo"));
    let run = log.verify(&BOTH, &[]);
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(run.out.contains("audit.log, row 4: the last line is not whole"), "{run:?}");
    let gone = log.verify(&["no"], &[]);
    assert!(gone.status == Some(1) && gone.err.starts_with("error: cannot read "), "{gone:?}");
    let bad = log.verify(&BOTH, &["--head", "7"]);
    assert!(bad.status == Some(2) && bad.err.contains("it takes the number of a line"), "{bad:?}");
    fs::write(log.path("audit.log.head"), "x").unwrap();
    let head = log.verify(&BOTH, &[]);
    assert!(head.status == Some(1) && head.err.contains("audit.log.head does not hold"), "{head:?}");
    assert_eq!(steno(&["audit", "verify"]).status, Some(2));
}
