//! `steno demo`, run as a user runs it: the built program, with `stenographer` and `stenotype` beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use steno_core::testkit::need;

/// Far more than a demo takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The programs of a sensor.
const SENSOR: [&str; 2] = ["stenographer", "stenotype"];

/// The built `steno`, where the others were built too.
fn steno() -> Option<PathBuf> {
    let steno = PathBuf::from(env!("CARGO_BIN_EXE_steno"));
    let there = SENSOR.iter().all(|name| steno.with_file_name(name).is_file());
    need(there, "stenographer and stenotype beside steno (cargo build --workspace --bins)").then_some(steno)
}

/// `steno` in a folder of its own, beside those of the built programs, and scripts in the place of others.
fn steno_beside(built: &[&str], scripts: &[(&str, &str)]) -> Option<(tempfile::TempDir, PathBuf)> {
    let (original, folder) = (steno()?, tempfile::tempdir().unwrap());
    for name in built.iter().chain(&["steno"]) {
        let (from, to) = (original.with_file_name(name), folder.path().join(name));
        if fs::hard_link(&from, &to).is_err() {
            let _bytes = fs::copy(&from, &to).unwrap();
        }
    }
    for (name, script) in scripts {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let steno = folder.path().join("steno");
    Some((folder, steno))
}

/// The processes of the sensor whose files lie in `folder`.
fn sensors_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let words = processes.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    words.filter(|line| line.contains(folder) && SENSOR.iter().any(|name| line.contains(name))).collect()
}

