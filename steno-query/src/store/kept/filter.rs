//! Which addresses a segment does not have, in a few bits for each that it has: a split block Bloom filter
//! (`docs/format/catalogue.md`, section 4; the layout is that of Apache Parquet, "Bloom Filter").
//!
//! One probe touches 32 bytes. What was put in is always found; of what was not, about one in 180 is.

use std::net::IpAddr;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 32;
/// Blocks of a filter at the most: 64 KiB.
pub(super) const BLOCKS_MAX: u32 = 2048;
/// Blocks of the filter of a group at the most: 32 MiB. It is a power of two.
pub(super) const GROUP_BLOCKS_MAX: u32 = 1 << 20;
/// Bits of an address as long as there is room.
const BITS: u64 = 12;
/// Where fewer would be left, so much passes that the filter is not worth its bytes.
const BITS_MIN: u64 = 6;
/// Odd numbers that make eight places of one: those of Parquet.
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// An address, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hashed(u64);

impl From<IpAddr> for Hashed {
    fn from(address: IpAddr) -> Self {
        let (family, high, low) = match address {
            IpAddr::V4(v4) => (4, 0, u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let bits = v6.to_bits().to_be_bytes();
                let (high, low) = bits.split_at(8);
                (6, be(high), be(low))
            }
        };
        Self(mixed(mixed(high ^ family) ^ low))
    }
}

/// How many blocks a filter of so many addresses has; `None` where it is not worth having.
pub(super) fn blocks_for(addresses: u64) -> Option<u32> {
    let block_bits = BLOCK_BYTES as u64 * 8;
    let wanted = addresses.saturating_mul(BITS).div_ceil(block_bits).max(1);
    let least = addresses.saturating_mul(BITS_MIN).div_ceil(block_bits);
    let most = u64::from(BLOCKS_MAX);
    (least <= most).then(|| u32::try_from(wanted.min(most)).unwrap_or(BLOCKS_MAX))
}

/// How many blocks the filter of a group is begun with, whose segments have so many addresses, each counted for itself: a power of two,
/// so that it can be [`folded`] to what it takes for those that differ.
pub(super) fn group_blocks_for(addresses: u64) -> u32 {
    let wanted = addresses.saturating_mul(BITS).div_ceil(BLOCK_BYTES as u64 * 8);
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).min(GROUP_BLOCKS_MAX);
    wanted.next_power_of_two()
}

/// The same filter in the fewest bytes that leave half of its bits unset; without bytes where it is so full that it is not worth
/// having. It is a power of two of blocks.
pub(super) fn folded(mut filter: Vec<u8>) -> Vec<u8> {
    let ones = |filter: &[u8]| filter.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let bits = |filter: &[u8]| filter.len() as u64 * 8;
    while filter.len() > BLOCK_BYTES {
        // Of half as many blocks, an address is in the one whose number is half of what it was.
        let pairs = filter.chunks_exact(2 * BLOCK_BYTES).map(|pair| pair.split_at(BLOCK_BYTES));
        let half: Vec<u8> = pairs.flat_map(|(even, odd)| even.iter().zip(odd).map(|(a, b)| a | b)).collect();
        if ones(&half) * 2 > bits(&half) {
            break;
        }
        filter = half;
    }
    // What `BITS_MIN` bits for each address come to.
    if ones(&filter) * 4 > bits(&filter) * 3 { Vec::new() } else { filter }
}

/// Puts an address into a filter, which is a whole number of blocks.
pub(super) fn insert(filter: &mut [u8], address: Hashed) {
    let at = block_at(filter.len(), address);
    let block = filter.get_mut(at..).unwrap_or_default();
    for (lane, bit) in block.chunks_exact_mut(4).zip(bits(address)) {
        for (byte, mask) in lane.iter_mut().zip(bit.to_le_bytes()) {
            *byte |= mask;
        }
    }
}

/// Whether an address may have been put into a filter; if not, it was not.
#[inline]
pub(crate) fn may_hold(filter: &[u8], address: Hashed) -> bool {
    let at = block_at(filter.len(), address);
    let Some(block) = filter.get(at..at.saturating_add(BLOCK_BYTES)) else { return true };
    block
        .chunks_exact(4)
        .zip(bits(address))
        .all(|(lane, bit)| lane.iter().zip(bit.to_le_bytes()).all(|(byte, mask)| byte & mask == mask))
}

/// Where in a filter of so many bytes the block of an address begins: by the upper half of its hash.
#[inline]
fn block_at(filter_bytes: usize, Hashed(hash): Hashed) -> usize {
    let blocks = (filter_bytes / BLOCK_BYTES) as u64;
    let block = ((hash >> 32) * blocks) >> 32;
    usize::try_from(block).unwrap_or(0) * BLOCK_BYTES
}

