//! `stenographer` from its start to its end, as a service manager sees it: a shell script stands in for stenotype.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use steno_core::testkit::is_gone;
use steno_proto::{audit::Verifier, certs::CertDir};

/// Says that it captures, until it is asked to end.
const GOOD: &str = r#"
trap '' PIPE
trap 'sleep 0.3; echo sealed > "$HERE/sealed"; exit 0' TERM
echo $$ > "$HERE/stenotype.pid"
echo "ready 1" >&0
while :; do sleep 0.02; done
"#;

/// A configuration, its certificates and a stenotype, in a directory of their own.
struct Bench {
    root: tempfile::TempDir,
    port: u16,
    notify: UnixDatagram,
}

fn bench(script: &str) -> Bench {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).display().to_string();
    let here = root.path().display();
    // A link to the shell, so that no script that is just being written is executed.
    std::os::unix::fs::symlink("/bin/sh", root.path().join("stenotype")).unwrap();
    fs::write(root.path().join("script"), format!("HERE={here}\n{script}")).unwrap();
    let _made = CertDir::new(root.path().join("certs")).init(&["127.0.0.1"]).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = serde_json::json!({
        "Threads": [{ "PacketsDirectory": path("packets"), "IndexDirectory": path("index"), "DiskFreePercentage": 1 }],
        "StenotypePath": path("stenotype"),
        "Flags": [path("script"), "--uid=root", "--gid=root"],
        "Interface": "lo",
        "Host": "127.0.0.1",
        "Port": port,
        "CertPath": path("certs"),
    });
    fs::write(root.path().join("config"), config.to_string()).unwrap();
    let notify = UnixDatagram::bind(root.path().join("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    Bench { root, port, notify }
}

impl Bench {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stenographer"));
        let _ = command
            .args(arguments)
            .args(["-syslog=false", "-v", "1"])
            .env("NOTIFY_SOCKET", self.root.path().join("notify"))
            .env("TMPDIR", self.root.path())
            .env_remove("RUNTIME_DIRECTORY")
            .env_remove("STENO_LOG")
            .env_remove("STENO_LOG_FORMAT")
            .stdin(Stdio::null());
        command
    }

    fn config(&self) -> String {
        self.root.path().join("config").display().to_string()
    }

    /// Starts the daemon; its log is the file `log`.
    fn start(&self) -> Daemon {
        self.start_with_log(&self.root.path().join("log"))
    }

    fn start_with_log(&self, log: &Path) -> Daemon {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let child = self.command(&["-config", &self.config()]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Daemon(child)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Waits until the service manager is told something of this kind.
    fn told(&self, what: &str) -> String {
        let mut bytes = [0; 512];
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < deadline, "not within 30 s: {what}\n{}", self.log());
            let n = self.notify.recv(&mut bytes).unwrap_or_else(|e| panic!("waiting for {what}: {e}\n{}", self.log()));
            let text = str::from_utf8(&bytes[..n]).unwrap();
            if text.contains(what) {
                return text.to_owned();
            }
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "not within 30 s: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stenotype(&self) -> Option<u32> {
        fs::read_to_string(self.root.path().join("stenotype.pid")).ok()?.trim().parse().ok()
    }
}

/// Killed when a test fails.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: Signal) {
        kill_process(pid(self.0.id()), signal).unwrap();
    }

    fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_says_when_it_is_ready_and_stops_capture_last() {
    let bench = bench(GOOD);
    let daemon = bench.start();
    let ready = bench.told("READY=1");
    assert!(ready.contains(&format!("STATUS=answering on 127.0.0.1:{}", bench.port)), "{ready}");
    let _capturing = bench.told("; capturing on lo");
    daemon.signal(Signal::HUP);
    bench.until("certificates are read again", || bench.log().contains("certificates read again"));
    let asked = Instant::now();
    daemon.signal(Signal::TERM);
    let stopping = bench.told("STOPPING=1");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    assert_eq!(daemon.wait().code(), Some(0), "{}", bench.log());
    assert!(asked.elapsed() < Duration::from_secs(60));
    assert!(bench.root.path().join("sealed").exists(), "capture was not given time to seal");
    let log = bench.log();
    let place = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{log}"));
    assert!(place("daemon: stopping") < place("capture has stopped"));
    assert!(place("capture has stopped") < place("daemon: stopped"));
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn the_audit_log_goes_on_in_a_new_file_where_the_old_one_was_moved_before_sighup() {
    let bench = bench(GOOD);
    let (path, old) = (bench.root.path().join("audit.log"), bench.root.path().join("audit.log.1"));
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(bench.config()).unwrap()).unwrap();
    config["Audit"] = path.display().to_string().into();
    fs::write(bench.config(), config.to_string()).unwrap();
    let daemon = bench.start();
    let _ready = bench.told("READY=1");
    bench.until("its first line", || fs::read(&path).is_ok_and(|text| text.ends_with(b"\n")));
    // Where it was not moved it is the same file still.
    daemon.signal(Signal::HUP);
    bench.until("certificates are read again", || bench.log().contains("certificates read again"));
    fs::rename(&path, &old).unwrap();
    daemon.signal(Signal::HUP);
    bench.until("a new file", || fs::read_to_string(&path).is_ok_and(|text| text.contains("\"why\":\"rotation\"")));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0), "{}", bench.log());
    let verify = |files: &[&Path]| {
        let head = fs::read_to_string(bench.root.path().join("audit.log.head")).unwrap().parse().unwrap();
        let mut verifier = Verifier::new(vec![head]);
        for file in files {
            verifier.file(&file.display().to_string(), fs::read(file).unwrap().as_slice()).unwrap();
        }
        verifier.finish()
    };
    let report = verify(&[&old, &path]);
    // Its start; the rotation, and its end.
    assert_eq!((report.findings, report.lines, report.first), (vec![], 3, Some(1)));
    assert!(!verify(&[&path, &old]).holds() && !verify(&[&old]).holds());
}

