//! The commands on a store, their output and their exit statuses.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{
    ALL, Run, STENO, TestStore,
    captures::{Pcap, Sample},
    packets, steno,
};
use serde_json::Value;
use steno_core::testkit::{need, recipe};

/// Two conversations and an ARP packet, within four seconds.
const RECIPE: &str = "
1700000000.000000001 vlan 7 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 9
1700000001.000000002 vlan 7 ip 10.0.0.2 > 10.0.0.1 tcp 80 > 40000 data 90
1700000002.000000003 ip 2001:db8::1 > 2001:db8::2 udp 5353 > 53 data 20 snap 64
1700000003.000000004 type 0x0806 data 28
";

fn recipe_samples() -> Vec<Sample> {
    let packets = recipe(RECIPE).unwrap();
    packets.into_iter().map(|p| Sample { ns: p.time.as_ns(), wire_len: p.wire_len, data: p.bytes }).collect()
}

fn recipe_store() -> TestStore {
    TestStore::of(&[Pcap::NANOSECONDS.file(&recipe_samples())])
}

#[test]
fn a_query_gives_its_packets_and_a_receipt() {
    let (store, samples) = (recipe_store(), recipe_samples());
    for (query, expected) in [
        ("tcp", &samples[..2]),
        ("vlan 7 and src host 10.0.0.2", &samples[1..2]),
        ("port 53", &samples[2..3]),
        ("arp", &samples[3..]),
        ("before 2023-11-14T22:13:21.000000002Z", &samples[..1]),
        ("not ip and not ip6", &samples[3..]),
    ] {
        let (run, found) = store.read(query, &[]);
        assert_eq!((run.status, &found[..]), (Some(0), expected), "{query}: {run:?}");
        assert_eq!(run.out, "", "{query}");
        assert!(run.err.starts_with(&format!("complete: {} packet", expected.len())), "{query}: {run:?}");
    }
    let (run, found) = store.read("port 9", &[]);
    assert_eq!((run.status, found.len()), (Some(0), 0), "{run:?}");
}

#[test]
fn options_may_stand_before_and_after_the_query() {
    let store = recipe_store();
    let dir = store.path();
    let dir = dir.to_str().unwrap();
    for words in [
        ["read", "--store", dir, "tcp", "-w", "-"],
        ["read", "tcp", "-w", "-", "--store", dir],
        ["read", "-w", "-", "tcp", "--store", dir],
    ] {
        let output = Command::new(STENO).args(words).output().unwrap();
        assert_eq!(packets(&output.stdout[..]), recipe_samples()[..2], "{words:?}");
    }
}

#[test]
fn limits_end_an_answer_and_only_a_cut_one_has_status_3() {
    let (store, samples) = (recipe_store(), recipe_samples());
    for (limit, packets, status) in [("0", 0, 3), ("1", 1, 3), ("3", 3, 3), ("4", 4, 0), ("5", 4, 0)] {
        let (run, found) = store.read(ALL, &["--limit-packets", limit]);
        assert_eq!((run.status, &found[..]), (Some(status), &samples[..packets]), "{limit}: {run:?}");
        assert_eq!(run.err.contains("NOT COMPLETE"), status == 3, "{run:?}");
    }
    // 16 for the file, and 16 and the captured bytes for a packet.
    let first = 16 + 16 + samples[0].data.len();
    for (limit, packets) in [(first, 1), (first + 1, 2)] {
        let (run, found) = store.read(ALL, &["--limit-bytes", &limit.to_string()]);
        assert_eq!((run.status, found.len()), (Some(3), packets), "{run:?}");
    }
    assert_eq!(store.read(ALL, &["--limit-packets", "many"]).0.status, Some(2));
}

