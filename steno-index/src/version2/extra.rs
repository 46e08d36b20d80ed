//! What Steno writes beside the keys, in a meta block that LevelDB passes over.

use steno_core::TimestampNs;

use super::table::{Block, Cursor, Handle};
use crate::{
    Facts, IndexError, Summary,
    le::{u32_at, u64_at},
};

/// The name of the meta block in the table's metaindex.
pub(super) const META_KEY: &[u8] = b"steno";
/// Its entries.
const FACTS_KEY: &[u8] = b"facts";
const SUMMARY_KEY: &[u8] = b"summary";
const SUMMARY_BYTES: usize = 40;

/// What Steno's own index files of version 2 say beyond those of stenographer 1.0.1. That it is there means, too, that the tag
/// which the kernel takes out of a frame is among the keys, and that fragments after the first have no ports.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extra {
    /// The circumstances of the capture.
    pub facts: Facts,
    /// Packets of the segment.
    pub packets: u32,
    /// Blocks of the packet file.
    pub blocks: u32,
    /// Bytes of all packets on the wire.
    pub wire_bytes: u64,
    /// The earliest and the latest time of a packet; `None` without packets.
    pub time_range: Option<(TimestampNs, TimestampNs)>,
}

/// A key and its value.
pub(super) type MetaEntry = (&'static [u8], Vec<u8>);

impl Extra {
    /// Of what was sealed.
    pub(super) fn new(facts: &Facts, summary: &Summary) -> Self {
        let Summary { packets, blocks, wire_bytes, time_range, .. } = *summary;
        Self { facts: facts.clone(), packets, blocks, wire_bytes, time_range }
    }

    /// The entries of the meta block, in order.
    pub(super) fn entries(&self) -> Result<[MetaEntry; 2], IndexError> {
        let (facts, count) = self.facts.encode()?;
        let (first, last) = self.time_range.unwrap_or((TimestampNs::MIN, TimestampNs::MIN));
        let mut summary = Vec::with_capacity(SUMMARY_BYTES);
        summary.extend_from_slice(&self.packets.to_le_bytes());
        summary.extend_from_slice(&self.blocks.to_le_bytes());
        for word in [self.wire_bytes, first.as_ns(), last.as_ns(), count] {
            summary.extend_from_slice(&word.to_le_bytes());
        }
        Ok([(FACTS_KEY, facts), (SUMMARY_KEY, summary)])
    }

    /// That of a file, by its metaindex.
    ///
    /// # Errors
    /// A meta block that is there and does not read.
    pub(super) fn find(file: &[u8], metaindex: Handle) -> Result<Option<Self>, IndexError> {
        let damaged = |what| IndexError::corrupt("meta block of Steno", what, 0u32);
        let names = Block::read(file, metaindex)?;
        let mut cursor = Cursor::default();
        while let Some(place) = names.step(&mut cursor)? {
            if cursor.key() != META_KEY {
                continue;
            }
            let (handle, _) = Handle::decode(names.value(place)).ok_or_else(|| damaged("its handle is cut"))?;
            let block = Block::read(file, handle)?;
            let (mut facts, mut summary, mut entries) = (None, None, Cursor::default());
            while let Some(place) = block.step(&mut entries)? {
                match entries.key() {
                    FACTS_KEY => facts = Some(block.value(place)),
                    SUMMARY_KEY => summary = Some(block.value(place)),
                    _ => {}
                }
            }
            return match facts.zip(summary) {
                Some((facts, summary)) => Self::decode(facts, summary).map(Some),
                None => Err(damaged("an entry is missing")),
            };
        }
        Ok(None)
    }

    fn decode(facts: &[u8], summary: &[u8]) -> Result<Self, IndexError> {
        let fields = (|| {
            let (packets, blocks) = (u32_at(summary, 0)?, u32_at(summary, 4)?);
            Some((
                packets,
                blocks,
                [u64_at(summary, 8)?, u64_at(summary, 16)?, u64_at(summary, 24)?, u64_at(summary, 32)?],
            ))
        })();
        let Some((packets, blocks, [wire_bytes, first, last, count])) = fields else {
            return Err(IndexError::corrupt("meta block of Steno", "the summary is cut", summary.len() as u64));
        };
        if first > last {
            return Err(IndexError::corrupt("meta block of Steno", "the earliest time is after the latest", first));
        }
        let time_range = (packets > 0).then_some((TimestampNs::new(first), TimestampNs::new(last)));
        Ok(Self { facts: Facts::decode(facts, count)?, packets, blocks, wire_bytes, time_range })
    }
}
