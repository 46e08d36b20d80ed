//! What becomes of answers: whole ones, broken ones, wrong ones, and those that nobody wants any more.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::Stdio,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use steno_cli::import::reader::CaptureReader;
use steno_core::testkit::need;
use steno_proto::v1::{self, FlowsResponse, StatusResponse, flows_response};
use tonic::{Code, Status};

use crate::{
    fake::{Fake, Play, Step, capture, chunk, end, progress, receipt},
    run::{PATIENCE, Running, command, until},
};

/// The packets of a capture file, which must be whole.
fn packets(path: &Path) -> usize {
    let mut reader = CaptureReader::open(File::open(path).unwrap()).unwrap();
    let mut packets = 0;
    while let Some(_packet) = reader.next_record().unwrap() {
        packets += 1;
    }
    packets
}

fn asked(query: Vec<Step<v1::QueryResponse>>) -> Fake {
    Fake::start(Play { query, ..Play::default() })
}

/// A whole answer of three packets in chunks that end anywhere.
fn whole() -> (Vec<u8>, Vec<Step<v1::QueryResponse>>) {
    let (bytes, _) = capture(3);
    let mut steps: Vec<_> = bytes.chunks(37).map(chunk).collect();
    steps.insert(2, progress());
    steps.push(end(receipt(&bytes, 3)));
    (bytes, steps)
}

#[test]
fn a_whole_answer_is_delivered_as_it_is() {
    let (bytes, steps) = whole();
    let fake = asked(steps);
    let told = "complete: 3 packets and 198 bytes for `udp`";
    for args in [&["read", "udp", "-w", "-"][..], &["read", "udp", "-w", "out", "--receipt", "receipt.json"]] {
        let run = fake.steno(args);
        assert_eq!(run.status, Some(0), "{run:?}");
        assert!(run.err.starts_with(told), "{run:?}");
        assert!(!run.err.contains('\r') && !run.err.contains('\x1b'), "not a terminal: {run:?}");
        assert!(run.bytes == bytes || (run.bytes.is_empty() && fs::read(fake.path("out")).unwrap() == bytes));
    }
    let json: Value = serde_json::from_slice(&fs::read(fake.path("receipt.json")).unwrap()).unwrap();
    assert_eq!((&json["packets"], &json["complete"]), (&3.into(), &true.into()), "{json}");
    assert_eq!(json["blake3"], blake3::hash(&bytes).to_hex().as_str());

    // The plain printer, where there is no tcpdump.
    let mut plain = command(env!("CARGO_BIN_EXE_steno"), fake.root.path());
    let run = Running::start(plain.args(["read", "udp"]).args(fake.named()).env("PATH", "/nonexistent")).end();
    assert_eq!(run.status, Some(0), "{run:?}");
    let out = run.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2], "2023-11-14T22:13:20.000000002Z IP 10.0.0.1.40000 > 10.0.0.2.53: udp, 42 bytes");
}

#[test]
fn limits_and_format_are_the_sensors_to_mind() {
    let fake = asked(whole().1);
    let limits = ["--limit-packets", "7", "--limit-bytes", "8", "--deadline", "9s"];
    let _run = fake.steno(&[&["read", "port 53", "-w", "out", "--format", "pcapng"], &limits[..]].concat());
    let request = fake.seen.query.lock().unwrap().clone().unwrap();
    assert_eq!(request.query, "port 53");
    assert_eq!(request.format(), v1::CaptureFormat::Pcapng);
    assert_eq!((request.max_packets, request.max_bytes, request.deadline_ms), (Some(7), Some(8), 9_000));
}

