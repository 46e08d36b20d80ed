//! Native indexes in memory, of packets that are read for it: where the index of a segment knows no conversations, and where
//! it counts packets with the others that are out of reach. As many packets at a time as fit.

use std::sync::Arc;

use steno_core::{Position, TimestampNs, block::BLOCK_HEADER_BYTES, chain, packet::decode};
use steno_index::{BlockNote, Facts, Index, Log, seal};

use super::{
    Candidates, Damage, Loaded, Options, Seen,
    merge::{Merge, Next},
    packet_file::PacketFile,
};
use crate::{
    TimeSet,
    plan::{Asked, Datagrams, Lookup, Matcher, Of, Selected, Stop},
    receipt::{Receipt, Tally, Unreadable},
    store::{Fault, KeptOpen, Segment, Version2Segment},
};

/// Packets that are indexed together, which takes some 30 MiB: the log of each takes 32 bytes, and the index is made beside it.
const TOGETHER: u32 = 1 << 18;
/// Bytes of a block that is made up for packets of several: room for all headers.
const MADE_UP_BLOCK_BYTES: u32 = 1 << 28;
/// Bytes that a packet takes in such a block.
const MADE_UP_PACKET_BYTES: u32 = 64;

/// Takes an index.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&Index) -> Result<(), Stop>;

/// Gives `each` indexes of the packets that `lookup` leads to by an index of version 2, from `from` on: all packets of each
/// conversation that matches are in some of them. Blocks that cannot be read are named in `receipt`.
///
/// # Errors
/// An index and a packet file that fail, what `each` says, and an end that the options call for.
pub(crate) fn index_version2(
    segment: &Segment,
    (version2, lookup): (Arc<Version2Segment>, &Lookup),
    from: TimestampNs,
    options: &Options,
    receipt: &mut Receipt,
    each: Take<'_>,
) -> Result<(), Stop> {
    let mut damage: Option<(String, u64)> = None;
    let mut note = |found: Damage| match &mut damage {
        Some((_, more)) => *more += 1,
        None => damage = Some((chain(&found), 0)),
    };
    let outcome = index_candidates(segment, (version2, lookup), from, options, &mut note, each);
    if let Some((first, more)) = damage {
        let more = if more > 0 { format!("; and {more} more faults") } else { String::new() };
        let reason = format!("{}{more}", Fault::DamagedPackets(first));
        receipt.unreadable.push(Unreadable { file: segment.packet_name(), reason, may_hold_matches: true });
    }
    outcome
}

fn index_candidates(
    segment: &Segment,
    (version2, lookup): (Arc<Version2Segment>, &Lookup),
    from: TimestampNs,
    options: &Options,
    note: &mut dyn FnMut(Damage),
    each: Take<'_>,
) -> Result<(), Stop> {
    let candidates = Candidates::look_up(version2, lookup)?;
    if candidates.count() == Some(0) {
        return Ok(());
    }
    let file = PacketFile::open(segment).map_err(Stop::Packets)?;
    let interrupted = || options.interrupted();
    let blocks = candidates.blocks(&file.file, &TimeSet::ALL, &interrupted, note)?;
    let (mut indexing, mut buffer) = (Indexing::new(candidates.segment().block_bytes()), Loaded::default());
    for (_, block) in &blocks {
        if let Some(by) = interrupted() {
            return Err(Stop::Interrupted(by));
        }
        buffer.clear();
        let mut add = |seen: &Seen<'_>| {
            let (position, packet) = (Position(seen.position), &seen.packet);
            if packet.timestamp() >= from {
                indexing.log.note(position, packet.timestamp(), packet.wire_len(), &seen.decoded, seen.tags);
                indexing.packets = indexing.packets.saturating_add(1);
            }
        };
        candidates.visit(&file, block, options.verify_blocks, &mut buffer, &mut add, note);
        let (offset_bytes, used_bytes) = (block.offset_bytes, block.used_bytes);
        indexing.log.end_block(BlockNote { offset_bytes, used_bytes, crc32c: None, seq_num: block.seq_num });
        if indexing.packets >= TOGETHER {
            indexing.give(each)?;
        }
    }
    indexing.give(each)
}

/// Gives `each` indexes of those packets of a segment that are in the scope of what is `asked`, and of no others. What cannot
/// be read is named in `receipt`.
///
/// # Errors
/// What `each` says, and an end that the options call for.
pub(crate) fn index_scope(
    selected: &Selected,
    asked: &Asked,
    room: &Arc<KeptOpen>,
    options: &Options,
    receipt: &mut Receipt,
    each: Take<'_>,
) -> Result<(), Stop> {
    let Some(expr) = asked.scope().map(|scope| scope.expr().clone()) else { return Ok(()) };
    let times = expr.may_match_times();
    // A scope does not look at what only the first fragment of a datagram tells.
    let matcher = Matcher::new(expr, Of::Packets, Datagrams::default());
    let mut merge = Merge::new(matcher, times, vec![selected.clone()], Arc::clone(room), options);
    let (mut indexing, mut tags) = (Indexing::new(MADE_UP_BLOCK_BYTES), Vec::new());
    let outcome = loop {
        match merge.advance(&|| options.interrupted()) {
            Next::End => break indexing.give_block(each),
            Next::Interrupted(by) => break Err(Stop::Interrupted(by)),
            Next::Packet => {}
        }
        let Some((packet, ..)) = merge.packet() else { continue };
        let decoded = decode(&packet.frame(), &mut tags);
        // Nobody asks the index for the place of a packet; it wants them to ascend.
        let position = Position(made_up(indexing.packets));
        indexing.log.note(position, packet.timestamp(), packet.wire_len(), &decoded, &tags);
        indexing.packets = indexing.packets.saturating_add(1);
        if indexing.packets >= TOGETHER
            && let Err(stop) = indexing.give_block(each)
        {
            break Err(stop);
        }
    };
    merge.report(receipt, &mut Tally::default());
    outcome
}

/// Where a packet begins in a block that is made up.
fn made_up(packets: u32) -> u32 {
    packets.saturating_mul(MADE_UP_PACKET_BYTES).saturating_add(BLOCK_HEADER_BYTES)
}

/// An index that is being made.
struct Indexing {
    log: Log,
    packets: u32,
    block_bytes: u32,
}

impl Indexing {
    fn new(block_bytes: u32) -> Self {
        Self { log: Log::new(), packets: 0, block_bytes }
    }

    /// As [`Self::give`], of packets that are in no block yet.
    fn give_block(&mut self, each: Take<'_>) -> Result<(), Stop> {
        let used_bytes = made_up(self.packets);
        self.log.end_block(BlockNote { offset_bytes: 0, used_bytes, crc32c: None, seq_num: 1 });
        self.give(each)
    }

    /// Gives away what there is, if there is something, and begins anew.
    fn give(&mut self, each: Take<'_>) -> Result<(), Stop> {
        if self.packets > 0 {
            let facts = Facts { block_bytes: self.block_bytes, ..Facts::default() };
            let mut file = Vec::new();
            let _summary = seal(&self.log, &facts, &mut file)?;
            each(&Index::from_bytes(file)?)?;
        }
        self.log.clear();
        self.packets = 0;
        Ok(())
    }
}
