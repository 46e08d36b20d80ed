//! Look-ups: which conversations have an address, a port or a class.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{Range, RangeInclusive},
};

use super::{ColumnReader, Index};
use crate::{
    Class, ClassNo, ConvNo, IndexError, NetworkKind,
    format::{Field, GROUP, ROWS, Section, SectionId},
    reader::row_group::decode_fields,
};

/// What a range of a dictionary holds, found without reading a posting: what a planner estimates by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Addresses or ports in the range.
    pub items: u64,
    /// What is posted under them: conversations, of which one that has two of them counts twice, or under rare items the
    /// groups of 128 conversations that theirs are in.
    pub postings: u64,
}

/// A dictionary and its postings.
#[derive(Clone, Copy)]
struct Dictionary {
    items: SectionId,
    starts: SectionId,
    postings: SectionId,
    /// The fields with the numbers of items that a conversation has.
    fields: [Field; 2],
    /// Whether the conversations of a class have any.
    fits: fn(&Class) -> bool,
}

const CLASSES: Dictionary = Dictionary {
    items: SectionId::Classes,
    starts: SectionId::ClassStarts,
    postings: SectionId::ClassPostings,
    fields: [Field::Class, Field::Class],
    fits: |_| true,
};
const V4: Dictionary = Dictionary {
    items: SectionId::V4,
    starts: SectionId::V4Starts,
    postings: SectionId::V4Postings,
    fields: [Field::LowAddress, Field::HighAddress],
    fits: |class| class.network == NetworkKind::V4,
};
const V6: Dictionary = Dictionary {
    items: SectionId::V6,
    starts: SectionId::V6Starts,
    postings: SectionId::V6Postings,
    fields: [Field::LowAddress, Field::HighAddress],
    fits: |class| class.network == NetworkKind::V6,
};
const PORTS: Dictionary = Dictionary {
    items: SectionId::Ports,
    starts: SectionId::PortStarts,
    postings: SectionId::PortPostings,
    fields: [Field::LowPort, Field::HighPort],
    fits: |class| class.has_ports,
};

/// Numbers that are worth a bitmap of all: more than one in so many.
const SPARSE: usize = 64;

/// Every look-up appends conversations to `out`, ascending and each once, and leaves what is there before them; with an
/// error, it appends nothing. A conversation is found where *either* end has the address or port; which side a packet
/// of it came from is for the caller to see on the conversation.
///
/// ```
/// # use steno_core::{block::BlockWriter, testkit::{block_of, recipe}};
/// # let mut writer = BlockWriter::new(4096);
/// # block_of(&mut writer, &recipe("1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80").unwrap()).unwrap();
/// # let (facts, mut file) = (steno_index::Facts { block_bytes: 4096, ..Default::default() }, Vec::new());
/// # steno_index::index_packet_file(&mut writer.finish(1), &facts, &mut file).unwrap();
/// use steno_index::{ConvNo, Index};
/// let index = Index::from_bytes(file)?;
/// let mut found = Vec::new();
/// index.conversations_by_address("10.0.0.0".parse().unwrap()..="10.255.255.255".parse().unwrap(), &mut found)?;
/// assert_eq!(found, [ConvNo(0)]);
/// found.clear();
/// index.conversations_by_class(|class| class.protocol == Some(6) && class.tags.is_empty(), &mut found)?;
/// assert_eq!(found, [ConvNo(0)]);
/// # Ok::<(), steno_index::IndexError>(())
/// ```
impl Index {
    /// The conversations that have an address in `range`. IPv4 addresses come before IPv6 addresses, as in the order of
    /// [`IpAddr`]; neither is taken for the other.
    ///
    /// # Errors
    /// Damage.
    pub fn conversations_by_address(
        &self,
        range: RangeInclusive<IpAddr>,
        out: &mut Vec<ConvNo>,
    ) -> Result<(), IndexError> {
        self.gather(out, |out| {
            self.post(V4, self.v4_items(&range)?, out)?;
            self.post(V6, self.v6_items(&range)?, out)
        })
    }

