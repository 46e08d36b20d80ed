//! Sorts pairs of a 32-bit item (upper half) and a 32-bit number (lower half) by item.

use crate::{Pause, pause::PIECE};

/// Fewer pairs than this are sorted by comparison.
const FEW: usize = 1 << 11;
/// Bits of a digit, and how many make an item.
const DIGIT_BITS: u32 = 8;
const DIGITS: usize = 4;
const BUCKETS: usize = 1 << DIGIT_BITS;

/// Sorts `pairs`, whose numbers ascend, so that items and then numbers ascend: a radix sort from the lowest digit of
/// the item on, which keeps the order of what is equal. Its cost does not depend on who chose the items.
pub(super) fn sort_by_item(pairs: &mut Vec<u64>, spare: &mut Vec<u64>, pause: &Pause) {
    if pairs.len() < FEW {
        pairs.sort_unstable();
        return;
    }
    let mut counts = vec![[0usize; BUCKETS]; DIGITS];
    for piece in pairs.chunks(PIECE) {
        pause.take();
        for pair in piece {
            for (counts, no) in counts.iter_mut().zip(0..) {
                if let Some(count) = counts.get_mut(digit(*pair, no)) {
                    *count += 1;
                }
            }
        }
    }
    spare.resize(pairs.len(), 0);
    for (places, no) in counts.iter_mut().zip(0..) {
        if places.contains(&pairs.len()) {
            continue;
        }
        let mut next = 0;
        for place in places.iter_mut() {
            next += std::mem::replace(place, next);
        }
        for piece in pairs.chunks(PIECE) {
            pause.take();
            for pair in piece {
                if let Some(place) = places.get_mut(digit(*pair, no)) {
                    if let Some(slot) = spare.get_mut(*place) {
                        *slot = *pair;
                    }
                    *place += 1;
                }
            }
        }
        std::mem::swap(pairs, spare);
    }
}

/// Digit `no` of a pair's item, from the lowest on.
#[inline]
fn digit(pair: u64, no: u32) -> usize {
    usize::try_from(pair >> (32 + no * DIGIT_BITS)).unwrap_or(0) % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_pairs_are_sorted_as_few_are() {
        for spread in [1, 7, 1 << 12, 1 << 23, u64::from(u32::MAX)] {
            let item = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % spread;
            let mut pairs: Vec<u64> = (0..3 * PIECE as u64).map(|i| item(i) << 32 | (i / 2)).collect();
            let mut expected = pairs.clone();
            expected.sort();
            sort_by_item(&mut pairs, &mut vec![9; 5], &Pause::default());
            assert!(pairs == expected, "items below {spread}");
        }
    }
}
