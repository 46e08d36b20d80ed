//! The strong check of a segment: decodes every packet again and compares what comes of it with the index.

use std::{borrow::Borrow, fs::File, io::Read, path::Path};

use steno_core::block::{Block, BlockError};

use super::{fragments, version2};
use crate::{
    AnyIndex, Attribute, BlockChecksums, BlockInfo, ConvNo, Direction, Facts, Index, IndexError, Log,
    packet_file::{Blocks, note_block},
    seal,
};

/// Problems that a report spells out; more are counted.
const MOST_PROBLEMS: usize = 100;

/// What is wrong with a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The index does not open, or is damaged.
    #[error("index: {0}")]
    Index(#[source] IndexError),
    /// The packet file cannot be read.
    #[error("packet file: {0}")]
    Packets(#[source] IndexError),
    /// A block of the packet file is not whole.
    #[error("packet file: block at offset {offset_bytes}: {error}")]
    Block {
        /// Where the block starts.
        offset_bytes: u64,
        /// What is wrong with it.
        #[source]
        error: BlockError,
    },
    /// The index says something else of the packet file than its packets do.
    #[error("{what}: the packets say {packets}, the index says {index}")]
    Total {
        /// What is counted.
        what: &'static str,
        /// By the packet file.
        packets: u64,
        /// By the index.
        index: u64,
    },
    /// The index describes a block otherwise than it is.
    #[error("block {block} at offset {offset_bytes}: the index has another {what}")]
    BlockDiffers {
        /// The block's number.
        block: u32,
        /// Where it starts in the packet file.
        offset_bytes: u64,
        /// What differs.
        what: &'static str,
    },
    /// The index describes a conversation otherwise than its packets are.
    #[error("conversation {conversation}: the index has other {what}")]
    ConversationDiffers {
        /// The conversation's number.
        conversation: u32,
        /// What differs.
        what: &'static str,
    },
    /// The index describes the fragments otherwise than they are.
    #[error("the index has other {what}")]
    FragmentsDiffer {
        /// What differs.
        what: &'static str,
    },
    /// The index has an attribute at other packets than those that have it.
    #[error("{attribute}: the packets say {packets}, the index says {index}; {differ} are of one of them alone")]
    AttributeDiffers {
        /// The attribute.
        attribute: Attribute,
        /// Packets that have it.
        packets: u64,
        /// Packets by the index.
        index: u64,
        /// Packets that only one of both has.
        differ: u64,
    },
    /// A packet is found at another place than it is.
    #[error("packet {packet}: the index has another place for it")]
    PlaceDiffers {
        /// The packet's number.
        packet: u32,
    },
}

/// What a check of a segment found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Blocks of the packet file that are whole.
    pub blocks: u32,
    /// Blocks that are not whole, and that the index does not claim to know: they never were, or a repair found them so.
    pub holes: u32,
    /// Packets in them.
    pub packets: u32,
    /// Conversations that were compared. An index of version 2 has none.
    pub conversations: u32,
    /// Attributes that were compared. Only an index of version 2 has them.
    pub attributes: u64,
    /// What is wrong, the first hundred things.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more_problems: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// To be called where the index is sound, agrees with all that is whole, and says how many blocks there are.
    pub(super) fn settle_holes(&mut self) {
        if self.more_problems == 0 && self.problems.iter().all(|problem| matches!(problem, Problem::Block { .. })) {
            self.holes = u32::try_from(self.problems.len()).unwrap_or(u32::MAX);
            self.problems.clear();
        }
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// Checks a segment from the ground up: the headers and the packet chain of every block, the index by itself
/// ([`Index::verify`]), and the index against what decoding the packets again gives: block table with times and
/// CRC-32C, conversations, packet lists, places. Takes memory in proportion to the segment's packets, about 60 bytes
/// each.
///
/// An index of version 2 is compared attribute by attribute, position by position. One of stenographer 1.0.1 must have its
/// two faults: the tag that the kernel took out of a frame is missing, and later fragments have their payload for ports.
///
/// ```
/// # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
/// # let mut writer = BlockWriter::new(4096);
/// # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
/// # let dir = tempfile::tempdir()?;
/// # let (packet_file, index_file) = (dir.path().join("packets"), dir.path().join("index"));
/// # let facts = steno_index::Facts { block_bytes: 4096, ..Default::default() };
/// # std::fs::write(&packet_file, writer.finish(1))?;
/// # let mut out = std::fs::File::create(&index_file)?;
/// # steno_index::index_packet_file(&mut std::fs::File::open(&packet_file)?, &facts, &mut out).unwrap();
/// let report = steno_index::verify_segment(&packet_file, &index_file);
/// for problem in &report.problems {
///     eprintln!("{problem}");
/// }
/// assert!(report.is_clean());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn verify_segment(packet_file: &Path, index_file: &Path) -> Report {
    let index = AnyIndex::open(index_file);
    match (File::open(packet_file), index) {
        (Ok(mut packets), Ok(AnyIndex::Native(index))) => check(Ok(index), &mut packets),
        (Ok(packets), Ok(AnyIndex::Version2(index))) => version2::check(&index, &packets),
        (Ok(mut packets), Err(error)) => check::<Index>(Err(error), &mut packets),
        (Err(source), index) => {
            let mut report = Report::default();
            if let Err(error) = index {
                report.add(Problem::Index(error));
            }
            report.add(Problem::Packets(IndexError::ReadPackets { offset_bytes: 0, source }));
            report
        }
    }
}

impl Index {
    /// Checks this index by itself, and against its packet file, as [`verify_segment`] does.
    pub fn verify_against(&self, packet_file: &mut impl Read) -> Report {
        check(Ok(self), packet_file)
    }
}

fn check<I: Borrow<Index>>(index: Result<I, IndexError>, packet_file: &mut impl Read) -> Report {
    let mut report = Report::default();
    let index = index.and_then(|index| index.borrow().verify().map(|()| index));
    let index = index.map_err(|error| report.add(Problem::Index(error))).ok();
    let index = index.as_ref().map(Borrow::borrow);
    let facts = index.and_then(|index| index.facts().ok()).cloned().unwrap_or_default();
    let compared = rebuild(packet_file, &facts, &mut report).map_err(Problem::Packets).and_then(|rebuilt| {
        index.map_or(Ok(()), |index| compare(&rebuilt, index, &mut report)).map_err(Problem::Index)
    });
    match compared {
        Err(problem) => report.add(problem),
        Ok(()) if index.is_some() => report.settle_holes(),
        Ok(()) => {}
    }
    report
}

/// The index of the whole blocks of a packet file; the others are reported and left out.
fn rebuild(packet_file: &mut impl Read, facts: &Facts, report: &mut Report) -> Result<Index, IndexError> {
    let (mut log, mut blocks) = (Log::new(), Blocks::new(facts.block_bytes)?);
    let mut checksums = BlockChecksums::default();
    while let Some((offset_bytes, bytes)) = blocks.next(packet_file)? {
        let noted = Block::parse(bytes)
            .and_then(|block| note_block(&mut log, offset_bytes, &block, Some(checksums.renew(block.used()))));
        match noted {
            Ok(_) => report.blocks += 1,
            Err(error) => report.add(Problem::Block { offset_bytes, error }),
        }
    }
    report.packets = log.packets();
    let mut rebuilt = Vec::new();
    let _ = seal(&log, facts, &mut rebuilt)?;
    Index::from_bytes(rebuilt)
}

fn compare(packets: &Index, index: &Index, report: &mut Report) -> Result<(), IndexError> {
    let before = report.problems.len();
    let time = |index: &Index| index.time_range().map_or((0, 0), |(min, max)| (min.as_ns(), max.as_ns()));
    for (what, packets, index) in [
        ("blocks", u64::from(packets.block_count()), u64::from(index.block_count())),
        ("packets", u64::from(packets.packets()), u64::from(index.packets())),
        ("conversations", u64::from(packets.conversations()), u64::from(index.conversations())),
        ("bytes on the wire", packets.wire_bytes(), index.wire_bytes()),
        ("earliest time (ns)", time(packets).0, time(index).0),
        ("latest time (ns)", time(packets).1, time(index).1),
    ] {
        if packets != index {
            report.add(Problem::Total { what, packets, index });
        }
    }
    for block in 0..packets.block_count().min(index.block_count()) {
        let (theirs, ours) = (packets.block(block)?, index.block(block)?);
        let (their_checksums, our_checksums) = (packets.checksums(block)?, index.checksums(block)?);
        let running_differ = our_checksums.is_some_and(|ours| {
            !ours.running().is_empty() && their_checksums.is_none_or(|theirs| theirs.running() != ours.running())
        });
        let difference = block_difference(&theirs, &ours).or(running_differ.then_some("running CRC-32C"));
        if let Some(what) = difference {
            report.add(Problem::BlockDiffers { block, offset_bytes: theirs.offset_bytes, what });
        }
    }
    // Numbers of packets and conversations mean the same in both only if they have the same blocks.
    if before == report.problems.len() {
        compare_conversations(packets, index, report)?;
        if let Some(what) = fragments::difference(packets, index)? {
            report.add(Problem::FragmentsDiffer { what });
        }
        compare_places(packets, index, report)?;
    }
    Ok(())
}

fn block_difference(packets: &BlockInfo, index: &BlockInfo) -> Option<&'static str> {
    let crc_differs = index.crc32c.is_some() && packets.crc32c != index.crc32c;
    [
        (packets.offset_bytes != index.offset_bytes, "offset"),
        (packets.used_bytes != index.used_bytes, "length"),
        (crc_differs, "CRC-32C"),
        (packets.seq_num != index.seq_num, "sequence number"),
        ((packets.first_packet, packets.packets) != (index.first_packet, index.packets), "number of packets"),
        ((packets.min_time, packets.max_time) != (index.min_time, index.max_time), "time range"),
    ]
    .into_iter()
    .find_map(|(differs, what)| differs.then_some(what))
}

