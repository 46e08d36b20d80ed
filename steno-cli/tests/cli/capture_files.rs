//! The capture-file reader against files made here, against `pcap-file`'s readers, and against files that are cut, bent
//! or made to harm.

use std::io::Read;

use crate::support::captures::{Pcap, PcapNg, Sample, gzip, samples};
use pcap_file::{
    pcap::PcapReader,
    pcapng::{Block, PcapNgReader},
};
use steno_cli::import::reader::{CaptureReader, RECORD_BYTES_MAX, ReadError, Record};
use steno_core::testkit::{need, shared_dir};

/// What a file gives: its packets, how often it stepped over one, and how it ended.
#[derive(Debug, Default)]
struct Outcome {
    packets: Vec<(Option<u64>, u16, Sample)>,
    too_large: usize,
    error: Option<ReadError>,
    oddity: Option<String>,
}

impl Outcome {
    fn samples(&self) -> Vec<Sample> {
        self.packets.iter().map(|(_, _, sample)| sample.clone()).collect()
    }
}

fn read(file: impl Read) -> Outcome {
    let mut outcome = Outcome::default();
    let mut reader = match CaptureReader::open(file) {
        Ok(reader) => reader,
        Err(error) => return Outcome { error: Some(error), ..outcome },
    };
    loop {
        match reader.next_record() {
            Ok(Some(Record::Packet(p))) => {
                let ns = p.time.map(|t| t.as_ns());
                let sample = Sample { ns: ns.unwrap_or(0), wire_len: p.wire_len, data: p.data.to_vec() };
                outcome.packets.push((ns, p.link_type, sample));
            }
            Ok(Some(Record::TooLarge { .. })) => outcome.too_large += 1,
            Ok(None) => break,
            Err(error) => {
                outcome.error = Some(error);
                assert!(matches!(reader.next_record(), Ok(None)), "something comes after an error");
                break;
            }
        }
    }
    outcome.oddity = reader.oddity();
    outcome
}

fn variants() -> Vec<Pcap> {
    let little = [
        Pcap::MICROSECONDS,
        Pcap::NANOSECONDS,
        Pcap::MODIFIED,
        Pcap { minor: 2, ..Pcap::MICROSECONDS },
        Pcap { minor: 3, ..Pcap::MICROSECONDS },
    ];
    little.into_iter().flat_map(|v| [v, v.big_endian()]).collect()
}

#[test]
fn every_pcap_variant_gives_its_packets() {
    for variant in variants() {
        let samples = samples(variant.ns_per_unit());
        let file = variant.file(&samples);
        for file in [file.clone(), gzip(&file)] {
            let outcome = read(&file[..]);
            assert!(outcome.error.is_none(), "{variant:?}: {:?}", outcome.error);
            assert_eq!(outcome.samples(), samples, "{variant:?}");
            assert!(outcome.packets.iter().all(|(_, link_type, _)| *link_type == 1));
        }
    }
}

#[test]
fn a_file_of_version_2_3_may_have_its_lengths_either_way_round() {
    let samples = samples(1000);
    let [old, new] = [2, 3].map(|minor| Pcap { minor, ..Pcap::MICROSECONDS });
    // Records with the lengths swapped, below a header that says 2.3.
    let mixed: Vec<u8> = [new.file(&samples[..1]), old.record(&samples[1]), new.record(&samples[2])].concat();
    assert_eq!(read(&mixed[..]).samples(), samples[..3]);
}

#[test]
fn the_upper_half_of_the_link_type_is_not_the_link_type() {
    let file = Pcap { link_type: 0x3400_0071, ..Pcap::MICROSECONDS }.file(&samples(1000));
    assert!(read(&file[..]).packets.iter().all(|(_, link_type, _)| *link_type == 113));
}

#[test]
fn a_fraction_of_more_than_a_second_carries_over() {
    let mut file = Pcap::MICROSECONDS.file(&samples(1000)[..1]);
    file[28..32].copy_from_slice(&3_000_001u32.to_le_bytes());
    assert_eq!(read(&file[..]).packets[0].0, Some(1_700_000_003_000_001_000));
}

