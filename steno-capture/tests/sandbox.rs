//! What a capture can still do when somebody else decides it: deeds are planted into a confined process, and into the same
//! process without its guards, where each of them must succeed. And what is to be seen of a real capture from outside.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::UdpSocket,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio, exit},
    thread,
    time::{Duration, Instant},
};

use memmap2::MmapMut;
use rustix::{
    fs::{CWD, Mode, chmodat},
    net::{AddressFamily, SocketType, socket},
    process::{Pid, test_kill_process},
};
use steno_capture::{
    Seccomp,
    sandbox::{self, Role},
};
use steno_core::testkit::{FrameBuilder, need};
use support::{Stenotype, Wire, frames, names};

/// The deed that a process of [`a_deed`] is to do, whether it is confined before, and the directory that it has.
const DEED: &str = "STENO_TEST_DEED";
const GUARD: &str = "STENO_TEST_GUARD";
const STORE: &str = "STENO_TEST_STORE";

/// SIGSYS.
const FORBIDDEN_CALL: i32 = 31;
const DONE: i32 = 0;
/// What [`a_deed`] ends with where it got an error.
const REFUSED: i32 = 77;
const FAILED: i32 = 78;

type Deed = fn(&Path) -> io::Result<()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// The process is confined.
    Process,
    /// And the thread narrowed to what one of this kind does.
    Thread(Role),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Done,
    /// By SIGSYS.
    Killed,
    /// With an error of permission.
    Refused,
}

use End::{Done, Killed, Refused};
use Guard::{Process, Thread};

/// What whoever has taken a capture over might try, and what must come of it. Without a guard each is done.
const DEEDS: &[(&str, Deed, Guard, End)] = &[
    ("start a program", start_a_program, Process, Killed),
    ("open a network socket", open_a_network_socket, Process, Killed),
    ("open a packet socket", open_a_packet_socket, Process, Killed),
    ("look for another process", look_for_another_process, Process, Killed),
    ("make another io_uring", make_a_ring, Process, Killed),
    ("make memory code", make_memory_code, Process, Killed),
    ("change a mode", change_a_mode, Process, Killed),
    ("make a link to elsewhere", make_a_link, Process, Killed),
    ("read a file elsewhere", read_a_file_elsewhere, Process, Refused),
    ("make a file elsewhere", make_a_file_elsewhere, Process, Refused),
    ("list a directory elsewhere", list_elsewhere, Process, Refused),
    ("remove a file elsewhere", remove_elsewhere, Process, Refused),
    ("move a packet file out", move_out, Process, Refused),
    ("start a thread", start_a_thread, Thread(Role::Packet), Killed),
    ("open a Unix socket", open_a_unix_socket, Thread(Role::Packet), Killed),
    ("open a Unix socket", open_a_unix_socket, Thread(Role::Index), Killed),
    ("remove a file", remove_a_file, Thread(Role::Console), Killed),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Console), Refused),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Signals), Refused),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Watch), Refused),
    // What they must be able to do.
    ("start a thread", start_a_thread, Process, Done),
    ("open a Unix socket", open_a_unix_socket, Thread(Role::Watch), Done),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Packet), Done),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Index), Done),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Recovery), Done),
    ("make, read and rename a file", make_read_and_rename, Thread(Role::Ledger), Done),
];

fn start_a_program(_: &Path) -> io::Result<()> {
    // In the place of this one.
    Err(Command::new("true").exec())
}

fn open_a_network_socket(_: &Path) -> io::Result<()> {
    UdpSocket::bind("127.0.0.1:0").map(drop)
}

fn open_a_packet_socket(_: &Path) -> io::Result<()> {
    Ok(socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)?)
}

fn look_for_another_process(_: &Path) -> io::Result<()> {
    Ok(test_kill_process(Pid::INIT)?)
}

fn make_memory_code(_: &Path) -> io::Result<()> {
    MmapMut::map_anon(4096)?.make_exec().map(drop)
}

fn change_a_mode(store: &Path) -> io::Result<()> {
    Ok(chmodat(CWD, store.join("PKT0"), Mode::from_raw_mode(0o755), rustix::fs::AtFlags::empty())?)
}

