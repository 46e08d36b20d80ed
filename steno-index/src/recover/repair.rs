//! A published segment that a check found wrong: what of it can be made good without taking altered packets for true ones.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    RecoverError, free_name,
    walk::{Walked, WholeBlock, walk, write},
};
use crate::{
    AnyIndex, BlockInfo, Facts, Gap, Index, IndexError, Log, Problem, Report, Summary,
    packet_file::block_bytes_of_remains, seal, seal_version2, segment::SegmentPaths, version2::MAGIC,
};

/// What came of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repaired {
    /// There was nothing to do.
    Sound,
    /// It has a new index, made of the whole blocks of its packet file.
    Reindexed {
        /// Packets in it.
        packets: u32,
        /// The name that the old index bears now.
        set_aside: PathBuf,
        /// Bytes behind the last whole block that were cut off the packet file.
        cut_bytes: u64,
        /// Blocks before that which are not whole.
        holes: u32,
    },
    /// Its packets are not those that were captured, by an index that is sound. There is nothing to make them good from, and a
    /// new index would only hide it.
    Altered,
    /// No block of its packet file is whole.
    NothingWhole,
    /// It was called off. What is there is as it was.
    CalledOff,
}

/// Repairs a published segment, given what [`verify_segment`](crate::verify_segment) says of it.
///
/// An index that is damaged is made anew, in its own format; so is a sound one that describes blocks which are not whole any
/// more, as those of a packet file that was cut. The times of such blocks become gaps, so that answers go on to say that
/// something is missing. Nothing is deleted but what lies behind the last whole block: the old index gets another name. The
/// facts of the capture come from the old index where they can be read, else they are `facts`. `called_off` is asked before each
/// block.
///
/// # Errors
/// What keeps it from being done. The segment is as it was, or cut behind its last whole block.
pub fn repair(
    paths: &SegmentPaths,
    report: &Report,
    facts: &Facts,
    called_off: &dyn Fn() -> bool,
) -> Result<Repaired, RecoverError> {
    if report.is_clean() {
        return Ok(Repaired::Sound);
    }
    let path = paths.packet_file();
    let failed = |what| {
        let path = path.clone();
        move |source| RecoverError::File { what, path, source }
    };
    let index_failed = |source| RecoverError::Index { path: path.clone(), source };
    let mut packets = OpenOptions::new().read(true).write(true).open(&path).map_err(failed("open"))?;
    let file_bytes = packets.metadata().map_err(failed("look at"))?.len();
    let old = AnyIndex::open(&paths.index_file()).ok();
    let is_sound = !report.problems.iter().any(|problem| matches!(problem, Problem::Index(_)));
    let mut facts = old.as_ref().and_then(facts_of).unwrap_or_else(|| facts.clone());
    facts.block_bytes = block_bytes_of_remains(&packets, facts.block_bytes).map_err(index_failed)?;
    let mut log = Log::new();
    let walked = walk(&mut packets, facts.block_bytes, paths.id(), &mut log, called_off).map_err(index_failed)?;
    let Some(Walked { end, holes, gaps, blocks, .. }) = walked else { return Ok(Repaired::CalledOff) };
    if blocks.is_empty() {
        return Ok(Repaired::NothingWhole);
    }
    match old.as_ref().filter(|_| is_sound) {
        Some(AnyIndex::Native(old)) => match missing(old, &blocks).map_err(index_failed)? {
            Some(missing) if !missing.is_empty() => facts.gaps.extend(missing),
            _ => return Ok(Repaired::Altered),
        },
        // It does not say what blocks there were, but that they were whole.
        Some(AnyIndex::Version2(_)) if holes == 0 && end >= file_bytes => return Ok(Repaired::Altered),
        _ => facts.gaps.extend(gaps),
    }
    let is_version2 = match &old {
        Some(index) => matches!(index, AnyIndex::Version2(_)),
        None => ends_as_version2(&paths.index_file()),
    };
    if end < file_bytes {
        packets.set_len(end).map_err(failed("cut"))?;
        packets.sync_all().map_err(failed("sync"))?;
    }
    let mut write_index = |log: &Log, facts: &Facts, mut out: &mut dyn Write| -> Result<Summary, IndexError> {
        if is_version2 { seal_version2(log, facts, &mut out) } else { seal(log, facts, &mut out) }
    };
    let _summary = write(&paths.hidden_index_file(), &log, &facts, &mut write_index)?;
    let set_aside = free_name(paths, "damaged");
    paths.replace_index(&set_aside).map_err(RecoverError::Publish)?;
    Ok(Repaired::Reindexed { packets: log.packets(), set_aside, cut_bytes: file_bytes.saturating_sub(end), holes })
}

fn facts_of(index: &AnyIndex) -> Option<Facts> {
    match index {
        AnyIndex::Native(index) => index.facts().ok().cloned(),
        AnyIndex::Version2(index) => index.extra().map(|extra| extra.facts.clone()),
    }
}

/// The times of those blocks of a sound index that are not whole any more; `None` where one that is there is another than the
/// index describes.
fn missing(old: &Index, whole: &[WholeBlock]) -> Result<Option<Vec<Gap>>, IndexError> {
    let is_the_same = |old: &BlockInfo, block: &WholeBlock| {
        let is_altered = old.crc32c.is_some_and(|crc32c| crc32c != block.crc32c);
        !is_altered && (old.used_bytes, old.seq_num) == (block.used_bytes, block.seq_num)
    };
    let (mut gaps, mut found) = (Vec::new(), 0);
    for number in 0..old.block_count() {
        let info = old.block(number)?;
        match whole.binary_search_by_key(&info.offset_bytes, |block| block.offset_bytes) {
            Ok(at) if whole.get(at).is_some_and(|block| is_the_same(&info, block)) => found += 1,
            Ok(_) => return Ok(None),
            Err(_) => {
                let reason = format!("the block at offset {} is not whole any more", info.offset_bytes);
                gaps.push(Gap { from: info.min_time, to: info.max_time, reason });
            }
        }
    }
    Ok((found == whole.len()).then_some(gaps))
}

/// Whether an index that does not open ends as one of version 2 does.
fn ends_as_version2(path: &Path) -> bool {
    let mut end = [0; 8];
    let read = File::open(path).and_then(|mut file| {
        let _at = file.seek(SeekFrom::End(-8))?;
        file.read_exact(&mut end)
    });
    read.is_ok() && end == MAGIC
}
