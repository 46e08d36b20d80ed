//! The order of an answer, where it ends early, and the formats that it comes in.

use std::{
    fs, io,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use crate::support::{Shape, TestStore, assert_scan, capture_file, query, take, take_bytes};
use steno_core::{TimestampNs, pcap::Format, testkit::recipe};
use steno_index::{Drops, Facts, Gap};
use steno_query::{Cancel, Options, Truncation, rfc3339};

/// `count` TCP packets, one a millisecond from `second` on, of `bytes` bytes each.
fn tcp(second: u64, count: u64, bytes: u32) -> Vec<steno_core::testkit::RecipePacket> {
    let line = |i: u64| {
        let (s, ms) = (second + i / 1000, i % 1000);
        let port = 1000 + i % 500;
        format!("{s}.{ms:03} ip 10.0.0.{} > 10.0.1.1 tcp {port} > 80 data {}\n", i % 7, bytes - 54)
    };
    recipe(&(0..count).map(line).collect::<String>()).unwrap()
}

#[test]
fn threads_and_segments_that_overlap_come_out_in_order_of_time() {
    let mut store = TestStore::new();
    let small = Shape { block_bytes: 4096, ..Shape::default() };
    // Two threads that interleave packet by packet, and a third segment that lies across both of the first thread.
    store.add(0, 100_000_000, &tcp(100, 900, 100), &small);
    store.add(0, 101_000_000, &tcp(101, 900, 100), &small);
    store.add(0, 102_000_000, &tcp(100, 2500, 90), &small);
    store.add(1, 100_000_000, &tcp(100, 2000, 120), &small);
    assert_eq!(assert_scan(&store, "tcp"), 900 + 900 + 2500 + 2000);
    assert_eq!(assert_scan(&store, "after 1970-01-01T00:01:41.25Z and before 1970-01-01T00:01:41.5Z"), 3 * 250);
}

#[test]
fn equal_times_come_in_ring_order_then_by_thread() {
    let mut store = TestStore::new();
    let same = recipe("5 ip 10.0.0.1 > 10.0.0.2 udp 1 > 2\n5 ip 10.0.0.3 > 10.0.0.4 udp 3 > 4").unwrap();
    let shape = Shape { block_packets: 1, block_bytes: 4096, ..Shape::default() };
    for (thread, segment) in [(1, 7), (0, 8), (0, 7)] {
        store.add(thread, segment, &same, &shape);
    }
    let mut answer = store.open().answer(&query("udp"), Options::default());
    let places: Vec<_> = take(&mut answer).into_iter().map(|p| p.place).collect();
    assert_eq!(places, [(0, 7, 0), (0, 7, 1), (0, 8, 0), (0, 8, 1), (1, 7, 0), (1, 7, 1)]);
}

#[test]
fn a_clock_that_was_set_back_within_a_file_is_put_in_order() {
    let mut store = TestStore::new();
    let mut packets = tcp(200, 1500, 200);
    packets.extend(tcp(100, 1500, 200));
    store.add(0, 200_000_000, &packets, &Shape { block_bytes: 1 << 16, ..Shape::default() });
    for memory_bytes in [0, 200_000, Options::MEMORY_BYTES] {
        let options = Options { memory_bytes, ..Options::default() };
        let mut answer = store.open().answer(&query("tcp"), options);
        assert!(take(&mut answer) == store.scan(&query("tcp").expr), "with {memory_bytes} bytes");
    }
}

#[test]
fn more_segments_than_files_may_be_open_are_merged() {
    let mut store = TestStore::new();
    for segment in 0..150 {
        let packets = tcp(100, 40, 80);
        store.add(0, 100_000_000 + segment, &packets, &Shape { block_bytes: 4096, ..Shape::default() });
    }
    assert_eq!(assert_scan(&store, "tcp"), 150 * 40);

    let packet_file = store.packet_file(0, 100_000_000);
    let directory = packet_file.parent().unwrap();
    let open = || {
        let links = fs::read_dir("/proc/self/fd").unwrap();
        let file = |link: io::Result<fs::DirEntry>| fs::read_link(link.unwrap().path()).ok();
        links.filter_map(file).filter(|file| file.starts_with(directory)).count()
    };
    let (mut answer, mut most, mut packets) = (store.open().answer(&query("tcp"), Options::default()), 0, 0);
    while answer.next_packet().is_some() {
        packets += 1;
        if packets % 10 == 0 {
            most = most.max(open());
        }
    }
    assert_eq!(packets, 150 * 40);
    assert!((32..=64).contains(&most), "{most} packet files were open at once");
}

#[test]
fn a_limit_of_bytes_counts_as_stenographer_does() {
    let mut store = TestStore::new();
    store.add(0, 1, &tcp(100, 10, 100), &Shape::default());
    let asked = query("tcp");
    // 16 for the file and 116 for each packet: the packet that reaches the limit is the last one.
    for (limit, packets) in [(1, 1), (132, 1), (133, 2), (16 + 116 * 9, 9), (16 + 116 * 9 + 1, 10)] {
        for format in Format::ALL {
            let options = Options { limit_bytes: Some(limit), format, ..Options::default() };
            let mut answer = store.open().answer(&asked, options);
            let file = take_bytes(&mut answer);
            let receipt = answer.receipt();
            assert_eq!(receipt.packets, packets, "{limit} bytes of {format}");
            assert_eq!(receipt.bytes, file.len() as u64);
            assert_eq!(receipt.is_complete(), packets == 10, "{receipt}");
            assert_eq!(receipt.truncated_by, (packets < 10).then_some(Truncation::LimitBytes));
        }
    }
}

#[test]
fn a_limit_that_is_just_enough_does_not_make_the_answer_incomplete() {
    let mut store = TestStore::new();
    store.add(0, 1, &tcp(100, 10, 100), &Shape::default());
    store.add(0, 2, &recipe("200 ip 10.0.0.1 > 10.0.0.2 udp 1 > 2").unwrap(), &Shape::default());
    let ask = |text, limit| {
        let options = Options { limit_packets: Some(limit), ..Options::default() };
        let mut answer = store.open().answer(&query(text), options);
        (take(&mut answer).len(), answer.receipt().truncated_by)
    };
    assert_eq!(ask("tcp", 10), (10, None));
    assert_eq!(ask("tcp", 9), (9, Some(Truncation::LimitPackets)));
    assert_eq!(ask("tcp or udp", 10), (10, Some(Truncation::LimitPackets)));
    assert_eq!(ask("tcp", 0), (0, Some(Truncation::LimitPackets)));
    assert_eq!(ask("sctp", 0), (0, None));
}

#[test]
fn an_answer_ends_when_it_is_cancelled_or_late() {
    let mut store = TestStore::new();
    store.add(0, 1, &tcp(100, 3000, 100), &Shape { block_bytes: 4096, ..Shape::default() });
    let flag = Arc::new(AtomicBool::new(false));
    let options = Options { cancel: Cancel::from(Arc::clone(&flag)), ..Options::default() };
    let mut answer = store.open().answer(&query("tcp"), options.clone());
    for _ in 0..5 {
        assert!(answer.next_packet().is_some());
    }
    assert_eq!(answer.receipt().truncated_by, Some(Truncation::Unfinished));
    options.cancel.cancel();
    let rest = take(&mut answer).len();
    assert!(rest < 40, "a block more at the most, not {rest} packets");
    let receipt = answer.receipt();
    assert_eq!((receipt.truncated_by, receipt.packets), (Some(Truncation::Cancelled), 5 + rest as u64));
    assert!(!receipt.is_complete());

    let late = Options { deadline: Some(Instant::now()), ..Options::default() };
    let mut answer = store.open().answer(&query("tcp"), late);
    assert_eq!(take_bytes(&mut answer), capture_file(&[], Format::PcapNs));
    let receipt = answer.receipt();
    assert_eq!((receipt.truncated_by, receipt.segments.not_reached), (Some(Truncation::Deadline), 1));
    let in_time = Options { deadline: Some(Instant::now() + Duration::from_secs(600)), ..Options::default() };
    assert_eq!(take(&mut store.open().answer(&query("tcp"), in_time)).len(), 3000);
}

#[test]
fn chunks_make_up_the_file_and_are_of_bounded_size() {
    let mut store = TestStore::new();
    store.add(0, 1, &tcp(100, 4000, 1000), &Shape::default());
    for format in [Format::Pcap, Format::PcapNs] {
        let mut answer = store.open().answer(&query("tcp"), Options { format, ..Options::default() });
        let (mut file, mut chunk, mut chunks) = (Vec::new(), Vec::new(), 0);
        while answer.next_chunk(&mut chunk) {
            assert!(chunk.len() <= 256 << 10, "a message of a sensor holds no more: {}", chunk.len());
            file.extend_from_slice(&chunk);
            chunks += 1;
        }
        assert!(chunks > 10);
        assert!(file == capture_file(&store.scan(&query("tcp").expr), format), "{format}");
        assert!(!answer.next_chunk(&mut chunk), "the end stays the end");
        let mut receipt = answer.receipt();
        assert_eq!(receipt.blake3, Some(blake3::hash(&file).to_hex().to_string()));
        assert_eq!(receipt.bytes, file.len() as u64);

        let mut answer = store.open().answer(&query("tcp"), Options { format, digest: false, ..Options::default() });
        assert!(take_bytes(&mut answer) == file);
        receipt.blake3 = None;
        assert_eq!(answer.receipt(), receipt, "who writes it makes the digest");
    }
}

#[test]
fn a_chunk_ends_where_a_block_does_unless_that_makes_it_small() {
    for (block_bytes, packets, ends) in [(1 << 20, 4000, 5), (32 << 10, 1000, 12)] {
        let mut store = TestStore::new();
        store.add(0, 1, &tcp(100, packets, 1000), &Shape { block_bytes, ..Shape::default() });
        let mut answer = store.open().answer(&query("tcp"), Options::default());
        let (mut chunk, mut between, mut sizes) = (Vec::new(), 0, Vec::new());
        while answer.next_chunk(&mut chunk) {
            between += u32::from(answer.is_between_blocks());
            sizes.push(chunk.len());
        }
        assert_eq!(between, ends, "chunks of {sizes:?} bytes");
        let last = sizes.pop();
        assert!(sizes.iter().all(|size| (64 << 10..=256 << 10).contains(size)), "{sizes:?}, {last:?}");
    }
}

#[test]
fn an_answer_without_packets_is_an_empty_capture_file() {
    let mut store = TestStore::new();
    store.add(0, 1, &tcp(100, 10, 100), &Shape::default());
    for format in [Format::Pcap, Format::PcapNs] {
        let mut answer = store.open().answer(&query("udp"), Options { format, ..Options::default() });
        assert_eq!(take_bytes(&mut answer), capture_file(&[], format));
        assert!(answer.receipt().is_complete());
    }
}

#[test]
fn pcapng_says_the_interfaces_and_what_they_lost() {
    let mut store = TestStore::new();
    let facts = |interface: &str, drops: &[(u64, u64)]| Facts {
        interface: interface.to_owned(),
        kernel: "Linux 6.18".to_owned(),
        drops: drops.iter().map(|&(second, packets)| Drops { second, packets }).collect(),
        gaps: vec![Gap {
            from: TimestampNs::from_parts(150, 0),
            to: TimestampNs::from_parts(160, 0),
            reason: "restart".to_owned(),
        }],
        ..Facts::default()
    };
    let shape = |facts| Shape { facts, ..Shape::default() };
    store.add(0, 1, &tcp(100, 10, 100), &shape(facts("eth0", &[(100, 3), (999, 100)])));
    store.add(1, 1, &tcp(100, 10, 100), &shape(facts("eth1", &[(100, 5)])));
    store.add(0, 2, &tcp(100, 10, 100), &shape(facts("eth0", &[])));
    let asked = query("tcp and before 1970-01-01T00:02:40Z");
    let mut answer = store.open().answer(&asked, Options { format: Format::PcapNg, ..Options::default() });
    let file = take_bytes(&mut answer);
    let mut interfaces = Vec::new();
    let (mut packets, mut lost, mut rest) = ([0; 2], Vec::new(), file.as_slice());
    while let Some((head, _)) = rest.split_first_chunk::<12>() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let len = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        match word(0) {
            1 => interfaces.push(String::from_utf8_lossy(&rest[16 + 4..16 + 8]).into_owned()),
            6 => packets[word(8) as usize] += 1,
            5 => lost.push((word(8), word(20 + 4), word(20 + 12 + 4))),
            _ => {}
        }
        rest = &rest[len..];
    }
    assert_eq!(interfaces, ["eth0", "eth1"]);
    assert_eq!(packets, [20, 10]);
    assert_eq!(lost, [(0, 20, 3), (1, 10, 5)]);
    let receipt = answer.receipt();
    assert_eq!(receipt.kernel_drops, 8, "the second 999 was not asked for");
    let gaps: Vec<_> = receipt.gaps.iter().map(|g| (g.thread, rfc3339(g.from), g.reason.as_str())).collect();
    let from = "1970-01-01T00:02:30.000000000Z".to_owned();
    assert_eq!(gaps, [(0, from.clone(), "restart"), (1, from, "restart")], "two segments tell the same");
    assert_eq!(receipt.gap_ns, 10_000_000_000);
}
