//! A LevelDB table (`doc/table_format.md` of LevelDB): its footer, its blocks and the entries in them. Knows nothing of what
//! keys and values mean.

use std::{borrow::Cow, cmp::Ordering};

use steno_core::crc32c;

use crate::{
    IndexError,
    le::{array, u32_at},
};

/// How a table ends.
pub(crate) const MAGIC: [u8; 8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb];
/// Bytes of the footer: two handles, padding, the magic.
pub(super) const FOOTER_BYTES: usize = 48;
/// Bytes behind a block: how it is compressed, and a checksum of it and that byte.
pub(super) const TRAILER_BYTES: u64 = 5;
/// The trailer's first byte.
pub(super) const UNCOMPRESSED: u8 = 0;
const SNAPPY: u8 = 1;
/// The longest block that is decompressed. Nobody but other tools compresses: `stenotype` never did.
const DECOMPRESSED_MAX: usize = 64 << 20;
/// Snappy makes at most 64 bytes of three.
const SNAPPY_RATIO_MAX: usize = 22;

/// Where a block lies, without its trailer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) metaindex: Handle,
    pub(super) index: Handle,
}

/// A block's entries.
#[derive(Clone, Debug)]
pub(super) struct Block<'a> {
    /// Where it starts in the file.
    offset: u64,
    bytes: Cow<'a, [u8]>,
    /// Where the entries end and the restart points begin.
    entries_end: usize,
}

/// A place among the entries of a block.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    key: Vec<u8>,
    next: usize,
}

impl Handle {
    /// Reads a handle, and what is behind it.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (offset, bytes) = varint(bytes)?;
        let (len, bytes) = varint(bytes)?;
        Some((Self { offset, len }, bytes))
    }

    /// Appends it.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.len);
    }

    /// Where the block and its trailer end.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)?.checked_add(TRAILER_BYTES)
    }
}

impl Footer {
    /// Reads the end of a file.
    ///
    /// # Errors
    /// [`IndexError::NotAnIndex`] where it is none of a table's; [`IndexError::Corrupt`] for handles that lie outside.
    pub(super) fn decode(file: &[u8]) -> Result<Self, IndexError> {
        let tail = file.get(file.len().saturating_sub(MAGIC.len())..).unwrap_or_default();
        if tail != MAGIC {
            return Err(IndexError::NotAnIndex { got: tail.to_vec(), expected: MAGIC });
        }
        let start = file.len().checked_sub(FOOTER_BYTES);
        let footer = start.and_then(|start| {
            let (metaindex, rest) = Handle::decode(file.get(start..)?)?;
            let (index, _) = Handle::decode(rest)?;
            let within = |handle: Handle| handle.end().is_some_and(|end| end <= start as u64);
            (within(metaindex) && within(index)).then_some(Self { metaindex, index })
        });
        footer.ok_or_else(|| {
            IndexError::corrupt("footer", "the blocks that it names do not fit the file", file.len() as u64)
        })
    }

    /// Appends it.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let end = out.len() + FOOTER_BYTES - MAGIC.len();
        self.metaindex.encode(out);
        self.index.encode(out);
        out.resize(end, 0);
        out.extend_from_slice(&MAGIC);
    }
}

impl<'a> Block<'a> {
    /// The block at `handle`, its checksum compared.
    ///
    /// # Errors
    /// A place outside of the file, another checksum, a compression that is unknown or makes too much of it.
    pub(super) fn read(file: &'a [u8], handle: Handle) -> Result<Self, IndexError> {
        let (stored, trailer) = Self::find(file, handle)?;
        let kind = trailer.first().copied().unwrap_or_default();
        let expected = u32_at(trailer, 1).unwrap_or_default();
        let got = mask(crc32c::crc32c_append(crc32c::crc32c(stored), &[kind]));
        if got != expected {
            return Err(IndexError::Checksum { what: "a block of keys", offset_bytes: handle.offset, expected, got });
        }
        let bytes = match kind {
            UNCOMPRESSED => Cow::Borrowed(stored),
            SNAPPY => Cow::Owned(decompress(stored, handle.offset)?),
            _ => return Err(wrong("its compression is unknown", handle.offset)),
        };
        Self::new(bytes, handle.offset)
    }

