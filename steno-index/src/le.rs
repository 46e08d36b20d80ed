//! Little-endian integers at checked offsets, and the halves of wider ones. No meaning, no errors of its own.

/// The bytes at `at`, if they are all there.
#[inline]
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The u16 at `at`.
#[inline]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// The u32 at `at`.
#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// The u64 at `at`.
#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Bits 0 to 31.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower half, on purpose")]
pub(crate) const fn low32(value: u64) -> u32 {
    value as u32
}

/// Bits 0 to 15.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest 16 bits, on purpose")]
pub(crate) const fn low16(value: u64) -> u16 {
    value as u16
}

/// Bits 0 to 7.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest 8 bits, on purpose")]
pub(crate) const fn low8(value: u64) -> u8 {
    value as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_where_they_are_whole() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!((u16_at(&bytes, 7), u16_at(&bytes, 8)), (Some(0x0908), None));
        assert_eq!((u32_at(&bytes, 1), u32_at(&bytes, usize::MAX)), (Some(0x0504_0302), None));
        assert_eq!((u64_at(&bytes, 1), u64_at(&bytes, 2)), (Some(0x0908_0706_0504_0302), None));
    }
}
