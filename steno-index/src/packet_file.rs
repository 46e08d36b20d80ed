//! An index from the packets alone: walks the blocks of a packet file into a log, and seals it. Import, the check of a
//! segment, and the repair of an index that was lost all come this way.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::fs::FileExt,
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use steno_core::{
    BLOCK_BYTES, Position,
    block::{BLOCK_HEADER_BYTES, Block, BlockError, BlockHeader, RawPacket},
    packet::{Decoded, Tag, decode},
};

use crate::{BlockChecksums, BlockNote, Facts, IndexError, Log, Summary, seal};

/// A block that is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it starts in the packet file.
    pub offset_bytes: u64,
    /// What is wrong with it.
    pub error: BlockError,
}

impl From<Damage> for IndexError {
    fn from(damage: Damage) -> Self {
        Self::Block { offset_bytes: damage.offset_bytes, source: damage.error }
    }
}

/// What [`index_packet_file`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Built {
    /// What was sealed.
    pub summary: Summary,
    /// The first block that is not whole. The index ends before it.
    pub damage: Option<Damage>,
}

/// Writes the index of a packet file to `out`: of all its blocks, or of those before the first that is not whole.
/// `facts.block_bytes` says how far apart the blocks are; the last one may end early.
///
/// ```
/// # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
/// # let mut writer = BlockWriter::new(4096);
/// # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
/// # let mut packet_file = writer.finish(1);
/// use steno_index::{Facts, Index, index_packet_file};
///
/// let facts = Facts { block_bytes: 4096, interface: "eth0".to_owned(), ..Facts::default() };
/// let mut index = Vec::new();
/// let built = index_packet_file(&mut packet_file, &facts, &mut index)?;
/// assert_eq!((built.summary.packets, built.damage), (1, None));
/// assert_eq!(Index::from_bytes(index)?.facts()?.interface, "eth0");
/// # Ok::<(), steno_index::IndexError>(())
/// ```
///
/// # Errors
/// [`IndexError::Write`], and those of [`note_packet_file`].
pub fn index_packet_file(packets: &mut impl Read, facts: &Facts, out: &mut impl Write) -> Result<Built, IndexError> {
    let mut log = Log::new();
    let damage = note_packet_file(packets, facts.block_bytes, &mut log)?;
    Ok(Built { summary: seal(&log, facts, out)?, damage })
}

/// Appends the packets and blocks of a packet file to `log`, up to the first block that is not whole, which is
/// returned.
///
/// # Errors
/// [`IndexError::ReadPackets`]; [`IndexError::TooLarge`] for a file past 4 GiB; [`IndexError::Corrupt`] for
/// `block_bytes` that hold no block.
pub fn note_packet_file(
    packets: &mut impl Read,
    block_bytes: u32,
    log: &mut Log,
) -> Result<Option<Damage>, IndexError> {
    let (mut blocks, mut checksums) = (Blocks::new(block_bytes)?, BlockChecksums::default());
    while let Some((offset_bytes, bytes)) = blocks.next(packets)? {
        let noted = Block::parse(bytes).and_then(|block| {
            let _captured = note_block(log, offset_bytes, &block, Some(checksums.renew(block.used())))?;
            Ok(())
        });
        if let Err(error) = noted {
            return Ok(Some(Damage { offset_bytes, error }));
        }
    }
    Ok(None)
}

/// What [`note_block`] saw of the packets of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Noted {
    /// What was captured of them, in bytes.
    pub captured_bytes: u64,
    /// How many are longer than what was captured of them.
    pub cut_packets: u32,
}

/// Appends the packets of a block and the block itself to `log`, with its checksums if there are to be any: all of them, or
/// nothing.
///
/// # Errors
/// A chain that is broken. The log is as it was.
pub fn note_block(
    log: &mut Log,
    offset_bytes: u64,
    block: &Block<'_>,
    checksums: Option<&BlockChecksums>,
) -> Result<Noted, BlockError> {
    note_block_by(log, offset_bytes, block, checksums, |packet, tags| decode(&packet.frame(), tags))
}

