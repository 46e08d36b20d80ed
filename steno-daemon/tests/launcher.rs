//! The process that starts stenotype, asked by somebody who has taken the daemon over: there is nothing to be had from it but
//! the commands that it was told of at its start.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use steno_core::testkit::until;

struct Launcher {
    process: Child,
    socket: OwnedFd,
}

fn program(stdin: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stenographer"));
    command.arg("-launcher").stdin(stdin).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

impl Launcher {
    fn start() -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        Self { process: program(theirs.into()), socket: ours }
    }

    /// One that knows a command, which writes into `root`.
    fn of_command(root: &Path, script: &str) -> Self {
        let launcher = Self::start();
        launcher.send(format!("command\0/bin/sh\0-c\0{script}\0sh\0{}", root.display()).as_bytes(), &[]);
        launcher.send(b"serve", &[]);
        assert_eq!(launcher.hear(), "serving");
        launcher
    }

    fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        assert!(descriptors.is_empty() || beside.push(SendAncillaryMessage::ScmRights(descriptors)));
        let _ = sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL).unwrap();
    }

    fn hear(&self) -> String {
        let (mut bytes, mut space) = ([0; 1000], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))]);
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC);
        String::from_utf8_lossy(bytes.get(..received.unwrap().bytes).unwrap()).into_owned()
    }

    fn ask(&self, request: &str, descriptors: &[BorrowedFd<'_>]) -> String {
        self.send(request.as_bytes(), descriptors);
        self.hear()
    }

    /// Starts its command; its number at the launcher, and the system's.
    fn run(&self) -> (u32, u32) {
        let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let answer = self.ask("start 0", &[null.as_fd(), null.as_fd()]);
        let mut numbers = answer.strip_prefix("started ").unwrap_or_else(|| panic!("{answer}")).split(' ');
        let mut number = || numbers.next().unwrap().parse().unwrap();
        (number(), number())
    }

    fn wait(mut self) -> (Option<i32>, String) {
        drop(self.socket);
        let status = self.process.wait().unwrap();
        let mut said = String::new();
        let _ = self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

const WAITS: &str = "echo started >> \"$1/log\"; exec sleep 60";
const INVALID: &str = "failed 22";

#[test]
fn nothing_is_done_but_what_it_was_told_of() {
    let root = tempfile::tempdir().unwrap();
    let launcher = Launcher::of_command(root.path(), WAITS);
    let null = fs::File::open("/dev/null").unwrap();
    let both = [null.as_fd(), null.as_fd()];
    for bad in
        ["start 1", "start 4294967295", "start x", "start 0 /bin/sh", "exec 0", "command\0/bin/true", "serve", "\0"]
    {
        assert_eq!(launcher.ask(bad, &both), INVALID, "{bad:?}");
    }
    assert_eq!(launcher.ask("start 0", &[]), INVALID);
    assert_eq!(launcher.ask("start 0", &both[..1]), INVALID);
    // Nobody is signalled or reaped that it has not started.
    for bad in ["kill 0", "terminate 0", "reap 0", "kill 1", "kill -1", "process"] {
        assert_eq!(launcher.ask(bad, &both[..1]), INVALID, "{bad:?}");
    }
    assert_eq!(launcher.ask(&"start 0 ".repeat(15_000), &[]), INVALID);
    assert!(!root.path().join("log").exists(), "something was started");
    assert_eq!(launcher.wait(), (Some(0), String::new()));
}

#[test]
fn what_it_starts_is_signalled_reaped_and_goes_on_without_it() {
    let root = tempfile::tempdir().unwrap();
    let launcher = Launcher::of_command(root.path(), WAITS);
    let (number, process) = launcher.run();
    until("it runs", || fs::read(root.path().join("log")).is_ok_and(|log| log == b"started\n"));
    let group = rustix::process::getpgid(Some(pid(process))).unwrap();
    assert_eq!(group, pid(process), "a group of its own");
    assert_eq!(launcher.ask(&format!("reap {number}"), &[]), "failed 11", "it has not ended");
    assert_eq!(launcher.ask(&format!("terminate {number}"), &[]), "done");
    until("it ends", || launcher.ask(&format!("reap {number}"), &[]) == "ended 15");
    for request in ["reap", "kill", "terminate"] {
        assert_eq!(launcher.ask(&format!("{request} {number}"), &[]), INVALID, "its number means nothing any more");
    }
    let (again, process) = launcher.run();
    assert_ne!(again, number);
    // Signals that its daemon gets are not for it.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(Pid::from_child(&launcher.process), signal).unwrap();
    }
    assert_eq!(launcher.ask("start 7", &[]), INVALID, "it goes on");
    assert_eq!(launcher.wait().0, Some(0));
    let left = pidfd_open(pid(process), PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&left, Signal::KILL).unwrap();
}

#[test]
fn a_process_that_it_was_told_of_is_signalled_and_not_reaped() {
    let launcher = Launcher::start();
    let mut left_behind = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&left_behind), PidfdFlags::empty()).unwrap();
    launcher.send(b"process", &[pidfd.as_fd()]);
    launcher.send(b"serve", &[]);
    assert_eq!(launcher.hear(), "serving");
    assert_eq!(launcher.ask("reap 0", &[]), INVALID);
    assert_eq!(launcher.ask("terminate 0", &[]), "done");
    assert!(!left_behind.wait().unwrap().success());
    assert_eq!(launcher.ask("kill 0", &[]), "done", "it has ended already");
    assert_eq!(launcher.wait().0, Some(0));
}

#[test]
fn a_program_that_is_not_there_is_told_as_that() {
    let launcher = Launcher::start();
    launcher.send(b"command\0/no/such/program", &[]);
    launcher.send(b"serve", &[]);
    assert_eq!(launcher.hear(), "serving");
    let null = fs::File::open("/dev/null").unwrap();
    assert_eq!(launcher.ask("start 0", &[null.as_fd(), null.as_fd()]), "failed 2");
    assert_eq!(launcher.wait().0, Some(0));
}

#[test]
fn it_is_not_started_by_hand() {
    let output = program(Stdio::null()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it is started by stenographer itself"), "{said}");
}
