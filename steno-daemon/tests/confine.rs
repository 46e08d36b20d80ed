//! What a daemon that serves can still do: deeds are planted into a thread that is confined as its first one is, and into one
//! without the guard, where each is done.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use rustix::{
    net::{AddressFamily, SocketType, ipproto, socket},
    process::{Pid, test_kill_process},
    thread::set_thread_uid,
};
use steno_core::testkit::need;
use steno_daemon::confine::{Reach, serve_only};

type Deed = fn(&Bench) -> io::Result<()>;

/// The directories of a sensor, and a port that is bound.
struct Bench {
    root: PathBuf,
    port: TcpListener,
}

/// What a daemon that was made to do something else might try.
const FORBIDDEN: &[(&str, Deed)] = &[
    ("start a program", |_| Command::new("true").stdin(Stdio::null()).status().map(drop)),
    ("open a packet socket", |_| Ok(socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)?)),
    ("open a raw socket", |_| Ok(socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).map(drop)?)),
    ("open another port", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("call somebody", |bench| TcpStream::connect(bench.port.local_addr()?).map(drop)),
    ("signal another process", |_| Ok(test_kill_process(Pid::INIT)?)),
    ("make memory code", |_| memmap2::MmapMut::map_anon(4096)?.make_exec().map(drop)),
    ("make an io_uring", |_| io_uring::IoUring::new(4).map(drop)),
    ("become another user", |_| Ok(set_thread_uid(rustix::process::getuid())?)),
];

/// The same, where it is about files.
const FORBIDDEN_FILES: &[(&str, Deed)] = &[
    ("read a file elsewhere", |_| fs::read("/etc/passwd").map(drop)),
    ("list a directory elsewhere", |bench| fs::read_dir(bench.path("elsewhere")).map(drop)),
    ("make a file elsewhere", |bench| fs::write(bench.path("elsewhere/new"), "text")),
    ("write to a file elsewhere", |bench| {
        fs::OpenOptions::new().append(true).open(bench.path("elsewhere/f")).map(drop)
    }),
    ("write to a certificate", |bench| fs::write(bench.path("etc/certs/cert.pem"), "text")),
    ("move a packet file out", |bench| fs::rename(bench.path("PKT0/1"), bench.path("elsewhere/1"))),
    ("remove a file elsewhere", |bench| fs::remove_file(bench.path("elsewhere/f"))),
];

/// What it must be able to do.
const NEEDED: &[(&str, Deed)] = &[
    ("write, rename, read and remove a file", |bench| {
        fs::write(bench.path("PKT0/2"), "text")?;
        fs::rename(bench.path("PKT0/2"), bench.path("PKT0/3"))?;
        let _text = fs::read(bench.path("PKT0/3"))?;
        fs::remove_file(bench.path("PKT0/3"))
    }),
    ("read a certificate", |bench| fs::read(bench.path("etc/certs/cert.pem")).map(drop)),
    ("read a certificate through a link", |bench| fs::read(bench.path("etc/certs/key.pem")).map(drop)),
    ("remove a run directory", |bench| {
        fs::write(bench.path("run/stenographer-1/process"), "1 2")?;
        fs::remove_file(bench.path("run/stenographer-1/process"))?;
        fs::remove_dir(bench.path("run/stenographer-1"))?;
        fs::create_dir(bench.path("run/stenographer-1")).or(Ok(()))
    }),
    ("read about itself", |_| fs::read("/proc/self/status").map(drop)),
    ("hear a child", |_| UnixStream::pair().map(drop)),
    ("start a thread", |_| thread::Builder::new().spawn(|| {}).map(|thread| drop(thread.join()))),
];