#[test]
fn a_broken_answer_has_status_3_and_says_what_has_come() {
    let (bytes, ends) = capture(3);
    let part = &bytes[..ends[2] + 5];
    let told = format!("NOT COMPLETE: the answer broke off after 2 packets and {} bytes", part.len());
    let lost = Status::new(Code::Unavailable, "the sensor is stopping");
    for (last, why) in [
        (None, "the sensor ended it without a word"),
        (Some(Step::Cut), " was lost: the sensor died, or something on the way cut it"),
        (Some(Step::Fail(lost)), "the sensor is not available: the sensor is stopping"),
    ] {
        let fake = asked([chunk(part)].into_iter().chain(last).collect());
        let run = fake.steno(&["read", "udp", "-w", "out"]);
        assert_eq!(run.status, Some(3), "{why}: {run:?}");
        assert!(run.err.starts_with(&told) && run.err.contains(why), "{why}: {run:?}");
        assert_eq!(packets(&fake.path("out")), 2, "what came is cut behind a whole packet: {why}");
        let run = fake.steno(&["read", "udp"]);
        assert_eq!(run.status, Some(3), "{why}: {run:?}");
        assert_eq!(run.out().lines().count(), 2, "{why}: {run:?}");
    }
}

#[test]
fn a_receipt_that_is_not_complete_has_status_3() {
    let (bytes, steps) = whole();
    let unreadable = v1::Unreadable { file: "PKT0/7".into(), reason: "it is cut".into(), may_hold_matches: true };
    let partial = v1::Receipt { complete: false, unreadable: vec![unreadable], ..receipt(&bytes, 3) };
    let stopped = v1::Receipt { complete: false, truncated_by: v1::Truncation::Stopping.into(), ..receipt(&bytes, 3) };
    let complete = receipt(&bytes, 3);
    let loss = || Step::Fail(Status::new(Code::DataLoss, "a file"));
    for (receipt, status, told) in [
        (partial.clone(), None, "unreadable: PKT0/7: it is cut"),
        (partial, Some(loss()), "unreadable: PKT0/7: it is cut"),
        (stopped, Some(loss()), "truncated: the sensor is stopping"),
        (complete, Some(loss()), "NOT COMPLETE: the sensor cannot read its files: a file"),
    ] {
        let mut steps = steps.clone();
        let last = steps.len() - 1;
        steps[last] = end(receipt);
        steps.extend(status);
        let fake = asked(steps);
        let run = fake.steno(&["read", "udp", "-w", "-"]);
        assert_eq!((run.status, run.bytes == bytes), (Some(3), true), "{told}: {run:?}");
        assert!(run.err.contains(told), "{told}: {run:?}");
    }
}

