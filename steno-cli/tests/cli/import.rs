//! `steno import`: what goes in comes out again, and what cannot go in is told and leaves nothing behind.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    ALL, Run, STENO, TestStore,
    captures::{Pcap, PcapNg, Sample, gzip, samples},
    steno,
};

#[test]
fn packets_come_out_as_they_went_in() {
    let ng = PcapNg { big_endian: true };
    let files = [
        (samples(1000), Pcap::MICROSECONDS.file(&samples(1000))),
        (samples(1), Pcap::NANOSECONDS.big_endian().file(&samples(1))),
        (samples(1000), Pcap::MODIFIED.file(&samples(1000))),
        (samples(1), ng.file(&samples(1))),
        (samples(1), gzip(&ng.file(&samples(1)))),
    ];
    for (samples, file) in files {
        let store = TestStore::of(&[file]);
        for format in ["pcap-ns", "pcapng"] {
            let (run, found) = store.read(ALL, &["--format", format]);
            assert_eq!((run.status, &found), (Some(0), &samples), "{format}: {run:?}");
        }
        let cut_to_us = samples.iter().map(|s| Sample { ns: s.ns / 1000 * 1000, ..s.clone() });
        assert_eq!(store.read(ALL, &["--format", "pcap"]).1, cut_to_us.collect::<Vec<_>>());
        // Without --format no time loses anything.
        assert_eq!(store.read(ALL, &[]).1, samples);
        let verified = store.run(&["verify"]);
        assert_eq!(verified.status, Some(0), "{verified:?}");
    }
}

#[test]
fn packets_out_of_order_come_out_in_order() {
    let mut samples = samples(1);
    samples.reverse();
    let store = TestStore::of(&[Pcap::NANOSECONDS.file(&samples)]);
    samples.reverse();
    assert_eq!(store.read(ALL, &[]).1, samples);
}

#[test]
fn segments_are_named_for_their_first_packet_and_keep_apart() {
    let samples = samples(1000);
    let file = Pcap::MICROSECONDS.file(&samples);
    let store = TestStore::of(&[file.clone(), file.clone(), file]);
    let names = ["1700000000000000", "1700000000000001", "1700000000000002"];
    assert_eq!(
        (store.names("PKT0"), store.names("IDX0")),
        (names.map(String::from).to_vec(), names.map(String::from).to_vec())
    );
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(store.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("PKT0/1700000000000000"), mode("IDX0/1700000000000000")), (0o600, 0o600));
    let (run, found) = store.read(ALL, &[]);
    assert_eq!((run.status, found.len()), (Some(0), samples.len() * 3));
}

#[test]
fn many_packets_fill_many_blocks() {
    let samples: Vec<Sample> = (0..3000u32)
        .map(|i| Sample {
            ns: 1_700_000_000_000_000_000 + u64::from(i) * 1001,
            wire_len: 1500,
            data: (0..1500u32).map(|b| (b ^ i).to_le_bytes()[0]).collect(),
        })
        .collect();
    let store = TestStore::of(&[Pcap::NANOSECONDS.file(&samples)]);
    assert_eq!(store.read(ALL, &[]).1, samples);
    let verified = store.run(&["verify"]);
    assert!(verified.out.contains("3000 packets in 5 blocks"), "{verified:?}");
}

#[test]
fn a_cut_file_gives_what_is_whole_and_status_1() {
    let samples = samples(1);
    let file = Pcap::NANOSECONDS.file(&samples);
    let store = TestStore::new();
    let run = store.import(&store.file("cut.pcap", &file[..file.len() - 1]));
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("4 packets imported") && run.err.contains("the file is cut: a packet at byte"), "{run:?}");
    assert_eq!(store.read(ALL, &[]).1, samples[..4]);

    // Nothing is whole.
    let store = TestStore::new();
    let run = store.import(&store.file("cut.pcap", &file[..50]));
    assert_eq!((run.status, store.path().exists()), (Some(1), false), "{run:?}");
}

#[test]
fn what_is_no_capture_is_refused_by_name_and_leaves_nothing() {
    let store = TestStore::new();
    for (name, bytes) in [("text.txt", &b"not a capture at all"[..]), ("empty", b""), ("x.zst", b"\x28\xb5\x2f\xfd")] {
        let run = store.import(&store.file(name, bytes));
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(run.err.contains(name) && run.err.contains("not a pcap or pcapng file"), "{run:?}");
        assert!(!store.path().exists(), "{name} left a store behind");
    }
    let run = store.import(Path::new("/no/such/file.pcap"));
    assert_eq!(run.status, Some(1));
    assert!(run.err.contains("/no/such/file.pcap: not imported: cannot open it: "), "{run:?}");
    assert_eq!(store.import(store.dir.path()).status, Some(1));
    assert!(!store.path().exists());
}

#[test]
fn a_capture_without_packets_is_imported_into_nothing() {
    let store = TestStore::new();
    for bytes in [Pcap::MICROSECONDS.file(&[]), PcapNg { big_endian: false }.file(&[])] {
        let run = store.import(&store.file("empty.pcap", &bytes));
        assert_eq!((run.status, store.path().exists()), (Some(0), false), "{run:?}");
        assert!(run.err.contains("no packets in it"), "{run:?}");
    }
}

