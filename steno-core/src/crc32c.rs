//! CRC-32C (Castagnoli; RFC 3720, appendix B.4): the checksum of blocks, of index pages, and of all else on the disk.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

/// The CRC-32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The CRC-32C of what `crc` is that of, and `bytes` behind it.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    // The state is the checksum before its last inversion.
    let mut digest = Digest::new_with_init_state(Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    // 32 bits of 64.
    u32::try_from(digest.finalize()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 3720, appendix B.4, as numbers.
    #[test]
    fn it_is_that_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let vectors = [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ];
        for (bytes, expected) in vectors {
            assert_eq!(crc32c(bytes), expected, "{bytes:?}");
        }
    }

    /// A bit at a time, by the polynomial.
    fn by_the_book(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |state, byte| {
            let step = |state: u32, _| (state >> 1) ^ (0x82f6_3b78 * (state & 1));
            (0..8).fold(state ^ u32::from(*byte), step)
        })
    }

    proptest! {
        /// Of every length, for longer ones are folded in other steps.
        #[test]
        fn any_bytes_in_any_pieces(bytes in proptest::collection::vec(any::<u8>(), 0..3_000), at in 0usize..3_000) {
            let at = at.min(bytes.len());
            let expected = by_the_book(&bytes);
            prop_assert_eq!(crc32c(&bytes), expected);
            prop_assert_eq!(crc32c_append(crc32c(&bytes[..at]), &bytes[at..]), expected);
        }
    }
}