#[test]
fn capture_that_does_not_run_does_not_keep_it_from_answering() {
    let bench = bench("echo 'error: no such device' >&2; exit 1");
    let daemon = bench.start();
    let _ready = bench.told("READY=1");
    let _down = bench.told("; CAPTURE IS DOWN on lo");
    bench.until("it was tried again", || bench.log().matches("stenotype exited with status 1").count() >= 2);
    assert!(bench.log().contains("no such device"));
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn capture_survives_it_and_is_taken_over() {
    let bench = bench(GOOD);
    let first = bench.start();
    let _capturing = bench.told("; capturing on lo");
    let stenotype = bench.stenotype().unwrap();
    first.signal(Signal::KILL);
    assert_eq!(first.wait().signal(), Some(9));
    assert!(!is_gone(stenotype));
    let second = bench.start();
    let _capturing = bench.told("; capturing on lo");
    assert_eq!(bench.stenotype(), Some(stenotype));
    assert!(bench.log().contains("taking over the stenotype"), "{}", bench.log());
    second.signal(Signal::TERM);
    assert_eq!(second.wait().code(), Some(0));
    assert!(is_gone(stenotype) && bench.root.path().join("sealed").exists());
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let bench = bench(GOOD);
    let daemon = bench.start_with_log(Path::new("/dev/full"));
    let _capturing = bench.told("; capturing on lo");
    let stenotype = bench.stenotype().unwrap();
    daemon.signal(Signal::HUP);
    // Capture ends, which is said with an error, and goes on.
    kill_process(pid(stenotype), Signal::KILL).unwrap();
    bench.until("capture goes on", || bench.stenotype().is_some_and(|again| again != stenotype));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    assert!(bench.root.path().join("sealed").exists());
}

#[test]
fn a_port_in_use_starts_nothing() {
    let bench = bench(GOOD);
    let _holds = TcpListener::bind(("127.0.0.1", bench.port)).unwrap();
    let output = bench.output(&["-config", &bench.config()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let expected = format!("stenographer: cannot listen on 127.0.0.1:{}: Address already in use", bench.port);
    assert!(error.lines().last().unwrap().starts_with(&expected), "{error}");
    assert!(bench.stenotype().is_none() && !bench.root.path().join("packets").exists());
}

#[test]
fn two_daemons_do_not_share_directories() {
    let bench = bench(GOOD);
    let first = bench.start();
    let _capturing = bench.told("; capturing on lo");
    let stenotype = bench.stenotype();
    let other = bench.root.path().join("other");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = fs::read_to_string(bench.config()).unwrap().replace(&bench.port.to_string(), &port.to_string());
    fs::write(&other, config).unwrap();
    let output = bench.output(&["-config", &other.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another stenographer that is still running captures into"));
    assert_eq!(bench.stenotype(), stenotype);
    drop(first);
    // Nobody is left to stop it.
    kill_process(pid(stenotype.unwrap()), Signal::KILL).unwrap();
}

#[test]
fn wrong_arguments_and_configurations_are_told_apart() {
    let bench = bench(GOOD);
    let usage = bench.output(&["-confg", "x"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).starts_with("stenographer: unknown flag -confg; did you mean -config?"));

    let missing = bench.output(&["-config", "/nonexistent/config"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nonexistent/config"));

    let good = bench.output(&["-config", &bench.config(), "-check"]);
    assert_eq!((good.status.code(), text(&good.stdout)), (Some(0), format!("{} holds\n", bench.config())));

    fs::remove_file(bench.root.path().join("certs/server_key.pem")).unwrap();
    for arguments in [&["-config", &bench.config(), "-check"][..], &["-config", &bench.config()]] {
        let output = bench.output(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("server_key.pem"), "{}", text(&output.stderr));
    }
    assert!(bench.stenotype().is_none());
}

#[test]
fn an_interface_that_is_not_there_makes_nothing() {
    let bench = bench(GOOD);
    let data = bench.root.path().join("data");
    let output = bench.output(&["-interface", "l0", "-data", &data.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.starts_with("stenographer: there is no interface \"l0\"; did you mean \"lo\"?"), "{error}");
    assert!(!data.exists());
}

#[test]
fn a_directory_that_is_not_to_be_had_starts_nothing() {
    let bench = bench(GOOD);
    fs::write(bench.root.path().join("packets"), "a file in its place").unwrap();
    fs::set_permissions(bench.root.path().join("packets"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = bench.output(&["-config", &bench.config()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("packets is not a directory"), "{}", text(&output.stderr));
    assert!(bench.stenotype().is_none());
}

#[test]
fn the_sample_configuration_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config");
    let loaded = steno_daemon::config::Loaded::read(&path).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.interfaces(), ["eth0"]);
}
