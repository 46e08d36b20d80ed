//! The sections of a file: their ids and names, and the table of contents that says where each lies.

use super::{BLOCK_RECORD_BYTES, GROUP, HEADER_BYTES};
use crate::{
    IndexError,
    le::{u32_at, u64_at},
};

pub(crate) const TOC_ENTRY_BYTES: usize = 40;

macro_rules! sections {
    ($($name:ident = $id:literal, $text:literal, $kind:expr;)*) => {
        /// The sections that this version knows, each with its id in the file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub(crate) enum SectionId {
            $($name = $id,)*
        }

        impl SectionId {
            /// All, ascending.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name as `docs/format/index.md` has it.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            const fn kind(self) -> Kind {
                match self {
                    $(Self::$name => $kind,)*
                }
            }
        }
    };
}

/// What the length of a section must be.
#[derive(Clone, Copy)]
enum Kind {
    /// Items of so many bytes.
    Records(usize),
    /// Blocks of 128 items behind a directory.
    Column,
    /// Anything.
    Other,
}

sections! {
    Facts = 1, "facts", Kind::Other;
    Blocks = 2, "blocks", Kind::Records(BLOCK_RECORD_BYTES);
    Anchors = 3, "anchors", Kind::Column;
    RunningChecksums = 4, "running-checksums", Kind::Records(4);
    Classes = 16, "classes", Kind::Other;
    V4 = 17, "v4", Kind::Records(4);
    V6 = 18, "v6", Kind::Records(16);
    Ports = 19, "ports", Kind::Records(2);
    ClassStarts = 32, "class-starts", Kind::Column;
    ClassPostings = 33, "class-postings", Kind::Column;
    V4Starts = 34, "v4-starts", Kind::Column;
    V4Postings = 35, "v4-postings", Kind::Column;
    V6Starts = 36, "v6-starts", Kind::Column;
    V6Postings = 37, "v6-postings", Kind::Column;
    PortStarts = 38, "port-starts", Kind::Column;
    PortPostings = 39, "port-postings", Kind::Column;
    Conversations = 48, "conversations", Kind::Column;
    PacketLists = 64, "packet-lists", Kind::Column;
    FirstFragmentIds = 72, "first-fragment-ids", Kind::Column;
    FirstFragmentSides = 73, "first-fragment-sides", Kind::Column;
    FirstFragmentTimes = 74, "first-fragment-times", Kind::Column;
    LaterFragmentSides = 80, "later-fragment-sides", Kind::Column;
    LaterFragmentIds = 81, "later-fragment-ids", Kind::Column;
    LaterFragmentTimes = 82, "later-fragment-times", Kind::Column;
    LaterFragmentBytes = 83, "later-fragment-bytes", Kind::Column;
}

impl SectionId {
    /// Whether it is one of those that are in a file together or not at all: only one with fragments has them.
    const fn is_of_fragments(self) -> bool {
        self as u32 > Self::PacketLists as u32
    }

    /// Whether it may be missing, by itself: a file whose blocks are short, or have no checksums, has nothing to put there.
    const fn is_optional(self) -> bool {
        matches!(self, Self::RunningChecksums)
    }
}

/// Where a section lies, for those who look into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SectionInfo {
    /// Its name in `docs/format/index.md`.
    pub name: &'static str,
    /// Its offset in the file.
    pub offset_bytes: u64,
    /// Its length.
    pub len_bytes: u64,
    /// Its items.
    pub count: u64,
}

/// An entry of the table of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) id: SectionId,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) count: u64,
    pub(crate) scale: u64,
}

impl Section {
    pub(crate) fn encode(&self) -> [u8; TOC_ENTRY_BYTES] {
        let mut bytes = [0; TOC_ENTRY_BYTES];
        let words = [self.id as u64, self.offset, self.len, self.count, self.scale];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    /// The offset of its end, which decoding has shown to exist.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    pub(crate) fn corrupt(&self, what: &'static str, item: impl Into<u64>) -> IndexError {
        IndexError::corrupt(self.id.name(), what, item)
    }

