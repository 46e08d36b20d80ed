//! Unpacks a block of a column, whatever its bytes are.

use super::{
    BASE_BYTES, EXCEPTION_HEAD_BYTES, EXCEPTIONS, HEAD_BYTES, LISTED, RUNNING, Values,
    bits::{packed_bytes, unpack},
};
use crate::{format::GROUP, le::array};

/// What the head of a block says, checked against itself.
struct Head {
    width: u8,
    running: bool,
    base_bytes: usize,
    /// Listed values, of so many bytes each, in place of the base.
    listed: Option<u8>,
    exceptions: usize,
    high_width: u8,
    /// Bytes of the head.
    bytes: usize,
}

impl Head {
    #[inline]
    fn read(bytes: &[u8], count: usize) -> Result<Self, &'static str> {
        let [first, second] = array(bytes, 0).ok_or(CUT)?;
        let (exceptions, high_width, more) = if first & EXCEPTIONS != 0 {
            let [exceptions, high_width]: [u8; EXCEPTION_HEAD_BYTES] = array(bytes, HEAD_BYTES).ok_or(CUT)?;
            (usize::from(exceptions), high_width, EXCEPTION_HEAD_BYTES)
        } else {
            (0, 0, 0)
        };
        let (width, base_bytes) = (first & !EXCEPTIONS, usize::from(second & BASE_BYTES));
        if base_bytes > 8 {
            return Err("a base of more than 8 bytes");
        }
        if second & LISTED != 0 {
            if first & EXCEPTIONS != 0 || second & RUNNING != 0 || width > PLACE_BITS_MAX {
                return Err("a list with exceptions, sums or wide places");
            }
            let [listed] = array(bytes, HEAD_BYTES).ok_or(CUT)?;
            let (running, bytes) = (false, HEAD_BYTES + 1);
            return Ok(Self { width, running, base_bytes, listed: Some(listed), exceptions: 0, high_width: 0, bytes });
        }
        if u16::from(width) + u16::from(high_width) > 64 {
            return Err("widths of more than 64 bits");
        }
        if exceptions > count {
            return Err("more exceptions than values");
        }
        let (running, bytes) = (second & RUNNING != 0, HEAD_BYTES + more);
        Ok(Self { width, running, base_bytes, listed: None, exceptions, high_width, bytes })
    }

    /// Bytes of the whole block.
    fn len(&self, count: usize) -> usize {
        self.bytes
            + self.base_bytes * usize::from(self.listed.unwrap_or(1))
            + packed_bytes(count, self.width)
            + self.exceptions
            + packed_bytes(self.exceptions, self.high_width)
    }
}

/// A block has 128 values, so that no place in a list needs more bits.
const PLACE_BITS_MAX: u8 = 7;

const CUT: &str = "a block whose length is not that of its values";

/// Bytes of the block of `count` values at the start of `bytes`.
///
/// # Errors
/// What is wrong with its head, or that it does not fit.
pub(crate) fn block_len(bytes: &[u8], count: usize) -> Result<usize, &'static str> {
    let len = Head::read(bytes, count.min(GROUP))?.len(count.min(GROUP));
    if len <= bytes.len() { Ok(len) } else { Err(CUT) }
}

/// Decodes a block of `count` values, which must take all of `bytes`.
///
/// # Errors
/// What is wrong with the block.
pub(crate) fn decode_block(bytes: &[u8], count: usize, scale: u64, out: &mut Values) -> Result<(), &'static str> {
    let out = out.get_mut(..count.min(GROUP)).unwrap_or_default();
    let head = Head::read(bytes, out.len())?;
    if head.len(out.len()) != bytes.len() {
        return Err(CUT);
    }
    let (_, rest) = bytes.split_at_checked(head.bytes).ok_or(CUT)?;
    if let Some(listed) = head.listed {
        return decode_listed(rest, usize::from(listed), &head, scale, out);
    }
    let (base, rest) = rest.split_at_checked(head.base_bytes).ok_or(CUT)?;
    let base = number(base);
    let (packed, rest) = rest.split_at_checked(packed_bytes(out.len(), head.width)).ok_or(CUT)?;
    let (slots, highs) = rest.split_at_checked(head.exceptions).ok_or(CUT)?;
    unpack(packed, head.width, out);
    if head.exceptions > 0 {
        patch(slots, highs, head.width, head.high_width, out)?;
    }
    // All arithmetic is modulo 2^64 by definition, so that no bytes can make it fail.
    if head.running {
        let mut sum = base;
        for value in out.iter_mut() {
            sum = sum.wrapping_add(*value);
            *value = sum;
        }
    } else if base != 0 {
        out.iter_mut().for_each(|value| *value = value.wrapping_add(base));
    }
    if scale != 1 {
        out.iter_mut().for_each(|value| *value = value.wrapping_mul(scale));
    }
    Ok(())
}

/// Decodes what is behind the head of a block with a list.
fn decode_listed(rest: &[u8], listed: usize, head: &Head, scale: u64, out: &mut [u64]) -> Result<(), &'static str> {
    let (list, packed) = rest.split_at_checked(listed * head.base_bytes).ok_or(CUT)?;
    let mut values = [0; 1 << PLACE_BITS_MAX];
    for (value, bytes) in values.iter_mut().zip(list.chunks_exact(head.base_bytes.max(1))) {
        *value = number(bytes).wrapping_mul(scale);
    }
    let values = values.get(..listed).unwrap_or(&values);
    unpack(packed, head.width, out);
    for place in out {
        let value = usize::try_from(*place).ok().and_then(|place| values.get(place));
        *place = *value.ok_or("a place behind the end of a list")?;
    }
    Ok(())
}

/// A little-endian number of at most 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0u64, |number, &byte| number << 8 | u64::from(byte))
}

/// Puts the high parts above the `width` low bits of the values that have one.
fn patch(slots: &[u8], highs: &[u8], width: u8, high_width: u8, out: &mut [u64]) -> Result<(), &'static str> {
    if !slots.is_sorted_by(|a, b| a < b) {
        return Err("exceptions out of order");
    }
    let mut parts = [0; GROUP];
    let parts = parts.get_mut(..slots.len()).unwrap_or_default();
    unpack(highs, high_width, parts);
    for (&slot, &high) in slots.iter().zip(parts.iter()) {
        let value = out.get_mut(usize::from(slot)).ok_or("exceptions out of order")?;
        *value |= high.checked_shl(u32::from(width)).unwrap_or(0);
    }
    Ok(())
}
