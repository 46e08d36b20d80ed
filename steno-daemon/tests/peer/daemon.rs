//! A daemon on a bench, 1.0.1's or ours, with 1.0.1's stenotype or ours below it.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use steno_core::testkit;

use super::{
    bench::{Bench, PATIENCE, names, ours_of, run},
    client::Client,
};

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Theirs,
    Ours,
}

impl Whose {
    pub(crate) fn program(self, name: &str) -> PathBuf {
        match self {
            Self::Theirs => Path::new("/usr/sbin").join(name),
            Self::Ours => ours_of(name),
        }
    }
}

/// Certificates as 1.0.1's `stenokeys` makes them.
pub(crate) fn stenokeys(bench: &Bench, dir: &str) {
    let config = bench.path("config-of-keys");
    fs::write(&config, json!({ "Host": "127.0.0.1", "CertPath": bench.path(dir) }).to_string()).unwrap();
    let mut command = Command::new("/usr/sbin/stenokeys");
    let _ = run(command.args(["root", "root"]).env("STENOGRAPHER_CONFIG", config));
}

/// Certificates as `steno keys` makes them.
pub(crate) fn steno_keys(bench: &Bench, dir: &str) {
    let _ = run(Command::new(ours_of("steno"))
        .args(["keys", "init", "--host", "127.0.0.1", "--certs"])
        .arg(bench.path(dir)));
}

/// What is to be started: one thread, whose directories are `pkt` and `idx` of the bench.
pub(crate) struct Plan {
    pub(crate) config: Value,
    daemon: Whose,
    name: &'static str,
}

impl Plan {
    /// With the flags that `peer.sh` has. The configuration is written to the file `name`, the log to `name.log`.
    pub(crate) fn new(bench: &Bench, name: &'static str, daemon: Whose, stenotype: Whose, certs: &Path) -> Self {
        for dir in ["pkt", "idx"] {
            fs::create_dir_all(bench.path(dir)).unwrap();
        }
        let config = json!({
            "Threads": [{
                "PacketsDirectory": bench.path("pkt"), "IndexDirectory": bench.path("idx"), "DiskFreePercentage": 1,
            }],
            "StenotypePath": stenotype.program("stenotype"),
            "Interface": "v1",
            "Port": 1234,
            "Host": "127.0.0.1",
            "Flags": ["-v", "--no_watchdogs", "--fileage_sec=3", "--blockage_sec=1", "--blocks=256", "--seccomp=none",
                      "--uid=root", "--gid=root"],
            "CertPath": certs,
        });
        Self { config, daemon, name }
    }

    pub(crate) fn with_flag(mut self, flag: &str) -> Self {
        self.config["Flags"].as_array_mut().unwrap().push(flag.into());
        self
    }

    pub(crate) fn without_flag(mut self, flag: &str) -> Self {
        self.config["Flags"].as_array_mut().unwrap().retain(|there| there != flag);
        self
    }

    /// Starts it, and waits until it listens and a file is open for packets.
    pub(crate) fn start(self, bench: &Bench) -> Daemon {
        let is_hidden = |name: &String| name.starts_with('.');
        let before: Vec<String> = names(&bench.path("pkt")).into_iter().filter(is_hidden).collect();
        let config = bench.path(self.name);
        fs::write(&config, self.config.to_string()).unwrap();
        let log = bench.path(&format!("{}.log", self.name));
        let out = File::create(&log).unwrap();
        let mut command = bench.command(self.daemon.program("stenographer"));
        let _ = command.arg(format!("-config={}", config.display())).args(["-syslog=false", "-v=1"]);
        for variable in ["NOTIFY_SOCKET", "RUNTIME_DIRECTORY", "STENO_LOG", "STENO_LOG_FORMAT"] {
            let _ = command.env_remove(variable);
        }
        let _ = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        let child = command.spawn().unwrap();
        let certs = PathBuf::from(self.config["CertPath"].as_str().unwrap());
        let mut daemon = Daemon { child, config, log, certs };
        daemon.until("it listens", |_| bench.inside(|| TcpStream::connect(("127.0.0.1", 1234)).is_ok()));
        daemon.until("it captures", |_| {
            names(&bench.path("pkt")).into_iter().filter(is_hidden).any(|name| !before.contains(&name))
        });
        daemon
    }
}

/// A daemon that runs. Killed, and what it started too, when it goes out of scope.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) config: PathBuf,
    log: PathBuf,
    certs: PathBuf,
}

impl Daemon {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn client<'a>(&self, bench: &'a Bench) -> Client<'a> {
        Client::new(bench, &self.certs)
    }

    /// Waits until `done`, as long as it runs.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.log());
            assert!(self.child.try_wait().unwrap().is_none(), "the daemon has ended before {what}:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The number of its stenotype, if one runs.
    pub(crate) fn stenotype(&self) -> Option<Pid> {
        let mut descendants = children(Pid::from_child(&self.child)).into_iter().flat_map(|child| {
            // Ours has a process that starts it.
            let command = fs::read_to_string(format!("/proc/{}/cmdline", child.as_raw_nonzero())).unwrap_or_default();
            if command.contains("-launcher") { children(child) } else { vec![child] }
        });
        descendants.find(|child| !is_gone(*child))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the daemon does not end\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it and its stenotype, as `peer.sh down` does: the real stenotype seals its file on SIGTERM and may then never exit.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let stenotype = self.stenotype();
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let Some(stenotype) = stenotype else {
            let _ = self.child.wait();
            return;
        };
        let _ = kill_process(stenotype, Signal::TERM);
        let begun = Instant::now();
        while !is_gone(stenotype) && begun.elapsed() < Duration::from_secs(3) {
            thread::sleep(Duration::from_millis(20));
        }
        if !is_gone(stenotype) {
            let _ = kill_process(stenotype, Signal::KILL);
        }
        let begun = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) && begun.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", of.as_raw_nonzero())).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|text| text.split_whitespace().filter_map(|n| Pid::from_raw(n.parse().ok()?)).collect::<Vec<_>>())
        .collect()
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the process has ended; nobody may have reaped it yet.
pub(crate) fn is_gone(pid: Pid) -> bool {
    testkit::is_gone(pid.as_raw_nonzero().get().cast_unsigned())
}
