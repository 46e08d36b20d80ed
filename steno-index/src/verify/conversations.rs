//! Whether the table of conversations and the packet lists agree with each other and with the totals.

use steno_core::PacketNo;

use crate::{
    ConvNo, Direction, IndexError, NetworkKind,
    column::Values,
    format::{Field, GROUP, conversation_flag},
    reader::{ConversationCursor, Index, RowGroup},
};

/// What postings are checked against: for each conversation the numbers of its class, addresses and ports.
pub(super) struct Rows {
    pub(super) class: Vec<u32>,
    /// Low and high, where it has any, of either kind of IP.
    pub(super) v4: Vec<Option<[u64; 2]>>,
    pub(super) v6: Vec<Option<[u64; 2]>>,
    pub(super) ports: Vec<Option<[u64; 2]>>,
    next_list: u64,
}

impl Rows {
    /// Reads the whole table and checks it on the way.
    pub(super) fn read(index: &Index) -> Result<Self, IndexError> {
        let mut rows = Self { class: Vec::new(), v4: Vec::new(), v6: Vec::new(), ports: Vec::new(), next_list: 0 };
        let mut totals = Totals::new(index);
        let (mut cursor, mut group) = (index.cursor(), RowGroup::new(index));
        for no in 0..index.conversations() {
            rows.add(index, &mut cursor, &mut group, no)?;
            totals.add(&mut cursor, no)?;
        }
        totals.check()?;
        Ok(rows)
    }

    fn add(
        &mut self,
        index: &Index,
        cursor: &mut ConversationCursor<'_>,
        group: &mut RowGroup<'_>,
        no: u32,
    ) -> Result<(), IndexError> {
        let corrupt = |what| IndexError::corrupt("conversations", what, no);
        group.go_to(u64::from(no) / GROUP as u64)?;
        let row = no as usize % GROUP;
        let at = |values: &Values| values.get(row).copied().unwrap_or_default();
        let addresses = [at(group.dense(Field::LowAddress)?), at(group.dense(Field::HighAddress)?)];
        let ports = [at(group.dense(Field::LowPort)?), at(group.dense(Field::HighPort)?)];
        let flags = at(group.dense(Field::Flags)?);
        if at(group.lists()?) != self.next_list {
            return Err(corrupt("its packet list does not follow the one before"));
        }
        let class_no = cursor.class_of(ConvNo(no))?;
        let class = index.class(class_no)?;
        let [forward, reverse] = cursor.packet_counts(ConvNo(no))?;
        self.next_list += u64::from(forward) - 1 + u64::from(reverse);

        let ip = class.network == NetworkKind::V4 || class.network == NetworkKind::V6;
        if !ip && addresses != [0, 0] || !class.has_ports && ports != [0, 0] {
            return Err(corrupt("an address or a port that its class does not have"));
        }
        let ([low_address, high_address], [low_port, high_port]) = (addresses, ports);
        let (low, high) = ((low_port, low_address), (high_port, high_address));
        if low > high {
            return Err(corrupt("the low end is the higher one"));
        }
        if low == high && (reverse > 0 || flags & conversation_flag::OPENED_BY_HIGH != 0) {
            return Err(corrupt("two directions between equal ends"));
        }
        let earlier = (conversation_flag::REVERSE_FIRST_EARLIER, conversation_flag::REVERSE_LAST_EARLIER);
        if flags > 7 || flags & earlier.0 != 0 && reverse == 0 || flags & earlier.1 != 0 && reverse < 2 {
            return Err(corrupt("flags that it cannot have"));
        }
        self.class.push(class_no.0);
        self.v4.push((class.network == NetworkKind::V4).then_some(addresses));
        self.v6.push((class.network == NetworkKind::V6).then_some(addresses));
        self.ports.push(class.has_ports.then_some(ports));
        Ok(())
    }
}

/// What the conversations add up to.
struct Totals<'i> {
    index: &'i Index,
    /// A bit a packet: it is in a list.
    listed: Vec<u64>,
    packets: u64,
    bytes: u64,
    next_first: u32,
    times: Option<(u64, u64)>,
    list: Vec<PacketNo>,
}

impl<'i> Totals<'i> {
    fn new(index: &'i Index) -> Self {
        Self {
            index,
            listed: vec![0; index.packets().div_ceil(u64::BITS) as usize],
            packets: 0,
            bytes: 0,
            next_first: 0,
            times: None,
            list: Vec::new(),
        }
    }

    fn add(&mut self, cursor: &mut ConversationCursor<'_>, no: u32) -> Result<(), IndexError> {
        let corrupt = |what| IndexError::corrupt("conversations", what, no);
        let conversation = cursor.conversation(ConvNo(no))?;
        self.packets += conversation.packets();
        self.bytes = self.bytes.saturating_add(conversation.bytes());
        for side in conversation.sides.iter().filter(|side| side.packets > 0) {
            let (first, last) = (side.first.as_ns(), side.last.as_ns());
            if first > last || side.packets == 1 && first != last {
                return Err(corrupt("its times do not fit its packets"));
            }
            let (min, max) = self.times.unwrap_or((first, last));
            self.times = Some((min.min(first), max.max(last)));
        }
        for direction in Direction::BOTH {
            self.list.clear();
            cursor.packets(ConvNo(no), direction, &mut self.list)?;
            for packet in &self.list {
                let word = self.listed.get_mut(packet.0 as usize / 64);
                let word = word.ok_or_else(|| corrupt("a packet that is not there"))?;
                let bit = 1 << (packet.0 % 64);
                if *word & bit != 0 {
                    return Err(corrupt("a packet that another conversation has"));
                }
                *word |= bit;
            }
            if let (Direction::Forward, Some(first)) = (direction, self.list.first()) {
                if first.0 < self.next_first {
                    return Err(corrupt("first packets do not ascend"));
                }
                self.next_first = first.0 + 1;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), IndexError> {
        let index = self.index;
        let corrupt = |what| IndexError::corrupt("conversations", what, index.conversations());
        // No packet is in two lists, so that the right number of them means that each is in one.
        if self.packets != u64::from(index.packets()) {
            return Err(corrupt("packets that are in no list"));
        }
        if self.bytes != index.wire_bytes() {
            return Err(corrupt("bytes that do not add up to those of the file"));
        }
        if self.times != index.time_range().map(|(min, max)| (min.as_ns(), max.as_ns())) {
            return Err(corrupt("times at odds with those of the file"));
        }
        Ok(())
    }
}