#[test]
fn bytes_that_are_not_those_of_the_receipt_have_status_1() {
    let (bytes, _) = capture(3);
    let mut bent = bytes.clone();
    bent[60] ^= 1;
    let right = || receipt(&bytes, 3);
    for (sent, receipt, told) in [
        (&bent, right(), "its BLAKE3 is "),
        (&bytes, v1::Receipt { blake3: String::new(), ..right() }, "that of the receipt none"),
        (
            &bytes,
            v1::Receipt { packets: 4, ..right() },
            "3 packets in 198 bytes came, and the receipt tells of 4 in 198",
        ),
        (&bytes, v1::Receipt { bytes: 1_000, ..right() }, "the receipt tells of 3 in 1000"),
    ] {
        let fake = asked(vec![chunk(sent), end(receipt)]);
        let run = fake.steno(&["read", "udp", "-w", "out"]);
        assert_eq!(run.status, Some(1), "{told}: {run:?}");
        assert!(run.err.starts_with("error: the answer arrived damaged, do not use it: "), "{run:?}");
        assert!(run.err.contains(told) && !run.err.contains("complete: "), "{told}: {run:?}");
    }
    // A record that no capture file has.
    let mut long = bytes;
    long[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let run = asked(vec![chunk(&long), Step::Hang]).steno(&["read", "udp", "-w", "-"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("a capture file with a record of"), "{run:?}");
}

#[test]
fn what_the_sensor_will_not_do_is_told_and_touches_nothing() {
    let report = "error: unknown primitive `prt`\n  | prt 53\n  | ^^^ did you mean `port`?";
    let details = || b"details".to_vec().into();
    for (status, exit, told) in [
        (Status::with_details(Code::InvalidArgument, report, details()), 2, format!("{report}\n")),
        (
            Status::new(Code::InvalidArgument, "format 9 is not known"),
            1,
            "error: the sensor refuses the request: format 9 is not known\n".to_owned(),
        ),
        (
            Status::new(Code::ResourceExhausted, "32 queries are being answered"),
            1,
            "error: the sensor has too much to do: 32 queries are being answered\n".to_owned(),
        ),
        (
            Status::new(Code::Unavailable, "it is stopping"),
            1,
            "error: the sensor is not available: it is stopping\n".to_owned(),
        ),
        (Status::new(Code::Unimplemented, "no"), 1, "error: the sensor cannot do that: no\n".to_owned()),
        (Status::new(Code::Internal, "a bug"), 1, "error: the sensor failed: a bug\n".to_owned()),
    ] {
        let fake = Fake::start(Play { refuse: Some(status), ..Play::default() });
        fs::write(fake.path("out"), "kept").unwrap();
        for args in
            [&["read", "prt 53", "-w", "out"][..], &["read", "prt 53"], &["flows", "prt 53"], &["explain", "prt 53"]]
        {
            let run = fake.steno(args);
            assert_eq!(
                (run.status, run.out(), run.err.as_str()),
                (Some(exit), String::new(), told.as_str()),
                "{args:?}"
            );
        }
        assert_eq!(fs::read(fake.path("out")).unwrap(), b"kept");
    }
}

#[test]
fn ctrl_c_ends_a_slow_answer_with_what_is_known() {
    let (bytes, ends) = capture(3);
    let fake = asked(vec![chunk(&bytes[..ends[1]]), Step::Hang]);
    let running = fake.begin(&["read", "udp", "-w", "out"]);
    until("the first packet", || fs::metadata(fake.path("out")).is_ok_and(|file| file.len() == ends[1] as u64));
    let began = Instant::now();
    running.interrupt();
    let run = running.end();
    assert_eq!(run.status, Some(130), "{run:?}");
    assert_eq!(run.err, "interrupted after 1 packet and 82 bytes, without a receipt; more may match\n");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(packets(&fake.path("out")), 1);
    until("the sensor knows", || fake.seen.gone.load(Ordering::Relaxed));

    // One that has said nothing at all.
    let fake = Fake::start(Play { flows: vec![Step::Hang], ..Play::default() });
    let running = fake.begin(&["flows", "udp"]);
    thread::sleep(Duration::from_millis(500));
    running.interrupt();
    let run = running.end();
    assert_eq!(
        (run.status, run.err.as_str()),
        (Some(130), "interrupted after 0 flows, without a receipt; more may match\n")
    );
}

#[test]
fn ctrl_c_is_told_also_where_it_ends_tcpdump_first() {
    let (bytes, ends) = capture(1_000);
    let mut steps = vec![chunk(&bytes[..ends[0]])];
    steps.extend((0..20_000).map(|_| chunk(&bytes[ends[0]..])));
    steps.push(Step::Hang);
    let fake = asked(steps);
    // One that goes before the client looks for a signal. Another process writes the program: a test beside this one that
    // starts a program would else keep it open for writing, and so from being started.
    fs::write(fake.path("script"), "#!/bin/sh\nread -r line\nkill -INT $PPID\nexit 0\n").unwrap();
    let mut install = command("install", fake.root.path());
    assert_eq!(Running::start(install.args(["-m", "755", "script", "tcpdump"])).end().status, Some(0));
    let paths = format!("{}:{}", fake.root.path().display(), std::env::var("PATH").unwrap());
    let mut read = command(env!("CARGO_BIN_EXE_steno"), fake.root.path());
    let _ = read.args(["read", "udp"]).args(fake.named()).env("PATH", paths);
    let run = Running::start(&mut read).end();
    assert_eq!(run.status, Some(130), "{run:?}");
    assert!(run.err.contains("interrupted after "), "{run:?}");
}

#[test]
fn a_reader_that_goes_ends_the_answer_with_success() {
    let (bytes, ends) = capture(1_000);
    let mut steps = vec![chunk(&bytes[..ends[0]])];
    steps.extend((0..20_000).map(|_| chunk(&bytes[ends[0]..])));
    steps.push(Step::Hang);
    let fake = asked(steps);
    let mut child = command(env!("CARGO_BIN_EXE_steno"), fake.root.path());
    let mut child = child.args(["read", "udp", "-w", "-"]).args(fake.named()).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4096];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    assert_eq!(first, bytes[..4096]);
    drop(out);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    until("the sensor knows", || fake.seen.gone.load(Ordering::Relaxed));
    assert!(fake.seen.said.load(Ordering::Relaxed) < 20_000, "the rest was never asked for");
}

#[test]
fn progress_is_shown_on_a_terminal_and_wiped_out() {
    let script = std::process::Command::new("script").arg("--version").output();
    if !need(script.is_ok_and(|output| output.status.success()), "the program `script`, for a terminal") {
        return;
    }
    let (bytes, ends) = capture(2);
    let fake = asked(vec![
        chunk(&bytes[..ends[1]]),
        Step::Wait(Duration::from_millis(900)),
        progress(),
        chunk(&bytes[ends[1]..]),
        end(receipt(&bytes, 2)),
    ]);
    let line = format!("{} read udp -w out {}", env!("CARGO_BIN_EXE_steno"), fake.named().join(" "));
    let run = Running::start(command("script", fake.root.path()).args(["-q", "-e", "-c", &line, "/dev/null"])).end();
    assert_eq!(run.status, Some(0), "{run:?}");
    let shown = run.out();
    assert!(shown.contains("\r1 packet, 82 bytes, "), "{shown:?}");
    let (_, after) = shown.rsplit_once("\r\x1b[K").unwrap();
    assert!(after.starts_with("complete: 2 packets"), "{shown:?}");
}

fn flow(port: u32) -> v1::Flow {
    v1::Flow {
        first_ns: 1,
        last_ns: 2,
        layers: "ip udp".into(),
        protocol: Some(17),
        a_address: "10.0.0.1".into(),
        a_port: Some(port),
        b_address: "10.0.0.2".into(),
        b_port: Some(53),
        a_to_b: Some(v1::Traffic { packets: 3, bytes: 4, matches: true }),
        b_to_a: Some(v1::Traffic::default()),
        partial: false,
        community_id: String::new(),
    }
}

fn batch(flows: Vec<v1::Flow>) -> Step<FlowsResponse> {
    Step::Say(FlowsResponse { part: Some(flows_response::Part::Flows(v1::FlowBatch { flows })) })
}

#[test]
fn flows_come_as_they_are_found_and_a_broken_list_has_status_3() {
    let last = v1::Receipt { query: "udp".into(), packets: 6, complete: true, ..v1::Receipt::default() };
    let last = Step::Say(FlowsResponse { part: Some(flows_response::Part::Receipt(last)) });
    let flows = vec![batch(vec![flow(1), flow(2)]), batch(vec![flow(3)]), last];
    let fake = Fake::start(Play { flows, ..Play::default() });
    for (args, lines) in [(&["flows", "udp"][..], 4), (&["flows", "udp", "--json"], 3), (&["flows", "udp", "--csv"], 4)]
    {
        let run = fake.steno(args);
        assert_eq!((run.status, run.out().lines().count()), (Some(0), lines), "{run:?}");
        assert!(run.err.starts_with("3 flows\ncomplete: 6 packets"), "{run:?}");
    }

    let fake = Fake::start(Play { flows: vec![batch(vec![flow(1), flow(2)]), Step::Hang], ..Play::default() });
    // Lines are there while the sensor is still at work.
    let mut child = command(env!("CARGO_BIN_EXE_steno"), fake.root.path());
    let mut child = child.args(["flows", "udp", "--json"]).args(fake.named()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 10];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"{\"first\":\"");
    child.kill().unwrap();
    let _ = child.wait().unwrap();

    let fake = Fake::start(Play { flows: vec![batch(vec![flow(1), flow(2)])], ..Play::default() });
    for args in [&["flows", "udp"][..], &["flows", "udp", "--json"]] {
        let run = fake.steno(args);
        assert_eq!(run.status, Some(3), "{run:?}");
        assert!(run.err.starts_with("NOT COMPLETE: the answer broke off after 2 flows"), "{run:?}");
        assert!(run.out().contains("10.0.0.1"), "what came is printed: {run:?}");
    }

    let fake = Fake::start(Play { flows: vec![batch(vec![flow(70_000)])], ..Play::default() });
    let run = fake.steno(&["flows", "udp", "--json"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("70000 as port"), "{run:?}");
}

#[test]
fn the_status_of_a_sensor_decides_the_exit_status() {
    let good = StatusResponse {
        version: "9.9".into(),
        host: "tap7".into(),
        now_ns: 2_000_000_000,
        started_ns: 1_000_000_000,
        healthy: true,
        ..StatusResponse::default()
    };
    let fake = Fake::start(Play { status: good.clone(), ..Play::default() });
    let run = fake.steno(&["status"]);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    assert!(run.out().starts_with("sensor      tap7, version 9.9, up 1 s\nhealth      good\n"), "{run:?}");

    let problems = vec!["nothing is captured on eth0 now".to_owned()];
    let fake = Fake::start(Play { status: StatusResponse { healthy: false, problems, ..good }, ..Play::default() });
    let run = fake.steno(&["status"]);
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(run.out().contains("- nothing is captured on eth0 now\n"), "{run:?}");
    let run = fake.steno(&["status", "--json"]);
    assert_eq!((run.status, run.out().lines().count()), (Some(3), 1), "{run:?}");
    let json: Value = serde_json::from_str(&run.out()).unwrap();
    assert_eq!((&json["healthy"], &json["host"]), (&false.into(), &"tap7".into()));
    assert_eq!(json["now"], "1970-01-01T00:00:02.000000000Z");
    assert_eq!(json["captures"], Value::Array(Vec::new()));
    let help = fake.steno(&["status", "--help"]);
    for name in json.as_object().unwrap().keys() {
        assert!(help.out().contains(name.as_str()), "{name} is not in the help");
    }
}

#[test]
fn stenoread_is_as_it_was() {
    let (bytes, steps) = whole();
    let fake = asked(steps);
    let stenoread = |args: &[&str], path: Option<&str>| {
        let mut command = command(env!("CARGO_BIN_EXE_stenoread"), fake.root.path());
        let _ = command.args(args).env("STENOGRAPHER_CONFIG", fake.config());
        let _ = path.map(|path| command.env("PATH", path));
        Running::start(&mut command).end()
    };
    let there = ["/usr/bin/tcpdump", "/usr/sbin/tcpdump"].iter().any(|path| Path::new(path).is_file());
    if need(there, "tcpdump") {
        let run = stenoread(&["--limit-packets", "6", "udp", "-nn", "-c", "2", "port 53"], None);
        assert_eq!((run.status, run.out().lines().count()), (Some(0), 2), "{run:?}");
        let begins = "Running stenographer query 'udp', piping to 'tcpdump -nn -c 2 port 53'\n";
        assert!(run.err.starts_with(begins) && !run.err.contains("complete"), "{run:?}");
        let request = fake.seen.query.lock().unwrap().clone().unwrap();
        assert_eq!((request.max_packets, request.format()), (Some(6), v1::CaptureFormat::Pcap));
        // tcpdump's own status.
        let run = stenoread(&["udp", "nonsense and more"], None);
        assert_eq!(run.status, Some(1), "{run:?}");
        let run = stenoread(&["udp", "-w", "-"], None);
        assert_eq!((run.status, run.bytes.len()), (Some(0), bytes.len()), "{run:?}");
    }
    // Where it may be besides the directories of PATH.
    if !["/usr/local/sbin", "/usr/sbin", "/sbin"].iter().any(|dir| Path::new(dir).join("tcpdump").is_file()) {
        let run = stenoread(&["udp", "-n"], Some("/nonexistent"));
        assert_eq!((run.status, run.out()), (Some(1), String::new()), "{run:?}");
        assert!(run.err.contains("tcpdump is not installed"), "{run:?}");
    }

    let fake = asked(vec![chunk(&bytes[..70])]);
    let run = Running::start(
        command(env!("CARGO_BIN_EXE_stenoread"), fake.root.path()).arg("udp").env("STENOGRAPHER_CONFIG", fake.config()),
    )
    .end();
    assert_eq!(run.status, Some(3), "{run:?}");
    assert!(run.err.contains("NOT COMPLETE: the answer broke off"), "{run:?}");
    let run = Running::start(&mut command(env!("CARGO_BIN_EXE_stenoread"), fake.root.path())).end();
    assert_eq!((run.status, run.out()), (Some(2), String::new()), "{run:?}");
}