/// A bit in each of the eight words of a block: by the lower half of the hash.
#[inline]
fn bits(Hashed(hash): Hashed) -> impl Iterator<Item = u32> {
    let low = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0);
    SALTS.into_iter().map(move |salt| 1 << (low.wrapping_mul(salt) >> 27))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[inline]
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn filter_of(addresses: &[IpAddr]) -> Vec<u8> {
        let blocks = blocks_for(addresses.len() as u64).unwrap();
        let mut filter = vec![0; blocks as usize * BLOCK_BYTES];
        addresses.iter().for_each(|&address| insert(&mut filter, address.into()));
        filter
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_found(
            v4 in proptest::collection::vec(any::<u32>(), 0..2000),
            v6 in proptest::collection::vec(any::<u128>(), 0..2000),
        ) {
            let v4 = v4.into_iter().map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
            let all: Vec<IpAddr> = v4.chain(v6.into_iter().map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)))).collect();
            let filter = filter_of(&all);
            prop_assert!(all.iter().all(|&address| may_hold(&filter, address.into())));
        }
    }

    /// Addresses as networks have them: neighbours.
    fn neighbours(first: u32, count: u32) -> Vec<IpAddr> {
        (first..first + count).map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
    }

    /// The filter of a group whose segments have `counted` addresses, of which `addresses` are all that differ.
    fn group_filter_of(addresses: &[IpAddr], counted: u64) -> Vec<u8> {
        let mut filter = vec![0; group_blocks_for(counted) as usize * BLOCK_BYTES];
        addresses.iter().for_each(|&address| insert(&mut filter, address.into()));
        folded(filter)
    }

    #[test]
    fn the_filter_of_a_group_is_as_large_as_what_differs_asks_for() {
        for (count, counted) in [(1, 1), (1, 32_000), (700, 700), (10_000, 320_000), (100_000, 100_000)] {
            let addresses = neighbours(0x0a00_0000, count);
            let filter = group_filter_of(&addresses, counted);
            assert!(addresses.iter().all(|&address| may_hold(&filter, address.into())), "{count} of {counted}");
            let least = (u64::from(count) * BITS / 8).max(BLOCK_BYTES as u64);
            let bytes = filter.len() as u64;
            assert!((least * 9 / 10..=least * 5 / 2).contains(&bytes), "{count} of {counted}: {bytes} bytes");
            let others = neighbours(0xc000_0000, 20_000);
            let passed = others.iter().filter(|&&address| may_hold(&filter, address.into())).count();
            assert!(passed < 200, "{count} of {counted}: {passed}");
        }
        assert!(group_filter_of(&neighbours(0, 100_000), 1_000).is_empty(), "too many for what was counted");
        assert_eq!(group_blocks_for(u64::MAX), GROUP_BLOCKS_MAX);
    }

    #[test]
    fn what_was_not_put_in_is_seldom_found() {
        for (count, most) in [(1, 0.01), (20, 0.01), (1_000, 0.01), (43_690, 0.01), (65_536, 0.05), (87_381, 0.12)] {
            let filter = filter_of(&neighbours(0x0a00_0000, count));
            let others = neighbours(0x0b00_0000, 100_000);
            let found = others.iter().filter(|&&address| may_hold(&filter, address.into())).count();
            assert!((found as f64) < most * others.len() as f64, "{found} of {} with {count}", others.len());
        }
        let ours: Vec<IpAddr> = (0..1_000u128).map(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n).into()).collect();
        let filter = filter_of(&ours);
        let found = (0..100_000u128)
            .filter(|n| may_hold(&filter, IpAddr::from(Ipv6Addr::from_bits(0x2001_0db9 << 96 | n)).into()))
            .count();
        assert!(found < 1_000, "{found}");
    }

    #[test]
    fn an_empty_filter_holds_nothing_and_none_everything() {
        let address = Hashed::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        assert!(!may_hold(&filter_of(&[]), address));
        assert!(may_hold(&[], address));
    }

    #[test]
    fn its_size_is_bounded() {
        for (addresses, blocks) in [
            (0, Some(1)),
            (21, Some(1)),
            (22, Some(2)),
            (43_690, Some(2048)),
            (87_381, Some(2048)),
            (87_382, None),
            (u64::MAX, None),
        ] {
            assert_eq!(blocks_for(addresses), blocks, "{addresses}");
        }
    }

    /// What is on disks must be found by the next version, too.
    #[test]
    fn hashes_are_those_of_the_format() {
        let hash = |text: &str| Hashed::from(text.parse::<IpAddr>().unwrap()).0;
        assert_eq!(["10.0.0.1", "::a00:1", "2001:db8::1"].map(hash), HASHES);
        let mut filter = vec![0; 2 * BLOCK_BYTES];
        insert(&mut filter, "10.0.0.1".parse::<IpAddr>().unwrap().into());
        assert_eq!(filter.iter().position(|&byte| byte != 0), Some(FIRST_BYTE));
        assert_eq!(
            filter
                .chunks_exact(4)
                .map(|lane| u32::from_le_bytes(lane.try_into().unwrap()))
                .filter(|&w| w != 0)
                .collect::<Vec<_>>(),
            LANES
        );
    }

    /// Worked out apart from this code, by `docs/format/catalogue.md`.
    const LANES: [u32; 8] = [1 << 9, 1 << 4, 1 << 9, 1 << 29, 1 << 16, 1 << 10, 1 << 16, 1 << 11];
    const FIRST_BYTE: usize = 33;
    const HASHES: [u64; 3] = [0xfcc7_0ccf_6a30_4b0c, 0x1f8b_e45f_03ae_e00a, 0x6791_9d5f_f16c_47ff];
}