#[test]
fn packets_that_cannot_be_stored_are_counted() {
    let ng = PcapNg { big_endian: false };
    let samples = samples(1);
    let large = Sample { ns: 0, wire_len: 9, data: vec![0; (1 << 20) - 100] };
    let file = [
        ng.section(),
        ng.interface(1, 0, &[ng.option(9, &[9])]),
        ng.interface(113, 0, &[]),
        ng.interface(1, 0, &[ng.option(14, &(-9i64).to_le_bytes())]),
        ng.enhanced(1, 5, &samples[0]),
        ng.enhanced(0, samples[1].ns, &samples[1]),
        ng.enhanced(2, 5, &samples[2]),
        ng.enhanced(0, u64::from(u32::MAX) * 1_000_000_000 + 1_000_000_000, &samples[2]),
        ng.enhanced(0, 5, &large),
        ng.enhanced(1, 5, &samples[3]),
        ng.enhanced(0, u64::from(u32::MAX) * 1_000_000_000, &samples[4]),
    ]
    .concat();
    let store = TestStore::new();
    let run = store.import(&store.file("mixed.pcapng", &file));
    assert_eq!(run.status, Some(1), "{run:?}");
    let told = "5 packets skipped: 2 are of link type LINUX_SLL (113) and not Ethernet, 1 is larger than a block of 1 MiB \
                holds, 2 are dated before 1970 or after 2106";
    assert!(run.err.contains(told), "{run:?}");
    let found: Vec<_> = store.read(ALL, &[]).1.into_iter().map(|s| s.data).collect();
    assert_eq!(found, [samples[1].data.clone(), samples[4].data.clone()]);

    let other = Pcap { link_type: 105, ..Pcap::MICROSECONDS }.file(&samples);
    let store = TestStore::new();
    let run = store.import(&store.file("wlan.pcap", &other));
    assert_eq!((run.status, store.path().exists()), (Some(1), false), "{run:?}");
    assert!(
        run.err.contains("wlan.pcap: not imported: none of its packets can be stored: 5 are of link type"),
        "{run:?}"
    );
}

#[test]
fn a_bad_file_does_not_keep_the_others_out() {
    let store = TestStore::new();
    let good = store.file("good.pcap", &Pcap::NANOSECONDS.file(&samples(1)));
    let bad = store.file("bad.pcap", b"bad");
    let run =
        steno(&["import".as_ref(), bad.as_os_str(), good.as_os_str(), "--store".as_ref(), store.path().as_os_str()]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert_eq!(store.read(ALL, &[]).1, samples(1));
}

#[test]
fn an_import_that_fails_leaves_the_store_as_it_was() {
    let packets: Vec<Sample> = (0..3000).map(|i| Sample { ns: i, wire_len: 1500, data: vec![1; 1500] }).collect();
    let store = TestStore::new();
    let file = store.file("big.pcap", &Pcap::NANOSECONDS.file(&packets));
    // Files may not grow past 2 MiB: the third block fails, as it would on a full disk.
    let limited = |file: &Path| {
        let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        let _ = command.args(["-c", script, STENO, "import"]).arg(file).arg("--store").arg(store.path());
        Run::from(command.output().unwrap())
    };
    let run = limited(&file);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.contains("big.pcap: not imported: cannot write ") && run.err.contains("too large"), "{run:?}");
    assert!(!store.path().exists(), "a store was left behind");

    let small = store.file("small.pcap", &Pcap::NANOSECONDS.file(&samples(1)));
    assert_eq!(store.import(&small).status, Some(0));
    let before = (store.names("PKT0"), store.names("IDX0"));
    assert_eq!(limited(&file).status, Some(1));
    assert_eq!((store.names("PKT0"), store.names("IDX0")), before);

    // A store that cannot be made.
    let run = steno(&["import".as_ref(), small.as_os_str(), "--store".as_ref(), small.join("store").as_os_str()]);
    assert_eq!(run.status, Some(1));
    assert!(run.err.contains("cannot make the directory"), "{run:?}");
}

#[test]
fn an_interrupted_import_leaves_the_store_as_it_was() {
    let store = TestStore::new();
    let pipe = store.dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let child = Command::new(STENO)
        .arg("import")
        .arg(&pipe)
        .arg("--store")
        .arg(store.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut writer = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    let samples = samples(1);
    writer.write_all(&Pcap::NANOSECONDS.file(&samples)).unwrap();
    // It has begun when there is a store.
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.names("PKT0").is_empty() {
        assert!(Instant::now() < deadline, "the import does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    // It waits for the pipe, and looks at the signal when something comes.
    while writer.write_all(&Pcap::NANOSECONDS.record(&samples[0])).is_ok() {
        assert!(Instant::now() < deadline, "the import does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.status, Some(130), "{run:?}");
    assert!(run.err.contains("interrupted; nothing of this file was imported"), "{run:?}");
    assert!(!store.path().exists(), "a store was left behind");
}