    /// The block at `handle`, whose checksum is not compared: for a first look at one that may be large. Not for what is
    /// compressed.
    ///
    /// # Errors
    /// A place outside of the file.
    pub(super) fn peek(file: &'a [u8], handle: Handle) -> Result<Self, IndexError> {
        let (stored, trailer) = Self::find(file, handle)?;
        match trailer.first() {
            Some(&UNCOMPRESSED) => Self::new(Cow::Borrowed(stored), handle.offset),
            _ => Self::read(file, handle),
        }
    }

    /// What is stored of a block, and its trailer.
    fn find(file: &[u8], handle: Handle) -> Result<(&[u8], &[u8]), IndexError> {
        let found = (|| {
            let (start, len) = (usize::try_from(handle.offset).ok()?, usize::try_from(handle.len).ok()?);
            let (stored, behind) = file.get(start..)?.split_at_checked(len)?;
            Some((stored, array::<5>(behind, 0).and(behind.get(..5))?))
        })();
        found.ok_or_else(|| wrong("it is said to lie outside of the file", handle.offset))
    }

    fn new(bytes: Cow<'a, [u8]>, offset: u64) -> Result<Self, IndexError> {
        let entries_end = (|| {
            let count_at = bytes.len().checked_sub(4)?;
            let restarts = usize::try_from(u32_at(&bytes, count_at)?).ok()?;
            count_at.checked_sub(restarts.checked_mul(4)?)
        })();
        let entries_end = entries_end.ok_or_else(|| wrong("its restart points do not fit into it", offset))?;
        Ok(Self { offset, bytes, entries_end })
    }

    /// A cursor before the first entry whose key may be `key` or later: at a restart point, which are held to be ascending. If
    /// they are not, the entries that follow are found not to ascend either, or the key is not found where it should be, which
    /// is why a look-up that must not miss anything compares the keys around.
    pub(super) fn seek(&self, key: &[u8]) -> Result<Cursor, IndexError> {
        let restarts = self.bytes.get(self.entries_end..self.bytes.len().saturating_sub(4)).unwrap_or_default();
        let restarts = restarts.as_chunks::<4>().0;
        let at = |restart: &[u8; 4]| usize::try_from(u32::from_le_bytes(*restart)).unwrap_or(usize::MAX);
        let mut failed = None;
        let after = restarts.partition_point(|restart| {
            let mut cursor = Cursor { key: Vec::new(), next: at(restart) };
            match self.step(&mut cursor) {
                Ok(Some(_)) => cursor.key.as_slice() < key,
                Ok(None) => false,
                Err(e) => {
                    failed = Some(e);
                    false
                }
            }
        });
        match failed {
            Some(e) => Err(e),
            None => {
                let restart = after.checked_sub(1).and_then(|i| restarts.get(i));
                Ok(Cursor { key: Vec::new(), next: restart.map_or(0, at) })
            }
        }
    }

    /// Moves to the next entry and gives its value's place; the key is then [`Cursor::key`]. `None` behind the last.
    ///
    /// # Errors
    /// An entry that does not fit, or whose key is not after the one before.
    pub(super) fn step(&self, cursor: &mut Cursor) -> Result<Option<std::ops::Range<usize>>, IndexError> {
        if cursor.next == self.entries_end {
            return Ok(None);
        }
        let entry = (|| {
            let entries = self.bytes.get(cursor.next..self.entries_end)?;
            let (shared, rest) = varint(entries)?;
            let (unshared, rest) = varint(rest)?;
            let (value, rest) = varint(rest)?;
            let (shared, unshared) = (usize::try_from(shared).ok()?, usize::try_from(unshared).ok()?);
            let (delta, rest) = rest.split_at_checked(unshared)?;
            let value_at = self.entries_end - rest.len();
            let value_end =
                value_at.checked_add(usize::try_from(value).ok()?).filter(|&end| end <= self.entries_end)?;
            let order = delta.cmp(cursor.key.get(shared..)?);
            Some((shared, delta, value_at..value_end, order))
        })();
        let Some((shared, delta, value, order)) = entry else {
            return Err(wrong("an entry does not fit into it", self.offset));
        };
        // The first entry after a restart has nothing before it.
        if order != Ordering::Greater && !(cursor.key.is_empty() && delta.is_empty()) {
            return Err(wrong("a key is out of order", self.offset));
        }
        cursor.key.truncate(shared);
        cursor.key.extend_from_slice(delta);
        cursor.next = value.end;
        Ok(Some(value))
    }