#[test]
fn the_receipt_is_written_as_json() {
    let store = recipe_store();
    let path = store.dir.path().join("receipt.json");
    let (run, _) = store.read("tcp", &["--receipt", path.to_str().unwrap()]);
    assert_eq!(run.status, Some(0));
    let receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((&receipt["packets"], &receipt["complete"]), (&2.into(), &true.into()), "{receipt}");
    let answer = fs::read(store.dir.path().join("answer")).unwrap();
    assert_eq!(receipt["bytes"], answer.len());
    assert_eq!(receipt["blake3"], blake3::hash(&answer).to_hex().as_str());
}

#[test]
fn a_query_that_does_not_parse_has_status_2_and_touches_nothing() {
    let store = recipe_store();
    let kept = store.file("answer", b"kept");
    let (run, _) = (store.run(&["read", "udp and prot 53 or port x", "-w", kept.to_str().unwrap()]), ());
    assert_eq!((run.status, run.out.as_str()), (Some(2), ""), "{run:?}");
    assert!(run.err.contains("error: unknown primitive `prot`"), "{run:?}");
    // All errors at once, each under its place.
    assert!(run.err.matches("error: ").count() >= 2 && run.err.contains("^^^^"), "{run:?}");
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
    for command in ["flows", "explain"] {
        assert_eq!(store.run(&[command, "prot 53"]).status, Some(2), "{command}");
    }
}

#[test]
fn bad_usage_has_status_2_and_says_what_to_do() {
    let store = recipe_store();
    let dir = store.path();
    let dir = dir.to_str().unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&[], "Usage: steno"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["read"], "<QUERY>"),
        (&["verify"], "give --store DIR"),
        (&["read", "tcp", "--server", "sensor:1234"], "--certs <DIR>"),
        (&["read", "tcp", "--server", "sensor:x", "--certs", dir], "\"sensor:x\" is no HOST:PORT"),
        (&["read", "tcp", "--store", dir, "--config", dir], "cannot be used with"),
        (&["read", "tcp", "--store", dir, "--deadline", "5"], "it takes a number and a unit"),
        (&["read", "tcp", "--store", dir, "-w", "x", "--format", "snoop"], "possible values: pcap, pcap-ns, pcapng"),
        (&["read", "tcp", "--store", dir, "-w", "x", "--", "-n"], "cannot be used with"),
        (&["flows", "tcp", "--store", dir, "--json", "--csv"], "cannot be used with"),
        (&["help", "nothing"], "no help on `nothing`; there is help on: query, read, "),
    ];
    for (words, told) in cases {
        let run = steno(words);
        assert_eq!((run.status, run.out.as_str()), (Some(2), ""), "{words:?}: {run:?}");
        assert!(run.err.contains(told), "{words:?}: {run:?}");
    }
}

#[test]
fn a_store_that_is_none_has_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (store, told) in [(dir.path().join("none"), "none"), (file, "file"), (dir.path().to_owned(), "is no store")] {
        for command in [
            &["read", "tcp", "-w", "-"][..],
            &["flows", "tcp"],
            &["explain", "tcp"],
            &["verify"],
            &["export", "1", "-w", "-"],
        ] {
            let mut words = command.to_vec();
            words.extend(["--store", store.to_str().unwrap()]);
            let run = steno(&words);
            assert_eq!((run.status, run.out.as_str()), (Some(1), ""), "{words:?}: {run:?}");
            assert!(run.err.starts_with("error: ") && run.err.contains(told), "{words:?}: {run:?}");
        }
    }
}