#[test]
fn pcapng_sections_change_byte_order_and_forget_interfaces() {
    let samples = samples(1);
    let (little, big) = (PcapNg { big_endian: false }, PcapNg { big_endian: true });
    let file = [little.file(&samples[..2]), big.file(&samples[2..4]), little.file(&samples[4..])].concat();
    for file in [file.clone(), gzip(&file), [gzip(&file[..100]), gzip(&file[100..])].concat()] {
        let outcome = read(&file[..]);
        assert_eq!((outcome.samples(), outcome.error.is_none()), (samples.clone(), true));
    }
    let forgotten = [little.file(&samples), little.section(), little.enhanced(0, 1, &samples[0])].concat();
    let outcome = read(&forgotten[..]);
    assert_eq!(outcome.samples(), samples);
    let error = outcome.error.unwrap().to_string();
    assert!(error.ends_with("a packet of interface 0, of which 0 are described"), "{error}");
}

#[test]
fn each_pcapng_interface_has_its_own_link_type_resolution_and_offset() {
    let ng = PcapNg { big_endian: true };
    // Of a length that needs no padding: a simple packet does not say where its own ends.
    let sample = &Sample { ns: 0, wire_len: 90, data: (0..40).collect() };
    let interfaces = [
        ng.interface(1, 0, &[]),
        ng.interface(113, 0, &[ng.option(9, &[12])]),
        ng.interface(1, 0, &[ng.option(9, &[0x80 | 32]), ng.option(14, &(-5i64).to_be_bytes())]),
        ng.interface(1, 0, &[ng.option(14, &i64::MIN.to_be_bytes())]),
    ]
    .concat();
    let packets = [
        ng.enhanced(0, 1_500_000, sample),
        ng.enhanced(1, 1_500_000_999_999, sample),
        ng.enhanced(2, (10 << 32) + (1 << 31), sample),
        ng.enhanced(3, 0, sample),
        ng.obsolete(1, 7_000, sample),
        ng.block(0x0bad, b"a custom block, stepped over"),
        ng.simple(sample),
    ]
    .concat();
    let outcome = read(&[ng.section(), interfaces, packets].concat()[..]);
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    let times: Vec<_> = outcome.packets.iter().map(|(ns, link_type, _)| (*ns, *link_type)).collect();
    let expected = [
        (Some(1_500_000_000), 1),
        (Some(1_500_000_999), 113),
        (Some(5_500_000_000), 1),
        (None, 1),
        (Some(7), 113),
        (Some(0), 1),
    ];
    assert_eq!(times, expected);
    for (_, _, found) in &outcome.packets {
        assert_eq!((found.wire_len, &found.data), (sample.wire_len, &sample.data));
    }
}

#[test]
fn a_simple_packet_ends_at_the_snapshot_length() {
    let ng = PcapNg { big_endian: false };
    let sample = Sample { ns: 0, wire_len: 1500, data: (0..40).collect() };
    for (snaplen, captured) in [(17, 17), (40, 40), (0, 40), (65_535, 40)] {
        let file = [ng.section(), ng.interface(1, snaplen, &[]), ng.simple(&sample)].concat();
        let found = read(&file[..]).samples();
        assert_eq!(found, [Sample { data: sample.data[..captured].to_vec(), ..sample.clone() }], "snaplen {snaplen}");
    }
}

#[test]
fn unlike_block_lengths_are_told_but_lose_no_packet() {
    let ng = PcapNg { big_endian: false };
    let samples = samples(1);
    let mut file = ng.file(&samples[..1]);
    let last = file.len() - 1;
    file[last] ^= 1;
    file.extend(ng.enhanced(0, samples[1].ns, &samples[1]));
    let outcome = read(&file[..]);
    assert_eq!(outcome.samples(), samples[..2]);
    let told = outcome.oddity.unwrap();
    assert!(told.starts_with("1 blocks end with another length than they start with"), "{told}");
    assert!(read(&ng.file(&samples)[..]).oddity.is_none());
}

