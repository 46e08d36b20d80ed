//! The table of conversations: row groups of 128, one block of values a field, in the order of first packets.

use std::io::Write;

use super::{
    dictionaries::Dictionaries,
    group::{Groups, SideTotals, Totals},
    lists::Lists,
    output::Output,
};
use crate::{
    IndexError,
    column::{ColumnWriter, Values, common_scale, encode_block},
    format::{FIELDS, FIRST_WITH_LISTS, Field, GROUP, SectionId, conversation_flag},
};

/// Writes the section of conversations.
pub(super) fn write<W: Write>(
    groups: &Groups,
    dictionaries: &Dictionaries,
    lists: &Lists,
    output: &mut Output<'_, W>,
    column: &mut ColumnWriter,
) -> Result<(), IndexError> {
    let may_list = output.version() >= FIRST_WITH_LISTS;
    let begin = groups.time_range().map_or(0, |(min, _)| min.as_ns());
    let unit = common_scale(groups.totals().iter().flat_map(|totals| times(totals, begin)));
    column.begin(unit);
    let keys = groups.keys().iter().zip(dictionaries.addresses());
    let mut conversations = keys.zip(groups.totals()).zip(lists.iter(groups.totals()));
    let mut rows = Rows::default();
    let mut list_start = 0u32;
    for _ in 0..groups.keys().len().div_ceil(GROUP) {
        rows.clear();
        let start = list_start;
        for (((key, &[low_address, high_address]), totals), (packets, _)) in conversations.by_ref().take(GROUP) {
            let Totals { forward, reverse } = totals;
            let [forward_first, forward_last, reverse_first, reverse_last] = times(totals, begin);
            rows.push(Field::Class, u64::from(key.class));
            rows.push(Field::LowAddress, u64::from(low_address));
            rows.push(Field::HighAddress, u64::from(high_address));
            rows.push(Field::LowPort, u64::from(dictionaries.port(key.low_port)));
            rows.push(Field::HighPort, u64::from(dictionaries.port(key.high_port)));
            rows.push(Field::Flags, flags(totals));
            rows.push(Field::ForwardPackets, u64::from(forward.packets - 1));
            rows.push(Field::ReversePackets, u64::from(reverse.packets));
            rows.push(Field::FirstPacket, packets.first().copied().map_or(0, u64::from));
            rows.push(Field::ForwardBytes, forward.bytes);
            rows.push(Field::ForwardFirst, forward_first / unit);
            if forward.packets > 1 {
                rows.push(Field::ForwardLast, forward_last / unit);
            }
            if reverse.packets > 0 {
                rows.push(Field::ReverseBytes, reverse.bytes);
                rows.push(Field::ReverseFirst, reverse_first / unit);
            }
            if reverse.packets > 1 {
                rows.push(Field::ReverseLast, reverse_last / unit);
            }
            list_start += forward.packets - 1 + reverse.packets;
        }
        column.push_group(rows.len(Field::Class), |out| {
            out.extend_from_slice(&start.to_le_bytes());
            rows.blocks().for_each(|values| encode_block(values, may_list, out));
        });
    }
    output.column(SectionId::Conversations, column)
}

/// The values of a row group, field by field.
struct Rows {
    values: Box<[Values; FIELDS]>,
    filled: [usize; FIELDS],
}

impl Default for Rows {
    fn default() -> Self {
        Self { values: Box::new([[0; GROUP]; FIELDS]), filled: [0; FIELDS] }
    }
}

impl Rows {
    fn clear(&mut self) {
        self.filled = [0; FIELDS];
    }

    #[inline]
    fn push(&mut self, field: Field, value: u64) {
        let (values, filled) = (self.values.get_mut(field as usize), self.filled.get_mut(field as usize));
        if let (Some(values), Some(filled)) = (values, filled)
            && let Some(place) = values.get_mut(*filled)
        {
            *place = value;
            *filled += 1;
        }
    }

    fn len(&self, field: Field) -> usize {
        self.filled.get(field as usize).copied().unwrap_or(0)
    }

    fn blocks(&self) -> impl Iterator<Item = &[u64]> {
        self.values.iter().zip(self.filled).map(|(values, filled)| values.get(..filled).unwrap_or_default())
    }
}

/// The four times as they are stored, in nanoseconds; 0 where there is none.
#[inline]
fn times(Totals { forward, reverse }: &Totals, begin: u64) -> [u64; 4] {
    let apart = |when: bool, of: fn(&SideTotals) -> u64| if when { of(reverse).abs_diff(of(forward)) } else { 0 };
    [
        forward.first_ns - begin,
        forward.last_ns - forward.first_ns,
        apart(reverse.packets > 0, |side| side.first_ns),
        apart(reverse.packets > 1, |side| side.last_ns),
    ]
}

/// Who began, and on which side of the forward times the reverse times lie.
fn flags(Totals { forward, reverse }: &Totals) -> u64 {
    let flag = |set: bool, flag: u64| if set { flag } else { 0 };
    flag(forward.from_high, conversation_flag::OPENED_BY_HIGH)
        | flag(reverse.packets > 1 && reverse.last_ns < forward.last_ns, conversation_flag::REVERSE_LAST_EARLIER)
        | flag(reverse.packets > 0 && reverse.first_ns < forward.first_ns, conversation_flag::REVERSE_FIRST_EARLIER)
}
