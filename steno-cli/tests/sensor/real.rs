//! The real sensor: what it answers from its directories is what the same files answer by themselves.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use steno_core::testkit::{need, shared_dir};
use steno_proto::certs::CertDir;

use crate::{
    fake::capture,
    run::{Run, Running, command, steno, until},
};

/// Stands in for stenotype: says that it captures, until it is asked to end.
const CAPTURE: &str = "trap '' PIPE\necho \"ready 1\" >&0\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n";

/// A daemon and the store that it answers from. It ends with this.
struct Bench {
    root: tempfile::TempDir,
    daemon: Child,
}

impl Bench {
    /// The built daemon beside `steno`, over what is in these capture files.
    fn start(files: &[PathBuf]) -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_steno")).with_file_name("stenographer");
        if !need(program.is_file(), "stenographer beside steno (cargo build --workspace --bins)") {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let run = steno(root.path(), &["import", file.to_str().unwrap(), "--store", "store"]);
            assert_eq!(run.status, Some(0), "{run:?}");
        }
        // A link to the shell, so that no script that is just being written is executed.
        symlink("/bin/sh", root.path().join("stenotype")).unwrap();
        fs::write(root.path().join("script"), CAPTURE).unwrap();
        let _made = CertDir::new(root.path().join("certs")).init(&["127.0.0.1"]).unwrap();
        // A port that is free now may be taken by the time that the daemon gets to it.
        let started = (0..5).find_map(|_| launch(&program, root.path()));
        let bench = Self { daemon: started.unwrap_or_else(|| panic!("it does not start")), root };
        until("it is well", || bench.asked(&["status"]).status == Some(0));
        Some(bench)
    }

    /// Asks the daemon.
    fn asked(&self, args: &[&str]) -> Run {
        steno(self.root.path(), &[args, &["--config", "config"]].concat())
    }

    /// Asks the files.
    fn read(&self, args: &[&str]) -> Run {
        steno(self.root.path(), &[args, &["--store", "store"]].concat())
    }

    /// Both say the same, on standard output, on standard error and by their status.
    fn same(&self, args: &[&str]) -> Run {
        let (asked, read) = (self.asked(args), self.read(args));
        assert!(asked.bytes == read.bytes, "{args:?}: {} bytes, {} from files", asked.bytes.len(), read.bytes.len());
        assert_eq!((asked.status, asked.err.as_str()), (read.status, read.err.as_str()), "{args:?}");
        asked
    }
}

/// Configures and starts a daemon in `root`; none where it ends instead of listening.
fn launch(program: &Path, root: &Path) -> Option<Child> {
    let path = |name: &str| root.join(name).display().to_string();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let threads = serde_json::json!([{
        "PacketsDirectory": path("store/PKT0"), "IndexDirectory": path("store/IDX0"), "DiskFreePercentage": 1,
    }]);
    let config = serde_json::json!({
        "Threads": threads, "StenotypePath": path("stenotype"), "Flags": [path("script"), "--uid=root", "--gid=root"],
        "Interface": "lo", "Host": "127.0.0.1", "Port": port, "CertPath": path("certs"),
    });
    fs::write(root.join("config"), config.to_string()).unwrap();
    let mut daemon = Command::new(program)
        .args(["-config", &path("config"), "-syslog=false"])
        .env("TMPDIR", root)
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(root.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut ended = false;
    until("the daemon listens, or ends", || {
        ended = daemon.try_wait().unwrap().is_some();
        ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (!ended).then_some(daemon)
}

impl Drop for Bench {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.daemon);
        let _ = kill_process(pid, Signal::TERM);
        let ended = (0..1_000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !matches!(self.daemon.try_wait(), Ok(None))
        });
        if !ended {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.root.path().join("log")).unwrap_or_default());
        }
    }
}

/// A capture of 1,000 packets in a file.
fn made(dir: &Path) -> PathBuf {
    let path = dir.join("made.pcap");
    fs::write(&path, capture(1_000).0).unwrap();
    path
}

