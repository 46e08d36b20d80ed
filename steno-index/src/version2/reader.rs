//! Look-ups in an index of version 2.

use std::{
    borrow::Cow,
    fmt,
    ops::{ControlFlow, Range, RangeInclusive},
    path::Path,
};

use super::{
    Attribute, Extra, Positions,
    attribute::VERSION_KEY,
    table::{Block, Cursor, Footer, Handle, MAGIC},
};
use crate::{Index, IndexError, le::array, reader::Bytes};

/// The major version that is read.
pub(super) const MAJOR: u32 = 2;

/// An index file of version 2, opened. Threads may share it.
///
/// Every look-up compares the checksum of the blocks that it reads and holds their keys and values against the format.
pub struct Version2Index {
    bytes: Bytes,
    footer: Footer,
    version: (u32, u32),
    extra: Option<Extra>,
}

/// An index file of either format, told by its last bytes.
#[derive(Debug)]
pub enum AnyIndex {
    /// Steno's own.
    Native(Index),
    /// The one of stenographer 1.0.1.
    Version2(Version2Index),
}

impl AnyIndex {
    /// Opens the index file at `path` over a memory map. The file must be a published one (`crate::segment`), which nobody
    /// changes any more.
    ///
    /// # Errors
    /// Those of [`Index::open`] and [`Version2Index::open`].
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::new(Bytes::open(path)?)
    }

    /// Takes an index file that is in memory.
    ///
    /// # Errors
    /// Those of [`Index::from_bytes`] and [`Version2Index::from_bytes`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IndexError> {
        Self::new(Bytes::Owned(bytes))
    }

    fn new(bytes: Bytes) -> Result<Self, IndexError> {
        if bytes.ends_with(&MAGIC) {
            Version2Index::new(bytes).map(Self::Version2)
        } else {
            Index::of_bytes(bytes).map(Self::Native)
        }
    }
}

impl Version2Index {
    /// Opens the index file at `path` over a memory map. The file must be a published one, which nobody changes any more.
    /// Reads its footer, the block of its extra facts if it has some, and the version.
    ///
    /// # Errors
    /// [`IndexError::Open`] from the system, and what [`Self::from_bytes`] says of the contents.
    pub fn open(path: &Path) -> Result<Self, IndexError> {
        Self::new(Bytes::open(path)?)
    }