/// As [`note_block`], with another reading of the packets.
#[inline]
pub(crate) fn note_block_by(
    log: &mut Log,
    offset_bytes: u64,
    block: &Block<'_>,
    checksums: Option<&BlockChecksums>,
    decode: impl Fn(&RawPacket<'_>, &mut Vec<Tag>) -> Decoded,
) -> Result<Noted, BlockError> {
    // In one walk: the header of the next packet is on its way from memory while this one is decoded.
    let mark = log.mark();
    let (mut noted, mut tags) = (Noted::default(), Vec::new());
    for packet in block.packets() {
        let packet = match packet {
            Ok(packet) => packet,
            Err(e) => {
                log.go_back(mark);
                return Err(e);
            }
        };
        noted.captured_bytes += u64::from(packet.header.snaplen);
        noted.cut_packets += u32::from(packet.header.snaplen < packet.header.len);
        let decoded = decode(&packet, &mut tags);
        // Positions have 32 bits; `seal` refuses a block that ends past them.
        let position = offset_bytes.saturating_add(u64::from(packet.offset_bytes));
        let position = Position(u32::try_from(position).unwrap_or(u32::MAX));
        log.note(position, packet.timestamp(), packet.wire_len(), &decoded, &tags);
    }
    let (header, crc32c) = (block.header(), checksums.map(BlockChecksums::crc32c));
    let note = BlockNote { offset_bytes, used_bytes: header.blk_len, crc32c, seq_num: header.seq_num };
    log.end_block_with(note, checksums.map_or(&[], BlockChecksums::running));
    Ok(noted)
}

/// How far apart the blocks of a packet file are, in bytes, as the file itself tells; `None` of an empty file.
///
/// 1 MiB is tried first, then the multiples of 4 KiB, which is what the kernel takes: until the block headers there are those
/// of the ring's next blocks, or, where they nowhere are because blocks are missing, at least of later ones. Where none follows the
/// first block it is the whole file, unless that is longer than any block: then it takes 1 MiB, or as many as it uses.
///
/// # Errors
/// [`IndexError::ReadPackets`]; [`IndexError::Block`] for a file that does not begin with a block.
pub fn detect_block_bytes(packets: &File) -> Result<Option<u32>, IndexError> {
    detect(packets, None)
}

/// As [`detect_block_bytes`]; a block that none follows takes what is likely, if it uses no more: behind it may be room that was
/// set aside for others.
fn detect(packets: &File, likely: Option<u32>) -> Result<Option<u32>, IndexError> {
    let file_bytes = packets.metadata().map_err(|source| IndexError::ReadPackets { offset_bytes: 0, source })?.len();
    if file_bytes == 0 {
        return Ok(None);
    }
    let first = header_at(packets, 0)?;
    let most = u32::try_from(file_bytes).unwrap_or(u32::MAX);
    let checked = first.check(most.min(BLOCK_BYTES_MAX) as usize).map(|()| first.blk_len);
    let used = checked.map_err(|source| IndexError::Block { offset_bytes: 0, source })?;
    if let Some(block_bytes) = distance(packets, (0, &first), used, file_bytes)? {
        return Ok(Some(block_bytes));
    }
    let whole = most.max(used.next_multiple_of(PAGE_BYTES));
    let alone = match likely {
        None if whole <= BLOCK_BYTES_MAX => whole,
        Some(likely) if likely >= used => likely,
        _ => used.next_multiple_of(BLOCK_BYTES),
    };
    Ok(Some(alone.min(whole)))
}

/// As [`detect_block_bytes`] for a file of which anything may be missing, also its beginning: `likely` where it does not tell.
///
/// # Errors
/// [`IndexError::ReadPackets`].
pub(crate) fn block_bytes_of_remains(packets: &File, likely: u32) -> Result<u32, IndexError> {
    let file_bytes = packets.metadata().map_err(|source| IndexError::ReadPackets { offset_bytes: 0, source })?.len();
    if file_bytes < u64::from(BLOCK_HEADER_BYTES) {
        return Ok(likely);
    }
    match detect(packets, Some(likely)) {
        Ok(block_bytes) => return Ok(block_bytes.unwrap_or(likely)),
        Err(IndexError::Block { .. }) => {}
        Err(e) => return Err(e),
    }
    for offset_bytes in (0..file_bytes).step_by(PAGE_BYTES as usize) {
        let Ok(first) = header_at(packets, offset_bytes) else { continue };
        let room = usize::try_from(file_bytes - offset_bytes).unwrap_or(usize::MAX);
        if first.num_pkts == 0 || first.check(room.min(BLOCK_BYTES_MAX as usize)).is_err() {
            continue;
        }
        if let Some(block_bytes) = distance(packets, (offset_bytes, &first), first.blk_len, file_bytes)? {
            return Ok(block_bytes);
        }
        // It stands alone, a whole number of blocks from the beginning.
        let divides = |bytes: u32| bytes >= first.blk_len && offset_bytes.is_multiple_of(bytes.into());
        let pages = (PAGE_BYTES..=BLOCK_BYTES_MAX).rev().step_by(PAGE_BYTES as usize);
        return Ok([likely, BLOCK_BYTES].into_iter().chain(pages).find(|&bytes| divides(bytes)).unwrap_or(likely));
    }
    Ok(likely)
}

/// The distance at which blocks of the ring of a block follow it: `first` lies a whole number of them from the file's beginning,
/// and takes `used` bytes.
fn distance(packets: &File, first: (u64, &BlockHeader), used: u32, file_bytes: u64) -> Result<Option<u32>, IndexError> {
    let fits = |bytes: u32| bytes >= used && first.0.is_multiple_of(bytes.into());
    if fits(BLOCK_BYTES) && blocks_follow(packets, first, BLOCK_BYTES, file_bytes, true)? {
        return Ok(Some(BLOCK_BYTES));
    }
    // Before many distances are tried over what may be gigabytes of zeros: how far is there anything to find?
    let Some(last) = last_header(packets, first, used, file_bytes)? else { return Ok(None) };
    let end = last + u64::from(BLOCK_HEADER_BYTES);
    let most = u32::try_from(last - first.0).unwrap_or(u32::MAX).min(BLOCK_BYTES_MAX);
    let pages = (used.next_multiple_of(PAGE_BYTES)..=most).step_by(PAGE_BYTES as usize);
    let candidates = std::iter::once(BLOCK_BYTES).chain(pages);
    for each_in_turn in [true, false] {
        for block_bytes in candidates.clone().filter(|&bytes| fits(bytes)) {
            if blocks_follow(packets, first, block_bytes, end, each_in_turn)? {
                return Ok(Some(block_bytes));
            }
        }
    }
    Ok(None)
}

/// Where the last page begins that could be a later block of the ring of `first`.
fn last_header(
    packets: &File,
    (from, first): (u64, &BlockHeader),
    used: u32,
    file_bytes: u64,
) -> Result<Option<u64>, IndexError> {
    let end = file_bytes.min(u64::from(u32::MAX) + 1);
    let mut last = None;
    let mut offset_bytes = from + u64::from(used.next_multiple_of(PAGE_BYTES)).max(PAGE_BYTES.into());
    while offset_bytes + u64::from(BLOCK_HEADER_BYTES) <= end {
        let next = header_at(packets, offset_bytes)?;
        let is_of_ring = next.offset_to_priv == first.offset_to_priv && next.seq_num > first.seq_num;
        if is_of_ring && next.check(BLOCK_BYTES_MAX as usize).is_ok() {
            last = Some(offset_bytes);
        }
        offset_bytes += u64::from(PAGE_BYTES);
        if next == BlockHeader::default() {
            offset_bytes = skip_hole(packets, offset_bytes).unwrap_or(offset_bytes);
        }
    }
    Ok(last)
}

/// The page, from `offset_bytes` on, in which the file has something at all, as far as the file system tells: zeros that only were
/// set aside need not be read. Where the file is read next stays as it is.
fn skip_hole(mut packets: &File, offset_bytes: u64) -> io::Result<u64> {
    let place = packets.stream_position()?;
    let found = seek(packets, SeekFrom::Data(offset_bytes));
    let _back = packets.seek(io::SeekFrom::Start(place))?;
    match found {
        Ok(found) => Ok(found - found % u64::from(PAGE_BYTES)),
        Err(Errno::NXIO) => Ok(u64::from(u32::MAX) + 1),
        Err(e) => Err(e.into()),
    }
}

/// Whether blocks of the ring of `first` follow it at multiples of `block_bytes`, as far as a few tell. `each_in_turn`: each
/// is the one that belongs there; then some may never have been written.
fn blocks_follow(
    packets: &File,
    (from, first): (u64, &BlockHeader),
    block_bytes: u32,
    file_bytes: u64,
    each_in_turn: bool,
) -> Result<bool, IndexError> {
    const COMPARED: u64 = 8;
    let (mut seq_num, mut found) = (first.seq_num, 0);
    for number in 1.. {
        let offset_bytes = from + number * u64::from(block_bytes);
        if found == COMPARED || offset_bytes + u64::from(BLOCK_HEADER_BYTES) > file_bytes {
            break;
        }
        let next = header_at(packets, offset_bytes)?;
        if each_in_turn && next == BlockHeader::default() {
            continue;
        }
        let in_turn = match each_in_turn {
            true => next.seq_num == first.seq_num.wrapping_add(number),
            false => next.seq_num > seq_num,
        };
        if next.check(block_bytes as usize).is_err() || next.offset_to_priv != first.offset_to_priv || !in_turn {
            return Ok(false);
        }
        (seq_num, found) = (next.seq_num, found + 1);
    }
    Ok(found > 0)
}

fn header_at(packets: &File, offset_bytes: u64) -> Result<BlockHeader, IndexError> {
    let mut bytes = [0; BLOCK_HEADER_BYTES as usize];
    packets
        .read_exact_at(&mut bytes, offset_bytes)
        .map_err(|source| IndexError::ReadPackets { offset_bytes, source })?;
    BlockHeader::parse(&bytes).map_err(|source| IndexError::Block { offset_bytes, source })
}

/// What a ring's blocks are multiples of (packet_mmap.rst), and the longest that are looked for.
const PAGE_BYTES: u32 = 4096;
const BLOCK_BYTES_MAX: u32 = 128 << 20;

/// The blocks of a packet file, one at a time in the same memory, which grows no larger than what the file holds.
#[derive(Debug)]
pub(crate) struct Blocks {
    block_bytes: u32,
    buffer: Vec<u8>,
    next: u64,
}

impl Blocks {
    /// # Errors
    /// [`IndexError::Corrupt`] for blocks that would not hold their header.
    pub(crate) fn new(block_bytes: u32) -> Result<Self, IndexError> {
        if block_bytes < BLOCK_HEADER_BYTES {
            return Err(IndexError::corrupt("facts", "blocks too small for their header", block_bytes));
        }
        Ok(Self { block_bytes, buffer: Vec::new(), next: 0 })
    }

    /// The next block: its offset, and its bytes, fewer of them at the end of the file.
    pub(crate) fn next(&mut self, file: &mut impl Read) -> Result<Option<(u64, &[u8])>, IndexError> {
        let offset_bytes = self.next;
        self.buffer.clear();
        let mut rest = file.take(u64::from(self.block_bytes));
        let filled =
            rest.read_to_end(&mut self.buffer).map_err(|source| IndexError::ReadPackets { offset_bytes, source })?;
        if filled == 0 {
            return Ok(None);
        }
        self.next += u64::from(self.block_bytes);
        if offset_bytes > u64::from(u32::MAX) {
            let most = u64::from(u32::MAX);
            return Err(IndexError::TooLarge { what: "offset of a block", got: offset_bytes, most });
        }
        Ok(Some((offset_bytes, &self.buffer)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use steno_core::{
        TimestampNs,
        block::{BlockWriter, Push},
    };

    use super::*;

    /// A packet file of blocks with these sequence numbers.
    fn packet_file(block_bytes: u32, seq_nums: &[u64]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        let mut writer = BlockWriter::new(block_bytes);
        for &seq_num in seq_nums {
            for i in 0..3 {
                let pushed = writer.push(TimestampNs::from_parts(100, i), 1000, &[7; 1000]).unwrap();
                assert!(matches!(pushed, Push::Stored { .. }));
            }
            let block = writer.finish(seq_num).to_vec();
            file.write_all(if seq_num == 0 { &[0; 1 << 20][..block.len()] } else { &block }).unwrap();
            writer.clear();
        }
        file
    }

    #[test]
    fn the_distance_of_blocks_is_told_by_their_headers() {
        for (block_bytes, seq_nums, expected) in [
            (1 << 20, &[5, 6, 7][..], 1 << 20),
            (1 << 20, &[5], 1 << 20),
            (4 << 20, &[5], 4 << 20),
            // 1 MiB is a multiple of these, and a block starts there, too.
            (1 << 16, &(1..40).collect::<Vec<_>>(), 1 << 16),
            (12 << 10, &[9, 10], 12 << 10),
            (3 << 20, &[1, 2, 3], 3 << 20),
            // Blocks are missing.
            (1 << 20, &[5, 9, 10], 1 << 20),
            (1 << 16, &[1, 4], 1 << 16),
            // Blocks were never written: 0 stands for one.
            (1 << 16, &[7, 0, 9, 10], 1 << 16),
            (1 << 20, &[7, 0, 0, 10], 1 << 20),
        ] {
            let file = packet_file(block_bytes, seq_nums);
            assert_eq!(detect_block_bytes(&file).unwrap(), Some(expected), "{block_bytes}, {seq_nums:?}");
        }
    }

    /// As a capture leaves it that is killed after its first block, which was to have many more.
    #[test]
    fn a_block_alone_in_room_for_many_is_none_as_large_as_the_file() {
        for (block_bytes, likely, expected) in [
            (1 << 20, 1 << 20, 1 << 20),
            (1 << 16, 1 << 16, 1 << 16),
            (4 << 20, 4 << 20, 4 << 20),
            // It uses more than what is likely.
            (1 << 16, 2048, 1 << 20),
        ] {
            let file = packet_file(block_bytes, &[1]);
            file.set_len(1 << 30).unwrap();
            assert_eq!(block_bytes_of_remains(&file, likely).unwrap(), expected, "{block_bytes}, {likely} likely");
            assert_eq!(detect_block_bytes(&file).unwrap(), Some(1 << 20), "{block_bytes}");
        }
        // More than 1 MiB, of which nobody knows how much more.
        let mut writer = BlockWriter::new(8 << 20);
        for _ in 0..50 {
            let pushed = writer.push(TimestampNs::from_parts(100, 0), 60_000, &[7; 60_000]).unwrap();
            assert!(matches!(pushed, Push::Stored { .. }));
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(writer.finish(1)).unwrap();
        file.set_len(1 << 30).unwrap();
        assert_eq!(block_bytes_of_remains(&file, 1 << 20).unwrap(), 3 << 20);
        // And one that lies far from the beginning.
        let file = tempfile::tempfile().unwrap();
        let page = writer.finish(1).get(..3 << 20).unwrap_or_default();
        file.write_all_at(page, (800 << 20) + 4096).unwrap();
        file.set_len(1 << 30).unwrap();
        let found = block_bytes_of_remains(&file, 1 << 20).unwrap();
        assert!(((3 << 20)..=BLOCK_BYTES_MAX).contains(&found) && ((800 << 20) + 4096) % found == 0, "{found}");
    }

    #[test]
    fn what_begins_with_no_block_has_no_distance() {
        assert_eq!(detect_block_bytes(&tempfile::tempfile().unwrap()).unwrap(), None);
        let mut zeros = tempfile::tempfile().unwrap();
        zeros.write_all(&[0; 1 << 16]).unwrap();
        assert!(matches!(detect_block_bytes(&zeros), Err(IndexError::Block { offset_bytes: 0, .. })));
        let mut short = tempfile::tempfile().unwrap();
        short.write_all(&[2; 10]).unwrap();
        assert!(matches!(detect_block_bytes(&short), Err(IndexError::ReadPackets { .. })));
    }
}