    /// Checks that the length can hold what the count says.
    fn check(&self) -> Result<(), IndexError> {
        let fits = match self.id.kind() {
            Kind::Records(size) => self.count.checked_mul(size as u64) == Some(self.len),
            Kind::Column => {
                let blocks = self.count.div_ceil(GROUP as u64);
                blocks.checked_add(1).and_then(|n| n.checked_mul(4)).is_some_and(|directory| directory <= self.len)
            }
            Kind::Other => true,
        };
        if fits { Ok(()) } else { Err(self.corrupt("the length is not that of the count", self.count)) }
    }
}

/// The known sections of a file.
#[derive(Clone, Debug)]
pub(crate) struct Toc {
    /// Ascending.
    sections: Vec<Section>,
    /// For each id its place in `sections`; [`ABSENT`] for those that are not there.
    places: [u8; PLACES],
}

/// One more than the highest id.
const PLACES: usize = SectionId::LaterFragmentBytes as usize + 1;
/// The place of no section.
const ABSENT: u8 = u8::MAX;

impl Toc {
    /// Decodes a table of contents, whose checksum has been compared. Sections lie between the header and `limit`.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] for ids that do not ascend, sections that overlap, do not fit or are missing.
    pub(crate) fn decode(bytes: &[u8], limit: u64) -> Result<Self, IndexError> {
        let corrupt = |what, item: usize| IndexError::corrupt("table of contents", what, item as u64);
        let mut sections = Vec::with_capacity(SectionId::ALL.len());
        let mut extents = Vec::new();
        let mut last_id = None;
        for (i, entry) in bytes.chunks_exact(TOC_ENTRY_BYTES).enumerate() {
            let word = |at| u64_at(entry, at).unwrap_or_default();
            let id = u32_at(entry, 0);
            if id <= last_id {
                return Err(corrupt("section ids do not ascend", i));
            }
            last_id = id;
            let (offset, len) = (word(8), word(16));
            let end = offset.checked_add(len).filter(|&end| offset >= HEADER_BYTES as u64 && end <= limit);
            extents.push((offset, end.ok_or_else(|| corrupt("a section lies outside of its place", i))?));
            if let Some(&id) = SectionId::ALL.iter().find(|&&known| Some(known as u32) == id) {
                let section = Section { id, offset, len, count: word(24), scale: word(32) };
                section.check()?;
                sections.push(section);
            }
        }
        extents.sort_unstable();
        if extents.windows(2).any(|pair| matches!(pair, [a, b] if a.1 > b.0)) {
            return Err(corrupt("sections overlap", 0));
        }
        // Ids are there once at the most, so that equal numbers mean that none is missing.
        let of_fragments = sections.iter().filter(|section| section.id.is_of_fragments()).count();
        let has_to_be = |id: SectionId| !id.is_optional() && (of_fragments > 0 || !id.is_of_fragments());
        let expected = SectionId::ALL.iter().filter(|id| has_to_be(**id)).count();
        if sections.iter().filter(|section| has_to_be(section.id)).count() != expected {
            return Err(corrupt("a section is missing", sections.len()));
        }
        let mut places = [ABSENT; PLACES];
        for (place, section) in (0..).zip(&sections) {
            if let Some(slot) = places.get_mut(section.id as usize) {
                *slot = place;
            }
        }
        Ok(Self { sections, places })
    }

    /// Whether the sections of fragments are there.
    pub(crate) fn has_fragments(&self) -> bool {
        self.sections.last().is_some_and(|section| section.id.is_of_fragments())
    }

    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    #[inline]
    pub(crate) fn get(&self, id: SectionId) -> Section {
        let place = self.places.get(id as usize).and_then(|&place| self.sections.get(usize::from(place)));
        // `decode` has made sure that every section is there, but for those of fragments and running checksums.
        place.copied().unwrap_or(Section { id, offset: HEADER_BYTES as u64, len: 0, count: 0, scale: 1 })
    }
}
