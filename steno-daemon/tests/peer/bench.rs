//! A directory and a network namespace of a test's own: the veth pair v0 -> v1, and what is replayed out of v0.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
pub(crate) use steno_core::testkit::{PATIENCE, until};
use steno_core::testkit::{need, shared_dir};

/// Ends what still runs in the namespace `$1`, and removes it and the directory `$2`, as soon as its standard input ends: which
/// it does, however the tests end.
const JANITOR: &str = r#"trap '' INT TERM HUP; cat >/dev/null
for pid in $(ip netns pids "$1"); do kill -9 "$pid"; done
ip netns del "$1"; rm -rf "$2""#;

/// Whether the machine has what these tests need; they are skipped where it has not.
pub(crate) fn is_possible() -> bool {
    let runs =
        |program: &str, argument: &str| Command::new(program).arg(argument).output().is_ok_and(|o| o.status.success());
    let theirs = [
        "/usr/sbin/stenographer",
        "/usr/sbin/stenotype",
        "/usr/sbin/stenokeys",
        "/usr/bin/stenoread",
        "/usr/bin/stenocurl",
    ];
    let ours = ["stenographer", "stenotype", "steno"];
    let there = rustix::process::geteuid().is_root()
        && theirs.iter().all(|path| Path::new(path).is_file())
        && ours.iter().all(|name| ours_of(name).is_file())
        && [("ip", "-V"), ("tcpreplay", "-V"), ("tcpdump", "--version"), ("jq", "--version")]
            .iter()
            .all(|p| runs(p.0, p.1))
        && Command::new("python3").args(["-c", "import numpy"]).output().is_ok_and(|o| o.status.success())
        && shared_dir(env!("CARGO_MANIFEST_DIR")).is_some();
    need(
        there,
        "root, iproute2, tcpreplay, tcpdump, jq, numpy, stenographer 1.0.1, ../shared, and our own programs built",
    )
}

/// The built program of that name.
pub(crate) fn ours_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_stenographer")).with_file_name(name)
}

/// A path below `../shared`.
pub(crate) fn shared(path: &str) -> PathBuf {
    shared_dir(env!("CARGO_MANIFEST_DIR")).unwrap().canonicalize().unwrap().join(path)
}

/// Runs a program that is to succeed, and gives its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names of a directory's entries, ascending.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Both are gone when it goes out of scope, or the tests end.
pub(crate) struct Bench {
    root: PathBuf,
    space: String,
    janitor: Child,
}

impl Bench {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let space = format!("stenopeer{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let root = std::env::temp_dir().join(&space);
        fs::create_dir(&root).unwrap();
        let mut janitor = Command::new("sh");
        let _ = janitor.args(["-c", JANITOR, "sh", &space]).arg(&root);
        let janitor = janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let bench = Self { root, space, janitor };
        bench.ip(&["netns", "add", &bench.space]);
        bench.ip(&["-n", &bench.space, "link", "set", "lo", "up"]);
        bench.ip(&["-n", &bench.space, "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        for link in ["v0", "v1"] {
            // No neighbour discovery among the packets.
            let _ = run(bench.command("sysctl").args(["-qw", &format!("net.ipv6.conf.{link}.disable_ipv6=1")]));
            bench.ip(&["-n", &bench.space, "link", "set", link, "up", "mtu", "9000", "arp", "off"]);
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A command that runs inside.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        let _ = command.args(["netns", "exec", &self.space]).arg(program).env("TMPDIR", &self.root);
        command
    }

    /// Has `work` done on a thread inside. The sockets that it makes are of the namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(Path::new("/run/netns").join(&self.space)).unwrap();
        let entered = move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join().unwrap())
    }

    /// Sends the packets of a capture file, in its order.
    pub(crate) fn replay(&self, file: &Path, a_second: u32) {
        let _ = run(self.command("tcpreplay").args(["-q", "-i", "v0", &format!("--pps={a_second}")]).arg(file));
    }

    fn ip(&self, arguments: &[&str]) {
        let _ = run(Command::new("ip").args(arguments));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}
