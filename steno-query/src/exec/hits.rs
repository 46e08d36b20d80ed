//! The packets of a segment that an answer wants: few of them as a sorted list, many as two bitmaps.
//!
//! Memory is bounded by a quarter of a byte for each packet of the segment, whatever matches.

use steno_core::PacketNo;

/// A packet that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    /// Its number in the segment.
    pub(super) packet: u32,
    /// Whether its own time still has to be held against the query: the index has shown all else.
    pub(super) check: bool,
}

/// The wanted packets of a segment.
#[derive(Debug)]
pub(super) struct Hits {
    /// Packets of the segment.
    packets: u32,
    store: Store,
}

#[derive(Debug)]
enum Store {
    /// Number and check bit in one word, so that sorting puts the unchecked one of two alike first. Sorted after
    /// [`Hits::finish`].
    Sparse(Vec<u32>),
    Dense {
        /// A bit for each packet that is wanted for certain.
        sure: Vec<u64>,
        /// A bit for each that is wanted if its time is right.
        check: Vec<u64>,
    },
}

impl Hits {
    /// None yet, of a segment of `packets` packets. Numbers must be below 2³¹, which every index is: a packet takes at
    /// least 48 of the 2³² bytes of a packet file.
    pub(super) fn new(packets: u32) -> Self {
        Self { packets, store: Store::Sparse(Vec::new()) }
    }

    /// Adds packets. Those past the end of the segment count for nothing.
    pub(super) fn extend(&mut self, packets: &[PacketNo], check: bool) {
        if let Store::Sparse(list) = &mut self.store {
            let most = (self.packets / 16) as usize;
            if list.len() + packets.len() <= most.max(64) {
                list.extend(packets.iter().filter(|p| p.0 < self.packets).map(|p| p.0 << 1 | u32::from(check)));
                return;
            }
            self.make_dense();
        }
        if let Store::Dense { sure, check: checked } = &mut self.store {
            let bits = if check { checked } else { sure };
            for packet in packets.iter().filter(|p| p.0 < self.packets) {
                set(bits, packet.0);
            }
        }
    }

    /// To be called once, when all are in.
    pub(super) fn finish(&mut self) {
        if let Store::Sparse(list) = &mut self.store {
            list.sort_unstable();
            list.dedup_by_key(|word| *word >> 1);
            list.shrink_to_fit();
        }
    }

    /// How many there are among `count` packets from `first` on.
    pub(super) fn count(&self, first: u32, count: u32) -> u32 {
        let end = first.saturating_add(count);
        match &self.store {
            Store::Sparse(list) => u32::try_from(between(list, first, end).len()).unwrap_or(u32::MAX),
            Store::Dense { .. } => {
                let mut total = 0;
                let mut at = first;
                while at < end {
                    let (word, _) = self.word(at / 64);
                    let bits = (64 - at % 64).min(end - at);
                    let mask = (u64::MAX >> (64 - bits)) << (at % 64);
                    total += (word & mask).count_ones();
                    at += bits;
                }
                total
            }
        }
    }

    /// Those among `count` packets from `first` on, ascending.
    pub(super) fn iter(&self, first: u32, count: u32) -> HitIter<'_> {
        let end = first.saturating_add(count).min(self.packets);
        let list = match &self.store {
            Store::Sparse(list) => between(list, first, end),
            Store::Dense { .. } => &[],
        };
        HitIter { hits: self, list, at: first, end }
    }

    /// What those of a segment of `packets` packets take at the most.
    pub(super) fn most_memory_bytes(packets: u32) -> u64 {
        u64::from(packets).div_ceil(64) * 16 + 256
    }

    /// Bytes of memory held.
    pub(super) fn memory_bytes(&self) -> u64 {
        let words = match &self.store {
            Store::Sparse(list) => list.capacity() * 4,
            Store::Dense { sure, check } => (sure.len() + check.len()) * 8,
        };
        words as u64
    }

    fn make_dense(&mut self) {
        let words = (self.packets as usize).div_ceil(64);
        let (mut sure, mut check) = (vec![0; words], vec![0; words]);
        if let Store::Sparse(list) = &self.store {
            for &word in list {
                set(if word & 1 == 0 { &mut sure } else { &mut check }, word >> 1);
            }
        }
        self.store = Store::Dense { sure, check };
    }

    /// The bits of 64 packets: wanted at all, and wanted for certain.
    #[inline]
    fn word(&self, number: u32) -> (u64, u64) {
        match &self.store {
            Store::Sparse(_) => (0, 0),
            Store::Dense { sure, check } => {
                let at = |bits: &[u64]| bits.get(number as usize).copied().unwrap_or(0);
                let sure = at(sure);
                (sure | at(check), sure)
            }
        }
    }
}

/// An iterator over hits; see [`Hits::iter`].
#[derive(Debug)]
pub(super) struct HitIter<'a> {
    hits: &'a Hits,
    /// What is left of a sparse set.
    list: &'a [u32],
    /// The next packet to look at in a dense one.
    at: u32,
    end: u32,
}

impl Iterator for HitIter<'_> {
    type Item = Hit;

    #[inline]
    fn next(&mut self) -> Option<Hit> {
        if let Store::Sparse(_) = self.hits.store {
            let (&word, rest) = self.list.split_first()?;
            self.list = rest;
            return Some(Hit { packet: word >> 1, check: word & 1 == 1 });
        }
        while self.at < self.end {
            let (wanted, sure) = self.hits.word(self.at / 64);
            let rest = wanted >> (self.at % 64);
            if rest == 0 {
                self.at = (self.at / 64 + 1) * 64;
                continue;
            }
            let packet = self.at + rest.trailing_zeros();
            if packet >= self.end {
                break;
            }
            self.at = packet + 1;
            return Some(Hit { packet, check: sure >> (packet % 64) & 1 == 0 });
        }
        None
    }
}

#[inline]
fn set(bits: &mut [u64], packet: u32) {
    if let Some(word) = bits.get_mut((packet / 64) as usize) {
        *word |= 1 << (packet % 64);
    }
}

/// The words of packets from `first` to before `end`.
fn between(list: &[u32], first: u32, end: u32) -> &[u32] {
    let from = list.partition_point(|&word| word >> 1 < first);
    let to = list.partition_point(|&word| word >> 1 < end);
    list.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Both forms, and the change from one to the other, are a map from packet to check bit.
        #[test]
        fn hits_are_a_map(
            packets in 1u32..4000,
            batches in proptest::collection::vec((proptest::collection::vec(0u32..5000, 0..300), any::<bool>()), 0..8),
            first in 0u32..4100,
            count in 0u32..4100,
        ) {
            let mut hits = Hits::new(packets);
            let mut model = BTreeMap::new();
            for (batch, check) in batches {
                for &p in batch.iter().filter(|&&p| p < packets) {
                    let _ = model.entry(p).and_modify(|c| *c &= check).or_insert(check);
                }
                hits.extend(&batch.iter().map(|&p| PacketNo(p)).collect::<Vec<_>>(), check);
            }
            hits.finish();
            let expected: Vec<_> =
                model.range(first..first + count).map(|(&packet, &check)| Hit { packet, check }).collect();
            prop_assert_eq!(hits.count(first, count) as usize, expected.len());
            prop_assert_eq!(hits.iter(first, count).collect::<Vec<_>>(), expected);
            prop_assert!(hits.memory_bytes() <= Hits::most_memory_bytes(packets));
        }
    }
}
