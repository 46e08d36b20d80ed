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
/// Bit 5 of a block's second byte: values are told by their places in a list (since version 4.0).
const LISTED: u8 = 1 << 5;
/// Bits of a place in a list that is written, at most, and so many values.
const PLACE_BITS: u8 = 4;
const LISTED_MAX: usize = 1 << PLACE_BITS;
/// Bits 0 to 3 of a block's second byte: bytes of the base, or of a listed value.
const BASE_BYTES: u8 = 0x0f;
/// Bytes of a block's head, and of what it has more with exceptions.
const HEAD_BYTES: usize = 2;
const EXCEPTION_HEAD_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::Pause;

    /// The blocks of a finished column, cut at its directory.
    pub(super) fn blocks(column: &ColumnWriter) -> Vec<(Vec<u8>, usize)> {
        let ends: Vec<usize> = column.directory().iter().map(|&end| end as usize).collect();
        let count = usize::try_from(column.count()).unwrap();
        let full = |i: usize| (count - i * GROUP).min(GROUP);
        ends.windows(2).enumerate().map(|(i, pair)| (column.data()[pair[0]..pair[1]].to_vec(), full(i))).collect()
    }

    pub(super) fn column(values: &[u64], scale: u64) -> ColumnWriter {
        let mut column = ColumnWriter::pausing(Pause::default());
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
            (vec(any::<u64>(), 1..20), vec(any::<prop::sample::Index>(), 0..400))
                .prop_map(|(few, places)| places.iter().map(|place| few[place.index(few.len())]).collect()),
            vec(any::<u64>(), 0..300),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(values in values()) {
            for values in values.chunks(GROUP) {
                let (mut block, mut out) = (Vec::new(), [0; GROUP]);
                encode_block(values, true, &mut block);
                prop_assert_eq!(block_len(&block, values.len()), Ok(block.len()));
                decode_block(&block, values.len(), 1, &mut out).unwrap();
                prop_assert_eq!(&out[..values.len()], values);
            }
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
    fn few_values_far_apart_are_listed() {
        let size = |values: &[u64], lists| {
            let mut block = Vec::new();
            encode_block(values, lists, &mut block);
            block.len()
        };
        let of = |few: &[u64]| (0..128).map(|i| few[i * 7 % few.len()]).collect::<Vec<u64>>();
        assert_eq!(size(&of(&[60, 590, 1514]), true), 2 + 1 + 3 * 2 + 32, "two bits for each of three");
        assert_eq!(size(&of(&[60, 590, 1514]), false), 2 + 1 + 128 * 11 / 8, "not in files of version 3");
        assert_eq!(size(&of(&[0, 1 << 40]), true), 2 + 1 + 2 * 6 + 16);
        assert_eq!(size(&of(&[5, 6, 7, 8]), true), 2 + 1 + 32, "close together they need no list");
        let many: Vec<u64> = (0..17).map(|i| i << 20).collect();
        assert_eq!(size(&of(&many), true), size(&of(&many), false), "too many of them");
    }

    /// A block is whole as it is, and neither cut nor with more behind it.
    fn takes_one_length(good: &[u8], count: usize) {
        let decode = |bytes: &[u8]| decode_block(bytes, count, 1, &mut [0; GROUP]);
        assert_eq!(block_len(&[good, &[9; 40]].concat(), count), Ok(good.len()));
        assert_eq!(decode(good), Ok(()));
        for len in 0..good.len() {
            assert!(decode(&good[..len]).is_err(), "cut to {len} of {}", good.len());
        }
        assert!(decode(&[good, &[0]].concat()).is_err(), "a byte too many");
    }

    /// Decodes a block with another byte at a place.
    fn decode_with(good: &[u8], count: usize, at: usize, byte: u8) -> Result<(), &'static str> {
        let mut bad = good.to_vec();
        bad[at] = byte;
        decode_block(&bad, count, 1, &mut [0; GROUP])
    }

    #[test]
    fn a_list_that_contradicts_itself_is_an_error() {
        let values: Vec<u64> = (0..128).map(|i| [60, 590, 1514][i % 3]).collect();
        let mut good = Vec::new();
        encode_block(&values, true, &mut good);
        assert_eq!(good[..3], [2, LISTED | 2, 3]);
        takes_one_length(&good, 128);
        let with = |at, byte| decode_with(&good, 128, at, byte);
        assert_eq!(with(9, 0xff), Err("a place behind the end of a list"));
        assert_eq!(with(0, EXCEPTIONS | 2), Err("a list with exceptions, sums or wide places"));
        assert_eq!(with(1, LISTED | RUNNING | 2), Err("a list with exceptions, sums or wide places"));
        assert_eq!(with(0, 8), Err("a list with exceptions, sums or wide places"));
        assert_eq!(with(1, LISTED | 9), Err("a base of more than 8 bytes"));
        // The values are looked at no further than there are places for.
        assert_eq!(block_len(&[2, LISTED | 2, 255], 128), Err("a block whose length is not that of its values"));
    }

    #[test]
    fn every_cut_and_every_contradiction_is_an_error() {
        let mut outliers: Vec<u64> = (0..128).map(|i| 1000 + i * 37 % 16).collect();
        (outliers[5], outliers[100]) = (1 << 33, 1 << 34);
        let (good, count) = blocks(&column(&outliers, 1)).remove(0);
        takes_one_length(&good, count);
        let with = |at, byte| decode_with(&good, count, at, byte);
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
