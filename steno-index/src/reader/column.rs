//! Columns of a file: a block at a time, or values at any place.

use std::ops::Range;

use super::pages::Pages;
use crate::{
    IndexError,
    column::{Values, decode_block},
    format::{GROUP, Section},
    le::{low32, u32_at},
};

/// A column of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column<'i> {
    pages: &'i Pages,
    section: Section,
}

impl<'i> Column<'i> {
    pub(super) fn new(pages: &'i Pages, section: Section) -> Self {
        Self { pages, section }
    }

    pub(crate) fn count(&self) -> u64 {
        self.section.count
    }

    /// Decodes block `no`, and says how many values it has: 128, but for the last one.
    pub(crate) fn block(&self, no: u64, out: &mut Values) -> Result<usize, IndexError> {
        let (block, count) = self.block_bytes(no)?;
        decode_block(block, count, self.section.scale, out).map_err(|what| self.section.corrupt(what, no))?;
        Ok(count)
    }

    /// The bytes of block `no`, and how many items it has: 128, but for the last one.
    pub(super) fn block_bytes(&self, no: u64) -> Result<(&'i [u8], usize), IndexError> {
        let section = &self.section;
        let blocks = section.count.div_ceil(GROUP as u64);
        if no >= blocks {
            return Err(section.corrupt("an item that is not there", no.saturating_mul(GROUP as u64)));
        }
        // That the directory lies within the section was checked when the table of contents was read.
        let pair: [u8; 8] = self.pages.array(section.offset + no * 4)?;
        let data = section.offset + (blocks + 1) * 4;
        let at = |i| u32_at(&pair, i).map_or(u64::MAX, |offset| data + u64::from(offset));
        let (start, end) = (at(0), at(4));
        if start > end || end > section.end() {
            return Err(section.corrupt("the directory does not ascend within the section", no));
        }
        let count = usize::try_from(section.count - no * GROUP as u64).unwrap_or(GROUP).min(GROUP);
        Ok((self.pages.get(start, end - start)?, count))
    }

    /// What is wrong with value `item`.
    pub(crate) fn corrupt(&self, what: &'static str, item: u64) -> IndexError {
        self.section.corrupt(what, item)
    }
}

/// Reads values of a column, and keeps the block that it decoded last.
#[derive(Clone, Debug)]
pub(crate) struct ColumnReader<'i> {
    column: Column<'i>,
    block: Option<u64>,
    filled: usize,
    values: Values,
}

impl<'i> ColumnReader<'i> {
    pub(crate) fn new(column: Column<'i>) -> Self {
        Self { column, block: None, filled: 0, values: [0; GROUP] }
    }

    pub(crate) fn column(&self) -> &Column<'i> {
        &self.column
    }

    pub(crate) fn get(&mut self, at: u64) -> Result<u64, IndexError> {
        self.load(at / GROUP as u64)?;
        let value = usize::try_from(at % GROUP as u64).ok().and_then(|i| self.values.get(..self.filled)?.get(i));
        value.copied().ok_or_else(|| self.column.corrupt("a value that is not there", at))
    }

    /// Gives `each` the values of a range, in order and in pieces.
    pub(crate) fn for_each(&mut self, range: Range<u64>, mut each: impl FnMut(&[u64])) -> Result<(), IndexError> {
        if range.end > self.column.count() {
            return Err(self.column.corrupt("a value that is not there", range.end));
        }
        let group = GROUP as u64;
        let mut at = range.start;
        while at < range.end {
            let block = at / group;
            self.load(block)?;
            let end = range.end.min((block + 1) * group);
            let places = (usize::try_from(at - block * group), usize::try_from(end - block * group));
            let (Ok(from), Ok(to)) = places else { break };
            each(self.values.get(from..to).unwrap_or_default());
            at = end;
        }
        Ok(())
    }

    /// Appends numbers that are stored as distances: each is `next`, plus what is stored, and `next` becomes one more.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] where one is not below `limit`; `out` is as before.
    pub(crate) fn read_ascending<T>(
        &mut self,
        range: Range<u64>,
        mut next: u64,
        limit: u32,
        out: &mut Vec<T>,
        number: impl Fn(u32) -> T,
    ) -> Result<(), IndexError> {
        let (tail, start) = (out.len(), range.start);
        out.reserve(usize::try_from(range.end.saturating_sub(start).min(u64::from(limit))).unwrap_or(0));
        let read = self.for_each(range, |steps| {
            out.extend(steps.iter().map(|step| {
                let value = next.saturating_add(*step);
                next = value.saturating_add(1);
                number(low32(value))
            }));
        });
        // They ascend, so that the last one tells for all.
        let read = read.and_then(|()| match next > u64::from(limit) {
            true => Err(self.column.corrupt("a number that is too large", start)),
            false => Ok(()),
        });
        if read.is_err() {
            out.truncate(tail);
        }
        read
    }

    #[inline]
    fn load(&mut self, block: u64) -> Result<(), IndexError> {
        if self.block != Some(block) {
            self.block = None;
            self.filled = self.column.block(block, &mut self.values)?;
            self.block = Some(block);
        }
        Ok(())
    }
}
