//! Sorted lists of classes, addresses and ports, and under each item the conversations that have it, or the row groups that
//! those are in.

use std::io::Write;

use super::{
    ROOM, forget,
    group::{Groups, Key},
    output::Output,
    sort::sort_by_item,
};
use crate::{
    IndexError, NetworkKind, Pause,
    column::ColumnWriter,
    format::{FORMAT_MAJOR, MAX_PACKETS, ROWS, SectionId, encode_class, most_row_groups},
    le::low32,
};

#[derive(Debug)]
pub(super) struct Dictionaries {
    /// For each conversation the numbers of its low and its high address; 0 without IP.
    addresses: Vec<[u32; 2]>,
    /// For each port its number.
    ports: Vec<u32>,
    postings: Postings,
    /// Pairs of item (upper half) and use (lower half), to be sorted: a conversation and, in the lowest two bits, which ends
    /// of it have the item.
    pairs: Vec<u64>,
    /// Memory for sorting them.
    spare: Vec<u64>,
    pause: Pause,
}

impl Dictionaries {
    pub(super) fn new(pause: Pause) -> Self {
        Self {
            addresses: Vec::new(),
            ports: Vec::new(),
            postings: Postings::new(&pause),
            pairs: Vec::new(),
            spare: Vec::new(),
            pause,
        }
    }

    /// For each conversation the numbers of its low and its high address.
    pub(super) fn addresses(&self) -> &[[u32; 2]] {
        &self.addresses
    }

    /// The number of a port that some conversation has.
    pub(super) fn port(&self, port: u16) -> u32 {
        self.ports.get(usize::from(port)).copied().unwrap_or(0)
    }

    /// Writes all dictionaries and their postings.
    pub(super) fn write<W: Write>(&mut self, groups: &Groups, output: &mut Output<'_, W>) -> Result<(), IndexError> {
        self.postings.most_row_groups = most_row_groups(FORMAT_MAJOR, groups.conversations());
        self.write_classes(groups, output)?;
        let networks: Vec<NetworkKind> = groups.classes().map(|class| class.network).collect();
        let is = |key: &Key, network| networks.get(key.class as usize) == Some(&network);
        forget(&mut self.addresses);
        self.addresses.resize(groups.keys().len(), [0, 0]);
        self.write_v4(groups, |key| is(key, NetworkKind::V4), output)?;
        self.write_v6(groups, |key| is(key, NetworkKind::V6), output)?;
        self.write_ports(groups, output)?;
        // A conversation makes two pairs at the most.
        let enough = groups.keys().len() * 2 * ROOM;
        for pairs in [&mut self.pairs, &mut self.spare] {
            pairs.clear();
            pairs.shrink_to(enough);
        }
        Ok(())
    }

    fn write_classes<W: Write>(&mut self, groups: &Groups, output: &mut Output<'_, W>) -> Result<(), IndexError> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for class in groups.classes() {
            encode_class(&class, &mut bytes);
            count += 1;
        }
        output.section(SectionId::Classes, count, &bytes)?;
        self.sort_pairs(groups.keys().iter().map(|key| Some([key.class, key.class])));
        self.postings.begin();
        self.pairs.chunk_by(same_item).for_each(|group| self.postings.item(group));
        self.postings.write(SectionId::ClassStarts, SectionId::ClassPostings, output)
    }

    fn write_v4<W: Write>(
        &mut self,
        groups: &Groups,
        is_v4: impl Fn(&Key) -> bool,
        output: &mut Output<'_, W>,
    ) -> Result<(), IndexError> {
        self.sort_pairs(groups.keys().iter().map(|key| is_v4(key).then_some([key.low_address, key.high_address])));
        self.postings.begin();
        let mut bytes = Vec::new();
        for (number, group) in (0..).zip(self.pairs.chunk_by(same_item)) {
            self.postings.item(group);
            let address = item_of(group);
            bytes.extend_from_slice(&address.to_le_bytes());
            for pair in group {
                let Some([low, high]) = self.addresses.get_mut(conversation_of(*pair) as usize) else { continue };
                if pair & LOW_END != 0 {
                    *low = number;
                }
                if pair & HIGH_END != 0 {
                    *high = number;
                }
            }
        }
        output.section(SectionId::V4, bytes.len() as u64 / 4, &bytes)?;
        self.postings.write(SectionId::V4Starts, SectionId::V4Postings, output)
    }

    fn write_v6<W: Write>(
        &mut self,
        groups: &Groups,
        is_v6: impl Fn(&Key) -> bool,
        output: &mut Output<'_, W>,
    ) -> Result<(), IndexError> {
        let mut sorted: Vec<(u128, u32)> = groups.v6().iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut ranks = vec![0u32; sorted.len()];
        for (rank, (_, number)) in (0..).zip(&sorted) {
            if let Some(place) = ranks.get_mut(*number as usize) {
                *place = rank;
            }
        }
        let rank = |number: u32| ranks.get(number as usize).copied().unwrap_or(0);
        for (key, addresses) in groups.keys().iter().zip(&mut self.addresses) {
            if is_v6(key) {
                *addresses = [rank(key.low_address), rank(key.high_address)];
            }
        }
        self.sort_pairs(
            groups.keys().iter().map(|key| is_v6(key).then(|| [rank(key.low_address), rank(key.high_address)])),
        );
        // An address is numbered when a conversation has it, so that every rank has a group.
        self.postings.begin();
        self.pairs.chunk_by(same_item).for_each(|group| self.postings.item(group));
        let bytes: Vec<u8> = sorted.iter().flat_map(|(address, _)| address.to_be_bytes()).collect();
        output.section(SectionId::V6, sorted.len() as u64, &bytes)?;
        self.postings.write(SectionId::V6Starts, SectionId::V6Postings, output)
    }

    fn write_ports<W: Write>(&mut self, groups: &Groups, output: &mut Output<'_, W>) -> Result<(), IndexError> {
        let has_ports: Vec<bool> = groups.classes().map(|class| class.has_ports).collect();
        self.sort_pairs(groups.keys().iter().map(|key| {
            let there = has_ports.get(key.class as usize).copied().unwrap_or(false);
            there.then(|| [u32::from(key.low_port), u32::from(key.high_port)])
        }));
        self.ports.clear();
        self.ports.resize(1 << 16, 0);
        self.postings.begin();
        let mut bytes = Vec::new();
        for (number, group) in (0..).zip(self.pairs.chunk_by(same_item)) {
            self.postings.item(group);
            let port = item_of(group);
            bytes.extend(port.to_le_bytes().iter().take(2));
            if let Some(place) = self.ports.get_mut(port as usize) {
                *place = number;
            }
        }
        output.section(SectionId::Ports, bytes.len() as u64 / 2, &bytes)?;
        self.postings.write(SectionId::PortStarts, SectionId::PortPostings, output)
    }

    /// Fills `pairs`: each conversation under the two items it has, once if they are one.
    fn sort_pairs(&mut self, items: impl Iterator<Item = Option<[u32; 2]>>) {
        self.pairs.clear();
        for (conversation, items) in (0u64..).zip(items) {
            let Some([low, high]) = items else { continue };
            let pair = |item: u32, ends: u64| u64::from(item) << 32 | conversation << 2 | ends;
            if low == high {
                self.pairs.push(pair(low, LOW_END | HIGH_END));
            } else {
                self.pairs.extend_from_slice(&[pair(low, LOW_END), pair(high, HIGH_END)]);
            }
        }
        sort_by_item(&mut self.pairs, &mut self.spare, &self.pause);
    }
}