/// A file cut anywhere gives every packet that is whole, and says that it is cut unless the cut is between two records.
#[test]
fn a_file_cut_at_any_length_gives_what_is_whole() {
    let pcaps = variants().into_iter().map(|v| {
        let samples = samples(v.ns_per_unit());
        let ends: Vec<usize> = (0..=samples.len()).map(|n| v.file(&samples[..n]).len()).collect();
        (v.file(&samples), samples, ends)
    });
    let pcapngs = [false, true].map(|big_endian| {
        let ng = PcapNg { big_endian };
        let samples = samples(1);
        let ends: Vec<usize> = (0..=samples.len()).map(|n| ng.file(&samples[..n]).len()).collect();
        (ng.file(&samples), samples, ends)
    });
    for (file, samples, ends) in pcaps.chain(pcapngs) {
        for len in 0..file.len() {
            let outcome = read(&file[..len]);
            let whole = ends.iter().filter(|&&end| end <= len).count().saturating_sub(1);
            assert_eq!(outcome.samples(), samples[..whole], "cut to {len} of {}", file.len());
            // A section header is a block of its own, and so is an interface description.
            let between = ends.contains(&len) || (file[0] == 0x0a && len == 28);
            match outcome.error {
                None => assert!(between, "the cut to {len} is not told"),
                Some(ReadError::NotACapture { .. }) => assert!(len < 4, "{len}"),
                Some(ReadError::Cut { expected, got, offset_bytes, .. }) => {
                    assert!(!between && got < expected && offset_bytes + got == len as u64, "{len}");
                }
                Some(error) => panic!("cut to {len}: {error}"),
            }
        }
    }
}

#[test]
fn a_gzip_file_cut_anywhere_gives_packets_from_its_start() {
    let samples = samples(1);
    let file = gzip(&Pcap::NANOSECONDS.file(&samples));
    for len in 2..file.len() {
        let outcome = read(&file[..len]);
        let found = outcome.samples();
        assert_eq!(found, samples[..found.len()], "cut to {len}");
        assert!(matches!(outcome.error, Some(ReadError::Gzip { .. })), "cut to {len}: {:?}", outcome.error);
    }
    let mut trailing = file;
    trailing.extend(b"no gzip member");
    let outcome = read(&trailing[..]);
    assert_eq!(outcome.samples(), samples);
    assert!(matches!(outcome.error, Some(ReadError::Gzip { .. })), "{:?}", outcome.error);
}

/// Nothing is asserted of what comes out but that it ends, does not panic, and holds no more than the file does.
#[test]
fn flipped_bits_are_survived() {
    let ng = PcapNg { big_endian: false };
    let s = samples(1);
    let odd = [ng.file(&s), ng.obsolete(0, 5, &s[0]), ng.simple(&s[1])].concat();
    for file in [Pcap::NANOSECONDS.file(&s), Pcap::MODIFIED.big_endian().file(&s), odd.clone(), gzip(&odd)] {
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut bent = file.clone();
                bent[at] ^= 1 << bit;
                let outcome = read(&bent[..]);
                let bytes: usize = outcome.samples().iter().map(|s| s.data.len()).sum();
                assert!(bytes <= odd.len() * 2, "byte {at}, bit {bit}: {bytes} bytes came out");
            }
        }
    }
}

#[test]
fn absurd_lengths_are_refused_before_memory_is_taken() {
    let samples = samples(1000);
    let mut file = Pcap::MICROSECONDS.file(&samples);
    file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = read(&file[..]).error.unwrap();
    assert_eq!(error.to_string(), "the file is damaged at byte 24: a record says that it holds 4294967295 bytes");

    let ng = PcapNg { big_endian: false };
    let section = ng.section();
    let mut file = ng.file(&samples);
    for bad in [0u32, 4, 11, 13, 30] {
        file[section.len() + 4..section.len() + 8].copy_from_slice(&bad.to_le_bytes());
        let error = read(&file[..]).error.unwrap().to_string();
        let told = format!("the file is damaged at byte 28: a block of type 0x1 says that it is {bad} bytes long");
        assert_eq!(error, told);
    }
    file[section.len() + 4..section.len() + 8].copy_from_slice(&0xffff_fffcu32.to_le_bytes());
    assert!(matches!(read(&file[..]).error, Some(ReadError::Damaged { offset_bytes: 28, .. })));

    // A packet that claims more than its block has room for.
    let mut file = [section, ng.interface(1, 0, &[])].concat();
    let at = file.len() + 8 + 12;
    file.extend(ng.enhanced(0, 0, &samples[0]));
    file[at..at + 4].copy_from_slice(&21u32.to_le_bytes());
    let error = read(&file[..]).error.unwrap().to_string();
    assert!(error.ends_with("a packet of 21 bytes in a block with room for 20"), "{error}");
}

