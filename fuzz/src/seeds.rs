//! Writes the starting inputs of every fuzz target: `seeds DIR` makes `DIR/TARGET/seed-N`.
//!
//! They are made by the code that the targets test, from the packets of one recipe, so that they need no binary files in
//! the repository and follow the formats. Those of version-2 indexes are made by the real stenotype 1.0.1, too, where it is
//! installed.

mod messages;
mod real;
mod texts;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use steno_core::block::{Block, BlockWriter};
use steno_core::pcap::{CaptureMeta, CaptureWriter, Format, InterfaceMeta, Record};
use steno_core::testkit::{RecipePacket, block_of, recipe};
use steno_fuzz::authority::Authority;
use steno_index::log::SharedLog;
use steno_index::{BlockChecksums, Facts, Log, note_block};
use steno_query::Store;
use steno_query::store::CATALOGUE_FILE;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// One packet of each kind that the decoder knows.
const PACKETS: &str = "
    1700000000.000000001 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 20
    1700000000.000000900 ip 10.0.0.2 > 10.0.0.1 tcp 80 > 40000 data 9
    1700000000.1         vlan 100 ip 10.0.0.1 > 10.0.0.2 udp 5353 > 53 data 4 stripped
    1700000000.2         qinq 7 vlan 8 ip 2001:db8::1 > 2001:db8::2 udp 53 > 9
    1700000001.5         mpls 29 mpls 30 ip 2001:db8::1 > 2001:db8::2 tcp 1 > 2
    1700000002.0         ip 10.0.0.1 > 10.0.0.2 frag 77 0+ udp 1 > 2
    1700000002.1         ip 10.0.0.1 > 10.0.0.2 frag 77 185 udp 1 > 2
    1700000003.0         type 0x0806 data 28 wire 60
    1700000004.0         ip 10.0.0.1 > 10.0.0.9 proto 132 data 12
    1700000005.0         ip 10.0.0.1 > 10.0.0.9 tcp 1 > 2 snap 30
";

/// Queries that use every part of the language.
const QUERIES: [&str; 24] = [
    "tcp",
    "host 10.0.0.1",
    "host 10.0.0.1 or 10.0.0.2 and not port 22",
    "net 10.0.0.0/8 and port 80",
    "net 10.1.2.3 mask 255.255.0.0",
    "src net 2001:db8::/32 or dst host ::1",
    "src 10.0.0.1 and dst portrange 8000-8100",
    "tcp port http || udp port 53 && sctp port 1",
    "ip proto 17 or ip proto \\tcp or proto icmp6",
    "icmp or icmp6 or arp or ip or ip6 or sctp",
    "vlan and vlan 100 and mpls or mpls 29",
    "before 2024-03-05T14:00:00Z and after 3h ago",
    "between 2024-03-05T14:00:00.5Z and 2024-03-05T15:00:00+01:00",
    "last 90s and not (udp or ! tcp)",
    "after 1h30m ago",
    "host in {10.0.0.1, 10.0.0.2, 2001:db8::/32}",
    "port in {80, 443, 8000-8100}",
    "((((host 1.2.3.4))))",
    "ip proto 0x11 and port 0x50",
    "udp and prot 53",
    "inner host 10.0.0.1",
    "ether host 02:00:00:00:00:01",
    "flow 1:abc or community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
    "less 100 and bpf \"tcp[13] & 2 != 0\"",
];

fn main() -> Result<()> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: seeds DIR")?;
    let packets = recipe(PACKETS)?;
    write(&dir, "packet_decode", frames(&packets))?;
    let block = block(&packets)?;
    let blocks = [block.clone(), one_packet_block(&packets)?, self::block(&many(200)?)?, self::block(&many(700)?)?];
    let indexes: Vec<Vec<u8>> = blocks.iter().map(|block| index(block)).collect::<Result<_>>()?;
    write(&dir, "index", indexes)?;
    let captures = captures(&packets)?;
    let blocks = [block.clone(), one_packet_block(&packets)?, self::block(&many(200)?)?];
    let ours: Vec<Vec<u8>> = blocks.iter().map(|block| version2_index(block)).collect::<Result<_>>()?;
    let theirs = captures.first().map(|capture| real::indexes(capture)).unwrap_or_default();
    write(&dir, "version2_index", ours.into_iter().chain(theirs))?;
    write(&dir, "capture_import", captures)?;
    // And so many that they make a group.
    write(&dir, "catalogue", [catalogue(&blocks)?, catalogue(&vec![one_packet_block(&packets)?; 33])?])?;
    write(&dir, "packet_file", [block])?;
    write(&dir, "query_text", QUERIES.map(|query| query.as_bytes().to_vec()))?;
    write(&dir, "open_log", [open_log(&packets)?, open_log(&many(200)?)?, open_log(&many(900)?)?])?;
    write(&dir, "client_certificate", certificates()?)?;
    write(&dir, "ledger", texts::ledgers())?;
    write(&dir, "capture_filter", texts::filters())?;
    write(&dir, "control_message", texts::control_messages())?;
    write(&dir, "capture_output", texts::outputs())?;
    write(&dir, "configuration", texts::configurations())?;
    write(&dir, "http_query", texts::http_requests())?;
    write(&dir, "grpc_request", messages::requests())?;
    write(&dir, "sensor_answer", messages::answers())?;
    Ok(())
}