#[test]
fn damage_is_told_and_never_a_short_answer_with_status_0() {
    let store = recipe_store();
    let name = store.names("PKT0").remove(0);
    let (packet_file, index) = (store.path().join("PKT0").join(&name), store.path().join("IDX0").join(&name));
    let whole = fs::read(&packet_file).unwrap();
    // Cut within the first packet.
    fs::write(&packet_file, &whole[..100]).unwrap();
    let (run, found) = store.read(ALL, &[]);
    assert_eq!((run.status, found.len()), (Some(3), 0), "{run:?}");
    assert!(run.err.contains("NOT COMPLETE") && run.err.contains(&name), "{run:?}");
    let run = store.run(&["verify"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.out.contains(&format!("PKT0/{name}: packet file: block at offset 0")), "{run:?}");
    let run = store.run(&["export", &name, "-w", "-"]);
    assert_eq!(run.status, Some(3), "{run:?}");

    fs::write(&packet_file, &whole).unwrap();
    assert_eq!(store.run(&["verify"]).status, Some(0));
    let mut bent = fs::read(&index).unwrap();
    let last = bent.len() - 20;
    bent[last] ^= 1;
    fs::write(&index, bent).unwrap();
    let (run, _) = store.read(ALL, &[]);
    assert_eq!(run.status, Some(3), "{run:?}");
    let dump = steno(&["index".as_ref(), "dump".as_ref(), index.as_os_str()]);
    assert_eq!(dump.status, Some(1), "{dump:?}");

    // Without an index the packets can still be exported.
    fs::remove_file(&index).unwrap();
    let run = store.run(&["verify"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.out.contains(&format!("PKT0/{name}: it has no index")), "{run:?}");
    let out = store.dir.path().join("exported");
    let run = store.run(&["export", &name, "-w", out.to_str().unwrap()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(packets(fs::File::open(out).unwrap()), recipe_samples());
}

#[test]
fn flows_are_listed_as_table_csv_and_json() {
    let store = recipe_store();
    let table = store.run(&["flows", "ip or ip6"]);
    assert_eq!(table.status, Some(0), "{table:?}");
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("FIRST") && lines.len() == 3, "{table:?}");
    assert!(lines[1].contains("vlan 7 ip tcp") && lines[1].contains("10.0.0.1:40000"), "{table:?}");
    assert!(table.err.contains("2 flows"), "{table:?}");

    let json = store.run(&["flows", "--json", "tcp"]);
    let flow: Value = serde_json::from_str(json.out.trim_end()).unwrap();
    assert_eq!(flow["first"], "2023-11-14T22:13:20.000000001Z");
    assert_eq!((&flow["a"], &flow["a_port"]), (&"10.0.0.1".into(), &40_000.into()));
    assert_eq!((&flow["a_to_b"]["packets"], &flow["b_to_a"]["packets"]), (&1.into(), &1.into()));
    assert_eq!(flow["a_to_b"]["bytes"], recipe_samples()[0].wire_len);
    assert!(flow["community_id"].as_str().unwrap().starts_with("1:"), "{flow}");

    let csv = store.run(&["flows", "--csv", "udp"]);
    let rows: Vec<Vec<&str>> = csv.out.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0].len(), rows[1].len()), (2, rows[0].len(), rows[0].len()), "{csv:?}");
    let column = |name: &str| rows[1][rows[0].iter().position(|&n| n == name).unwrap()];
    assert_eq!((column("b"), column("b_port"), column("b_to_a_packets")), ("2001:db8::2", "53", "0"));
    // Every field that the help names is there.
    let help = steno(&["flows", "--help"]).out;
    for name in ["first", "layers", "protocol", "a_port", "a_to_b", "partial", "community_id"] {
        assert!(help.contains(name) && flow.get(name).is_some(), "{name}");
    }
}

