//! Packs the values of a column, block by block, in the way that takes the fewest bytes.

use super::{
    EXCEPTION_HEAD_BYTES, EXCEPTIONS, LISTED, LISTED_MAX, PLACE_BITS, RUNNING, Values,
    bits::{mask, pack, packed_bytes},
};
use crate::{IndexError, Pause, format::GROUP, pause::PIECE};

/// A column in the making. Its memory is used again by the next one.
#[derive(Debug)]
pub(crate) struct ColumnWriter {
    scale: u64,
    count: u64,
    directory: Vec<u32>,
    data: Vec<u8>,
    pending: Values,
    filled: usize,
    pause: Pause,
}

impl ColumnWriter {
    /// One that is made in pieces.
    pub(crate) fn pausing(pause: Pause) -> Self {
        Self { scale: 1, count: 0, directory: vec![0], data: Vec::new(), pending: [0; GROUP], filled: 0, pause }
    }

    /// Begins a column whose values are all multiples of `scale`.
    pub(crate) fn begin(&mut self, scale: u64) {
        self.scale = scale.max(1);
        self.count = 0;
        self.directory.clear();
        self.directory.push(0);
        self.data.clear();
        self.filled = 0;
    }

    #[inline]
    pub(crate) fn push(&mut self, value: u64) {
        let value = if self.scale == 1 { value } else { value / self.scale };
        if let Some(place) = self.pending.get_mut(self.filled) {
            *place = value;
        }
        self.filled += 1;
        self.count += 1;
        if self.filled == GROUP {
            self.end_block();
        }
    }

    /// Packs the last block.
    ///
    /// # Errors
    /// [`IndexError::TooLarge`] past 4 GiB.
    pub(crate) fn finish(&mut self) -> Result<(), IndexError> {
        if self.filled > 0 {
            self.end_block();
        }
        if self.data.len() as u64 > u64::from(u32::MAX) {
            let (got, most) = (self.data.len() as u64, u64::from(u32::MAX));
            return Err(IndexError::TooLarge { what: "bytes of a column", got, most });
        }
        Ok(())
    }

    /// What is taken between pieces of it.
    pub(crate) fn pause(&self) -> &Pause {
        &self.pause
    }

    pub(crate) fn scale(&self) -> u64 {
        self.scale
    }

    /// Values pushed.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Where the blocks start in [`Self::data`], and the end of the last one.
    pub(crate) fn directory(&self) -> &[u32] {
        &self.directory
    }

    /// The blocks.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Appends a row group of `rows` conversations in place of a block of values; `write` appends its bytes.
    pub(crate) fn push_group(&mut self, rows: usize, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.data);
        self.count += rows as u64;
        self.end_directory();
    }

    fn end_block(&mut self) {
        // Postings, lists and positions are seldom a few numbers over and over.
        encode_block(self.pending.get(..self.filled).unwrap_or_default(), false, &mut self.data);
        self.filled = 0;
        self.end_directory();
    }

    fn end_directory(&mut self) {
        if self.directory.len().is_multiple_of(PIECE / GROUP) {
            self.pause.take();
        }
        // `finish` refuses a column where this does not fit.
        self.directory.push(u32::try_from(self.data.len()).unwrap_or(u32::MAX));
    }
}

/// The largest number that divides all values; 1 where they are all 0.
pub(crate) fn common_scale(values: impl Iterator<Item = u64>) -> u64 {
    let mut scale = 0u64;
    for value in values {
        let (mut a, mut b) = (scale, value);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        scale = a;
        if scale == 1 {
            break;
        }
    }
    scale.max(1)
}

/// How packed values are split: `width` bits of each, and the rest of a few.
#[derive(Clone, Copy)]
struct Split {
    width: u8,
    exceptions: u8,
    high_width: u8,
    /// Bytes of the block without head and base.
    bytes: usize,
}

/// Appends a block of at most 128 values. It may have a list of them in files from version 4.0 on, which `lists` says.
pub(crate) fn encode_block(values: &[u64], lists: bool, out: &mut Vec<u8>) {
    let base = values.iter().copied().min().unwrap_or(0);
    let mut packed = [0; GROUP];
    for (place, value) in packed.iter_mut().zip(values) {
        *place = value - base;
    }
    let packed = packed.get(..values.len()).unwrap_or_default();
    let split = choose(packed);
    let ascends = values.is_sorted();
    if ascends && split.width > 0 {
        let mut steps = [0; GROUP];
        let before = values.first().into_iter().chain(values);
        for ((place, value), before) in steps.iter_mut().zip(values).zip(before) {
            *place = value - before;
        }
        let steps = steps.get(..values.len()).unwrap_or_default();
        let running = choose(steps);
        if running.bytes < split.bytes {
            return write_block(RUNNING, base, steps, running, out);
        }
    }
    // As many bits a value as a place takes at most: with fewer there is next to nothing to be gained.
    if lists
        && split.bytes > packed_bytes(values.len(), PLACE_BITS)
        && let Some(few) = Few::of(values)
        && few.bytes() < split.bytes + usize::from(bytes_of(base))
    {
        return few.write(out);
    }
    write_block(0, base, packed, split, out);
}