/// Waits until no process of the sensor is left.
fn sensors_end(folder: &Path) {
    let started = Instant::now();
    while let [first, ..] = sensors_in(folder).as_slice() {
        assert!(started.elapsed() < LIMIT, "still runs: {first}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A demo whose temporary folders go to `temporary`.
fn demo(steno: &Path, temporary: &Path) -> Command {
    let mut command = Command::new(steno);
    let _ =
        command.arg("demo").env("TMPDIR", temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the end, at most [`LIMIT`]; `None` where this machine forbids namespaces.
fn finish(mut child: Child) -> Option<Output> {
    let stdout = child.stdout.take().map(read_on_a_thread);
    let stderr = child.stderr.take().map(read_on_a_thread);
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > LIMIT {
            child.kill().unwrap();
            let _ = child.wait().unwrap();
            panic!("the demo does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| reader.map_or_else(Vec::new, |r| r.join().unwrap());
    let output = Output { status, stdout: text(stdout), stderr: text(stderr) };
    let refused = String::from_utf8_lossy(&output.stderr).contains("make a private user and network namespace");
    need(!refused, "user namespaces").then_some(output)
}

fn read_on_a_thread(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn entries(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_sent_is_found_and_nothing_is_left() {
    let Some(steno) = steno() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let Some(output) = finish(demo(&steno, temporary.path()).spawn().unwrap()) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.lines().any(|line| line.contains(" > 192.0.2.1.53: udp")), "no packets are shown:\n{stdout}");
    assert!(stdout.contains("10 of 10 conversations"), "no check is shown:\n{stdout}");
    assert!(stdout.contains("     health      good\n"), "no status is shown:\n{stdout}");
    assert_eq!(stdout.matches("     complete: ").count(), 2, "receipts, with and without the sensor:\n{stdout}");
    assert!(stdout.contains("     received fatal alert: CertificateRequired\n"), "no refusal is shown:\n{stdout}");
    assert!(!stdout.contains('\x1b'), "escape codes without a terminal:\n{stdout}");
    assert_eq!(stderr, "");
    assert_eq!(entries(temporary.path()), [""; 0]);
    assert_eq!(sensors_in(temporary.path()), [""; 0]);
}

#[test]
fn a_full_disk_is_left_for_another_place() {
    let Some(steno) = steno() else { return };
    // A file system without a single free block. A sensor there would remove what it captures.
    let Some(output) = finish(demo(&steno, Path::new("/proc")).spawn().unwrap()) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.contains("10 of 10 conversations"), "no check is shown:\n{stdout}");
    assert_eq!(stderr, "");
}

#[test]
fn the_files_are_kept_where_the_user_says() {
    let Some(steno) = steno() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let kept = temporary.path().join("kept");
    let run = || finish(demo(&steno, temporary.path()).arg("--keep").arg(&kept).spawn().unwrap());
    let Some(output) = run() else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut packet_files = entries(&kept.join("PKT0"));
    let mut index_files = entries(&kept.join("IDX0"));
    // The ledger, and the catalogue file where the sensor had the time.
    index_files.retain(|name| !name.starts_with('.'));
    packet_files.sort();
    index_files.sort();
    assert_eq!(packet_files, index_files);
    assert!(!packet_files.is_empty());
    let read = |kept: &Path| {
        let mut command = Command::new(&steno);
        let command = command.args(["read", "udp and port 53", "-w", "/dev/null", "--store"]).arg(kept);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(read(&kept).starts_with("complete: 12 packets"), "{}", read(&kept));
    assert!(!entries(&kept).iter().any(|name| name.starts_with("stenographer-")), "{:?}", entries(&kept));
    let mode = fs::metadata(kept.join("certs/ca_key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let again = run().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(stderr.contains("is not empty; name a folder that is new or empty"), "{stderr}");
}

/// Reads the output up to a line that holds `text`; whether one came.
fn read_up_to(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> bool {
    lines.map_while(Result::ok).any(|line| line.contains(text))
}

#[test]
fn an_interrupt_stops_the_sensor_and_removes_the_folder() {
    let Some(steno) = steno() else { return };
    for (signal, when) in
        [(Signal::INT, "$ stenographer"), (Signal::TERM, "look-up of"), (Signal::INT, "$ steno status")]
    {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = demo(&steno, temporary.path()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let under_way = read_up_to(&mut lines, when);
        if under_way {
            kill_process(pid, signal).unwrap();
        }
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
        let Some(output) = finish(child) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(under_way, "it did not come to {when}: {stderr}");
        assert_eq!(output.status.code(), Some(130), "{when}: {stderr}");
        assert!(rest.join().is_ok());
        assert_eq!(entries(temporary.path()), [""; 0], "{when}");
        assert_eq!(sensors_in(temporary.path()), [""; 0], "{when}");
    }
}

#[test]
fn a_demo_that_is_killed_leaves_no_sensor_running() {
    let Some(steno) = steno() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&steno, temporary.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let under_way = read_up_to(&mut lines, "look-up of");
    let sensors = sensors_in(temporary.path());
    child.kill().unwrap();
    let Some(output) = finish(child) else { return };
    assert!(under_way, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sensors.len(), 2, "{sensors:?}");
    sensors_end(temporary.path());
}

#[test]
fn a_reader_that_goes_away_ends_it_well() {
    let Some(steno) = steno() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&steno, temporary.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let under_way = read_up_to(&mut lines, "look-up of");
    drop(lines);
    let Some(output) = finish(child) else { return };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(under_way, "{stderr}");
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""));
    assert_eq!(entries(temporary.path()), [""; 0]);
    assert_eq!(sensors_in(temporary.path()), [""; 0]);
}

#[test]
fn without_its_programs_it_says_where_they_should_be() {
    for (missing, there) in [("stenographer", "stenotype"), ("stenotype", "stenographer")] {
        let Some((folder, steno)) = steno_beside(&[there], &[]) else { return };
        let temporary = tempfile::tempdir().unwrap();
        let Some(output) = finish(demo(&steno, temporary.path()).spawn().unwrap()) else { return };
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let program = folder.path().join(missing);
        assert!(
            stderr.contains(&format!("{} does not exist; put stenographer and stenotype", program.display())),
            "{stderr}"
        );
        assert_eq!(entries(temporary.path()), [""; 0]);
    }
}

#[test]
fn a_sensor_that_fails_is_shown_with_the_end_of_its_log() {
    let cases = [
        (
            &["stenotype"][..],
            ("stenographer", "echo a disk is missing >&2; exit 7"),
            "start the sensor: stenographer ended with",
        ),
        (
            &["stenographer"],
            ("stenotype", "echo a disk is missing >&2; exit 7"),
            "capture: stenotype exited with status 7",
        ),
    ];
    for (built, script, told) in cases {
        let Some((_folder, steno)) = steno_beside(built, &[script]) else { return };
        let temporary = tempfile::tempdir().unwrap();
        let Some(output) = finish(demo(&steno, temporary.path()).spawn().unwrap()) else { return };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.starts_with(&format!("error: failed to {told}")), "{stderr}");
        assert!(stderr.contains("the log of the sensor ends so: ") && stderr.contains("a disk is missing"), "{stderr}");
        assert_eq!(entries(temporary.path()), [""; 0]);
        assert_eq!(sensors_in(temporary.path()), [""; 0]);
    }
}
