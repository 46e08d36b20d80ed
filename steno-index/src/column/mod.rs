//! Columns: lists of numbers in few bits, readable at any place (`docs/format/index.md` section 3). One codec for all
//! that an index counts, numbers or times: patched frame of reference (Zukowski et al., "Super-Scalar RAM-CPU Cache
//! Compression", 2006), over the values or, where they do not descend, over their differences.
//!
//! Pure functions of bytes: which file they come from, and whether its checksums hold, is the reader's matter.

mod bits;
mod decode;
mod encode;

pub(crate) use decode::{block_len, decode_block};
pub(crate) use encode::{ColumnWriter, common_scale, encode_block};

use crate::format::GROUP;

/// A block of a column, decoded. Values behind the last one are left from before.
pub(crate) type Values = [u64; GROUP];

/// Bit 7 of a block's first byte, whose others are the width: there are exceptions.
const EXCEPTIONS: u8 = 1 << 7;
/// Bit 4 of a block's second byte: values are sums.
const RUNNING: u8 = 1 << 4;
/// Bits 0 to 3 of a block's second byte: bytes of the base.
const BASE_BYTES: u8 = 0x0f;
/// Bytes of a block's head, and of what it has more with exceptions.
const HEAD_BYTES: usize = 2;
const EXCEPTION_HEAD_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The blocks of a finished column, cut at its directory.
    pub(super) fn blocks(column: &ColumnWriter) -> Vec<(Vec<u8>, usize)> {
        let ends: Vec<usize> = column.directory().iter().map(|&end| end as usize).collect();
        let count = usize::try_from(column.count()).unwrap();
        let full = |i: usize| (count - i * GROUP).min(GROUP);
        ends.windows(2).enumerate().map(|(i, pair)| (column.data()[pair[0]..pair[1]].to_vec(), full(i))).collect()
    }

    pub(super) fn column(values: &[u64], scale: u64) -> ColumnWriter {
        let mut column = ColumnWriter::new();
        column.begin(scale);
        values.iter().for_each(|&value| column.push(value));
        column.finish().unwrap();
        column
    }

    fn decoded(column: &ColumnWriter, scale: u64) -> Vec<u64> {
        let mut out = Vec::new();
        for (block, count) in blocks(column) {
            let mut values = [0; GROUP];
            decode_block(&block, count, scale, &mut values).unwrap();
            out.extend_from_slice(&values[..count]);
        }
        out
    }

    /// Values as they occur: small with outliers, ascending, constant, or anything.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        prop_oneof![
            vec(prop_oneof![9 => 0u64..300, 1 => any::<u64>()], 0..400),
            vec(0u64..1_000_000, 0..400).prop_map(|steps| {
                steps
                    .iter()
                    .scan(u64::MAX / 2, |sum, step| {
                        *sum += step;
                        Some(*sum)
                    })
                    .collect()
            }),
            (any::<u64>(), 0usize..300).prop_map(|(value, n)| vec![value; n]),
            vec(any::<u64>(), 0..300),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(values in values()) {
            prop_assert_eq!(decoded(&column(&values, 1), 1), values);
        }

        #[test]
        fn a_common_factor_is_taken_out_and_put_back(values in vec(0u64..1 << 40, 0..300), factor in 1u64..5000) {
            let scaled: Vec<u64> = values.iter().map(|value| value * factor).collect();
            let scale = common_scale(scaled.iter().copied());
            prop_assert_eq!(scale % factor, if values.iter().all(|&v| v == 0) { 1 % factor } else { 0 });
            prop_assert_eq!(decoded(&column(&scaled, scale), scale), scaled);
        }

        #[test]
        fn any_bytes_decode_to_values_or_an_error(bytes in vec(any::<u8>(), 0..300), count in 0usize..=GROUP) {
            let _ = decode_block(&bytes, count, 3, &mut [0; GROUP]);
        }
    }

    #[test]
    fn a_block_is_as_small_as_its_values_allow() {
        let size = |values: &[u64]| column(values, 1).data().len();
        assert_eq!(size(&[0; 128]), 2, "nothing but the head");
        assert_eq!(size(&[1 << 40; 128]), 2 + 6, "the base is stored once");
        assert_eq!(size(&(0..128).collect::<Vec<_>>()), 2 + 16, "a bit each for differences of one");
        let mut outlier = [3; 128];
        outlier[77] = 3 + (1 << 20);
        assert_eq!(size(&outlier), 4 + 1 + 1 + 3, "base, slot, and 21 bits of a high part");
        let alternating: Vec<u64> = (0..128).map(|i| i % 2 * 255).collect();
        assert_eq!(size(&alternating), 2 + 128);
    }

    #[test]
    fn every_cut_and_every_contradiction_is_an_error() {
        let mut outliers: Vec<u64> = (0..128).map(|i| 1000 + i * 37 % 16).collect();
        (outliers[5], outliers[100]) = (1 << 33, 1 << 34);
        let (good, count) = blocks(&column(&outliers, 1)).remove(0);
        let decode = |bytes: &[u8]| decode_block(bytes, count, 1, &mut [0; GROUP]);
        assert_eq!(block_len(&[&good[..], &[9; 40]].concat(), count), Ok(good.len()));
        assert_eq!(decode(&good), Ok(()));
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "cut to {len} of {}", good.len());
        }
        assert!(decode(&[&good[..], &[0]].concat()).is_err(), "a byte too many");
        let with = |at: usize, byte: u8| {
            let mut bad = good.clone();
            bad[at] = byte;
            decode(&bad)
        };
        assert_eq!(with(1, 9), Err("a base of more than 8 bytes"));
        assert_eq!(with(0, EXCEPTIONS | 65), Err("widths of more than 64 bits"));
        assert_eq!(with(3, 64), Err("widths of more than 64 bits"));
        assert_eq!(with(2, 129), Err("more exceptions than values"));
        let slots = good.len() - 2 - (2 * usize::from(good[3])).div_ceil(8);
        assert_eq!(good[slots..slots + 2], [5, 100]);
        assert_eq!(with(slots, 100), Err("exceptions out of order"));
        assert_eq!(with(slots + 1, 128), Err("exceptions out of order"));
    }
}