    /// The addresses of `range` that occur, and how often.
    ///
    /// # Errors
    /// Damage.
    pub fn address_range(&self, range: RangeInclusive<IpAddr>) -> Result<Found, IndexError> {
        let v4 = self.found(V4, self.v4_items(&range)?)?;
        let v6 = self.found(V6, self.v6_items(&range)?)?;
        Ok(Found { items: v4.items + v6.items, postings: v4.postings + v6.postings })
    }

    /// How many addresses occur.
    pub fn addresses(&self) -> u64 {
        self.section(V4.items).count.saturating_add(self.section(V6.items).count)
    }

    /// Gives `each` every address that occurs, once: those of IPv4, then those of IPv6, ascending.
    ///
    /// # Errors
    /// Damage; then some may have been given.
    pub fn each_address(&self, each: &mut dyn FnMut(IpAddr)) -> Result<(), IndexError> {
        let (v4, v6) = (self.section(V4.items), self.section(V6.items));
        for no in 0..v4.count {
            each(self.v4(no)?.into());
        }
        for no in 0..v6.count {
            each(self.v6(no)?.into());
        }
        Ok(())
    }

    /// The conversations that have a port in `range`, of whatever protocol.
    ///
    /// # Errors
    /// Damage.
    pub fn conversations_by_port(&self, range: RangeInclusive<u16>, out: &mut Vec<ConvNo>) -> Result<(), IndexError> {
        self.gather(out, |out| self.post(PORTS, self.port_items(&range)?, out))
    }

    /// The ports of `range` that occur, and how often.
    ///
    /// # Errors
    /// Damage.
    pub fn port_range(&self, range: RangeInclusive<u16>) -> Result<Found, IndexError> {
        self.found(PORTS, self.port_items(&range)?)
    }

    /// The conversations of an IP protocol.
    ///
    /// # Errors
    /// Damage.
    pub fn conversations_by_protocol(&self, protocol: u8, out: &mut Vec<ConvNo>) -> Result<(), IndexError> {
        self.conversations_by_class(|class| class.protocol == Some(protocol), out)
    }

    /// The conversations whose class is wanted: by protocol, network layer, VLAN id, MPLS label.
    ///
    /// # Errors
    /// Damage.
    pub fn conversations_by_class(
        &self,
        mut wanted: impl FnMut(&Class) -> bool,
        out: &mut Vec<ConvNo>,
    ) -> Result<(), IndexError> {
        self.gather(out, |out| {
            let mut classes = (0..).zip(self.classes()?).filter(|(_, class)| wanted(class));
            classes.try_for_each(|(no, _)| self.post(CLASSES, no..no + 1, out))
        })
    }

    /// The conversations of one class.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last class; damage.
    pub fn conversations_of_class(&self, class: ClassNo, out: &mut Vec<ConvNo>) -> Result<(), IndexError> {
        let (got, count) = (u64::from(class.0), self.section(SectionId::Classes).count);
        if got >= count {
            return Err(IndexError::NoSuch { what: "class", got, count });
        }
        self.gather(out, |out| self.post(CLASSES, got..got + 1, out))
    }

    pub(crate) fn v4(&self, no: u64) -> Result<Ipv4Addr, IndexError> {
        self.item(SectionId::V4, no).map(|bytes| Ipv4Addr::from_bits(u32::from_le_bytes(bytes)))
    }

    pub(crate) fn v6(&self, no: u64) -> Result<Ipv6Addr, IndexError> {
        self.item::<16>(SectionId::V6, no).map(Ipv6Addr::from)
    }

    pub(crate) fn port(&self, no: u64) -> Result<u16, IndexError> {
        self.item(SectionId::Ports, no).map(u16::from_le_bytes)
    }