fn make_a_link(store: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink("/etc/passwd", store.join("PKT0/9"))
}

fn read_a_file_elsewhere(_: &Path) -> io::Result<()> {
    fs::read("/etc/passwd").map(drop)
}

fn make_a_file_elsewhere(store: &Path) -> io::Result<()> {
    fs::File::create(store.join("elsewhere")).map(drop)
}

fn list_elsewhere(store: &Path) -> io::Result<()> {
    fs::read_dir(store).map(drop)
}

fn remove_elsewhere(store: &Path) -> io::Result<()> {
    fs::remove_file(store.join("another"))
}

fn move_out(store: &Path) -> io::Result<()> {
    fs::write(store.join("PKT0/7"), "packets")?;
    // EXDEV is how Landlock refuses what would change the rights of a file.
    fs::rename(store.join("PKT0/7"), store.join("7")).map_err(|e| match e.kind() {
        io::ErrorKind::CrossesDevices => io::ErrorKind::PermissionDenied.into(),
        _ => e,
    })
}

fn make_read_and_rename(store: &Path) -> io::Result<()> {
    let (hidden, index) = (store.join("PKT0/.8"), store.join("IDX0/8"));
    fs::write(&hidden, "packets")?;
    fs::write(&index, "index")?;
    fs::rename(&hidden, store.join("PKT0/8"))?;
    fs::File::open(store.join("PKT0/8"))?.sync_all()?;
    fs::remove_file(index)
}

fn remove_a_file(store: &Path) -> io::Result<()> {
    fs::remove_file(store.join("PKT0/own"))
}

fn open_a_unix_socket(_: &Path) -> io::Result<()> {
    Ok(socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).map(drop)?)
}

fn start_a_thread(_: &Path) -> io::Result<()> {
    thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join()))
}

fn make_a_ring(_: &Path) -> io::Result<()> {
    io_uring::IoUring::new(4).map(drop)
}

/// Does a deed, in the process that the test below starts for it. It ends here, not where tests do.
fn do_deed(deed: &str) -> ! {
    let store = PathBuf::from(env::var_os(STORE).unwrap());
    let store = store.as_path();
    let (_, done, guarded, _) = *DEEDS.get(deed.parse::<usize>().unwrap()).unwrap();
    if env::var(GUARD).unwrap() == "on" {
        sandbox::confine(&[store.join("PKT0"), store.join("IDX0")], Seccomp::Kill);
        if let Thread(role) = guarded {
            sandbox::keep_to(role);
        }
    }
    exit(match done(store) {
        Ok(()) => DONE,
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => REFUSED,
        Err(e) => {
            eprintln!("{e}");
            FAILED
        }
    })
}

