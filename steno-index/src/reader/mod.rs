//! Answers from an index file (step 9 of the data flow; `docs/format/index.md`).
//!
//! Opening reads the two ends of the file. A look-up reads the pages it needs from the map, and compares each page's
//! checksum when it first touches it. Whatever the pages hold, counts are compared with what the file can hold before
//! anything is allocated by them.

mod blocks;
mod column;
mod cursor;
mod fragments;
mod lookup;
mod open;
mod pages;
mod row_group;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

pub use blocks::{Anchor, BlockInfo, Locator};
pub use cursor::ConversationCursor;
pub use fragments::{FirstFragment, FirstFragments, LaterFragment, LaterFragments};
pub use lookup::Found;
use steno_core::{PacketNo, TimestampNs};

pub(crate) use column::ColumnReader;
pub(crate) use pages::{Bytes, Pages};
pub(crate) use row_group::RowGroup;

use crate::{
    Class, ClassNo, ConvNo, Conversation, Direction, Facts, IndexError, SectionInfo,
    format::{Footer, Section, SectionId, Toc, decode_classes, most_row_groups, row_groups},
    reader::column::Column,
};

/// An index file, opened. Threads may share it.
#[derive(Debug)]
pub struct Index {
    pages: Pages,
    footer: Footer,
    toc: Toc,
    facts: OnceLock<Facts>,
    classes: OnceLock<Vec<Arc<Class>>>,
}

impl Index {
    /// Opens the index file at `path` over a memory map. The file must be a published one (`crate::segment`), which
    /// nobody changes any more.
    ///
    /// # Errors
    /// [`IndexError::Open`] from the system, and what [`Self::from_bytes`] says of the contents.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::of_bytes(Bytes::open(path)?)
    }

    /// Takes an index file that is in memory.
    ///
    /// # Errors
    /// [`IndexError::NotAnIndex`], [`IndexError::Version`], [`IndexError::Length`], [`IndexError::Checksum`] or
    /// [`IndexError::Corrupt`] for bytes that are none, or whose ends are damaged. Damage elsewhere is found by the
    /// look-ups that meet it, and by [`Self::verify`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IndexError> {
        Self::of_bytes(Bytes::Owned(bytes))
    }

    pub(crate) fn of_bytes(bytes: Bytes) -> Result<Self, IndexError> {
        Self::new(Pages::new(bytes))
    }

    /// Packets of the segment.
    pub fn packets(&self) -> u32 {
        self.footer.packets
    }

    /// Conversations of the segment.
    pub fn conversations(&self) -> u32 {
        self.footer.conversations
    }

    /// Blocks of the packet file.
    pub fn block_count(&self) -> u32 {
        self.footer.blocks
    }

    /// Bytes of all packets on the wire.
    pub fn wire_bytes(&self) -> u64 {
        self.footer.wire_bytes
    }

    /// The earliest and the latest time of a packet; `None` without packets.
    pub fn time_range(&self) -> Option<(TimestampNs, TimestampNs)> {
        let range = (TimestampNs::new(self.footer.min_time_ns), TimestampNs::new(self.footer.max_time_ns));
        (self.packets() > 0).then_some(range)
    }

    /// Major and minor version of the file.
    pub fn version(&self) -> (u16, u16) {
        (self.footer.major, self.footer.minor)
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.footer.file_bytes
    }

    /// The sections that this version knows, in the order of their ids.
    pub fn sections(&self) -> impl Iterator<Item = SectionInfo> + '_ {
        self.toc.sections().iter().map(|section| SectionInfo {
            name: section.id.name(),
            offset_bytes: section.offset,
            len_bytes: section.len,
            count: section.count,
        })
    }

    /// The circumstances of the capture.
    ///
    /// # Errors
    /// A damaged page, or facts that do not read as such.
    pub fn facts(&self) -> Result<&Facts, IndexError> {
        if let Some(facts) = self.facts.get() {
            return Ok(facts);
        }
        let section = self.section(SectionId::Facts);
        let facts = Facts::decode(self.pages.section(&section)?, section.count)?;
        Ok(self.facts.get_or_init(|| facts))
    }

    /// All classes, by [`ClassNo`]. They are read at the first call and kept.
    ///
    /// # Errors
    /// A damaged page, or records that do not read as classes.
    pub fn classes(&self) -> Result<&[Arc<Class>], IndexError> {
        if let Some(classes) = self.classes.get() {
            return Ok(classes);
        }
        let section = self.section(SectionId::Classes);
        let classes = decode_classes(self.pages.section(&section)?, section.count)?;
        Ok(self.classes.get_or_init(|| classes.into_iter().map(Arc::new).collect()))
    }

    /// One conversation. For many, a [`Self::cursor`] decodes what neighbours share once.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn conversation(&self, no: ConvNo) -> Result<Conversation, IndexError> {
        self.cursor().conversation(no)
    }

    /// Appends the packets that a conversation has in one direction, ascending.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn packets_of(&self, no: ConvNo, direction: Direction, out: &mut Vec<PacketNo>) -> Result<(), IndexError> {
        self.cursor().packets(no, direction, out)
    }

    /// Reads conversations and their packets; the cheaper, the closer together they are.
    pub fn cursor(&self) -> ConversationCursor<'_> {
        ConversationCursor::new(self)
    }

    /// All conversations in the order of their first packets. Ends after the first error.
    ///
    /// ```
    /// # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
    /// # let mut writer = BlockWriter::new(4096);
    /// # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
    /// # let (facts, mut file) = (steno_index::Facts { block_bytes: 4096, ..Default::default() }, Vec::new());
    /// # steno_index::index_packet_file(&mut writer.finish(1), &facts, &mut file).unwrap();
    /// use steno_index::Index;
    /// let index = Index::from_bytes(file)?;
    /// let bytes: u64 = index.iter().map(|c| c.map(|(_, c)| c.bytes())).sum::<Result<u64, _>>()?;
    /// assert_eq!(bytes, index.wire_bytes());
    /// # Ok::<(), steno_index::IndexError>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Result<(ConvNo, Conversation), IndexError>> + '_ {
        let mut cursor = self.cursor();
        let mut failed = false;
        (0..self.conversations()).map(ConvNo).map_while(move |no| {
            let conversation = (!failed).then(|| cursor.conversation(no));
            failed = matches!(conversation, Some(Err(_)));
            conversation.map(|c| c.map(|c| (no, c)))
        })
    }

    /// An item with no more postings than this is posted by row groups.
    pub(crate) fn most_row_groups(&self) -> u64 {
        most_row_groups(self.footer.major, self.footer.conversations)
    }

    /// Row groups of the table of conversations.
    pub(crate) fn row_groups(&self) -> u32 {
        row_groups(self.footer.conversations)
    }

    /// The class with this number.
    pub(crate) fn class(&self, no: ClassNo) -> Result<&Arc<Class>, IndexError> {
        let classes = self.classes()?;
        classes.get(no.0 as usize).ok_or_else(|| IndexError::corrupt("class", "a class that is not there", no.0))
    }

    pub(crate) fn section(&self, id: SectionId) -> Section {
        self.toc.get(id)
    }

    pub(crate) fn column(&self, id: SectionId) -> Column<'_> {
        Column::new(&self.pages, self.section(id))
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }
}

// Look-ups of one index run in parallel.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Index>();
};