    /// Item `no` of a section of `N`-byte items.
    #[inline]
    fn item<const N: usize>(&self, id: SectionId, no: u64) -> Result<[u8; N], IndexError> {
        let section = self.section(id);
        if no >= section.count {
            return Err(section.corrupt("an item that is not there", no));
        }
        self.pages().array(section.offset + no * N as u64)
    }

    fn v4_items(&self, range: &RangeInclusive<IpAddr>) -> Result<Range<u64>, IndexError> {
        let (low, high) = match (range.start(), range.end()) {
            (IpAddr::V4(low), IpAddr::V4(high)) => (*low, *high),
            (IpAddr::V4(low), IpAddr::V6(_)) => (*low, Ipv4Addr::BROADCAST),
            (IpAddr::V6(_), _) => return Ok(0..0),
        };
        self.items(self.section(V4.items), |index, no| index.v4(no), low, high)
    }

    fn v6_items(&self, range: &RangeInclusive<IpAddr>) -> Result<Range<u64>, IndexError> {
        let (low, high) = match (range.start(), range.end()) {
            (IpAddr::V6(low), IpAddr::V6(high)) => (*low, *high),
            (IpAddr::V4(_), IpAddr::V6(high)) => (Ipv6Addr::UNSPECIFIED, *high),
            (_, IpAddr::V4(_)) => return Ok(0..0),
        };
        self.items(self.section(V6.items), |index, no| index.v6(no), low, high)
    }

    fn port_items(&self, range: &RangeInclusive<u16>) -> Result<Range<u64>, IndexError> {
        self.items(self.section(PORTS.items), |index, no| index.port(no), *range.start(), *range.end())
    }

    /// The items of a sorted section from `low` to `high`.
    fn items<T: Ord>(
        &self,
        section: Section,
        item: impl Fn(&Self, u64) -> Result<T, IndexError>,
        low: T,
        high: T,
    ) -> Result<Range<u64>, IndexError> {
        if low > high {
            return Ok(0..0);
        }
        let start = partition_point(0..section.count, |no| Ok(item(self, no)? < low))?;
        let end = partition_point(start..section.count, |no| Ok(item(self, no)? <= high))?;
        Ok(start..end)
    }

    fn found(&self, dictionary: Dictionary, items: Range<u64>) -> Result<Found, IndexError> {
        if items.is_empty() {
            return Ok(Found::default());
        }
        let mut starts = ColumnReader::new(self.column(dictionary.starts));
        let (start, end) = (starts.get(items.start)?, starts.get(items.end)?);
        let postings = end.checked_sub(start).filter(|_| end <= self.section(dictionary.postings).count);
        let postings = postings.ok_or_else(|| starts.column().corrupt("starts do not ascend", items.start))?;
        Ok(Found { items: items.end - items.start, postings })
    }

    /// Appends the postings of `items`, item by item.
    fn post(&self, dictionary: Dictionary, items: Range<u64>, out: &mut Vec<ConvNo>) -> Result<(), IndexError> {
        if items.is_empty() {
            return Ok(());
        }
        let found = self.found(dictionary, items.clone())?;
        out.reserve(usize::try_from(found.postings).unwrap_or(0));
        let mut starts = ColumnReader::new(self.column(dictionary.starts));
        let mut postings = ColumnReader::new(self.column(dictionary.postings));
        let mut start = starts.get(items.start)?;
        let (most, mut groups) = (self.most_row_groups(), Vec::new());
        for item in items.clone() {
            let end = starts.get(item + 1)?;
            let count = end.checked_sub(start);
            let count = count.ok_or_else(|| starts.column().corrupt("starts do not ascend", item))?;
            if count <= most {
                postings.read_ascending(start..end, 0, self.row_groups(), &mut groups, |no| no)?;
            } else {
                postings.read_ascending(start..end, 0, self.conversations(), out, ConvNo)?;
            }
            start = end;
        }
        settle(&mut groups, 0, self.row_groups(), |no| no, |no| no);
        self.search(dictionary, &items, &groups, out)
    }

