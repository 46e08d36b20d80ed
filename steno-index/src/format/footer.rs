//! Header and footer: what a file is, how long it is, and where its table of contents and page table lie.

use steno_core::crc32c;

use super::{FORMAT_MAJOR, MAGIC_END, MAGIC_START, OLDEST_MAJOR, PAGE_BYTES};
use crate::{
    IndexError,
    le::{array, u16_at, u32_at, u64_at},
};

pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const FOOTER_BYTES: usize = 128;

/// The header's bytes, of a file of this version.
pub(crate) fn header((major, minor): (u16, u16)) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let fields = [&MAGIC_START[..], &major.to_le_bytes(), &minor.to_le_bytes(), &PAGE_BYTES.to_le_bytes()];
    for (place, byte) in bytes.iter_mut().zip(fields.concat()) {
        *place = byte;
    }
    bytes
}

/// Checks a header, whose page has been checked before, of a file whose footer says that it is of version `major`.
pub(crate) fn read_header(bytes: &[u8], major: u16) -> Result<(), IndexError> {
    let corrupt = |what| IndexError::corrupt("header", what, 0u32);
    if array(bytes, 0) != Some(MAGIC_START) {
        return Err(corrupt("does not start with the magic of an index"));
    }
    if u16_at(bytes, 8) != Some(major) {
        return Err(corrupt("the version is not that of the footer"));
    }
    if u32_at(bytes, 12) != Some(PAGE_BYTES) {
        return Err(corrupt("the page size is not 4096"));
    }
    Ok(())
}

/// The last 128 bytes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) file_bytes: u64,
    pub(crate) toc_offset: u64,
    pub(crate) toc_entries: u32,
    pub(crate) toc_crc: u32,
    pub(crate) page_table_offset: u64,
    pub(crate) pages: u32,
    pub(crate) page_table_crc: u32,
    pub(crate) packets: u32,
    pub(crate) conversations: u32,
    pub(crate) blocks: u32,
    pub(crate) min_time_ns: u64,
    pub(crate) max_time_ns: u64,
    pub(crate) wire_bytes: u64,
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let mut put = |at: usize, field: &[u8]| {
            for (place, byte) in bytes.iter_mut().skip(at).zip(field) {
                *place = *byte;
            }
        };
        put(4, &self.major.to_le_bytes());
        put(6, &self.minor.to_le_bytes());
        put(8, &self.file_bytes.to_le_bytes());
        put(16, &self.toc_offset.to_le_bytes());
        put(24, &self.toc_entries.to_le_bytes());
        put(28, &self.toc_crc.to_le_bytes());
        put(32, &self.page_table_offset.to_le_bytes());
        put(40, &self.pages.to_le_bytes());
        put(44, &self.page_table_crc.to_le_bytes());
        put(48, &self.packets.to_le_bytes());
        put(52, &self.conversations.to_le_bytes());
        put(56, &self.blocks.to_le_bytes());
        put(64, &self.min_time_ns.to_le_bytes());
        put(72, &self.max_time_ns.to_le_bytes());
        put(80, &self.wire_bytes.to_le_bytes());
        put(120, &MAGIC_END);
        let crc = crc32c::crc32c(bytes.get(4..).unwrap_or_default());
        for (place, byte) in bytes.iter_mut().zip(crc.to_le_bytes()) {
            *place = byte;
        }
        bytes
    }

    /// Reads the footer of a file of `file_bytes` bytes, `tail` being its last ones, 128 of them if it has as many.
    ///
    /// # Errors
    /// [`IndexError::NotAnIndex`], [`IndexError::Version`], [`IndexError::Checksum`], [`IndexError::Length`].
    pub(crate) fn decode(tail: &[u8], file_bytes: u64) -> Result<Self, IndexError> {
        let magic = tail.get(tail.len().saturating_sub(8)..).unwrap_or_default();
        if magic != MAGIC_END || tail.len() < FOOTER_BYTES {
            return Err(IndexError::NotAnIndex { got: magic.to_vec(), expected: MAGIC_END });
        }
        let crc = (u32_at(tail, 0).unwrap_or_default(), crc32c::crc32c(tail.get(4..).unwrap_or_default()));
        if crc.0 != crc.1 {
            let offset_bytes = file_bytes.saturating_sub(FOOTER_BYTES as u64);
            return Err(IndexError::Checksum { what: "the footer", offset_bytes, expected: crc.0, got: crc.1 });
        }
        // The length has been checked: no read below falls outside of `tail`.
        let half = |at| u16_at(tail, at).unwrap_or_default();
        let word = |at| u32_at(tail, at).unwrap_or_default();
        let double = |at| u64_at(tail, at).unwrap_or_default();
        let footer = Self {
            major: half(4),
            minor: half(6),
            file_bytes: double(8),
            toc_offset: double(16),
            toc_entries: word(24),
            toc_crc: word(28),
            page_table_offset: double(32),
            pages: word(40),
            page_table_crc: word(44),
            packets: word(48),
            conversations: word(52),
            blocks: word(56),
            min_time_ns: double(64),
            max_time_ns: double(72),
            wire_bytes: double(80),
        };
        if !(OLDEST_MAJOR..=FORMAT_MAJOR).contains(&footer.major) {
            let (got_major, got_minor) = (footer.major, footer.minor);
            return Err(IndexError::Version { got_major, got_minor, expected_major: FORMAT_MAJOR });
        }
        if footer.file_bytes != file_bytes {
            return Err(IndexError::Length { expected: footer.file_bytes, got: file_bytes });
        }
        Ok(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Footer {
        Footer { major: 3, minor: 9, file_bytes: 1000, packets: 7, wire_bytes: u64::MAX, ..Footer::default() }
    }

    #[test]
    fn round_trip() {
        assert_eq!(Footer::decode(&sample().encode(), 1000).unwrap(), sample());
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let good = sample().encode();
        assert!(matches!(Footer::decode(&good, 999), Err(IndexError::Length { expected: 1000, got: 999 })));
        assert!(matches!(Footer::decode(&good[1..], 1000), Err(IndexError::NotAnIndex { .. })));
        assert!(matches!(Footer::decode(&[], 0), Err(IndexError::NotAnIndex { .. })));
        let other = Footer { major: 5, ..sample() };
        assert!(matches!(Footer::decode(&other.encode(), 1000), Err(IndexError::Version { got_major: 5, .. })));
        for major in [3, 4] {
            let footer = Footer { major, ..sample() };
            assert_eq!(Footer::decode(&footer.encode(), 1000).unwrap(), footer);
        }
        for i in 0..FOOTER_BYTES {
            let mut bad = good;
            bad[i] ^= 1;
            let error = Footer::decode(&bad, 1000).unwrap_err();
            assert!(error.is_corrupt(), "byte {i}: {error}");
        }
    }
}