fn compare_conversations(packets: &Index, index: &Index, report: &mut Report) -> Result<(), IndexError> {
    let (mut theirs, mut ours) = (packets.cursor(), index.cursor());
    let (mut their_list, mut our_list) = (Vec::new(), Vec::new());
    for conversation in 0..packets.conversations().min(index.conversations()) {
        let no = ConvNo(conversation);
        let (a, b) = (theirs.conversation(no)?, ours.conversation(no)?);
        if (&a.class, a.a, a.b) != (&b.class, b.a, b.b) {
            report.add(Problem::ConversationDiffers { conversation, what: "layers or ends" });
        }
        if a.sides != b.sides {
            report.add(Problem::ConversationDiffers { conversation, what: "counts or times" });
        }
        for direction in Direction::BOTH {
            their_list.clear();
            our_list.clear();
            theirs.packets(no, direction, &mut their_list)?;
            ours.packets(no, direction, &mut our_list)?;
            if their_list != our_list {
                report.add(Problem::ConversationDiffers { conversation, what: "packets" });
            }
        }
        report.conversations += 1;
    }
    Ok(())
}

fn compare_places(packets: &Index, index: &Index, report: &mut Report) -> Result<(), IndexError> {
    let (mut theirs, mut ours) = (packets.locator(), index.locator());
    for packet in 0..packets.packets().min(index.packets()) {
        let no = steno_core::PacketNo(packet);
        if theirs.locate(no)? != ours.locate(no)? {
            report.add(Problem::PlaceDiffers { packet });
        }
    }
    Ok(())
}