fn status_of_deed(number: usize, is_guarded: bool) -> ExitStatus {
    let temp = tempfile::tempdir().unwrap();
    for dir in ["PKT0", "IDX0"] {
        fs::create_dir(temp.path().join(dir)).unwrap();
    }
    ["another", "PKT0/own"].iter().for_each(|name| fs::write(temp.path().join(name), "").unwrap());
    Command::new(env::current_exe().unwrap())
        .args(["--exact", THIS_TEST, "--test-threads=1", "--nocapture"])
        .env(DEED, number.to_string())
        .env(GUARD, if is_guarded { "on" } else { "off" })
        .env(STORE, temp.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap()
}

/// The test that starts itself for each deed.
const THIS_TEST: &str = "what_a_capture_has_no_use_for_is_killed_or_refused_and_done_without_the_guard";

#[test]
fn what_a_capture_has_no_use_for_is_killed_or_refused_and_done_without_the_guard() {
    if let Ok(deed) = env::var(DEED) {
        do_deed(&deed);
    }
    let is_root = rustix::process::geteuid().is_root();
    if !need(is_root && has_landlock(), "root, for the deeds that only root can do, and Landlock") {
        return;
    }
    for (number, (name, _, guard, end)) in DEEDS.iter().enumerate() {
        let without = status_of_deed(number, false);
        assert_eq!(without.code(), Some(DONE), "{name}, without a guard: {without}");
        let with = status_of_deed(number, true);
        let came_of_it = match (with.code(), with.signal()) {
            (Some(DONE), _) => Done,
            (Some(REFUSED), _) => Refused,
            (None, Some(FORBIDDEN_CALL)) => Killed,
            _ => panic!("{name}, guarded by {guard:?}: {with}"),
        };
        assert_eq!(came_of_it, *end, "{name}, guarded by {guard:?}");
    }
}

/// Whether this kernel tells directories apart: asked by a thread of its own, which then can get at nothing else.
fn has_landlock() -> bool {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().to_owned();
    thread::spawn(move || steno_sandbox::only(&[path]).unwrap()).join().unwrap()
}

fn some_frames(count: u8) -> Vec<Vec<u8>> {
    let frame =
        |i| FrameBuilder::ethernet().ipv4([10, 1, 0, i], [10, 2, 0, i]).udp(i.into(), 53).payload(&[3; 600]).build();
    (0..count).map(frame).collect()
}

/// `/proc/PID/task/TID/status` of each thread, by its name.
fn threads(capture: &Stenotype) -> BTreeMap<String, BTreeMap<String, String>> {
    let read = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let fields = text.lines().filter_map(|line| line.split_once(":\t")).map(|(k, v)| (k.to_owned(), v.to_owned()));
        let fields: BTreeMap<_, _> = fields.collect();
        Some((fields.get("Name")?.clone(), fields))
    };
    fs::read_dir(format!("/proc/{}/task", capture.pid())).unwrap().filter_map(|task| read(task.unwrap())).collect()
}

/// A capture in a directory that its user may write into.
fn capture(wire: &Wire, dir: &Path, flags: &[&str]) -> Stenotype {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).unwrap();
    wire.capture(dir, flags)
}

#[test]
fn every_thread_of_a_capture_is_confined() {
    let Some(wire) = Wire::new() else { return };
    let nobody = ["--uid=nobody", "--gid=nogroup"];
    for (user, io) in [(&nobody[..], "--io=uring"), (&nobody, "--io=sync"), (&["--uid=root"], "--io=uring")] {
        let dir = tempfile::tempdir().unwrap();
        let flags = [user, &[io, "--threads=2", "--fileage_sec=1", "--blockage_sec=0.1"]].concat();
        let capture = capture(&wire, dir.path(), &flags);
        wire.send(dir.path(), &some_frames(50), 1_000);
        thread::sleep(Duration::from_millis(2_500));
        let threads = threads(&capture);
        for name in ["stenotype", "console", "signals", "packet0", "packet1", "index0", "index1", "ledger"] {
            assert!(threads.contains_key(name), "{name} is not among {:?}", threads.keys());
        }
        for (name, status) in &threads {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(u64::from_str_radix(&status[set], 16), Ok(0), "{set} of {name}, {flags:?}");
            }
            assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{name}, {flags:?}");
            assert_eq!(status["Umask"], "0077", "{name}");
            let is_root = status["Uid"].split('\t').any(|id| id == "0");
            assert_eq!(is_root, user.contains(&"--uid=root"), "{name}: {}", status["Uid"]);
            // The program of the process, and its own.
            let programs = status.get("Seccomp_filters").map(|programs| programs.parse::<u32>().unwrap());
            assert!(programs.is_none_or(|programs| programs >= 2) || name.starts_with("iou-"), "{name}: {programs:?}");
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", capture.pid())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        assert_eq!(capture.stop().0, 0);
        assert_eq!(frames(dir.path(), 0).len() + frames(dir.path(), 1).len(), 50, "{flags:?}");
    }
}

#[test]
fn the_flag_says_what_becomes_of_a_forbidden_call() {
    let Some(wire) = Wire::new() else { return };
    for (flag, mode) in [("--seccomp=none", "0"), ("--seccomp=trace", "2"), ("--seccomp=kill", "2")] {
        let dir = tempfile::tempdir().unwrap();
        let capture = capture(&wire, dir.path(), &[flag]);
        for (name, status) in threads(&capture) {
            assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", mode), "{name}, {flag}");
        }
        wire.send(dir.path(), &some_frames(9), 1_000);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(capture.stop().0, 0, "{flag}");
        assert_eq!(frames(dir.path(), 0).len(), 9, "{flag}");
    }
}