/// The postings of one dictionary in the making.
#[derive(Debug)]
struct Postings {
    starts: ColumnWriter,
    postings: ColumnWriter,
    /// Items that are in no more than this are posted by row groups.
    most_row_groups: u64,
}

impl Postings {
    fn new(pause: &Pause) -> Self {
        let column = || ColumnWriter::pausing(pause.clone());
        Self { starts: column(), postings: column(), most_row_groups: 0 }
    }

    fn begin(&mut self) {
        self.starts.begin(1);
        self.postings.begin(1);
    }

    /// The next item: its pairs, by conversation.
    fn item(&mut self, pairs: &[u64]) {
        self.starts.push(self.postings.count());
        if self.is_in_few_row_groups(pairs) {
            self.ascending(pairs.iter().map(|pair| row_group_of(*pair)));
        } else {
            self.ascending(pairs.iter().map(|pair| conversation_of(*pair)));
        }
    }

    fn is_in_few_row_groups(&self, pairs: &[u64]) -> bool {
        if pairs.len() as u64 <= self.most_row_groups {
            return true;
        }
        let (mut groups, mut before) = (0, None);
        for group in pairs.iter().map(|pair| row_group_of(*pair)) {
            if before != Some(group) {
                (groups, before) = (groups + 1, Some(group));
                if groups > self.most_row_groups {
                    return false;
                }
            }
        }
        true
    }

    /// Numbers that do not descend, each once, as distances.
    #[inline]
    fn ascending(&mut self, numbers: impl Iterator<Item = u32>) {
        let mut next = 0;
        for number in numbers {
            if let Some(distance) = number.checked_sub(next) {
                self.postings.push(u64::from(distance));
                next = number + 1;
            }
        }
    }

    fn write<W: Write>(
        &mut self,
        starts: SectionId,
        postings: SectionId,
        output: &mut Output<'_, W>,
    ) -> Result<(), IndexError> {
        self.starts.push(self.postings.count());
        output.column(starts, &mut self.starts)?;
        output.column(postings, &mut self.postings)
    }
}

/// Bits of a pair: the low end has the item, the high end has.
const LOW_END: u64 = 1;
const HIGH_END: u64 = 2;

/// A packet file has room for less than 2^27 packets, and so for no more conversations.
const _: () = assert!(MAX_PACKETS < 1 << 30);

/// The conversation of a pair.
#[inline]
fn conversation_of(pair: u64) -> u32 {
    low32(pair) >> 2
}

/// The row group that the conversation of a pair is in.
#[inline]
fn row_group_of(pair: u64) -> u32 {
    conversation_of(pair) / ROWS
}

fn same_item(a: &u64, b: &u64) -> bool {
    a >> 32 == b >> 32
}

fn item_of(group: &[u64]) -> u32 {
    group.first().map_or(0, |pair| low32(pair >> 32))
}
