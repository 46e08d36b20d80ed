//! A veth pair in a namespace of the test's own, frames sent across it, and `stenotype` at the other end.
#![allow(dead_code, unused_results, reason = "each test binary uses a part of it")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use steno_core::{block::Block, packet::Frame, testkit::need};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace with v0 and v1 at the ends of one wire. Removed when it goes out of scope.
pub(crate) struct Wire {
    name: String,
}

impl Wire {
    /// `None` where no namespace can be made: the test is skipped.
    pub(crate) fn new() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        let tools = ["ip", "tcpreplay"].iter().all(|t| Command::new(t).arg("-V").output().is_ok());
        if !need(root && tools, "root, iproute2 and tcpreplay") {
            return None;
        }
        let name = format!("stenotest{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let wire = Self { name };
        ip(&["netns", "add", &wire.name]);
        for link in ["lo", "v0", "v1"] {
            if link == "v0" {
                ip(&["-n", &wire.name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
            }
            if link != "lo" {
                // No neighbour discovery among the packets.
                let off = format!("net.ipv6.conf.{link}.disable_ipv6=1");
                assert!(wire.command("sysctl").args(["-qw", &off]).status().unwrap().success());
                ip(&["-n", &wire.name, "link", "set", link, "mtu", "9000", "arp", "off"]);
            }
            ip(&["-n", &wire.name, "link", "set", link, "up"]);
        }
        Some(wire)
    }

    /// One whose v1 leaves VLAN tags in frames, which AF_XDP asks for. `None` where the test is skipped.
    pub(crate) fn that_keeps_tags() -> Option<Self> {
        let wire = Self::new()?;
        if !need(Command::new("ethtool").arg("--version").output().is_ok(), "ethtool") {
            return None;
        }
        wire.ethtool(&["-K", "v1", "rxvlan", "off"]);
        Some(wire)
    }

    /// Sets something of a link.
    pub(crate) fn ethtool(&self, args: &[&str]) {
        let status = self.command("ethtool").args(args).status().unwrap();
        // 80: it is so already (ethtool 5 and before).
        assert!(status.success() || status.code() == Some(80), "ethtool {args:?}: {status}");
    }

    /// A program inside.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        let _ = command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Sends frames into v0, at `pps` a second.
    pub(crate) fn send(&self, dir: &Path, frames: &[Vec<u8>], pps: u32) {
        self.send_from("v0", dir, frames, pps);
    }

    /// Sends frames out of either end.
    pub(crate) fn send_from(&self, link: &str, dir: &Path, frames: &[Vec<u8>], pps: u32) {
        let path = dir.join("send.pcap");
        fs::write(&path, pcap(frames)).unwrap();
        self.replay_from(link, &path, pps);
    }

    /// Sends the frames of a capture file into v0.
    pub(crate) fn replay(&self, file: &Path, pps: u32) {
        self.replay_from("v0", file, pps);
    }

    fn replay_from(&self, link: &str, file: &Path, pps: u32) {
        let rate = format!("--pps={pps}");
        let output = self.command("tcpreplay").args(["-i", link, &rate]).arg(file).output().unwrap();
        assert!(output.status.success(), "tcpreplay: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Does something to a link: `ip link set LINK ARGS`.
    pub(crate) fn link(&self, args: &[&str]) {
        ip(&[&["-n", &self.name, "link"], args].concat());
    }

    /// Starts `stenotype` on v1 and waits until it captures.
    pub(crate) fn capture(&self, dir: &Path, flags: &[&str]) -> Stenotype {
        let capture = Stenotype::start(self.stenotype(dir, flags), dir);
        capture.wait_for("capturing from");
        capture
    }

    /// `stenotype` on v1, not started yet. `ip netns exec` becomes it, so that its process id is the child's.
    pub(crate) fn stenotype(&self, dir: &Path, flags: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_stenotype"));
        let _ = command.arg(format!("--dir={}", dir.display())).args([
            "--iface=v1",
            "--blocks=32",
            "--uid=root",
            "--gid=root",
            "-v",
        ]);
        let _ = command.args(flags).stdin(Stdio::null()).process_group(0);
        command
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// A capture that runs.
pub(crate) struct Stenotype {
    child: Child,
    log: PathBuf,
    dir: PathBuf,
}

impl Stenotype {
    /// Starts it; its log is the file `log` in `dir`.
    pub(crate) fn start(command: Command, dir: &Path) -> Self {
        Self::start_with_log(command, dir, &dir.join("log"))
    }

    /// The same, with its log elsewhere.
    pub(crate) fn start_with_log(mut command: Command, dir: &Path, log: &Path) -> Self {
        let child = command.stderr(fs::File::create(log).unwrap()).spawn().unwrap();
        Self { child, log: log.to_owned(), dir: dir.to_owned() }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks it to stop and says how it ended and how long it took.
    pub(crate) fn stop(mut self) -> (i32, Duration) {
        let begun = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        let status = self.wait();
        (status, begun.elapsed())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "stenotype does not end: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log has `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().contains(text) {
            assert!(begun.elapsed() < Duration::from_secs(40), "{text:?} is not in the log: {}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Segments in a directory of thread 0, hidden ones too.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        names(&self.dir.join(dir))
    }
}

impl Drop for Stenotype {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Segments whose files a directory holds, hidden ones too.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != ".ledger").collect();
    names.sort();
    names
}

/// Every frame of every published packet file of a thread, tags put back.
pub(crate) fn frames(dir: &Path, thread: u32) -> Vec<Vec<u8>> {
    frames_of_blocks(dir, thread, 1 << 20)
}

/// The same, of files with blocks of another size.
pub(crate) fn frames_of_blocks(dir: &Path, thread: u32, block_bytes: usize) -> Vec<Vec<u8>> {
    let packets = dir.join(format!("PKT{thread}"));
    let mut frames = Vec::new();
    for name in names(&packets).into_iter().filter(|n| !n.starts_with('.')) {
        let file = fs::read(packets.join(name)).unwrap();
        for bytes in file.chunks(block_bytes) {
            frames.extend(Block::parse(bytes).unwrap().packets().map(|p| p.unwrap().frame().to_vec()));
        }
    }
    frames
}

/// A command's output, its success not taken for granted. It must end within half a minute, and say little.
pub(crate) fn output(mut command: Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{command:?} does not end: {output:?}");
            return output;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    use steno_core::pcap::{CaptureMeta, CaptureWriter, Format, Record};
    let writer = CaptureWriter::new(Format::Pcap, CaptureMeta::default());
    let mut out = Vec::new();
    writer.start(&mut out);
    for (i, frame) in (0..).zip(frames) {
        let time = steno_core::TimestampNs::new(i * 1_000);
        let wire_len = u32::try_from(frame.len()).unwrap();
        writer.packet(&mut out, &Record { time, wire_len, frame: Frame::new(frame), interface: 0 });
    }
    out
}