    /// Appends the conversations of some row groups that have one of `items`.
    fn search(
        &self,
        dictionary: Dictionary,
        items: &Range<u64>,
        groups: &[u32],
        out: &mut Vec<ConvNo>,
    ) -> Result<(), IndexError> {
        if groups.is_empty() {
            return Ok(());
        }
        let fits: Vec<bool> = self.classes()?.iter().map(|class| (dictionary.fits)(class)).collect();
        let every_class_fits = fits.iter().all(|&fits| fits);
        let table = self.column(SectionId::Conversations);
        let (mut numbers, mut classes) = ([[0; GROUP]; 2], [[0; GROUP]]);
        for &group in groups {
            let rows = decode_fields(&table, u64::from(group), dictionary.fields, &mut numbers)?;
            let [low, high] = &numbers;
            let has = |pair: (&u64, &u64)| items.contains(pair.0) || items.contains(pair.1);
            let having = (0u32..).zip(low.iter().zip(high)).take(rows).filter(|(_, pair)| has(*pair));
            let first = group * ROWS;
            if every_class_fits {
                out.extend(having.map(|(row, _)| ConvNo(first + row)));
                continue;
            }
            // The number of an address means one of IPv4 or one of IPv6, and 0 none.
            let _ = decode_fields(&table, u64::from(group), [Field::Class], &mut classes)?;
            let class = |row: u32| usize::try_from(*classes.as_flattened().get(row as usize)?).ok();
            let fits = |row: u32| class(row).and_then(|class| fits.get(class)) == Some(&true);
            out.extend(having.filter(|(row, _)| fits(*row)).map(|(row, _)| ConvNo(first + row)));
        }
        Ok(())
    }

    /// Has `look_up` append conversations, and makes them ascending and unique; after an error `out` is as before.
    fn gather(
        &self,
        out: &mut Vec<ConvNo>,
        look_up: impl FnOnce(&mut Vec<ConvNo>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let tail = out.len();
        let looked_up = look_up(out);
        match &looked_up {
            Ok(()) => settle(out, tail, self.conversations(), |no| no.0, ConvNo),
            Err(_) => out.truncate(tail),
        }
        looked_up
    }
}

/// Makes what was appended behind `tail` ascending and unique: numbers below `count`.
fn settle<T: Copy + Ord>(
    out: &mut Vec<T>,
    tail: usize,
    count: u32,
    number: impl Fn(T) -> u32,
    numbered: impl Fn(u32) -> T,
) {
    let found = out.get(tail..).unwrap_or_default();
    if found.is_sorted_by(|a, b| a < b) {
        return;
    }
    if found.len() < count as usize / SPARSE {
        let mut found = out.split_off(tail);
        found.sort_unstable();
        found.dedup();
        out.append(&mut found);
        return;
    }
    let mut seen = vec![0u64; count.div_ceil(64) as usize];
    for no in found.iter().map(|&no| number(no)) {
        if let Some(word) = seen.get_mut(no as usize / 64) {
            *word |= 1 << (no % 64);
        }
    }
    out.truncate(tail);
    for (base, mut word) in (0u32..).step_by(64).zip(seen) {
        while word != 0 {
            out.push(numbered(base + word.trailing_zeros()));
            word &= word - 1;
        }
    }
}

/// The first number of `range` for which `before` does not hold; it must hold up to there and not behind.
pub(super) fn partition_point(
    range: Range<u64>,
    mut before: impl FnMut(u64) -> Result<bool, IndexError>,
) -> Result<u64, IndexError> {
    let Range { mut start, mut end } = range;
    while start < end {
        let middle = start + (end - start) / 2;
        if before(middle)? {
            start = middle + 1;
        } else {
            end = middle;
        }
    }
    Ok(start)
}