#[test]
fn a_sensor_answers_as_its_files_do() {
    let files = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::start(&[made(files.path())]) else { return };
    for format in ["pcap", "pcap-ns", "pcapng"] {
        let run = bench.same(&["read", "udp", "-w", "-", "--format", format]);
        assert_eq!(run.status, Some(0), "{run:?}");
        assert!(run.err.starts_with("complete: 1000 packets"), "{run:?}");
    }
    assert_eq!(bench.same(&["read", "udp", "-w", "-", "--limit-packets", "7"]).status, Some(3));
    assert_eq!(bench.same(&["read", "udp", "-w", "-", "--limit-bytes", "5000"]).status, Some(3));
    assert_eq!(bench.same(&["read", "tcp", "-w", "-"]).status, Some(0));
    for query in ["prt 53", "udp and prot 53 or port x", "(", ""] {
        assert_eq!(bench.same(&["read", query, "-w", "-"]).status, Some(2), "{query}");
        assert_eq!(bench.same(&["flows", query]).status, Some(2), "{query}");
        assert_eq!(bench.same(&["explain", query]).status, Some(2), "{query}");
    }
    for form in [&["flows", "udp"][..], &["flows", "udp", "--json"], &["flows", "udp", "--csv"], &["flows", "tcp"]] {
        assert_eq!(bench.same(form).status, Some(0), "{form:?}");
    }
    for form in [&["explain", "udp and port 53"][..], &["explain", "--json", "udp and port 53"]] {
        assert_eq!(bench.same(form).status, Some(0), "{form:?}");
    }
    let plain = |more: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_steno"), bench.root.path());
        Running::start(command.args(["read", "udp"]).args(more).env("PATH", "/nonexistent")).end()
    };
    let (asked, read) = (plain(&["--config", "config"]), plain(&["--store", "store"]));
    assert_eq!((asked.out().lines().count(), asked.out() == read.out()), (1_000, true));
    assert_eq!((asked.status, asked.err), (read.status, read.err));
}

#[test]
fn what_is_stored_is_followed_by_what_arrives_until_interrupted() {
    let files = tempfile::tempdir().unwrap();
    let made = made(files.path());
    let Some(bench) = Bench::start(std::slice::from_ref(&made)) else { return };
    let start = |source: &[&str], more: &[&str]| {
        let mut command = command(env!("CARGO_BIN_EXE_steno"), bench.root.path());
        let _ = command.args(["read", "udp", "--follow"]).args(source).args(more).env("PATH", "/nonexistent");
        command
    };
    let sensor = ["--config", "config"];
    let (file, store) = (["-w", "sensor.pcap"], ["--store", "store", "-w", "store.pcap"]);
    let lines = fs::File::create(bench.root.path().join("lines")).unwrap();
    let running = [
        Running::start(&mut start(&sensor, &file)),
        Running::start(&mut start(&store, &[])),
        Running::start(start(&sensor, &[]).stdout(lines)),
    ];
    let length = |name: &str| fs::metadata(bench.root.path().join(name)).map_or(0, |metadata| metadata.len());
    let lines = || fs::read_to_string(bench.root.path().join("lines")).unwrap().lines().count();
    let once = fs::metadata(&made).unwrap().len();
    for times in 1..=3 {
        let bytes = 24 + times * (once - 24);
        until("all have what is stored", || length("sensor.pcap") >= bytes && length("store.pcap") >= bytes);
        until("a line for each", || lines() as u64 >= times * 1_000);
        assert_eq!((length("sensor.pcap"), length("store.pcap"), lines() as u64), (bytes, bytes, times * 1_000));
        if times < 3 {
            let run = steno(bench.root.path(), &["import", made.to_str().unwrap(), "--store", "store"]);
            assert_eq!(run.status, Some(0), "{run:?}");
        }
    }
    for run in running {
        run.interrupt();
        let run = run.end();
        assert_eq!(run.status, Some(130), "{run:?}");
        assert!(run.err.contains("3000 packets"), "{run:?}");
    }
    let limited = Running::start(&mut start(&sensor, &["-w", "-", "--limit-packets", "5"])).end();
    assert_eq!(limited.status, Some(3), "{limited:?}");
}