fn write(dir: &Path, target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    let dir = dir.join(target);
    fs::create_dir_all(&dir)?;
    for (number, seed) in seeds.into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}

/// As the target reads them: a byte that says whether four bytes of a stripped tag come first.
fn frames(packets: &[RecipePacket]) -> Vec<Vec<u8>> {
    let with_mode = |packet: &RecipePacket| {
        let mut seed = Vec::new();
        match packet.stripped {
            Some(tag) => {
                seed.push(1);
                seed.extend(tag.tpid.to_be_bytes());
                seed.extend(tag.tci.to_be_bytes());
            }
            None => seed.push(0),
        }
        seed.extend(&packet.bytes);
        seed
    };
    packets.iter().map(with_mode).collect()
}

/// The used part of a block with all packets.
fn block(packets: &[RecipePacket]) -> Result<Vec<u8>> {
    let mut writer = BlockWriter::new(1 << 18);
    let _ = block_of(&mut writer, packets)?;
    let bytes = writer.finish(1);
    Ok(Block::parse(bytes)?.used().to_vec())
}

/// So many conversations of one packet or two: more than a row group of an index holds, or more than four of them do.
fn many(count: u16) -> Result<Vec<RecipePacket>> {
    let mut text = String::new();
    for number in 0..count {
        let (a, b) = (format!("10.{}.{}.{}", number / 200, number % 3, number % 200), "192.0.2.1");
        let port = 1024 + number % 40;
        writeln!(text, "1700000000.{number:09} ip {a} > {b} udp {port} > 53")?;
        if number % 2 == 0 {
            writeln!(text, "1700000001.{number:09} ip {b} > {a} udp 53 > {port}")?;
        }
    }
    Ok(recipe(&text)?)
}

fn one_packet_block(packets: &[RecipePacket]) -> Result<Vec<u8>> {
    block(packets.get(..1).unwrap_or_default())
}

/// The index of a packet file that consists of this block.
fn index(block: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = block;
    let _ = steno_index::index_packet_file(&mut file, &Facts::default(), &mut bytes)?;
    Ok(bytes)
}

/// The same of version 2.
fn version2_index(block: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = block;
    let _ = steno_index::index_packet_file_version2(&mut file, &Facts::default(), &mut bytes)?;
    Ok(bytes)
}

/// The shared memory of a log with these packets in two blocks, which have running checksums if they are long enough, behind a byte
/// that says where it is cut.
fn open_log(packets: &[RecipePacket]) -> Result<Vec<u8>> {
    let (mut log, mut shared) = (Log::new(), SharedLog::create()?);
    let (first, second) = packets.split_at(packets.len() / 2);
    for (number, packets) in (0..).zip([first, second]) {
        let block = block(packets)?;
        let _captured = note_block(&mut log, number << 18, &Block::parse(&block)?, Some(&BlockChecksums::of(&block)))?;
        shared.publish(&log, log.bytes())?;
    }
    let memory = File::from(shared.as_fd().try_clone_to_owned()?);
    let mut seed = vec![0; 1 + usize::try_from(memory.metadata()?.len())?];
    memory.read_exact_at(&mut seed[1..], 0)?;
    seed[0] = 128;
    Ok(seed)
}

/// As the target reads them: a byte that says what it is comes first.
fn certificates() -> Result<Vec<Vec<u8>>> {
    let authority = Authority::new()?;
    let chains = authority.clients.iter().chain(&authority.forged).map(|der| [&[0], &der[..]].concat());
    Ok(chains.chain([[&[1], &authority.revoked[..]].concat()]).collect())
}

/// What is kept of a store whose segments are these blocks.
fn catalogue(blocks: &[Vec<u8>]) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir()?;
    let [packets, indexes] = ["PKT0", "IDX0"].map(|name| dir.path().join(name));
    for dir in [&packets, &indexes] {
        fs::create_dir(dir)?;
    }
    for (name, block) in (1..).zip(blocks) {
        fs::write(packets.join(name.to_string()), block)?;
        fs::write(indexes.join(name.to_string()), index(block)?)?;
    }
    // Of what has just been written nothing is kept.
    sleep(Duration::from_millis(100));
    Store::open(dir.path())?.keep_catalogue()?;
    Ok(fs::read(indexes.join(CATALOGUE_FILE))?)
}

/// Every format that we write, and one compressed.
fn captures(packets: &[RecipePacket]) -> Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for format in [Format::Pcap, Format::PcapNs, Format::PcapNg] {
        let meta = CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("eth0")], ..CaptureMeta::default() };
        let writer = CaptureWriter::new(format, meta);
        let mut file = Vec::new();
        writer.start(&mut file);
        for packet in packets {
            let record = Record { time: packet.time, wire_len: packet.wire_len, frame: packet.frame(), interface: 0 };
            writer.packet(&mut file, &record);
        }
        writer.finish(&mut file, &[]);
        files.push(file);
    }
    let mut compressed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    compressed.write_all(files.first().map_or(&[], Vec::as_slice))?;
    files.push(compressed.finish()?);
    Ok(files)
}
