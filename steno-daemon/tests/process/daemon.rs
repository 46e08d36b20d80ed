//! A daemon of the test's own: its directory, its certificates, its log, and what the system says of its process.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
pub(crate) use steno_core::testkit::PATIENCE;
use steno_proto::certs::CertDir;
use tempfile::TempDir;

/// A daemon that is to be started: its configuration can still be changed.
pub(crate) struct Plan {
    pub(crate) root: TempDir,
    pub(crate) config: Value,
    /// What is put before its command line, as `ip netns exec NAME`.
    pub(crate) before: Vec<String>,
    port: u16,
}

impl Plan {
    /// One thread on `lo`, a free port of loopback, certificates, and no capture process to be had.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        let certs = CertDir::new(root.path().join("certs"));
        let _made = certs.init(&["127.0.0.1"]).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = json!({
            "Threads": [{ "PacketsDirectory": path("PKT0"), "IndexDirectory": path("IDX0"), "DiskFreePercentage": 1 }],
            "StenotypePath": path("none"),
            "Flags": ["--uid=root", "--gid=root"],
            "Interface": "lo",
            "Host": "127.0.0.1",
            "Port": port,
            "CertPath": path("certs"),
        });
        Self { root, config, before: Vec::new(), port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A shell script in the place of stenotype; `$HERE` is the daemon's directory.
    pub(crate) fn stenotype(&mut self, script: &str) {
        // A link to the shell, so that no script that is just being written is executed.
        std::os::unix::fs::symlink("/bin/sh", self.path("stenotype")).unwrap();
        fs::write(self.path("script"), format!("HERE={}\n{script}", self.root.path().display())).unwrap();
        self.config["StenotypePath"] = json!(self.path("stenotype"));
        self.config["Flags"] = json!([self.path("script"), "--uid=root", "--gid=root"]);
    }

    /// Starts it, which must come to nothing; what it says to that.
    pub(crate) fn refused(self) -> String {
        let (status, said) = self.launch().wait();
        assert_eq!(status.code(), Some(1), "{said}");
        said
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn start(self) -> Daemon {
        let daemon = self.launch();
        let address = daemon.address;
        daemon.until("it listens", || daemon.log().contains(&format!("listening on {address}")));
        daemon
    }

    fn launch(self) -> Daemon {
        fs::write(self.path("config"), self.config.to_string()).unwrap();
        let program = [env!("CARGO_BIN_EXE_stenographer").to_owned(), "-config".to_owned()];
        let config = self.path("config").display().to_string();
        let line: Vec<String> = self.before.into_iter().chain(program).chain([config]).collect();
        let log = fs::File::create(self.root.path().join("log")).unwrap();
        let child = Command::new(&line[0])
            .args(&line[1..])
            .args(["-syslog=false", "-v", "1"])
            .env("TMPDIR", self.root.path())
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("STENO_LOG")
            .env_remove("STENO_LOG_FORMAT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let certs = CertDir::new(self.root.path().join("certs"));
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        Daemon { root: self.root, certs, address, child }
    }
}

/// A daemon that runs. Killed when a test fails.
pub(crate) struct Daemon {
    pub(crate) root: TempDir,
    pub(crate) certs: CertDir,
    pub(crate) address: SocketAddr,
    child: Child,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// Memory of its own: pages of files that it maps are the kernel's to drop.
    pub(crate) resident_kib: usize,
}

impl Daemon {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(began.elapsed() < PATIENCE, "the daemon does not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `/proc/PID/limits`.
    pub(crate) fn limits(&self) -> String {
        fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap()
    }

    pub(crate) fn held(&self) -> Held {
        let proc = Path::new("/proc").join(self.child.id().to_string());
        let count = |name: &str| fs::read_dir(proc.join(name)).unwrap().count();
        let status = fs::read_to_string(proc.join("status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        Held {
            descriptors: count("fd"),
            threads: count("task"),
            resident_kib: resident.trim().trim_end_matches(" kB").parse().unwrap(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Killed, it would leave its capture process running. The second signal: without waiting for clients.
        for _ in 0..2 {
            if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
                let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let began = Instant::now();
        while began.elapsed() < PATIENCE && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