/// From the certificate to its end, with the commands that people have for it; nobody restarts or tells the sensor.
#[test]
fn a_client_is_let_in_until_it_is_revoked_and_others_stay() {
    let files = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::start(&[made(files.path())]) else { return };
    let keys = |words: &[&str]| {
        let run = steno(bench.root.path(), &[&["keys"], words, &["--certs", "certs"]].concat());
        assert_eq!(run.status, Some(0), "{run:?}");
        run
    };
    for name in ["alice", "bob"] {
        let _run = keys(&["client", name]);
    }
    let config: Value = serde_json::from_slice(&fs::read(bench.root.path().join("config")).unwrap()).unwrap();
    let server = format!("127.0.0.1:{}", config["Port"]);
    let source = |name: &str| ["--server".into(), server.clone(), "--certs".into(), format!("certs/clients/{name}")];
    let status = |name: &str| {
        let words = [vec!["status".to_owned()], source(name).to_vec()].concat();
        steno(bench.root.path(), &words)
    };
    let follow = |name: &str| {
        let mut command = command(env!("CARGO_BIN_EXE_steno"), bench.root.path());
        let file = format!("{name}.pcap");
        Running::start(command.args(["read", "udp", "--follow", "-w", &file]).args(source(name)))
    };
    let (of_alice, of_bob) = (follow("alice"), follow("bob"));
    let length = |name: &str| fs::metadata(bench.root.path().join(name)).map_or(0, |metadata| metadata.len());
    let whole = fs::metadata(files.path().join("made.pcap")).unwrap().len();
    until("both have what is stored", || length("alice.pcap") == whole && length("bob.pcap") == whole);
    assert_eq!((status("alice").status, status("bob").status), (Some(0), Some(0)));

    let run = keys(&["revoke", "alice"]);
    assert!(run.out().contains(": revoked\n"), "{run:?}");
    until("alice is refused", || status("alice").status == Some(1));
    // What was under way ends by itself, and is told not to be whole.
    let run = of_alice.end();
    assert_eq!(run.status, Some(3), "{run:?}");
    assert_eq!(status("bob").status, Some(0));
    let run =
        steno(bench.root.path(), &["import", files.path().join("made.pcap").to_str().unwrap(), "--store", "store"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    until("bob gets what comes", || length("bob.pcap") == 2 * whole - 24);
    of_bob.interrupt();
    let run = of_bob.end();
    assert_eq!(run.status, Some(130), "{run:?}");
    // Another certificate of that name is another client's.
    let _run = keys(&["client", "alice", "--renew"]);
    assert_eq!(status("alice").status, Some(0));
}

#[test]
fn stenoread_prints_what_tcpdump_prints_of_the_same_packets() {
    let there = Command::new("tcpdump").arg("--version").output();
    if !need(there.is_ok_and(|output| output.status.success()), "tcpdump") {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::start(&[made(files.path())]) else { return };
    let run = bench.read(&["read", "udp", "-w", "out", "--format", "pcap"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    for args in [&["-nn"][..], &["-n", "-tt", "-e", "port", "53"], &["-c", "3"], &["-w", "-"]] {
        let mut stenoread = command(env!("CARGO_BIN_EXE_stenoread"), bench.root.path());
        let _ = stenoread.arg("udp").args(args).env("STENOGRAPHER_CONFIG", "config");
        let mut tcpdump = command("tcpdump", bench.root.path());
        let (asked, read) =
            (Running::start(&mut stenoread).end(), Running::start(tcpdump.args(["-r", "out"]).args(args)).end());
        assert!(asked.bytes == read.bytes && !asked.bytes.is_empty(), "{args:?}: {asked:?}");
        assert_eq!((asked.status, asked.err.contains("complete")), (Some(0), false), "{args:?}: {asked:?}");
    }
}

#[test]
fn a_status_tells_what_is_held_and_what_is_wrong() {
    let files = tempfile::tempdir().unwrap();
    let Some(bench) = Bench::start(&[made(files.path())]) else { return };
    let json = |run: &Run| serde_json::from_str::<Value>(&run.out()).unwrap();
    let (asked, read) = (bench.asked(&["status", "--json"]), bench.read(&["status", "--json"]));
    assert_eq!((asked.status, read.status), (Some(0), Some(0)), "{asked:?} {read:?}");
    let (asked, read) = (json(&asked), json(&read));
    for field in ["oldest", "newest", "segments", "packet_bytes"] {
        assert_eq!(asked["holdings"][field], read["holdings"][field], "{field}: {asked} {read}");
    }
    assert_eq!(read["holdings"]["oldest"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(read["threads"][0]["packets"], 1_000);
    assert_eq!((&asked["captures"][0]["source"], &asked["captures"][0]["state"]), (&"lo".into(), &"running".into()));
    assert_eq!(read["captures"], Value::Null);
    assert!(asked["certificate_until"].as_str().is_some_and(|text| text.ends_with('Z')), "{asked}");

    let mut files = fs::read_dir(bench.root.path().join("store/IDX0")).unwrap().map(|file| file.unwrap().path());
    // The daemon may have written its catalogue file beside it.
    let index = files.find(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b".")).unwrap();
    fs::write(&index, "not an index").unwrap();
    let run = bench.read(&["status"]);
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(run.out().starts_with("health      1 problem\n            - 1 file cannot be searched"), "{run:?}");
}

#[test]
fn every_query_of_the_corpus_is_answered_as_from_files() {
    let corpus = shared_dir(env!("CARGO_MANIFEST_DIR")).map(|shared| shared.join("corpus"));
    if !need(corpus.is_some(), "the corpus of captures in ../shared") {
        return;
    }
    let corpus = corpus.unwrap();
    let Some(bench) = Bench::start(&[corpus.join("mixed.pcap")]) else { return };
    let table = fs::read_to_string(corpus.join("expected.tsv")).unwrap();
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        let query = if cells[0] == "(all)" { "after 1970-01-01T00:00:00Z" } else { cells[0] };
        let run = bench.same(&["read", query, "-w", "-"]);
        let told = format!("complete: {} packet", cells[3]);
        assert!(run.status == Some(0) && run.err.starts_with(&told), "{query}: {run:?}");
        let _flows = bench.same(&["flows", query, "--json"]);
        let _explained = bench.same(&["explain", query]);
        rows += 1;
    }
    assert!(rows > 45, "only {rows} rows");
}
