//! A status for people: what is wrong first, then coverage, loss, disks.

use std::fmt::Write as _;

use steno_core::TimestampNs;
use steno_query::{receipt::Losses, rfc3339};

use super::model::{Capture, Holdings, Moment, Report, Thread};
use crate::print::{bytes, count, duration};

/// Items of a list that are written out; the others are counted.
const WRITTEN: usize = 8;

/// The whole text, each line ended.
pub(super) fn text(report: &Report) -> String {
    let mut page = Page::default();
    if let (Some(host), Some(version)) = (&report.host, &report.version) {
        let up = report.started.map_or(String::new(), |at| format!(", up {}", between(at, report.now)));
        page.line("sensor", format!("{host}, version {version}{up}"));
    }
    let state = if report.healthy { "good".to_owned() } else { count(report.problems.len() as u64, "problem") };
    page.line("health", state);
    for problem in &report.problems {
        page.line("", format!("- {problem}"));
    }
    holdings(&mut page, &report.holdings, report.now);
    for each in report.captures.iter().flatten() {
        page.line("capture", capture(each, report.now));
    }
    for each in &report.threads {
        thread(&mut page, each);
    }
    if let Some(q) = report.queries {
        let now = format!("{} running ({} at once at the most)", q.running, q.most_running);
        let then = format!("{} finished, {} cut short, {} refused", q.finished, q.truncated, q.refused);
        let sum = format!("{} and {} delivered", count(q.packets, "packet"), bytes(q.bytes));
        page.line("queries", format!("{now}; {then}; {sum}"));
    }
    for (name, until) in [("certificate", report.certificate_until), ("CA", report.ca_until)] {
        if let Some(until) = until {
            page.line(name, end(until, report.now));
        }
    }
    page.0
}

/// Lines of a name and what there is to say.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, name: &str, what: impl AsRef<str>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<12}{}", what.as_ref());
    }

    /// The first items of a list, under one name.
    fn list(&mut self, name: &str, items: impl ExactSizeIterator<Item = String>) {
        let more = items.len().saturating_sub(WRITTEN);
        for item in items.take(WRITTEN) {
            self.line(name, item);
        }
        if more > 0 {
            self.line(name, format!("and {more} more"));
        }
    }
}

fn holdings(page: &mut Page, held: &Holdings, now: Moment) {
    match (held.oldest, held.newest) {
        (Some(oldest), Some(newest)) => {
            let reach = format!("{} to {}", rfc3339(oldest.0), rfc3339(newest.0));
            page.line("coverage", format!("{reach} ({}), ended {} ago", between(oldest, newest), between(newest, now)));
        }
        _ => page.line("coverage", "no packets are held"),
    }
    let disk = format!("packets {}, indexes {}", bytes(held.packet_bytes), bytes(held.index_bytes));
    page.line("segments", format!("{}: {disk}", held.segments));
    if held.gaps.is_empty() {
        page.line("gaps", "none");
    }
    // The latest matter most.
    page.list(
        "gap",
        held.gaps.iter().rev().map(|gap| {
            let (from, until) = (Moment(gap.from), Moment(gap.until));
            let reach = format!("{} to {} ({})", rfc3339(gap.from), rfc3339(gap.until), between(from, until));
            format!("thread {}, {reach}: {}", gap.thread, gap.reason)
        }),
    );
    page.list("unreadable", held.unreadable.iter().map(|file| format!("{}: {}", file.file, file.reason)));
    page.list(
        "not sealed",
        held.unsealed.iter().map(|file| {
            format!("{}, {}, opened {} ago", file.file, bytes(file.bytes), between(Moment(file.opened), now))
        }),
    );
}

fn capture(capture: &Capture, now: Moment) -> String {
    let mut text = format!("{}: {}", capture.source, capture.state);
    if let Some(at) = capture.state_at {
        let _ = if at.0 > now.0 {
            write!(text, ", starts again in {}", between(now, at))
        } else {
            write!(text, " for {}", between(at, now))
        };
    }
    if let Some(pid) = capture.pid {
        let _ = write!(text, ", process {pid}");
    }
    let _ = write!(text, ", {}", count(capture.restarts, "restart"));
    if let (Some(exit), Some(at)) = (&capture.last_exit, capture.last_exit_at) {
        let _ = write!(text, ", last {} ago: {exit}", between(at, now));
    }
    text
}

