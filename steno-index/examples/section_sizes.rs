//! What an index of a capture weighs, section by section, and what making it costs a packet:
//! `cargo run --release -p steno-index --example section_sizes -- FILE.pcap`
//!
//! Reads little-endian pcap files alone. The packets go through blocks as a ring would hold them. A second name is that of a file
//! that the index is written to. Of an index file in place of the capture it says what reading it costs.

use std::{
    env,
    error::Error,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use steno_core::{
    Position, TimestampNs,
    block::{Block, BlockWriter, Push},
    packet::decode,
};
use steno_index::{BlockChecksums, BlockNote, ConvNo, Direction, Facts, Index, Log, Sealer};

const BLOCK_BYTES: u32 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("usage: section_sizes FILE.pcap")?;
    let bytes = fs::read(path)?;
    if bytes.starts_with(b"\x89STENOIX") {
        return reading(&Index::from_bytes(bytes)?);
    }
    let mut log = Log::new();
    let mut noting = Duration::ZERO;
    let (mut offset_bytes, mut seq_num) = (0, 0);
    for_each_block(&bytes, |block, used_bytes| {
        let start = cpu();
        let mut tags = Vec::new();
        for packet in Block::parse(block)?.packets() {
            let packet = packet?;
            let decoded = decode(&packet.frame(), &mut tags);
            let position = Position(u32::try_from(offset_bytes + u64::from(packet.offset_bytes))?);
            log.note(position, packet.timestamp(), packet.wire_len(), &decoded, &tags);
        }
        noting += cpu() - start;
        let checksums = BlockChecksums::of(block.get(..used_bytes as usize).unwrap_or_default());
        let crc32c = Some(checksums.crc32c());
        seq_num += 1;
        log.end_block_with(BlockNote { offset_bytes, used_bytes, crc32c, seq_num }, checksums.running());
        offset_bytes += u64::from(BLOCK_BYTES);
        Ok(())
    })?;

    let mut sealer = Sealer::new();
    let mut file = Vec::new();
    let mut times = Vec::new();
    for _ in 0..5 {
        file.clear();
        let start = cpu();
        let _ = sealer.seal(&log, &Facts::default(), &mut file)?;
        times.push(cpu() - start);
    }
    let reading = cpu();
    let count = log.entries().filter(|entry| black_box(entry).is_ok()).count();
    let reading = cpu() - reading;
    if let Some(out) = env::args().nth(2) {
        fs::write(out, &file)?;
    }
    report(&Index::from_bytes(file)?, noting, &times)?;
    println!("{:>10.1} ns to read an entry of the log", reading.as_secs_f64() * 1e9 / count as f64);
    Ok(())
}

fn report(index: &Index, noting: Duration, times: &[Duration]) -> Result<(), Box<dyn Error>> {
    let packets = f64::from(index.packets());
    let a_packet = |time: Duration| time.as_secs_f64() * 1e9 / packets;
    println!("{} packets, {} conversations, {} blocks", index.packets(), index.conversations(), index.block_count());
    for section in index.sections() {
        let bytes = section.len_bytes as f64;
        println!("{:>10} {:>8.4} a packet  {}", section.len_bytes, bytes / packets, section.name);
    }
    println!("{:>10} {:>8.4} a packet  in all", index.file_bytes(), index.file_bytes() as f64 / packets);
    println!("{:>10.1} ns a packet to decode and note", a_packet(noting));
    let seals: Vec<String> = times.iter().map(|&time| format!("{:.1}", a_packet(time))).collect();
    println!("{:>10} ns a packet to seal", seals.join(" "));
    reading(index)
}

/// What it costs to read an index, and to look into it.
fn reading(index: &Index) -> Result<(), Box<dyn Error>> {
    let start = cpu();
    let bytes: u64 = index.iter().map(|c| c.map(|(_, c)| c.bytes())).sum::<Result<u64, _>>()?;
    println!("{:>10.2} ms to read all conversations ({bytes} bytes)", (cpu() - start).as_secs_f64() * 1e3);
    let (mut cursor, mut list) = (index.cursor(), Vec::new());
    let start = cpu();
    for no in (0..index.conversations()).map(ConvNo) {
        cursor.packets(no, Direction::Forward, &mut list)?;
        cursor.packets(no, Direction::Reverse, &mut list)?;
    }
    println!("{:>10.2} ms to read all packet lists ({})", (cpu() - start).as_secs_f64() * 1e3, list.len());
    let (mut locator, start) = (index.locator(), cpu());
    for no in (0..index.packets()).map(steno_core::PacketNo) {
        let _ = black_box(locator.locate(no)?);
    }
    println!("{:>10.2} ms to locate all packets in order", (cpu() - start).as_secs_f64() * 1e3);
    let start = cpu();
    index.verify()?;
    println!("{:>10.2} ms to verify", (cpu() - start).as_secs_f64() * 1e3);
    looking_up(index)
}

