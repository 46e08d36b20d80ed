//! Numbers of one width, one behind the other, each from its lowest bit on.

/// Bytes of `count` numbers of `width` bits.
pub(super) const fn packed_bytes(count: usize, width: u8) -> usize {
    (count * width as usize).div_ceil(8)
}

/// Appends `values`, of which the lowest `width` bits count.
pub(super) fn pack(values: &[u64], width: u8, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let start = out.len();
    let end = start + packed_bytes(values.len(), width);
    out.resize(end.next_multiple_of(8) + 8, 0);
    let mut words = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<8>().0.iter_mut();
    let mut put = |word: u64| {
        if let Some(place) = words.next() {
            *place = word.to_le_bytes();
        }
    };
    let (mask, width) = (mask(width), u32::from(width));
    let (mut word, mut filled) = (0u64, 0u32);
    for value in values {
        let value = value & mask;
        word |= value << filled;
        filled += width;
        if filled >= u64::BITS {
            put(word);
            filled -= u64::BITS;
            word = value.checked_shr(width - filled).unwrap_or(0);
        }
    }
    put(word);
    out.truncate(end);
}

/// Fills `out` with numbers of `width` bits. Bits past the end of `bytes` are 0.
#[inline]
pub(super) fn unpack(bytes: &[u8], width: u8, out: &mut [u64]) {
    if width == 0 {
        out.fill(0);
        return;
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    let mut words = words.iter().chain(std::iter::once(&last)).map(|word| u64::from_le_bytes(*word));
    let (mask, width) = (mask(width), u32::from(width));
    let (mut word, mut left) = (0u64, 0u32);
    for value in out {
        if left >= width {
            *value = word & mask;
            word = word.checked_shr(width).unwrap_or(0);
            left -= width;
        } else {
            let next = words.next().unwrap_or(0);
            *value = (word | next << left) & mask;
            let taken = width - left;
            word = next.checked_shr(taken).unwrap_or(0);
            left = 64 - taken;
        }
    }
}

/// The lowest `width` bits, of 64 at the most.
pub(super) const fn mask(width: u8) -> u64 {
    match width {
        0 => 0,
        1..=63 => (1 << width) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_round_trips() {
        for width in 0..=64u8 {
            let values: Vec<u64> = (1..=131u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask(width)).collect();
            let mut bytes = Vec::new();
            pack(&values, width, &mut bytes);
            assert_eq!(bytes.len(), packed_bytes(values.len(), width), "width {width}");
            let mut out = vec![7; values.len()];
            unpack(&bytes, width, &mut out);
            assert_eq!(out, values, "width {width}");
        }
    }

    #[test]
    fn the_lowest_bit_comes_first() {
        let mut bytes = Vec::new();
        pack(&[1, 2, 3, 4, 5], 3, &mut bytes);
        assert_eq!(bytes, [0b1101_0001, 0b0101_1000]);
    }
}