    /// Takes an index file that is in memory.
    ///
    /// # Errors
    /// [`IndexError::NotAnIndex`], [`IndexError::Version`], [`IndexError::Checksum`] or [`IndexError::Corrupt`] for bytes that
    /// are none, or whose ends are damaged. Damage elsewhere is found by the look-ups that meet it, and by [`Self::verify`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, IndexError> {
        Self::new(Bytes::Owned(bytes))
    }

    fn new(bytes: Bytes) -> Result<Self, IndexError> {
        let footer = Footer::decode(&bytes)?;
        let version = version(&bytes, footer)?;
        let extra = Extra::find(&bytes, footer.metaindex)?;
        Ok(Self { bytes, footer, version, extra })
    }

    /// Major and minor version of the file.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What Steno's own files say beyond those of 1.0.1; `None` of one that 1.0.1 wrote.
    pub fn extra(&self) -> Option<&Extra> {
        self.extra.as_ref()
    }

    /// Where the headers of the packets with `attribute` lie; `None` where there are none.
    ///
    /// # Errors
    /// A block that is damaged, keys out of order, or a value that is none.
    pub fn positions(&self, attribute: Attribute) -> Result<Option<Positions<'_>>, IndexError> {
        let mut found = None;
        let key = attribute.key();
        self.walk(key.as_bytes(), key.as_bytes(), &mut |_, block, place| {
            found = Some(Positions::new(block.take(place))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Shows each attribute in `range` that packets have, with their positions, in the order of the keys, until `visit` breaks
    /// off. Keys of other kinds than [`Attribute`]'s are passed over.
    ///
    /// # Errors
    /// As [`Self::positions`].
    pub fn each(
        &self,
        range: RangeInclusive<Attribute>,
        visit: &mut dyn FnMut(Attribute, Positions<'_>) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let (from, to) = (range.start().key(), range.end().key());
        self.walk(from.as_bytes(), to.as_bytes(), &mut |key, block, place| {
            let Some(attribute) = Attribute::of_key(key) else { return Ok(ControlFlow::Continue(())) };
            Ok(visit(attribute, Positions::new(Cow::Borrowed(block.value(place)))?))
        })
    }

    /// Reads the whole file: every block and its checksum, every key and its order, every value.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn verify(&self) -> Result<(), IndexError> {
        let _metaindex = Block::read(&self.bytes, self.footer.metaindex)?;
        self.walk(&[], &[u8::MAX; 32], &mut |key, block, place| {
            if Attribute::of_key(key).is_some() {
                let _checked = Positions::new(Cow::Borrowed(block.value(place)))?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Shows the entries with keys from `from` to `to`, both included. Blocks that are touched are read to their ends, so that
    /// what is out of order in them is found.
    fn walk<'a>(&'a self, from: &[u8], to: &[u8], visit: Visit<'_, 'a>) -> Result<(), IndexError> {
        let index = Block::read(&self.bytes, self.footer.index)?;
        let mut handles = index.seek(from)?;
        // The key that the last block may not go past.
        let mut bound = Vec::new();
        while let Some(place) = index.step(&mut handles)? {
            if handles.key() < from {
                bound.clear();
                bound.extend_from_slice(handles.key());
                continue;
            }
            let handle = Handle::decode(index.value(place)).map(|(handle, _)| handle);
            let handle = handle.ok_or_else(|| IndexError::corrupt("index of blocks", "a handle is cut", 0u32))?;
            let block = Block::read(&self.bytes, handle)?;
            let flow = self.walk_block(&block, handle, (&bound, handles.key()), (from, to), visit)?;
            if flow.is_break() || handles.key() >= to {
                return Ok(());
            }
            bound.clear();
            bound.extend_from_slice(handles.key());
        }
        Ok(())
    }

    /// Shows the entries of a block with keys from `from` to `to`. All of its keys must be within `bounds`.
    fn walk_block<'a>(
        &self,
        block: &Block<'a>,
        handle: Handle,
        (after, until): (&[u8], &[u8]),
        (from, to): (&[u8], &[u8]),
        visit: Visit<'_, 'a>,
    ) -> Result<ControlFlow<()>, IndexError> {
        let mut flow = ControlFlow::Continue(());
        let mut entries = Cursor::default();
        while let Some(place) = block.step(&mut entries)? {
            let key = entries.key();
            if (key <= after && !after.is_empty()) || key > until {
                let what = "a key is out of order: it belongs into another block, not that at offset";
                return Err(IndexError::corrupt("block of keys", what, handle.offset));
            }
            if flow.is_continue() && key >= from && key <= to {
                flow = visit(key, block, place)?;
            }
        }
        Ok(flow)
    }
}

type Visit<'v, 'a> = &'v mut dyn FnMut(&[u8], &Block<'a>, Range<usize>) -> Result<ControlFlow<()>, IndexError>;

/// The version, which the first entry of the first block is. That block may hold the longest values of all, so that its
/// checksum is not compared for this: what is wrong with it is found by the first look-up that needs it, and a version that is
/// damaged here is another one.
fn version(bytes: &[u8], footer: Footer) -> Result<(u32, u32), IndexError> {
    let none = || IndexError::corrupt("index", "it begins with no version", 0u32);
    let index = Block::read(bytes, footer.index)?;
    let mut cursor = Cursor::default();
    let first = index.step(&mut cursor)?.ok_or_else(none)?;
    let (handle, _) = Handle::decode(index.value(first)).ok_or_else(none)?;
    let block = Block::peek(bytes, handle)?;
    let mut cursor = Cursor::default();
    let place = block.step(&mut cursor)?.ok_or_else(none)?;
    if Attribute::of_key(cursor.key()).is_some() {
        // From before versions were written down, when each packet had a key of its own.
        return Err(other_version(1, 0));
    }
    let record = array::<8>(block.value(place.clone()), 0).filter(|record| record.len() == place.len());
    match record.filter(|_| cursor.key() == VERSION_KEY) {
        Some([a, b, c, d, e, f, g, h]) => {
            let (major, minor) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            if major == MAJOR { Ok((major, minor)) } else { Err(other_version(major, minor)) }
        }
        None => Err(none()),
    }
}

fn other_version(major: u32, minor: u32) -> IndexError {
    let half = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
    let expected_major = half(MAJOR);
    IndexError::Version { got_major: half(major), got_minor: half(minor), expected_major }
}

impl fmt::Debug for Version2Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, footer, version, extra } = self;
        let mut debug = f.debug_struct("Version2Index");
        let debug = debug.field("bytes", &bytes.len()).field("footer", footer).field("version", version);
        debug.field("extra", extra).finish()
    }
}

// Look-ups of one index run in parallel.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Version2Index>();
};
