//! The byte order that a capture file, or a section of one, was written in.

/// Little- or big-endian: the order of the machine that wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The 16-bit word at `at`; `None` past the end.
    pub(super) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(word),
            Self::Big => u16::from_be_bytes(word),
        })
    }

    /// The 32-bit word at `at`; `None` past the end.
    pub(super) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(word),
            Self::Big => u32::from_be_bytes(word),
        })
    }

    /// The signed 64-bit word at `at`; `None` past the end.
    pub(super) fn i64(self, bytes: &[u8], at: usize) -> Option<i64> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => i64::from_le_bytes(word),
            Self::Big => i64::from_be_bytes(word),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_either_order_and_never_past_the_end() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 0xff];
        assert_eq!((Order::Little.u16(&bytes, 0), Order::Big.u16(&bytes, 0)), (Some(0x0201), Some(0x0102)));
        assert_eq!((Order::Little.u32(&bytes, 4), Order::Big.u32(&bytes, 4)), (Some(0xff07_0605), Some(0x0506_07ff)));
        assert_eq!(Order::Little.i64(&bytes, 0), Some(-0x00f8_f9fa_fbfc_fdff));
        assert_eq!(Order::Big.i64(&bytes, 0), Some(0x0102_0304_0506_07ff));
        assert_eq!(
            (Order::Big.u16(&bytes, 7), Order::Big.u32(&bytes, 5), Order::Big.i64(&bytes, 9)),
            (None, None, None)
        );
    }
}