#[test]
fn records_too_large_for_a_block_are_stepped_over() {
    let mut samples = samples(1000);
    samples.insert(2, Sample { ns: 0, wire_len: 9, data: vec![7; RECORD_BYTES_MAX as usize + 1] });
    samples.insert(4, Sample { ns: 0, wire_len: 9, data: vec![8; RECORD_BYTES_MAX as usize * 3] });
    let ng = PcapNg { big_endian: false };
    for file in [Pcap::MICROSECONDS.file(&samples), ng.file(&samples)] {
        let outcome = read(&file[..]);
        assert!(outcome.error.is_none(), "{:?}", outcome.error);
        assert_eq!((outcome.packets.len(), outcome.too_large), (samples.len() - 2, 2));
        assert_eq!(outcome.packets.last().unwrap().2, samples[6]);
        // Cut within the one that is stepped over.
        let cut = read(&file[..file.len() / 2]);
        assert!(matches!(cut.error, Some(ReadError::Cut { .. })), "{:?}", cut.error);
    }
}

#[test]
fn what_is_no_capture_is_named() {
    let told = |bytes: &[u8]| match read(bytes).error {
        Some(error @ ReadError::NotACapture { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told(b""), "not a pcap or pcapng file: the file is empty");
    assert_eq!(told(b"hello, world"), "not a pcap or pcapng file: it starts with 68 65 6c 6c 6f 2c 20 77");
    assert!(told(b"snoop\0\0\0\0\0\0\x02").contains("snoop capture"));
    assert!(told(b"\x28\xb5\x2f\xfd1234").contains("zstd"));
    assert!(told(&gzip(b"text")).contains("it starts with 74 65 78 74"));
    assert!(told(&[0xa1, 0xb2, 0xc3]).contains("it starts with a1 b2 c3"));
}

#[test]
fn every_kind_of_corpus_file_agrees_with_pcap_file() {
    let Some(shared) = shared_dir(env!("CARGO_MANIFEST_DIR")) else {
        let _ = need(false, "the corpus of captures in ../shared");
        return;
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(shared.join("corpus")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let theirs = match bytes.get(..4) {
            Some([0x0a, 0x0d, 0x0d, 0x0a]) => pcapng_by_pcap_file(&bytes),
            _ => pcap_by_pcap_file(&bytes),
        };
        if let Some(theirs) = theirs {
            let ours = read(&bytes[..]);
            assert!(
                theirs.len() <= ours.packets.len(),
                "{name}: {} packets are missing",
                theirs.len() - ours.packets.len()
            );
            assert_eq!(ours.samples()[..theirs.len()], theirs, "{name}");
            compared += 1;
        }
    }
    assert!(compared > 80, "only {compared} files were compared");
}

/// Packets up to the first that `pcap-file` does not read; `None` where it does not read the file.
fn pcap_by_pcap_file(bytes: &[u8]) -> Option<Vec<Sample>> {
    let mut reader = PcapReader::new(bytes).ok()?;
    let header = reader.header();
    let ns_per_unit = if header.ts_resolution == pcap_file::pcap::PcapTsResolution::NanoSecond { 1 } else { 1000 };
    let mut samples = Vec::new();
    while let Some(Ok(raw)) = reader.next_raw_packet() {
        let ns = u64::from(raw.ts_sec) * 1_000_000_000 + u64::from(raw.ts_frac) * ns_per_unit;
        samples.push(Sample { ns, wire_len: raw.orig_len, data: raw.data.to_vec() });
    }
    Some(samples)
}

fn pcapng_by_pcap_file(bytes: &[u8]) -> Option<Vec<Sample>> {
    let mut reader = PcapNgReader::new(bytes).ok()?;
    let mut samples = Vec::new();
    while let Some(Ok((block, _))) = reader.next_block() {
        let (time, wire_len, data) = match block {
            Block::EnhancedPacket(p) => (p.timestamp.as_nanos(), p.original_len, p.data),
            Block::Packet(p) => (p.timestamp.as_nanos(), p.original_len, p.data),
            Block::SimplePacket(p) => (0, p.original_len, p.data),
            _ => continue,
        };
        samples.push(Sample { ns: u64::try_from(time).ok()?, wire_len, data: data.to_vec() });
    }
    Some(samples)
}
