//! A row group of the table of conversations, decoded field by field as it is asked for.

use super::{Index, column::Column};
use crate::{
    IndexError,
    column::{Values, block_len, decode_block},
    format::{DENSE_FIELDS, FIELDS, Field, GROUP, SectionId},
    le::u32_at,
};

/// Where the blocks of a row group start: behind the u32 that says where its packet lists do.
const BLOCKS_START: usize = 4;

/// One row group after the other, in the same memory.
#[derive(Debug)]
pub(crate) struct RowGroup<'i> {
    section: Column<'i>,
    scale: u64,
    no: Option<u64>,
    bytes: &'i [u8],
    rows: usize,
    /// Where the block of each field ends in `bytes`; those of sparse fields once `has_sparse` says so.
    ends: [usize; FIELDS],
    has_sparse: bool,
    has_lists: bool,
    /// A bit a field: it is decoded.
    decoded: u32,
    values: Box<[Values; FIELDS]>,
    lists: Box<Values>,
}

impl<'i> RowGroup<'i> {
    pub(crate) fn new(index: &'i Index) -> Self {
        Self {
            section: index.column(SectionId::Conversations),
            scale: index.section(SectionId::Conversations).scale,
            no: None,
            bytes: &[],
            rows: 0,
            ends: [0; FIELDS],
            has_sparse: false,
            has_lists: false,
            decoded: 0,
            values: Box::new([[0; GROUP]; FIELDS]),
            lists: Box::new([0; GROUP]),
        }
    }

    /// Goes to row group `no`.
    pub(crate) fn go_to(&mut self, no: u64) -> Result<(), IndexError> {
        if self.no == Some(no) {
            return Ok(());
        }
        self.no = None;
        (self.has_sparse, self.has_lists, self.decoded) = (false, false, 0);
        (self.bytes, self.rows) = self.section.block_bytes(no)?;
        let mut end = BLOCKS_START;
        for place in self.ends.iter_mut().take(DENSE_FIELDS) {
            end = block_end(self.bytes, end, self.rows).map_err(|what| self.section.corrupt(what, no))?;
            *place = end;
        }
        self.no = Some(no);
        Ok(())
    }

    /// A field that every conversation of the group has.
    #[inline]
    pub(crate) fn dense(&mut self, field: Field) -> Result<&Values, IndexError> {
        if self.decoded & 1 << field as u32 == 0 {
            self.decode(field, self.rows)?;
        }
        Ok(self.values(field))
    }

    /// A field that not every conversation has: by row, 0 where there is none.
    pub(crate) fn sparse(&mut self, field: Field) -> Result<&Values, IndexError> {
        if self.decoded & 1 << field as u32 == 0 {
            self.find_sparse()?;
            let has = self.has(field);
            self.decode(field, has.iter().filter(|&&has| has).count())?;
            let Some(values) = self.values.get_mut(field as usize) else { return Ok(self.values(field)) };
            let packed = *values;
            let mut packed = packed.iter();
            for (value, has) in values.iter_mut().zip(has) {
                *value = if has { packed.next().copied().unwrap_or(0) } else { 0 };
            }
        }
        Ok(self.values(field))
    }

    /// Where the packets of each row start in `packet-lists`.
    pub(crate) fn lists(&mut self) -> Result<&Values, IndexError> {
        if !self.has_lists {
            let _ = self.dense(Field::ForwardPackets)?;
            let _ = self.dense(Field::ReversePackets)?;
            let mut next = u32_at(self.bytes, 0).map_or(0, u64::from);
            let [forward, reverse] = [Field::ForwardPackets, Field::ReversePackets].map(|field| self.values(field));
            let lists: Values = std::array::from_fn(|row| {
                let start = next;
                next = next.saturating_add(at(forward, row)).saturating_add(at(reverse, row));
                start
            });
            *self.lists = lists;
            self.has_lists = true;
        }
        Ok(&self.lists)
    }

    fn values(&self, field: Field) -> &Values {
        self.values.get(field as usize).unwrap_or(&self.lists)
    }

    /// Which rows have a value of a sparse field.
    fn has(&self, field: Field) -> [bool; GROUP] {
        // `forward-packets` is one less than the packets.
        let (packets, least) = match field {
            Field::ForwardLast => (self.values(Field::ForwardPackets), 1),
            Field::ReverseLast => (self.values(Field::ReversePackets), 2),
            _ => (self.values(Field::ReversePackets), 1),
        };
        std::array::from_fn(|row| row < self.rows && at(packets, row) >= least)
    }

    /// Finds the blocks of the sparse fields, whose lengths follow from the packets.
    fn find_sparse(&mut self) -> Result<(), IndexError> {
        if self.has_sparse {
            return Ok(());
        }
        let _ = self.dense(Field::ForwardPackets)?;
        let _ = self.dense(Field::ReversePackets)?;
        let corrupt = |what| self.section.corrupt(what, self.no.unwrap_or_default());
        let mut end = self.ends.get(DENSE_FIELDS - 1).copied().unwrap_or_default();
        let mut ends = self.ends;
        for field in [Field::ForwardLast, Field::ReverseBytes, Field::ReverseFirst, Field::ReverseLast] {
            let count = self.has(field).iter().filter(|&&has| has).count();
            end = block_end(self.bytes, end, count).map_err(corrupt)?;
            if let Some(place) = ends.get_mut(field as usize) {
                *place = end;
            }
        }
        if end != self.bytes.len() {
            return Err(corrupt("a row group whose length is not that of its fields"));
        }
        (self.ends, self.has_sparse) = (ends, true);
        Ok(())
    }

    fn decode(&mut self, field: Field, count: usize) -> Result<(), IndexError> {
        let no = field as usize;
        let start = no.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(BLOCKS_START);
        let end = self.ends.get(no).copied().unwrap_or_default();
        let bytes = self.bytes.get(start..end).unwrap_or_default();
        let scale = if field.is_time() { self.scale } else { 1 };
        if let Some(values) = self.values.get_mut(no) {
            decode_block(bytes, count, scale, values)
                .map_err(|what| self.section.corrupt(what, self.no.unwrap_or_default()))?;
        }
        self.decoded |= 1 << no;
        Ok(())
    }
}

/// Decodes some of the fields that all conversations have, in ascending order and none of them a time, of row group `no`;
/// says how many rows it has. Less is looked at than for [`RowGroup`], which is for those who look at one row after another.
pub(super) fn decode_fields<const N: usize>(
    section: &Column<'_>,
    no: u64,
    fields: [Field; N],
    out: &mut [Values; N],
) -> Result<usize, IndexError> {
    let (bytes, rows) = section.block_bytes(no)?;
    let corrupt = |what| section.corrupt(what, no);
    let (mut start, mut next) = (BLOCKS_START, 0);
    for (field, values) in fields.iter().zip(out) {
        let mut end = block_end(bytes, start, rows).map_err(corrupt)?;
        while next < *field as usize {
            (start, next) = (end, next + 1);
            end = block_end(bytes, start, rows).map_err(corrupt)?;
        }
        decode_block(bytes.get(start..end).unwrap_or_default(), rows, 1, values).map_err(corrupt)?;
    }
    Ok(rows)
}

/// Where the block of `count` values that starts at `start` of `bytes` ends.
fn block_end(bytes: &[u8], start: usize, count: usize) -> Result<usize, &'static str> {
    Ok(start + block_len(bytes.get(start..).unwrap_or_default(), count)?)
}

#[inline]
fn at(values: &Values, row: usize) -> u64 {
    values.get(row).copied().unwrap_or_default()
}
