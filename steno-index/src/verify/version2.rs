//! An index of version 2 against the packets that it describes.

use std::{
    fs::File,
    io::{BufReader, Read},
    iter::Peekable,
    ops::{ControlFlow, Range},
};

use steno_core::{
    block::{Block, BlockError},
    packet::{Frame, decode_as_indexed},
};

use super::{Problem, Report};
use crate::{
    Attribute, Extra, IndexError, Log, Positions, Summary, Version2Index, Version2Sealer, detect_block_bytes,
    packet_file::{Blocks, note_block, note_block_by},
};

/// Of the keys of all attributes, the first and the last.
const ALL: (Attribute, Attribute) = (Attribute::Protocol(0), Attribute::V6(std::net::Ipv6Addr::from_bits(u128::MAX)));

impl Version2Index {
    /// Checks this index by itself, and against its packet file, as [`verify_segment`](crate::verify_segment) does.
    pub fn verify_against(&self, packet_file: &File) -> Report {
        check(self, packet_file)
    }
}

pub(super) fn check(index: &Version2Index, packet_file: &File) -> Report {
    let mut report = Report::default();
    let sound = index.verify().map_err(|error| report.add(Problem::Index(error))).is_ok();
    match note(index, packet_file, &mut report) {
        Err(error) => report.add(Problem::Packets(error)),
        Ok((log, damaged)) if sound => match compare(index, &log, &damaged, &mut report) {
            Err(error) => report.add(Problem::Index(error)),
            Ok(()) if index.extra().is_some() => report.settle_holes(),
            Ok(()) => {}
        },
        Ok(_) => {}
    }
    report
}

/// The packets of the whole blocks, read as the index should have read them, and where the others are.
fn note(index: &Version2Index, packet_file: &File, report: &mut Report) -> Result<(Log, Vec<Range<u64>>), IndexError> {
    let (mut log, mut damaged) = (Log::new(), Vec::new());
    let block_bytes = match index.extra() {
        Some(extra) => Some(extra.facts.block_bytes),
        None => detect_block_bytes(packet_file)?,
    };
    let Some(block_bytes) = block_bytes else { return Ok((log, damaged)) };
    let (mut blocks, mut packets) = (Blocks::new(block_bytes)?, BufReader::new(packet_file));
    while let Some((offset_bytes, bytes)) = blocks.next(packets.by_ref())? {
        match note_bytes(&mut log, offset_bytes, bytes, index.extra().is_some()) {
            Ok(_) => report.blocks += 1,
            Err(error) => {
                report.add(Problem::Block { offset_bytes, error });
                damaged.push(offset_bytes..offset_bytes + u64::from(block_bytes));
            }
        }
    }
    report.packets = log.packets();
    Ok((log, damaged))
}

fn note_bytes(log: &mut Log, offset_bytes: u64, bytes: &[u8], ours: bool) -> Result<crate::Noted, BlockError> {
    let block = Block::parse(bytes)?;
    if ours {
        note_block(log, offset_bytes, &block, None)
    } else {
        let decode = |packet: &steno_core::block::RawPacket<'_>, tags: &mut _| {
            decode_as_indexed(&Frame::new(packet.bytes), tags)
        };
        note_block_by(log, offset_bytes, &block, None, decode)
    }
}

fn compare(index: &Version2Index, log: &Log, damaged: &[Range<u64>], report: &mut Report) -> Result<(), IndexError> {
    let mut sealer = Version2Sealer::new();
    let (summary, attributes) = sealer.sort(log)?;
    if let Some(extra) = index.extra() {
        compare_totals(&summary, extra, report);
    }
    let mut packets = attributes.peekable();
    index.each(ALL.0..=ALL.1, &mut |attribute, positions| {
        while let Some((missing, have)) = before(&mut packets, attribute) {
            report.attribute(missing, have, &[]);
        }
        let have = packets.next_if(|(next, _)| *next == attribute).map_or(&[][..], |(_, have)| have);
        if !equal(have, &positions) {
            let there = |position: &u32| !damaged.iter().any(|block| block.contains(&u64::from(*position)));
            let index: Vec<u32> = positions.iter().map(|position| position.0).filter(there).collect();
            if have != index {
                report.attribute(attribute, have, &index);
            }
        }
        report.attributes += 1;
        ControlFlow::Continue(())
    })?;
    for (missing, have) in packets {
        report.attribute(missing, have, &[]);
    }
    Ok(())
}

/// The next attribute of packets, if it is before `attribute`.
fn before<'a>(
    packets: &mut Peekable<impl Iterator<Item = (Attribute, &'a [u32])>>,
    attribute: Attribute,
) -> Option<(Attribute, &'a [u32])> {
    packets.next_if(|(next, _)| *next < attribute)
}

fn equal(packets: &[u32], index: &Positions<'_>) -> bool {
    packets.len() == index.len() && packets.iter().copied().eq(index.iter().map(|position| position.0))
}

fn compare_totals(packets: &Summary, index: &Extra, report: &mut Report) {
    let times = |range: Option<(steno_core::TimestampNs, steno_core::TimestampNs)>| {
        range.map_or((0, 0), |(first, last)| (first.as_ns(), last.as_ns()))
    };
    for (what, packets, index) in [
        ("blocks", u64::from(packets.blocks), u64::from(index.blocks)),
        ("packets", u64::from(packets.packets), u64::from(index.packets)),
        ("bytes on the wire", packets.wire_bytes, index.wire_bytes),
        ("earliest time (ns)", times(packets.time_range).0, times(index.time_range).0),
        ("latest time (ns)", times(packets.time_range).1, times(index.time_range).1),
    ] {
        if packets != index {
            report.add(Problem::Total { what, packets, index });
        }
    }
}

impl Report {
    fn attribute(&mut self, attribute: Attribute, packets: &[u32], index: &[u32]) {
        let both = packets.iter().filter(|position| index.binary_search(position).is_ok()).count() as u64;
        let (packets, index) = (packets.len() as u64, index.len() as u64);
        self.add(Problem::AttributeDiffers { attribute, packets, index, differ: packets + index - 2 * both });
    }
}
