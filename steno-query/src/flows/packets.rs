//! Conversations of a segment whose index knows none: the packets that it leads to are read, and indexed in memory, as many
//! at a time as fit.

use std::{fs::File, sync::Arc};

use steno_core::chain;
use steno_index::{BlockNote, Facts, Index, IndexError, Log, seal};

use crate::{
    TimeSet,
    exec::{Candidates, Damage, Loaded, Options},
    plan::{Lookup, Stop},
    store::{Fault, Segment, Version2Segment},
};

/// Packets that are indexed together, which takes some 30 MiB: the log of each takes 32 bytes, and the index is made beside it.
const TOGETHER: u32 = 1 << 18;

/// Gives `each` native indexes of the packets that `lookup` leads to: all packets of each conversation that matches are in
/// some of them. Blocks that cannot be read are told to `damage`: the first, and how many more.
///
/// # Errors
/// An index or a packet file that fails, what `each` says, and an end that the options call for.
pub(super) fn conversations(
    segment: &Segment,
    version2: Arc<Version2Segment>,
    lookup: &Lookup,
    options: &Options,
    damage: &mut Option<(String, u64)>,
    each: &mut dyn FnMut(&Index) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let candidates = Candidates::look_up(version2, lookup)?;
    if candidates.count() == Some(0) {
        return Ok(());
    }
    let mut note = |found: Damage| match damage {
        Some((_, more)) => *more += 1,
        None => *damage = Some((chain(&found), 0)),
    };
    let file = File::open(segment.packet_file()).map_err(|e| Stop::Packets(Fault::of_io(&e)))?;
    let interrupted = || options.interrupted();
    let blocks = candidates.blocks(&file, &TimeSet::ALL, &interrupted, &mut note)?;
    let (mut log, mut buffer, mut packets) = (Log::new(), Loaded::default(), 0u32);
    for (_, block) in &blocks {
        if let Some(by) = interrupted() {
            return Err(Stop::Interrupted(by));
        }
        buffer.clear();
        let mut add = |seen: &crate::exec::Seen<'_>| {
            let position = steno_core::Position(seen.position);
            log.note(position, seen.packet.timestamp(), seen.packet.wire_len(), &seen.decoded, seen.tags);
            packets = packets.saturating_add(1);
        };
        candidates.visit(&file, block, options.verify_blocks, &mut buffer, &mut add, &mut note);
        let (offset_bytes, used_bytes) = (block.offset_bytes, block.used_bytes);
        log.end_block(BlockNote { offset_bytes, used_bytes, crc32c: None, seq_num: block.seq_num });
        if packets >= TOGETHER {
            each(&indexed(&log, candidates.segment())?)?;
            log.clear();
            packets = 0;
        }
    }
    if packets > 0 { each(&indexed(&log, candidates.segment())?) } else { Ok(()) }
}

/// The native index of what is in `log`.
fn indexed(log: &Log, segment: &Version2Segment) -> Result<Index, IndexError> {
    let facts = Facts { block_bytes: segment.block_bytes(), ..Facts::default() };
    let mut file = Vec::new();
    let _summary = seal(log, &facts, &mut file)?;
    Index::from_bytes(file)
}