/// Values of which there are few different ones.
struct Few {
    listed: [u64; LISTED_MAX],
    /// How many there are.
    count: u8,
    /// For each value its place among them.
    places: Values,
    values: usize,
}

impl Few {
    /// `None` where there are too many.
    fn of(values: &[u64]) -> Option<Self> {
        let mut few = Self { listed: [0; LISTED_MAX], count: 0, places: [0; GROUP], values: values.len() };
        for (place, value) in few.places.iter_mut().zip(values) {
            let known = few.listed.iter().take(usize::from(few.count)).position(|listed| listed == value);
            let at = match known {
                Some(at) => at,
                None => {
                    let at = usize::from(few.count);
                    *few.listed.get_mut(at)? = *value;
                    few.count += 1;
                    at
                }
            };
            *place = at as u64;
        }
        Some(few)
    }

    fn listed(&self) -> &[u64] {
        self.listed.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Bits of a place, and bytes of a listed value.
    fn widths(&self) -> (u8, u8) {
        let most = self.listed().iter().copied().max().unwrap_or(0);
        let bits = u8::BITS - self.count.saturating_sub(1).leading_zeros();
        (u8::try_from(bits).unwrap_or(u8::MAX), bytes_of(most))
    }

    /// Bytes of the block without head.
    fn bytes(&self) -> usize {
        let (width, bytes) = self.widths();
        1 + self.listed().len() * usize::from(bytes) + packed_bytes(self.values, width)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (width, bytes) = self.widths();
        out.extend_from_slice(&[width, LISTED | bytes, self.count]);
        for value in self.listed() {
            out.extend_from_slice(value.to_le_bytes().get(..usize::from(bytes)).unwrap_or_default());
        }
        pack(self.places.get(..self.values).unwrap_or_default(), width, out);
    }
}

/// Bytes that a value needs.
fn bytes_of(value: u64) -> u8 {
    u8::try_from((u64::BITS - value.leading_zeros()).div_ceil(8)).unwrap_or(8)
}

/// The split that takes the fewest bytes; among equals the one with the fewest exceptions.
fn choose(packed: &[u64]) -> Split {
    // Values alike follow one another: counted in two tables in turn, one count need not wait for the one before.
    let mut tables = [[0u8; 65]; 2];
    let [even, odd] = &mut tables;
    let count = |table: &mut [u8; 65], value: u64| {
        if let Some(n) = table.get_mut((u64::BITS - value.leading_zeros()) as usize) {
            *n += 1;
        }
    };
    let (pairs, last) = packed.as_chunks::<2>();
    for &[first, second] in pairs {
        count(even, first);
        count(odd, second);
    }
    last.iter().for_each(|&value| count(even, value));
    let [mut of_bits, odd] = tables;
    of_bits.iter_mut().zip(odd).for_each(|(n, more)| *n += more);
    let most = u8::try_from(of_bits.iter().rposition(|&n| n > 0).unwrap_or(0)).unwrap_or(64);
    let mut best = Split { width: most, exceptions: 0, high_width: 0, bytes: packed_bytes(packed.len(), most) };
    let mut exceptions = 0u8;
    for width in (0..most).rev() {
        exceptions += of_bits.get(usize::from(width) + 1).copied().unwrap_or(0);
        let high_width = most - width;
        let patches = usize::from(exceptions) + packed_bytes(usize::from(exceptions), high_width);
        let bytes = packed_bytes(packed.len(), width) + EXCEPTION_HEAD_BYTES + patches;
        if bytes < best.bytes {
            best = Split { width, exceptions, high_width, bytes };
        }
    }
    best
}

fn write_block(mode: u8, base: u64, packed: &[u64], split: Split, out: &mut Vec<u8>) {
    let base_len = bytes_of(base);
    let has_exceptions = split.exceptions > 0;
    out.extend_from_slice(&[split.width | if has_exceptions { EXCEPTIONS } else { 0 }, mode | base_len]);
    if has_exceptions {
        out.extend_from_slice(&[split.exceptions, split.high_width]);
    }
    out.extend_from_slice(base.to_le_bytes().get(..usize::from(base_len)).unwrap_or_default());
    pack(packed, split.width, out);
    if has_exceptions {
        let low = mask(split.width);
        let (mut highs, mut count) = ([0; GROUP], 0);
        for (slot, &value) in (0u8..).zip(packed).filter(|&(_, &value)| value > low) {
            out.push(slot);
            if let Some(place) = highs.get_mut(count) {
                *place = value >> split.width;
            }
            count += 1;
        }
        pack(highs.get(..count).unwrap_or_default(), split.high_width, out);
    }
}