/// Look-ups of addresses and ports of conversations that lie far apart: alone, and with all that is said of what they find.
fn looking_up(index: &Index) -> Result<(), Box<dyn Error>> {
    const LOOK_UPS: usize = 20_000;
    let step = (index.conversations() as usize / LOOK_UPS).max(1);
    let mut cursor = index.cursor();
    let of: Vec<_> = (0..index.conversations()).step_by(step).filter_map(|no| cursor.ends(ConvNo(no)).ok()).collect();
    let mut found = Vec::new();
    for rows in [false, true] {
        let (mut hosts, mut ports, mut all) = (Duration::ZERO, Duration::ZERO, 0);
        for ends in &of {
            let start = Instant::now();
            found.clear();
            if let Some(addr) = ends.a.addr {
                index.conversations_by_address(addr..=addr, &mut found)?;
            }
            let middle = Instant::now();
            let hosts_found = found.len();
            if let Some(port) = ends.a.port {
                index.conversations_by_port(port..=port, &mut found)?;
            }
            let end = Instant::now();
            (hosts, ports, all) = (hosts + (middle - start), ports + (end - middle), all + found.len());
            if rows {
                // As a query that is about few conversations does.
                let start = Instant::now();
                let mut cursor = index.cursor();
                for no in found.iter().take(hosts_found.min(64)) {
                    let _ = black_box(cursor.conversation(*no)?);
                }
                hosts += start.elapsed();
            }
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / of.len() as f64;
        let what = if rows { "and read up to 64 rows" } else { "" };
        println!("{:>10.2} us to look up an address {what}, {:.2} us a port ({all} found)", each(hosts), each(ports));
    }
    // Wide ranges: half of all addresses, half of all ports.
    let start = cpu();
    found.clear();
    index.conversations_by_address("0.0.0.0".parse()?..="100.0.0.0".parse()?, &mut found)?;
    println!("{:>10.2} ms to look up half of all addresses ({})", (cpu() - start).as_secs_f64() * 1e3, found.len());
    let start = cpu();
    found.clear();
    index.conversations_by_port(1024..=50_000, &mut found)?;
    println!("{:>10.2} ms to look up half of all ports ({})", (cpu() - start).as_secs_f64() * 1e3, found.len());
    Ok(())
}

/// Time that this thread has had on a core (Documentation/scheduler/sched-stats.rst): unlike the time of day it does
/// not count what other programs took.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// Fills blocks with the packets of a capture; `each` gets a block and its used bytes.
fn for_each_block(
    pcap: &[u8],
    mut each: impl FnMut(&[u8], u32) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let word = |at: usize| Some(u32::from_le_bytes(*pcap.get(at..)?.first_chunk()?));
    let unit = match word(0) {
        Some(0xa1b2_c3d4) => 1000,
        Some(0xa1b2_3c4d) => 1,
        _ => return Err("not a little-endian pcap file".into()),
    };
    let mut writer = BlockWriter::new(BLOCK_BYTES);
    let mut end = |writer: &mut BlockWriter| {
        let block = writer.finish(1);
        each(block, Block::parse(block)?.header().blk_len)?;
        writer.clear();
        Ok::<_, Box<dyn Error>>(())
    };
    let mut at = 24;
    while let (Some(secs), Some(fraction), Some(len), Some(wire)) =
        (word(at), word(at + 4), word(at + 8), word(at + 12))
    {
        let frame = pcap.get(at + 16..at + 16 + len as usize).ok_or("the file ends within a packet")?;
        let time = TimestampNs::from_parts(secs, fraction * unit);
        while writer.push(time, wire, frame)? == Push::Full {
            end(&mut writer)?;
        }
        at += 16 + len as usize;
    }
    if writer.packets() > 0 { end(&mut writer) } else { Ok(()) }
}