    /// The bytes of a value.
    pub(super) fn value(&self, place: std::ops::Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// The bytes of a value, for longer than the block: borrowed where it is not compressed.
    pub(super) fn take(&self, place: std::ops::Range<usize>) -> Cow<'a, [u8]> {
        match &self.bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(bytes.get(place).unwrap_or_default()),
            Cow::Owned(bytes) => Cow::Owned(bytes.get(place).unwrap_or_default().to_vec()),
        }
    }
}

impl Cursor {
    /// The key of the entry that was last stepped to.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

fn decompress(stored: &[u8], offset: u64) -> Result<Vec<u8>, IndexError> {
    let bad = || wrong("it does not decompress", offset);
    let len = snap::raw::decompress_len(stored).map_err(|_| bad())?;
    if len > DECOMPRESSED_MAX.min(stored.len().saturating_mul(SNAPPY_RATIO_MAX)) {
        return Err(wrong("it decompresses to more than is taken", offset));
    }
    snap::raw::Decoder::new().decompress_vec(stored).map_err(|_| bad())
}

/// What is stored of a checksum: a checksum of bytes that hold checksums would be weak.
pub(super) const fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A number in groups of seven bits, the lowest first.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        let group = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(i).ok()?;
        if shift == 63 && group > 1 {
            return None;
        }
        value |= group << shift;
        if byte < 0x80 {
            return Some((value, bytes.get(i + 1..)?));
        }
    }
    None
}

/// Appends a number likewise.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(crate::le::low8(value) | 0x80);
        value >>= 7;
    }
    out.push(crate::le::low8(value));
}

fn wrong(what: &'static str, offset: u64) -> IndexError {
    IndexError::corrupt("block of keys", what, offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back(value in any::<u64>(), more in any::<Vec<u8>>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            bytes.extend(&more);
            prop_assert_eq!(varint(&bytes), Some((value, more.as_slice())));
        }

        #[test]
        fn any_bytes_read_to_an_end(bytes in any::<Vec<u8>>(), key in any::<Vec<u8>>()) {
            let _footer = Footer::decode(&bytes);
            if let Ok(block) = Block::new(Cow::Borrowed(&bytes), 0) {
                let mut cursor = block.seek(&key).unwrap_or_default();
                let mut steps = 0;
                while let Ok(Some(value)) = block.step(&mut cursor) {
                    prop_assert!(block.value(value).len() <= bytes.len());
                    steps += 1;
                    prop_assert!(steps <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_cut_or_too_large_are_none() {
        for bytes in
            [&[][..], &[0x80], &[0xff; 9], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]]
        {
            assert_eq!(varint(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_table_is_said_to_be_none() {
        assert!(matches!(Footer::decode(b"short"), Err(IndexError::NotAnIndex { .. })));
        assert!(matches!(Footer::decode(&MAGIC), Err(IndexError::Corrupt { .. })));
        let mut far = vec![0xff, 0xff, 0xff, 0xff, 0xf, 1, 0, 1];
        far.resize(40, 0);
        far.extend(MAGIC);
        assert!(matches!(Footer::decode(&far), Err(IndexError::Corrupt { .. })));
    }

    #[test]
    fn a_block_that_grows_too_much_is_refused() {
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; DECOMPRESSED_MAX + 1]).unwrap();
        assert!(decompress(&bomb, 0).unwrap_err().to_string().contains("more than is taken"));
        // A length that its bytes can never make.
        assert!(decompress(&[0xff, 0xff, 0xff, 0x1f, 0], 0).unwrap_err().to_string().contains("more than is taken"));
        assert!(decompress(&[], 0).unwrap_err().to_string().contains("does not decompress"));
    }
}
