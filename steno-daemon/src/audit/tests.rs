//! The log itself: over restarts, rotations, and disks that are full.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use steno_core::{SystemClock, testkit::LoopDisk};
use steno_proto::audit::{Asked, Head, Report, Verifier, What};
use tempfile::TempDir;

use super::{AuditLog, AuditSettings, OnFailure, Outcome, file::beside};
use crate::metrics::Metrics;

struct Bench {
    root: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("audit.log")
    }

    fn start(&self) -> AuditLog {
        start(&self.path(), OnFailure::Stop).0
    }

    fn verify(&self) -> Report {
        verify(&[&self.path()])
    }
}

fn start(path: &Path, on_failure: OnFailure) -> (AuditLog, Metrics) {
    let (settings, metrics) = (AuditSettings { path: path.to_owned(), on_failure }, Metrics::new());
    (AuditLog::start(settings, Arc::new(SystemClock), metrics.clone()), metrics)
}

/// Verifies with the head that stands beside the last file.
fn verify(files: &[&Path]) -> Report {
    let mut verifier = Verifier::new(vec![head(files.last().unwrap())]);
    for file in files {
        verifier.file(&file.display().to_string(), fs::read(file).unwrap().as_slice()).unwrap();
    }
    verifier.finish()
}

fn head(path: &Path) -> Head {
    fs::read_to_string(beside(path)).unwrap().parse().unwrap()
}

fn asked(query: &str) -> Asked {
    Asked { principal: "alice".into(), method: "Query".into(), query: Some(query.into()), ..Asked::default() }
}

fn complete() -> Outcome {
    Outcome { name: "complete", packets: 1, bytes: 2, complete: true, ..Outcome::default() }
}

async fn one(log: &AuditLog, query: &str) {
    log.begin(|| asked(query)).await.unwrap().end(complete());
}

