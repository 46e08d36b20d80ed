//! Conversations and their packets, read in any order, cheapest in ascending order.

use std::{net::IpAddr, sync::Arc};

use steno_core::{PacketNo, TimestampNs};

use super::{ColumnReader, Index, RowGroup};
use crate::{
    Class, ClassNo, ConvNo, Conversation, Direction, Endpoint, Ends, IndexError, NetworkKind, Side,
    column::Values,
    format::{Field, GROUP, SectionId, conversation_flag},
};

/// Reads conversations of an index; see [`Index::cursor`].
///
/// It keeps the last 128 conversations that it read, about 18 KiB, and decodes of each field as much as is asked for.
#[derive(Debug)]
pub struct ConversationCursor<'i> {
    index: &'i Index,
    group: RowGroup<'i>,
    lists: Box<ColumnReader<'i>>,
}

impl<'i> ConversationCursor<'i> {
    pub(super) fn new(index: &'i Index) -> Self {
        let lists = Box::new(ColumnReader::new(index.column(SectionId::PacketLists)));
        Self { index, group: RowGroup::new(index), lists }
    }

    /// All that the index says of a conversation.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn conversation(&mut self, no: ConvNo) -> Result<Conversation, IndexError> {
        let Ends { class, a, b } = self.ends(no)?;
        let sides = self.sides(no)?;
        Ok(Conversation { class, a, b, sides })
    }

    /// The class and the ends of a conversation.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn ends(&mut self, no: ConvNo) -> Result<Ends, IndexError> {
        let row = self.go_to(no)?;
        let index = self.index;
        let class = index.class(ClassNo(number(self.dense(Field::Class, row)?, no)?))?;
        let low = self.end(class, row, [Field::LowAddress, Field::LowPort])?;
        let high = self.end(class, row, [Field::HighAddress, Field::HighPort])?;
        let by_high = self.dense(Field::Flags, row)? & conversation_flag::OPENED_BY_HIGH != 0;
        let (a, b) = if by_high { (high, low) } else { (low, high) };
        Ok(Ends { class: Arc::clone(class), a, b })
    }

    /// The number of a conversation's class: all that predicates on protocol and tags need.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn class_of(&mut self, no: ConvNo) -> Result<ClassNo, IndexError> {
        let row = self.go_to(no)?;
        number(self.dense(Field::Class, row)?, no).map(ClassNo)
    }

    /// Packets forward and in reverse.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn packet_counts(&mut self, no: ConvNo) -> Result<[u32; 2], IndexError> {
        let row = self.go_to(no)?;
        let forward = self.dense(Field::ForwardPackets, row)?.saturating_add(1);
        Ok([number(forward, no)?, number(self.dense(Field::ReversePackets, row)?, no)?])
    }

    /// Appends the packets of a conversation in one direction, ascending.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn packets(&mut self, no: ConvNo, direction: Direction, out: &mut Vec<PacketNo>) -> Result<(), IndexError> {
        let row = self.go_to(no)?;
        let packets = self.index.packets();
        let first = self.dense(Field::FirstPacket, row)?;
        let first = u32::try_from(first).ok().filter(|&first| first < packets);
        let first = first.ok_or_else(|| IndexError::corrupt(TABLE, "a packet that is not there", no.0))?;
        let [forward, reverse] = self.packet_counts(no)?.map(u64::from);
        let start = at(self.group.lists()?, row);
        let split = start.saturating_add(forward - 1);
        let range = match direction {
            Direction::Forward => start..split,
            Direction::Reverse => split..split.saturating_add(reverse),
        };
        let tail = out.len();
        if direction == Direction::Forward {
            out.push(PacketNo(first));
        }
        let read = self.lists.read_ascending(range, u64::from(first) + 1, packets, out, PacketNo);
        if read.is_err() {
            out.truncate(tail);
        }
        read
    }

    /// Appends the packets of a conversation in both directions, ascending.
    ///
    /// # Errors
    /// [`IndexError::NoSuch`] past the last one; damage.
    pub fn all_packets(&mut self, no: ConvNo, out: &mut Vec<PacketNo>) -> Result<(), IndexError> {
        let tail = out.len();
        for direction in Direction::BOTH {
            self.packets(no, direction, out)?;
        }
        // Two runs that ascend: the stable sort merges them.
        out.get_mut(tail..).unwrap_or_default().sort();
        Ok(())
    }

    /// Goes to the row group of `no`, and gives its row in it.
    #[inline]
    fn go_to(&mut self, no: ConvNo) -> Result<usize, IndexError> {
        if no.0 >= self.index.conversations() {
            let (got, count) = (u64::from(no.0), u64::from(self.index.conversations()));
            return Err(IndexError::NoSuch { what: "conversation", got, count });
        }
        self.group.go_to(u64::from(no.0) / GROUP as u64)?;
        Ok(no.0 as usize % GROUP)
    }

    #[inline]
    fn dense(&mut self, field: Field, row: usize) -> Result<u64, IndexError> {
        self.group.dense(field).map(|values| at(values, row))
    }

    #[inline]
    fn sparse(&mut self, field: Field, row: usize) -> Result<u64, IndexError> {
        self.group.sparse(field).map(|values| at(values, row))
    }

    #[inline]
    fn end(&mut self, class: &Class, row: usize, [address, port]: [Field; 2]) -> Result<Endpoint, IndexError> {
        let index = self.index;
        let addr = match class.network {
            NetworkKind::None { .. } => None,
            NetworkKind::V4 => Some(IpAddr::V4(index.v4(self.dense(address, row)?)?)),
            NetworkKind::V6 => Some(IpAddr::V6(index.v6(self.dense(address, row)?)?)),
        };
        let port = if class.has_ports { Some(index.port(self.dense(port, row)?)?) } else { None };
        Ok(Endpoint { addr, port })
    }

    fn sides(&mut self, no: ConvNo) -> Result<[Side; 2], IndexError> {
        let row = self.go_to(no)?;
        let [forward, reverse] = self.packet_counts(no)?;
        let flags = self.dense(Field::Flags, row)?;
        let apart = |from: u64, by: u64, earlier: u64| {
            let time = if flags & earlier != 0 { from.checked_sub(by) } else { from.checked_add(by) };
            time.ok_or_else(|| IndexError::corrupt(TABLE, "a time before 1970 or after 2554", no.0))
        };
        let side = |packets, bytes, first, last| {
            let (first, last) = (TimestampNs::new(first), TimestampNs::new(last));
            Side { packets, bytes, first, last }
        };
        let first = apart(self.index.footer.min_time_ns, self.dense(Field::ForwardFirst, row)?, 0)?;
        let last = match forward {
            1 => first,
            _ => apart(first, self.sparse(Field::ForwardLast, row)?, 0)?,
        };
        let forward = side(forward, self.dense(Field::ForwardBytes, row)?, first, last);
        if reverse == 0 {
            return Ok([forward, Side::default()]);
        }
        let distance = self.sparse(Field::ReverseFirst, row)?;
        let first = apart(first, distance, conversation_flag::REVERSE_FIRST_EARLIER)?;
        let last = match reverse {
            1 => first,
            _ => {
                let distance = self.sparse(Field::ReverseLast, row)?;
                apart(last, distance, conversation_flag::REVERSE_LAST_EARLIER)?
            }
        };
        Ok([forward, side(reverse, self.sparse(Field::ReverseBytes, row)?, first, last)])
    }
}

/// What errors call the table.
const TABLE: &str = "conversations";

fn number(value: u64, no: ConvNo) -> Result<u32, IndexError> {
    u32::try_from(value).map_err(|_| IndexError::corrupt(TABLE, "a number of more than 32 bits", no.0))
}

#[inline]
fn at(values: &Values, row: usize) -> u64 {
    values.get(row).copied().unwrap_or_default()
}
