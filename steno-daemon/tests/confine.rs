//! What a thread that serves can still do: deeds are planted into one, and into one without the guard, where each is done.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
};

use rustix::{
    net::{AddressFamily, SocketType, socket},
    process::{Pid, test_kill_process},
    thread::set_thread_uid,
};
use steno_core::testkit::need;
use steno_daemon::confine;

type Deed = fn() -> io::Result<()>;

/// What a thread that was made to do something else might try.
const FORBIDDEN: &[(&str, Deed)] = &[
    ("start a program", || Command::new("true").stdin(Stdio::null()).status().map(drop)),
    ("open a packet socket", || Ok(socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)?)),
    ("signal another process", || Ok(test_kill_process(Pid::INIT)?)),
    ("make memory code", || memmap2::MmapMut::map_anon(4096)?.make_exec().map(drop)),
    ("make another io_uring", || io_uring::IoUring::new(4).map(drop)),
    ("become another user", || Ok(set_thread_uid(rustix::process::getuid())?)),
];

/// What it must be able to do.
const NEEDED: &[(&str, Deed)] = &[
    ("read a file", || fs::read("/etc/passwd").map(drop)),
    ("write and remove a file", || {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("f"), "text")?;
        fs::rename(dir.path().join("f"), dir.path().join("g"))?;
        dir.close()
    }),
    ("listen and call", || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let _client = TcpStream::connect(listener.local_addr()?)?;
        listener.accept().map(drop)
    }),
    ("look a name up", || std::net::ToSocketAddrs::to_socket_addrs("localhost:7").map(drop)),
    ("start a thread", || thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join()))),
];

/// Does them on a thread of its own, confined or not.
fn done(deeds: &'static [(&'static str, Deed)], is_confined: bool) -> Vec<(&'static str, io::Result<()>)> {
    let run = move || {
        if is_confined {
            confine::serve_only();
        }
        deeds.iter().map(|(name, deed)| (*name, deed())).collect()
    };
    thread::spawn(run).join().unwrap()
}

#[test]
fn what_a_server_has_no_use_for_fails_and_is_done_without_the_guard() {
    if !need(rustix::process::geteuid().is_root(), "root, for the deeds that only root can do") {
        return;
    }
    for (name, result) in done(FORBIDDEN, false) {
        assert!(result.is_ok(), "{name}, without the guard: {result:?}");
    }
    for (name, result) in done(FORBIDDEN, true) {
        let error = result.expect_err(name);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
    }
}

#[test]
fn what_a_server_does_is_done() {
    for is_confined in [false, true] {
        for (name, result) in done(NEEDED, is_confined) {
            assert!(result.is_ok(), "{name}: {result:?}");
        }
    }
}

#[test]
fn a_confined_thread_and_those_that_it_starts_have_no_capabilities_that_a_query_does_not_need() {
    let status = |confined: bool| {
        let read = move || {
            if confined {
                confine::serve_only();
            }
            thread::spawn(|| fs::read_to_string("/proc/thread-self/status").unwrap()).join().unwrap()
        };
        thread::spawn(read).join().unwrap()
    };
    let text = status(true);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
    // CAP_DAC_OVERRIDE and CAP_LEASE, of root alone (linux/capability.h).
    let kept = if rustix::process::geteuid().is_root() { 1 << 1 | 1 << 28 } else { 0 };
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(u64::from_str_radix(field(set), 16).unwrap() & !kept, 0, "{text}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(u64::from_str_radix(field(set), 16), Ok(0), "{text}");
    }
    assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
    // The others go on as they were: stenotype is started by one of them.
    assert!(status(false).contains("Seccomp:\t0\n"), "{}", status(false));
}