fn value(metrics: &Metrics, name: &str) -> f64 {
    let text = metrics.encode().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn the_chain_goes_on_over_restarts() {
    let bench = Bench::new();
    for start in 1..4u64 {
        let log = bench.start();
        one(&log, "tcp").await;
        log.refused("no", || asked("x")).await;
        log.turned_away("192.0.2.1:1".into(), "no".into(), 0);
        log.close().await;
        let report = bench.verify();
        assert_eq!(report.findings, []);
        // The opening line, the request and its end, two that were not let in, and the last line.
        assert_eq!((report.lines, report.requests, report.without_end.len()), (6 * start, start, 0));
        assert_eq!(head(&bench.path()), report.last);
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&bench.path()), mode(&beside(&bench.path()))].map(|mode| mode & !0o640), [0; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_there_and_each_has_its_own_end() {
    let bench = Bench::new();
    let log = bench.start();
    let all = (0..300).map(|i| {
        let log = log.clone();
        tokio::spawn(async move { one(&log, &format!("port {i}")).await })
    });
    for request in all.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    log.close().await;
    let report = bench.verify();
    assert_eq!((report.findings, report.requests, report.without_end.len()), (vec![], 300, 0));
    let text = fs::read_to_string(bench.path()).unwrap();
    assert!((0..300).all(|i| text.contains(&format!("\"query\":\"port {i}\""))));
}

#[tokio::test]
async fn a_request_that_is_given_up_has_an_end_that_says_so() {
    let bench = Bench::new();
    let log = bench.start();
    drop(log.begin(|| asked("tcp")).await.unwrap());
    // Nobody waits any more when it is written.
    let mut gone = Box::pin(log.begin(|| asked("udp")));
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(gone.as_mut().poll(cx).is_pending())).await;
    drop(gone);
    log.close().await;
    let report = bench.verify();
    assert_eq!(report.findings, []);
    assert!(polled && report.without_end.len() <= 1, "{report:?}");
    let text = fs::read_to_string(bench.path()).unwrap();
    assert!(text.contains("\"outcome\":\"cancelled\"") && text.contains("given up before"), "{text}");
}

#[tokio::test]
async fn a_torn_end_is_told_and_kept() {
    let bench = Bench::new();
    let log = bench.start();
    one(&log, "tcp").await;
    log.close().await;
    let torn = b"{\"line\":5,\"before\":\"00";
    OpenOptions::new().append(true).open(bench.path()).unwrap().write_all(torn).unwrap();
    let report = bench.verify();
    assert!(report.holds() && report.unfinished.is_some(), "{report:?}");
    let log = bench.start();
    one(&log, "udp").await;
    log.close().await;
    let report = bench.verify();
    assert_eq!((report.findings, report.torn, report.unfinished), (vec![], 1, None));
    let text = fs::read(bench.path()).unwrap();
    assert!(text.windows(torn.len() + 1).any(|bytes| bytes == [torn.as_slice(), b"\n"].concat()));
    // A line that lacks only its end is given it.
    fs::write(bench.path(), text.strip_suffix(b"\n").unwrap()).unwrap();
    let log = bench.start();
    log.close().await;
    let report = bench.verify();
    assert_eq!((report.findings, report.torn), (vec![], 1));
}

#[tokio::test]
async fn what_was_done_to_it_while_no_daemon_ran_is_told_for_ever() {
    for (bytes_kept, expected) in [(0, "cut"), (1, "damaged")] {
        let bench = Bench::new();
        let log = bench.start();
        one(&log, "tcp").await;
        log.close().await;
        let (whole, known) = (fs::read_to_string(bench.path()).unwrap(), head(&bench.path()));
        let (rest, last) = whole.trim_end().rsplit_once('\n').unwrap();
        let altered = last.replace("close", "clone");
        let after = if bytes_kept == 0 { format!("{rest}\n") } else { format!("{rest}\n{altered}\n") };
        fs::write(bench.path(), after).unwrap();
        assert!(!bench.verify().holds());
        // The daemon goes on after it, and the head is that of its own line.
        let log = bench.start();
        one(&log, "udp").await;
        log.close().await;
        let found: Vec<What> = bench.verify().findings.into_iter().map(|finding| finding.what).collect();
        assert!(found.contains(&What::Missing(known.into())), "{expected}: {found:?}");
        assert_eq!(found.contains(&What::Damaged), bytes_kept == 1, "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_loses_nothing_of_what_goes_on_meanwhile() {
    let bench = Bench::new();
    let log = bench.start();
    let asking = (0..4).map(|_| {
        let log = log.clone();
        tokio::spawn(async move {
            for i in 0..100 {
                one(&log, &format!("port {i}")).await;
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    let rotated = |n: usize| bench.root.path().join(format!("audit.log.{n}"));
    for n in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        log.reopen().await;
        fs::rename(bench.path(), rotated(n)).unwrap();
        log.reopen().await;
        // Written once the next one has to wait for it.
        one(&log, "tcp").await;
        assert!(bench.path().exists());
    }
    for asking in asking {
        asking.await.unwrap();
    }
    log.close().await;
    let files: Vec<PathBuf> = (0..3).map(rotated).chain([bench.path()]).collect();
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let report = verify(&files);
    assert_eq!((report.findings, report.requests, report.without_end.len()), (vec![], 403, 0));
    assert!(files.iter().all(|file| fs::read_to_string(file).unwrap().contains("\"file\":\"new\"")));
    // Without one in the middle it is none.
    assert!(!verify(&[files[0], files[2], files[3]]).holds());
    // While no daemon runs it can be moved as well.
    fs::rename(bench.path(), rotated(3)).unwrap();
    let log = bench.start();
    log.close().await;
    assert!(verify(&[files[0], files[1], files[2], &rotated(3), &bench.path()]).holds());
    // And one that was deleted is missed.
    let log = bench.start();
    one(&log, "tcp").await;
    fs::remove_file(bench.path()).unwrap();
    one(&log, "udp").await;
    log.close().await;
    let found = verify(&[files[0], files[1], files[2], &rotated(3), &bench.path()]).findings;
    assert!(matches!(found[0].what, What::Gone { .. }), "{found:?}");
    // By what it began anew with, too, which is the last one of those that are gone.
    assert!(found.len() == 2 && matches!(found[1].what, What::Missing(_)), "{found:?}");
}

#[tokio::test]
async fn a_file_that_was_deleted_or_exchanged_is_missed_even_without_what_stood_beside_it() {
    let bench = Bench::new();
    let log = bench.start();
    one(&log, "tcp").await;
    // The opening line, a request and its end.
    let deleted = within_lines(&bench, 3).await;
    let kept = fs::read(bench.path()).unwrap();
    fs::remove_file(bench.path()).unwrap();
    fs::remove_file(beside(&bench.path())).unwrap();
    one(&log, "udp").await;
    let report = verify(&[&bench.path()]);
    let found: Vec<What> = report.findings.into_iter().map(|finding| finding.what).collect();
    assert_eq!((report.first, found), (Some(deleted.line + 1), vec![What::Missing(deleted.into())]));
    // Who compressed it, and deletes what was compressed, has it still.
    let unpacked = bench.path().with_extension("unpacked");
    fs::write(&unpacked, kept).unwrap();
    assert!(verify(&[&unpacked, &bench.path()]).holds());
    // Another log, longer than this one, in its place.
    let (other, last) = (Bench::new(), within_lines(&bench, 3).await);
    let forging = other.start();
    for _ in 0..10 {
        one(&forging, "icmp").await;
    }
    forging.close().await;
    for of in [|path: &Path| path.to_owned(), beside] {
        fs::remove_file(of(&bench.path())).unwrap();
        let _bytes = fs::copy(of(&other.path()), of(&bench.path())).unwrap();
    }
    one(&log, "udp").await;
    log.close().await;
    let found: Vec<What> = bench.verify().findings.into_iter().map(|finding| finding.what).collect();
    assert_eq!(found, [What::Missing(last.into())]);
}

/// Where the file of a bench has got to, once it has so many lines.
async fn within_lines(bench: &Bench, lines: u64) -> Head {
    let there = async {
        loop {
            let report = verify(&[&bench.path()]);
            if report.lines == lines {
                return report.last;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.unwrap()
}

#[tokio::test]
async fn everybody_is_kept_from_a_file_that_somebody_has_made_for_it() {
    let bench = Bench::new();
    fs::write(bench.path(), "").unwrap();
    fs::set_permissions(bench.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let log = bench.start();
    one(&log, "tcp").await;
    log.close().await;
    assert_eq!(fs::metadata(bench.path()).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(bench.verify().holds());
}

#[tokio::test]
async fn a_directory_that_goes_or_cannot_be_written_to_stops_requests() {
    let bench = Bench::new();
    let path = bench.root.path().join("logs/audit.log");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let (log, metrics) = start(&path, OnFailure::Stop);
    one(&log, "tcp").await;
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let why = log.begin(|| asked("udp")).await.unwrap_err().to_string();
    assert!(why.contains("No such file") && value(&metrics, "steno_audit_failing") == 1.0, "{why}");
    fs::create_dir(path.parent().unwrap()).unwrap();
    one(&log, "tcp").await;
    log.close().await;
    let report = verify(&[&path]);
    assert!(report.first.is_some_and(|first| first > 1) && report.lost >= 1, "{report:?}");
    // Which went with the directory.
    assert!(matches!(&report.findings[..], [found] if matches!(found.what, What::Missing(_))), "{report:?}");
    assert_eq!(report.requests, 1);
    // Nobody makes files there, not even root.
    let (log, _) = start(Path::new("/sys/steno-audit.log"), OnFailure::Stop);
    let why = log.begin(|| asked("udp")).await.unwrap_err().to_string();
    assert!(why.contains("/sys/steno-audit.log") && ["ermission denied", "ead-only"].iter().any(|no| why.contains(no)));
    log.close().await;
}

#[tokio::test]
async fn another_log_is_not_added_to() {
    let bench = Bench::new();
    let log = bench.start();
    one(&log, "tcp").await;
    fs::rename(bench.path(), bench.root.path().join("old")).unwrap();
    fs::write(bench.path(), "something\n").unwrap();
    log.reopen().await;
    one(&log, "udp").await;
    log.close().await;
    assert_eq!(fs::read_to_string(bench.path()).unwrap(), "something\n");
    let mut verifier = Verifier::new(vec![head(&bench.path())]);
    verifier.file("old", fs::read(bench.root.path().join("old")).unwrap().as_slice()).unwrap();
    assert_eq!(verifier.finish().findings, []);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_stops_requests_unless_they_are_to_go_on() {
    let bench = Bench::new();
    let path = bench.root.path().join("no/audit.log");
    let (stops, metrics) = start(&path, OnFailure::Stop);
    let why = stops.begin(|| asked("tcp")).await.unwrap_err().to_string();
    assert!(why.starts_with("the audit log cannot be written, and nothing is answered without it: "), "{why}");
    assert!(why.contains("no/audit.log") && stops.problem().unwrap().contains("No such file"), "{why}");
    assert_eq!(value(&metrics, "steno_audit_failing"), 1.0);
    let (goes_on, _) = start(&path, OnFailure::Continue);
    goes_on.begin(|| asked("udp")).await.unwrap().end(complete());
    // Once there is a place, both are written, and the first line says what is missing.
    fs::create_dir(path.parent().unwrap()).unwrap();
    one(&stops, "tcp").await;
    assert_eq!((stops.problem(), value(&metrics, "steno_audit_failing")), (None, 0.0));
    stops.close().await;
    let report = verify(&[&path]);
    assert_eq!((report.findings, report.lost), (vec![], 1));
    goes_on.close().await;
}

#[tokio::test]
async fn a_full_disk_stops_requests_until_there_is_room() {
    let bench = Bench::new();
    let Some(disk) = LoopDisk::new(bench.root.path(), &["mkfs.ext4", "-q"], 4 << 20).unwrap() else { return };
    let path = disk.path().join("audit.log");
    let (log, metrics) = start(&path, OnFailure::Stop);
    one(&log, "tcp").await;
    for turn in 0..3u64 {
        let filler = disk.path().join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
        // What is left of the last block of the log still takes some lines, and a part of one.
        let mut begun = 0;
        let why = loop {
            match log.begin(|| asked(&format!("port {begun}"))).await {
                Ok(entry) => entry.end(complete()),
                Err(e) => break e.to_string(),
            }
            begun += 1;
            assert!(begun < 10_000, "the disk never is full");
        };
        assert!(why.contains("No space left on device"), "{why}");
        assert!(log.begin(|| asked("again")).await.is_err());
        assert!(value(&metrics, "steno_audit_errors_total") >= 2.0 * (turn + 1) as f64);
        drop(file);
        fs::remove_file(filler).unwrap();
        // A file system may give the room back some time later.
        let room = async {
            loop {
                match log.begin(|| asked("udp")).await {
                    Ok(entry) => return entry.end(complete()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), room).await.unwrap();
        assert_eq!(log.problem(), None);
    }
    log.close().await;
    let report = verify(&[&path]);
    assert_eq!(report.findings, []);
    assert!(report.lost >= 6, "{report:?}");
    assert_eq!(value(&metrics, "steno_audit_lost_lines_total"), report.lost as f64);
}
