//! An index from the packets alone: walks the blocks of a packet file into a log, and seals it. Import, the check of a
//! segment, and the repair of an index that was lost all come this way.

use std::io::{self, Read, Write};

use steno_core::{
    Position,
    block::{Block, BlockError},
    packet::decode,
};

use crate::{BlockNote, Facts, IndexError, Log, Summary, seal};

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
/// [`IndexError::ReadPackets`], [`IndexError::Write`], and [`IndexError::TooLarge`] for a file past 4 GiB.
pub fn index_packet_file(packets: &mut impl Read, facts: &Facts, out: &mut impl Write) -> Result<Built, IndexError> {
    let mut log = Log::new();
    let damage = note_packet_file(packets, facts.block_bytes, &mut log)?;
    Ok(Built { summary: seal(&log, facts, out)?, damage })
}

/// Appends the packets and blocks of a packet file to `log`, up to the first block that is not whole, which is returned.
///
/// # Errors
/// [`IndexError::ReadPackets`]; [`IndexError::TooLarge`] for a file past 4 GiB.
pub fn note_packet_file(
    packets: &mut impl Read,
    block_bytes: u32,
    log: &mut Log,
) -> Result<Option<Damage>, IndexError> {
    let mut blocks = Blocks::new(block_bytes);
    while let Some((offset_bytes, bytes)) = blocks.next(packets)? {
        let noted = Block::parse(bytes).and_then(|block| {
            note_block(log, offset_bytes, &block, Some(crc32c::crc32c(block.used())))?;
            Ok(())
        });
        if let Err(error) = noted {
            return Ok(Some(Damage { offset_bytes, error }));
        }
    }
    Ok(None)
}

/// Appends the packets of a block and the block itself to `log`: all of them, or nothing.
///
/// # Errors
/// A chain that is broken. The log is as it was.
pub fn note_block(log: &mut Log, offset_bytes: u64, block: &Block<'_>, crc32c: Option<u32>) -> Result<(), BlockError> {
    block.packets().try_for_each(|packet| packet.map(|_| ()))?;
    let mut tags = Vec::new();
    for packet in block.packets() {
        let packet = packet?;
        let decoded = decode(&packet.frame(), &mut tags);
        // Positions have 32 bits; `seal` refuses a block that ends past them.
        let position = offset_bytes.saturating_add(u64::from(packet.offset_bytes));
        let position = Position(u32::try_from(position).unwrap_or(u32::MAX));
        log.note(position, packet.timestamp(), packet.wire_len(), &decoded, &tags);
    }
    let header = block.header();
    log.end_block(BlockNote { offset_bytes, used_bytes: header.blk_len, crc32c, seq_num: header.seq_num });
    Ok(())
}

/// The blocks of a packet file, one at a time in the same memory.
#[derive(Debug)]
pub(crate) struct Blocks {
    buffer: Vec<u8>,
    next: u64,
}

impl Blocks {
    pub(crate) fn new(block_bytes: u32) -> Self {
        Self { buffer: vec![0; block_bytes.max(1) as usize], next: 0 }
    }

    /// The next block: its offset, and its bytes, fewer of them at the end of the file.
    pub(crate) fn next(&mut self, file: &mut impl Read) -> Result<Option<(u64, &[u8])>, IndexError> {
        let offset_bytes = self.next;
        let filled = fill(file, &mut self.buffer).map_err(|source| IndexError::ReadPackets { offset_bytes, source })?;
        if filled == 0 {
            return Ok(None);
        }
        self.next += self.buffer.len() as u64;
        if offset_bytes > u64::from(u32::MAX) {
            let most = u64::from(u32::MAX);
            return Err(IndexError::TooLarge { what: "offset of a block", got: offset_bytes, most });
        }
        Ok(self.buffer.get(..filled).map(|bytes| (offset_bytes, bytes)))
    }
}

/// Reads until `buffer` is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
