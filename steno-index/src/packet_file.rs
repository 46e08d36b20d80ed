//! An index from the packets alone: walks the blocks of a packet file into a log, and seals it. Import, the check of a
//! segment, and the repair of an index that was lost all come this way.

use std::io::{Read, Write};

use steno_core::{
    Position,
    block::{BLOCK_HEADER_BYTES, Block, BlockError},
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
    let mut blocks = Blocks::new(block_bytes)?;
    while let Some((offset_bytes, bytes)) = blocks.next(packets)? {
        let noted = Block::parse(bytes).and_then(|block| {
            let _captured = note_block(log, offset_bytes, &block, Some(crc32c::crc32c(block.used())))?;
            Ok(())
        });
        if let Err(error) = noted {
            return Ok(Some(Damage { offset_bytes, error }));
        }
    }
    Ok(None)
}

/// Appends the packets of a block and the block itself to `log`: all of them, or nothing. Gives what was captured of the
/// packets, in bytes.
///
/// # Errors
/// A chain that is broken. The log is as it was.
pub fn note_block(log: &mut Log, offset_bytes: u64, block: &Block<'_>, crc32c: Option<u32>) -> Result<u64, BlockError> {
    let captured_bytes = block.packets().try_fold(0, |sum, packet| Ok(sum + u64::from(packet?.header.snaplen)))?;
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
    Ok(captured_bytes)
}

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
