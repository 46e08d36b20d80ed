//! `steno demo`, run as a user runs it: the built program, with `stenotype` beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail as tests do")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use steno_core::testkit::need;

/// Far more than a demo takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The built `steno`, where `stenotype` was built too.
fn steno() -> Option<PathBuf> {
    let steno = PathBuf::from(env!("CARGO_BIN_EXE_steno"));
    need(steno.with_file_name("stenotype").is_file(), "stenotype beside steno (cargo build --workspace --bins)")
        .then_some(steno)
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
    assert!(!stdout.contains('\x1b'), "escape codes without a terminal:\n{stdout}");
    assert_eq!(stderr, "");
    assert_eq!(entries(temporary.path()), [""; 0]);
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
    packet_files.sort();
    index_files.sort();
    assert_eq!(packet_files, index_files);
    assert!(!packet_files.is_empty());

    let again = run().unwrap();
    assert_eq!(again.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(stderr.contains("is not empty; name a folder that is new or empty"), "{stderr}");
}

#[test]
fn an_interrupt_stops_the_sensor_and_removes_the_folder() {
    let Some(steno) = steno() else { return };
    let temporary = tempfile::tempdir().unwrap();
    let mut child = demo(&steno, temporary.path()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let under_way = lines.by_ref().map_while(Result::ok).any(|line| line.contains("$ stenotype"));
    if under_way {
        kill_process(pid, Signal::INT).unwrap();
    }
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let Some(output) = finish(child) else { return };
    assert!(under_way, "the sensor was never started: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(rest.join().is_ok());
    assert_eq!(entries(temporary.path()), [""; 0]);
}

#[test]
fn without_stenotype_it_says_where_it_should_be() {
    let alone = tempfile::tempdir().unwrap();
    let steno = alone.path().join("steno");
    let _ = fs::copy(env!("CARGO_BIN_EXE_steno"), &steno).unwrap();
    let Some(output) = finish(demo(&steno, alone.path()).spawn().unwrap()) else { return };
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let program = alone.path().join("stenotype");
    assert!(stderr.contains(&format!("{} does not exist", program.display())), "{stderr}");
    assert_eq!(entries(alone.path()), ["steno"]);
}