#[test]
fn explain_reads_no_packet_file() {
    let store = recipe_store();
    for name in store.names("PKT0") {
        fs::write(store.path().join("PKT0").join(name), "").unwrap();
    }
    let run = store.run(&["explain", "tcp and port 80"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.contains("packets:       2\n"), "{run:?}");
    let json: Value = serde_json::from_str(&store.run(&["explain", "--json", "tcp"]).out).unwrap();
    assert_eq!(json["estimate"]["packets_at_most"], 2, "{json}");
}

#[test]
fn a_segment_is_exported_whole() {
    let (store, samples) = (recipe_store(), recipe_samples());
    let name = store.names("PKT0").remove(0);
    let out = store.dir.path().join("out");
    let export = |segment: &str, format: &str| {
        let run = store.run(&["export", segment, "-w", out.to_str().unwrap(), "--format", format]);
        (run.status, packets(fs::File::open(&out).unwrap()))
    };
    assert_eq!(export(&name, "pcap-ns"), (Some(0), samples.clone()));
    assert_eq!(export(&format!("PKT0/{name}"), "pcapng"), (Some(0), samples));
    let run = store.run(&["export", "12", "-w", "-"]);
    assert_eq!((run.status, run.out.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.err.contains("no segment of the store has this name"), "{run:?}");

    // A second thread with a segment of the same name.
    for (from, to) in [("PKT0", "PKT1"), ("IDX0", "IDX1")] {
        fs::create_dir(store.path().join(to)).unwrap();
        let _ = fs::copy(store.path().join(from).join(&name), store.path().join(to).join(&name)).unwrap();
    }
    let run = store.run(&["export", &name, "-w", "-"]);
    assert_eq!(run.status, Some(2), "{run:?}");
    assert!(run.err.contains(&format!("PKT0/{name}, PKT1/{name}")), "{run:?}");
    assert_eq!(store.run(&["export", &format!("PKT1/{name}"), "-w", "-"]).status, Some(0));
}

#[test]
fn an_index_is_dumped_as_text() {
    let store = recipe_store();
    let index = store.path().join("IDX0").join(store.names("IDX0").remove(0));
    let run =
        steno(&["index".as_ref(), "dump".as_ref(), index.as_os_str(), "--blocks".as_ref(), "--conversations".as_ref()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    for told in [
        "packets        4, ",
        "conversations  3",
        "interface      0.pcap",
        "times          2023-11-14T22:13:20.000000001Z to 2023-11-14T22:13:23.000000004Z",
        "  0        at 0, sequence 1, 4 packets from 0",
        "10.0.0.1:40000 > 10.0.0.2:80",
    ] {
        assert!(run.out.contains(told), "{told:?} is not in {}", run.out);
    }
    let packets = store.path().join("PKT0").join(store.names("PKT0").remove(0));
    let run = steno(&["index".as_ref(), "dump".as_ref(), packets.as_os_str()]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("not an index"), "{run:?}");
}

#[test]
fn a_file_that_is_not_sealed_is_told_and_is_no_finding() {
    let store = recipe_store();
    fs::write(store.path().join("PKT0/.1700000009000000"), b"being written").unwrap();
    let run = store.run(&["verify"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.out.contains("PKT0/.1700000009000000: not sealed"), "{run:?}");
    assert!(run.err.contains("1 segment checked, 0 findings"), "{run:?}");
    // It may hold what was asked for.
    let (run, found) = store.read(ALL, &[]);
    assert_eq!((run.status, found.len()), (Some(3), 4), "{run:?}");
    assert_eq!(store.read("before 2023-11-13T00:00:00Z", &[]).0.status, Some(0));
}

/// A program called tcpdump that writes down its arguments and its standard input.
fn fake_tcpdump(dir: &Path, ending: &str) -> String {
    let (args, input) = (dir.join("args"), dir.join("input"));
    let script = format!("#!/bin/sh\necho \"$@\" >{}\ncat >{}\n{ending}\n", args.display(), input.display());
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("tcpdump"), script).unwrap();
    fs::set_permissions(bin.join("tcpdump"), fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", bin.display())
}

fn read_with_path(store: &TestStore, path: &str, more: &[&str]) -> Run {
    let mut command = Command::new(STENO);
    let _ = command.args(["read", "tcp", "--store"]).arg(store.path()).args(more).env("PATH", path);
    command.output().unwrap().into()
}

#[test]
fn without_w_packets_go_through_tcpdump() {
    let store = recipe_store();
    let dir = store.dir.path();
    let path = fake_tcpdump(dir, "echo printed");
    let run = read_with_path(&store, &path, &["--", "-n", "-vv"]);
    assert_eq!((run.status, run.out.as_str()), (Some(0), "printed\n"), "{run:?}");
    assert_eq!(fs::read_to_string(dir.join("args")).unwrap(), "-r - -s 0 -n -vv\n");
    assert_eq!(packets(fs::File::open(dir.join("input")).unwrap()), recipe_samples()[..2]);

    let run = read_with_path(&store, &fake_tcpdump(dir, "exit 9"), &[]);
    assert_eq!(run.status, Some(1));
    assert!(run.err.contains("tcpdump ended with exit status: 9"), "{run:?}");
    // As under `| head`.
    let run = read_with_path(&store, &fake_tcpdump(dir, "kill -PIPE $$"), &[]);
    assert_eq!(run.status, Some(0), "{run:?}");
}

#[test]
fn without_tcpdump_packets_are_plain_lines() {
    let store = recipe_store();
    let nowhere = store.dir.path().join("nowhere");
    let run = read_with_path(&store, nowhere.to_str().unwrap(), &[]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.len(), 2, "{run:?}");
    assert_eq!(lines[0], "2023-11-14T22:13:20.000000001Z vlan 7 IP 10.0.0.1.40000 > 10.0.0.2.80: tcp, 67 bytes");
    let run = read_with_path(&store, nowhere.to_str().unwrap(), &["--", "-n"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("cannot start tcpdump"), "{run:?}");
}

#[test]
fn the_installed_tcpdump_reads_what_it_is_given() {
    if !need(Command::new("tcpdump").arg("--version").output().is_ok(), "tcpdump") {
        return;
    }
    let store = recipe_store();
    let run = store.run(&["read", ALL, "--", "-n", "-t"]);
    assert_eq!((run.status, run.out.lines().count()), (Some(0), 4), "{run:?}");
    assert!(run.out.contains("IP 10.0.0.1.40000 > 10.0.0.2.80"), "{run:?}");
    let run = store.run(&["read", ALL, "--", "--no-such-option"]);
    assert_eq!(run.status, Some(1), "{run:?}");
}

/// 8 MiB of packets, more than any pipe holds.
fn large_store() -> TestStore {
    let packets: Vec<Sample> = (0..6000)
        .map(|i| Sample { ns: 1_700_000_000_000_000_000 + i, wire_len: 1400, data: vec![0x5a; 1400] })
        .collect();
    TestStore::of(&[Pcap::NANOSECONDS.file(&packets)])
}

#[test]
fn a_reader_that_goes_away_is_a_success() {
    let store = large_store();
    for words in [&["read", ALL, "-w", "-"][..], &["export", "1700000000000000", "-w", "-"]] {
        let mut child = Command::new(STENO)
            .args(words)
            .arg("--store")
            .arg(store.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 100]).unwrap();
        drop(out);
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!(run.status, Some(0), "{words:?}: {run:?}");
        assert!(!run.err.contains("error"), "{run:?}");
    }
}

#[test]
fn an_interrupted_answer_says_so_and_has_status_130() {
    let store = large_store();
    let mut child = Command::new(STENO)
        .args(["read", ALL, "-w", "-", "--store"])
        .arg(store.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    // Bytes come, so that it is under way; then it waits for the pipe.
    out.read_exact(&mut [0; 100]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = Vec::new();
    let _ = out.read_to_end(&mut rest).unwrap();
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.status, Some(130), "{run:?}");
    assert!(run.err.contains("NOT COMPLETE") && run.err.contains("it was cancelled"), "{run:?}");
    assert!(rest.len() < 6000 * 1416, "the whole answer came");
}

#[test]
fn an_answer_that_cannot_be_written_leaves_a_capture_that_can_be_read() {
    let store = large_store();
    let path = store.dir.path().join("cut.pcap");
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    let _ = command.args(["-c", script, STENO, "read", ALL, "-w"]).arg(&path).arg("--store").arg(store.path());
    let run = Run::from(command.output().unwrap());
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("cannot go on writing") && run.err.contains("cut.pcap"), "{run:?}");
    let kept = packets(fs::File::open(&path).unwrap());
    assert!(kept.len() > 500 && kept.len() < 6000, "{} packets were kept", kept.len());
    let run = store.run(&["read", ALL, "-w", store.dir.path().join("no/such/dir").to_str().unwrap()]);
    assert_eq!(run.status, Some(1), "{run:?}");
}

#[test]
fn the_receipt_of_an_answer_that_cannot_be_written_is_not_one_of_a_complete_answer() {
    // All of it is found before the first byte is written.
    let store = recipe_store();
    let path = store.dir.path().join("receipt.json");
    let run = store.run(&["read", ALL, "-w", "/dev/full", "--receipt", path.to_str().unwrap()]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("NOT COMPLETE") && run.err.contains("cannot go on writing"), "{run:?}");
    let receipt: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((&receipt["complete"], &receipt["truncated_by"]), (&false.into(), &"unfinished".into()), "{receipt}");
    assert_eq!((&receipt["packets"], &receipt["blake3"]), (&4.into(), &Value::Null), "{receipt}");
}

#[test]
fn help_man_pages_and_completions_come_from_the_same_definitions() {
    let run = steno(&["help", "query"]);
    assert_eq!((run.status, run.out.as_str()), (Some(0), steno_query::syntax::REFERENCE));
    let run = steno(&["--help"]);
    assert_eq!(run.status, Some(0));
    assert!(run.out.contains("Exit status:") && run.out.contains("130 interrupted"), "{run:?}");
    assert_eq!(steno(&["help"]).out, run.out);
    assert_eq!(steno(&["help", "index", "dump"]).out, steno(&["index", "dump", "--help"]).out);
    assert!(steno(&["--version"]).out.starts_with("steno "));

    let commands: Vec<String> =
        steno_cli::args::Cli::definitions().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in ["read", "flows", "explain", "status", "import", "export", "verify", "index", "demo", "help"] {
        assert!(commands.iter().any(|c| c == name), "there is no command {name}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = steno(&["completions", shell]);
        assert_eq!(run.status, Some(0));
        for command in &commands {
            assert!(run.out.contains(command), "{shell}: {command}");
        }
    }
    assert!(steno(&["man"]).out.contains(".TH steno 1"));
    let dir = tempfile::tempdir().unwrap();
    let run = steno(&["man", "--dir", dir.path().join("man1").to_str().unwrap()]);
    assert_eq!(run.status, Some(0), "{run:?}");
    for command in &commands {
        let page = fs::read_to_string(dir.path().join(format!("man1/steno-{command}.1"))).unwrap();
        assert!(page.contains(".TH"), "{command}");
    }
    let page = fs::read_to_string(dir.path().join("man1/steno-read.1")).unwrap();
    assert!(page.contains("limit\\-packets") && page.contains("Exit status 3"), "{page}");
    let page = fs::read_to_string(dir.path().join("man1/stenoread.1")).unwrap();
    assert!(page.contains("limit\\-packets") && page.contains("TCPDUMP ARGS"), "{page}");
    let run = steno(&["completions", "bash", "--program", "stenoread"]);
    assert!(run.status == Some(0) && run.out.contains("_stenoread") && run.out.contains("--limit-bytes"), "{run:?}");
    // clap's own check of the definitions.
    steno_cli::args::Cli::definitions().debug_assert();
    steno_cli::args::StenoreadArgs::definitions().debug_assert();
}

#[test]
fn standard_input_can_be_queried_through_a_pipe_of_programs() {
    let store = recipe_store();
    // What one store answers another one takes.
    let answer = Command::new(STENO).args(["read", ALL, "-w", "-", "--store"]).arg(store.path()).output().unwrap();
    let second = TestStore::new();
    let mut import = Command::new(STENO)
        .args(["import", "/dev/stdin", "--store"])
        .arg(second.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    import.stdin.take().unwrap().write_all(&answer.stdout).unwrap();
    let run = Run::from(import.wait_with_output().unwrap());
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(second.read(ALL, &[]).1, recipe_samples());
}