#[test]
fn root_keeps_what_it_needs_for_files_of_others_and_says_so() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let first = capture(&wire, dir.path(), &["--uid=nobody", "--gid=nogroup"]);
    wire.send(dir.path(), &some_frames(7), 1_000);
    thread::sleep(Duration::from_millis(800));
    first.signal(rustix::process::Signal::KILL);
    drop(first);
    let second = wire.capture(dir.path(), &[]);
    second.wait_for("capability to read and write what is another user's");
    let begun = Instant::now();
    while names(&dir.path().join("IDX0")).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "what nobody left is not recovered: {}", second.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(second.stop().0, 0);
    assert_eq!(frames(dir.path(), 0).len(), 7);
    // All is root's: nothing is kept.
    for entry in ["PKT0", "IDX0"].iter().flat_map(|at| fs::read_dir(dir.path().join(at)).unwrap()) {
        chown(entry.unwrap().path(), Some(0), Some(0)).unwrap();
    }
    ["PKT0", "IDX0"].iter().for_each(|at| chown(dir.path().join(at), Some(0), Some(0)).unwrap());
    let third = wire.capture(dir.path(), &[]);
    assert!(threads(&third).values().all(|status| u64::from_str_radix(&status["CapPrm"], 16) == Ok(0)));
    assert_eq!(third.stop().0, 0);
}

#[test]
fn a_directory_that_takes_anothers_place_ends_the_capture_which_can_be_started_again() {
    let Some(wire) = Wire::new() else { return };
    if !need(has_landlock(), "Landlock") {
        return;
    }
    for replaced in ["PKT0", "IDX0"] {
        let dir = tempfile::tempdir().unwrap();
        let mut first = capture(&wire, dir.path(), &["--fileage_sec=1", "--blockage_sec=0.1"]);
        let path = dir.path().join(replaced);
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        let begun = Instant::now();
        // Files are opened, and indexes made, where packets come.
        while first.is_running() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it goes on: {}", first.log());
            wire.send(dir.path(), &some_frames(3), 1_000);
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(first.wait(), 1);
        let log = first.log();
        assert!(log.contains(&format!("{replaced} is another directory than the one")), "{log}");
        let second = wire.capture(dir.path(), &[]);
        wire.send(dir.path(), &some_frames(5), 1_000);
        thread::sleep(Duration::from_millis(200));
        assert_eq!(second.stop().0, 0);
        assert!(frames(dir.path(), 0).len() >= 5);
    }
}

#[test]
fn a_directory_that_goes_away_and_comes_back_is_borne() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut first = capture(&wire, dir.path(), &["--fileage_sec=1", "--blockage_sec=0.1"]);
    let (path, away) = (dir.path().join("PKT0"), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    for _ in 0..10 {
        wire.send(dir.path(), &some_frames(3), 1_000);
        thread::sleep(Duration::from_millis(200));
    }
    assert!(first.is_running(), "{}", first.log());
    fs::rename(&away, &path).unwrap();
    first.wait_for("failed to open a packet file");
    thread::sleep(Duration::from_millis(1_500));
    wire.send(dir.path(), &some_frames(20), 1_000);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(first.stop().0, 0);
    assert!(frames(dir.path(), 0).len() >= 20);
}

#[test]
fn files_have_the_modes_that_they_always_had() {
    let Some(wire) = Wire::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    let capture = wire.capture(&dir.path().join(""), &["--fileage_sec=1", "--blockage_sec=0.1"]);
    wire.send(dir.path(), &some_frames(3), 1_000);
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(capture.stop().0, 0);
    for at in ["PKT0", "IDX0"] {
        let at = dir.path().join(at);
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o777, 0o700);
        for name in fs::read_dir(&at).unwrap() {
            let path = name.unwrap().path();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{}", path.display());
        }
    }
}