impl Bench {
    fn new(root: &Path) -> Self {
        for directory in ["PKT0", "IDX0", "run/stenographer-1", "etc/certs", "lib/keys", "elsewhere"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in ["PKT0/1", "etc/certs/cert.pem", "lib/keys/key.pem", "elsewhere/f"] {
            fs::write(root.join(file), "text").unwrap();
        }
        std::os::unix::fs::symlink(root.join("lib/keys/key.pem"), root.join("etc/certs/key.pem")).unwrap();
        Self { root: root.to_owned(), port: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn reach(&self) -> Reach {
        Reach {
            stores: vec![self.path("PKT0"), self.path("IDX0")],
            kept: vec![self.path("run/stenographer-1")],
            emptied: vec![self.path("run")],
            read: vec![self.path("etc/certs/cert.pem"), self.path("etc/certs/key.pem"), self.path("etc/none/crl.pem")],
            has_files_of_others: false,
        }
    }
}

/// Does them, each on a thread of its own and in directories of its own, confined or not.
fn done(deeds: &[(&'static str, Deed)], is_confined: bool) -> Vec<(&'static str, io::Result<()>)> {
    let one = |(name, deed): &(&'static str, Deed)| {
        let (root, deed) = (tempfile::tempdir().unwrap(), *deed);
        let bench = Bench::new(root.path());
        let run = move || {
            if is_confined {
                serve_only(&bench.reach());
            }
            deed(&bench)
        };
        (*name, thread::spawn(run).join().unwrap())
    };
    deeds.iter().map(one).collect()
}

fn are_refused(deeds: &[(&'static str, Deed)]) {
    for (name, result) in done(deeds, false) {
        assert!(result.is_ok(), "{name}, without the guard: {result:?}");
    }
    for (name, result) in done(deeds, true) {
        let Err(error) = result else { panic!("{name} is done") };
        let is_refused = error.kind() == io::ErrorKind::PermissionDenied || error.raw_os_error() == Some(EXDEV);
        assert!(is_refused, "{name}: {error}");
    }
}

/// A file would have to be copied: what Landlock answers to a rename into another directory.
const EXDEV: i32 = 18;

#[test]
fn what_a_server_has_no_use_for_fails_and_is_done_without_the_guard() {
    if need(rustix::process::geteuid().is_root(), "root, for the deeds that only root can do") {
        are_refused(FORBIDDEN);
    }
}

#[test]
fn files_of_others_are_out_of_reach_and_are_not_without_the_guard() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().to_owned();
    let has_landlock = thread::spawn(move || steno_sandbox::only(&[path]).unwrap()).join().unwrap();
    if need(has_landlock, "Landlock") {
        are_refused(FORBIDDEN_FILES);
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
fn a_port_that_was_bound_before_takes_clients() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(port.local_addr().unwrap()).unwrap();
    let confined = move || {
        serve_only(&Reach::default());
        port.accept().map(drop)
    };
    assert!(thread::spawn(confined).join().unwrap().is_ok());
    drop(client);
}

/// `/proc/thread-self/status` of a thread that one starts which is confined, or not.
fn status(reach: Option<Reach>) -> String {
    let read = move || {
        if let Some(reach) = reach {
            serve_only(&reach);
        }
        thread::spawn(|| fs::read_to_string("/proc/thread-self/status").unwrap()).join().unwrap()
    };
    thread::spawn(read).join().unwrap()
}

#[test]
fn a_confined_thread_and_those_that_it_starts_have_no_capabilities_but_root_for_files_of_others() {
    for has_files_of_others in [false, true] {
        let text = status(Some(Reach { has_files_of_others, ..Reach::default() }));
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap();
        // CAP_DAC_OVERRIDE and CAP_LEASE (linux/capability.h).
        let is_kept = has_files_of_others && rustix::process::geteuid().is_root();
        let kept = if is_kept { 1 << 1 | 1 << 28 } else { 0 };
        for (set, expected) in [("CapEff", kept), ("CapPrm", kept), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(u64::from_str_radix(field(set), 16), Ok(expected), "{set}: {text}");
        }
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1", "2"));
    }
    // The others go on as they were.
    assert!(status(None).contains("Seccomp:\t0\n"), "{}", status(None));
}
