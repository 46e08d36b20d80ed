//! The whole blocks of a packet file, noted; and the index that is made of them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use steno_core::{SegmentId, TimestampNs, block::Block};

use super::{RecoverError, WriteIndex};
use crate::{BlockChecksums, Facts, Gap, IndexError, Log, Summary, note_block, packet_file::Blocks};

/// Buffer of an index file that is being written.
const BUFFER_BYTES: usize = 1 << 18;

/// What a walk over a packet file found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Where the last whole block ends, by the distance of the blocks.
    pub(super) end: u64,
    /// Blocks before that which are not whole.
    pub(super) holes: u32,
    /// The times that they are of, as far as their neighbours tell.
    pub(super) gaps: Vec<Gap>,
    /// Blocks behind it, none of them whole.
    pub(super) behind: u32,
    /// When the last packet of the last whole block came; when the file was opened, where there is none.
    pub(super) latest: TimestampNs,
    /// Those that are whole.
    pub(super) blocks: Vec<WholeBlock>,
}

/// A block that is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct WholeBlock {
    pub(super) offset_bytes: u64,
    pub(super) used_bytes: u32,
    pub(super) crc32c: u32,
    pub(super) seq_num: u64,
}

/// Why there is a gap where blocks are not whole.
pub(super) fn not_whole(blocks: u32) -> String {
    format!("{blocks} blocks of the packet file are not whole")
}

/// Notes all whole blocks with packets of segment `id`; `None` where it was called off.
pub(super) fn walk(
    packets: &mut File,
    block_bytes: u32,
    id: SegmentId,
    log: &mut Log,
    called_off: &dyn Fn() -> bool,
) -> Result<Option<Walked>, IndexError> {
    let rewound = packets.seek(SeekFrom::Start(0));
    let _start = rewound.map_err(|source| IndexError::ReadPackets { offset_bytes: 0, source })?;
    walk_on(packets, block_bytes, id, log, called_off)
}

/// As [`walk`], of a file that is at its beginning.
pub(super) fn walk_on(
    packets: &mut impl Read,
    block_bytes: u32,
    id: SegmentId,
    log: &mut Log,
    called_off: &dyn Fn() -> bool,
) -> Result<Option<Walked>, IndexError> {
    let (mut blocks, mut checksums) = (Blocks::new(block_bytes)?, BlockChecksums::default());
    let (mut walked, mut holes, mut latest) = (Walked::default(), 0, id.opened_at());
    let mut packets = packets.take(u64::from(u32::MAX) + 1);
    while let Some((offset_bytes, bytes)) = blocks.next(&mut packets)? {
        if called_off() {
            return Ok(None);
        }
        let noted = Block::parse(bytes).and_then(|block| {
            let checksums = checksums.renew(block.used());
            note_block(log, offset_bytes, &block, Some(checksums)).map(|_| (*block.header(), checksums.crc32c()))
        });
        match noted {
            Ok((header, crc32c)) => {
                let [first, last] = [header.ts_first, header.ts_last].map(|(s, ns)| TimestampNs::from_parts(s, ns));
                if holes > walked.holes {
                    let reason = not_whole(holes - walked.holes);
                    walked.gaps.push(Gap { from: latest.min(first), to: first, reason });
                }
                (walked.end, walked.holes, latest) = (offset_bytes + u64::from(block_bytes), holes, last);
                let (used_bytes, seq_num) = (header.blk_len, header.seq_num);
                walked.blocks.push(WholeBlock { offset_bytes, used_bytes, crc32c, seq_num });
            }
            Err(_) => holes += 1,
        }
    }
    walked.behind = holes - walked.holes;
    walked.latest = latest;
    Ok(Some(walked))
}

/// Writes an index file; one that an earlier attempt left is replaced.
pub(super) fn write(
    path: &Path,
    log: &Log,
    facts: &Facts,
    write_index: WriteIndex<'_>,
) -> Result<Summary, RecoverError> {
    let failed = |what| move |source| RecoverError::File { what, path: path.to_owned(), source };
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(e)),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed("create"))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let summary =
        write_index(log, facts, &mut out).map_err(|source| RecoverError::Index { path: path.to_owned(), source })?;
    out.flush().map_err(failed("write"))?;
    Ok(summary)
}