/// What was lost besides, of causes that there were.
fn losses(losses: &Losses) -> Option<String> {
    let stall_ms = losses.write_stall_ns / 1_000_000;
    let stall = format!("{}.{:03} s", stall_ms / 1_000, stall_ms % 1_000);
    let said = [
        (losses.ring_freezes, format!("ring full {}", count(losses.ring_freezes, "time"))),
        (losses.uncaptured_packets, format!("passed in gaps {}", losses.uncaptured_packets)),
        (losses.not_written_packets, format!("not written {}", losses.not_written_packets)),
        (losses.cut_packets, format!("cut {}", losses.cut_packets)),
        (losses.write_stall_ns, format!("writes stood still for {stall}")),
        (losses.interface_dropped_packets, format!("interface rx_dropped {}", losses.interface_dropped_packets)),
        (losses.interface_missed_packets, format!("interface rx_missed_errors {}", losses.interface_missed_packets)),
        (losses.interface_overrun_packets, format!("interface rx_fifo_errors {}", losses.interface_overrun_packets)),
    ];
    let said: Vec<String> = said.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn thread(page: &mut Page, thread: &Thread) {
    let mut text = count(thread.packets, "packet");
    if thread.segments_uncounted > 0 {
        let _ = write!(text, " and those of {} of stenographer 1.0.1", count(thread.segments_uncounted, "segment"));
    }
    if let Some(sum) = thread.bytes {
        let _ = write!(text, " ({})", bytes(sum));
    }
    let _ = write!(text, ", kernel dropped {}{}", thread.kernel_drops, share(thread.kernel_drops, thread.packets));
    if let (Some(lost), Some(errors)) = (thread.lost, thread.write_errors) {
        let _ = write!(text, ", lost {lost}, failed writes {errors}");
    }
    page.line(&format!("thread {}", thread.thread), text);
    if let Some(text) = losses(&thread.losses) {
        page.line("", text);
    }
    let mut text = format!("{}: packets {}", thread.packets_directory, bytes(thread.packet_bytes));
    let _ = write!(text, ", indexes {}, {}", bytes(thread.index_bytes), count(thread.segments, "segment"));
    if let Some(removed) = thread.segments_removed {
        let _ = write!(text, " ({removed} removed)");
    }
    let (free, all) = (thread.disk_free_bytes, thread.disk_bytes);
    if let Some(percent) = (u128::from(free) * 100).checked_div(u128::from(all)) {
        let _ = write!(text, "; {} of {} free ({percent} %)", bytes(free), bytes(all));
    }
    page.line("", text);
    if let Some(error) = &thread.error {
        page.line("", format!("- {error}"));
    }
}

/// How much of what came was dropped, where that was some.
fn share(dropped: u64, kept: u64) -> String {
    let all = u128::from(dropped) + u128::from(kept);
    match (u128::from(dropped) * 10_000).checked_div(all) {
        Some(_) if dropped == 0 => String::new(),
        Some(0) => " (less than 0.01 %)".to_owned(),
        Some(hundredths) => format!(" ({}.{:02} %)", hundredths / 100, hundredths % 100),
        None => String::new(),
    }
}

fn end(until: Moment, now: Moment) -> String {
    if until.0 > now.0 {
        format!("ends {}, in {}", rfc3339(until.0), between(now, until))
    } else {
        format!("ENDED {}, {} ago", rfc3339(until.0), between(until, now))
    }
}

fn between(from: Moment, until: Moment) -> String {
    let (TimestampNs(from), TimestampNs(until)) = (from.0, until.0);
    duration(until.saturating_sub(from) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use steno_query::receipt::{Gap, Unreadable};

    use super::*;
    use crate::command::status::model::Queries;

    const NOW: u64 = 1_800_000_000;

    fn at(secs: u64) -> Moment {
        Moment(TimestampNs::new(secs * 1_000_000_000))
    }

    fn sensor() -> Report {
        Report {
            healthy: false,
            problems: vec!["nothing is captured on eth1 now".to_owned()],
            now: at(NOW),
            version: Some("0.1.0".to_owned()),
            host: Some("tap7".to_owned()),
            started: Some(at(NOW - 7_265)),
            holdings: Holdings {
                oldest: Some(at(NOW - 90_000)),
                newest: Some(at(NOW - 3)),
                segments: 2,
                packet_bytes: 5 << 20,
                index_bytes: 4_096,
                gaps: vec![Gap {
                    from: at(NOW - 60).0,
                    until: at(NOW - 50).0,
                    thread: 0,
                    reason: "restart".to_owned(),
                }],
                unreadable: (0..10)
                    .map(|i| Unreadable { file: format!("IDX0/{i}"), reason: "cut".to_owned(), may_hold_matches: true })
                    .collect(),
                unsealed: Vec::new(),
            },
            captures: Some(vec![Capture {
                source: "eth1".to_owned(),
                threads: vec![0],
                state: "backoff",
                state_at: Some(at(NOW + 5)),
                pid: None,
                restarts: 1,
                last_exit: Some("ended with status 1".to_owned()),
                last_exit_at: Some(at(NOW - 10)),
            }]),
            threads: vec![Thread {
                packets_directory: "/p".to_owned(),
                packets: 9_999,
                bytes: Some(1 << 20),
                kernel_drops: 1,
                lost: Some(0),
                write_errors: Some(0),
                losses: Losses { cut_packets: 5, write_stall_ns: 2_000_000_000, ..Losses::default() },
                segments: 2,
                segments_uncounted: 1,
                segments_removed: Some(3),
                disk_bytes: 100 << 30,
                disk_free_bytes: 40 << 30,
                ..Thread::default()
            }],
            queries: Some(Queries {
                running: 1,
                most_running: 32,
                finished: 2,
                truncated: 3,
                refused: 4,
                packets: 5,
                bytes: 6,
            }),
            certificate_until: Some(at(NOW + 86_400 * 30)),
            ca_until: Some(at(NOW - 1)),
        }
    }

    #[test]
    fn a_sensor_is_told_of_from_its_problems_on() {
        let text = text(&sensor());
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "sensor      tap7, version 0.1.0, up 2 h 1 min",
            "health      1 problem",
            "            - nothing is captured on eth1 now",
            "coverage    2027-01-14T07:00:00.000000000Z to 2027-01-15T07:59:57.000000000Z (1 d 0 h), ended 3 s ago",
            "segments    2: packets 5.0 MiB, indexes 4.0 KiB",
            "gap         thread 0, 2027-01-15T07:59:00.000000000Z to 2027-01-15T07:59:10.000000000Z (10 s): restart",
            "unreadable  and 2 more",
            "capture     eth1: backoff, starts again in 5 s, 1 restart, last 10 s ago: ended with status 1",
            "thread 0    9999 packets and those of 1 segment of stenographer 1.0.1 (1.0 MiB), kernel dropped 1 (0.01 %), lost 0, failed writes 0",
            "            cut 5, writes stood still for 2.000 s",
            "            /p: packets 0 bytes, indexes 0 bytes, 2 segments (3 removed); 40.0 GiB of 100.0 GiB free (40 %)",
            "queries     1 running (32 at once at the most); 2 finished, 3 cut short, 4 refused; 5 packets and 6 bytes delivered",
            "certificate ends 2027-02-14T08:00:00.000000000Z, in 30 d 0 h",
            "CA          ENDED 2027-01-15T07:59:59.000000000Z, 1 s ago",
        ] {
            assert!(lines.contains(&line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn of_files_only_what_they_tell_is_said() {
        let report = Report {
            healthy: true,
            problems: Vec::new(),
            version: None,
            host: None,
            started: None,
            holdings: Holdings::default(),
            captures: None,
            threads: vec![Thread { kernel_drops: 0, ..Thread::default() }],
            queries: None,
            certificate_until: None,
            ca_until: None,
            ..sensor()
        };
        let expected = "health      good\ncoverage    no packets are held\nsegments    0: packets 0 bytes, indexes 0 \
                        bytes\ngaps        none\nthread 0    0 packets, kernel dropped 0\n            : packets 0 bytes, \
                        indexes 0 bytes, 0 segments\n";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn a_share_of_nothing_is_not_told() {
        assert_eq!((share(0, 5), share(0, 0)), (String::new(), String::new()));
        assert_eq!(share(1, 1_000_000), " (less than 0.01 %)");
        assert_eq!(share(1, 0), " (100.00 %)");
    }
}
