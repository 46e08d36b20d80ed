//! The value of a key: where the headers of its packets lie.

use std::borrow::Cow;

use steno_core::Position;

use crate::IndexError;

/// Bytes of a position.
const POSITION_BYTES: usize = 4;

/// Positions of packets in the packet file, ascending, none twice. In the file: u32, big-endian.
#[derive(Clone, Debug)]
pub struct Positions<'a>(Cow<'a, [u8]>);

impl<'a> Positions<'a> {
    /// Takes the value of a key, once it is checked.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] for a length that is no multiple of four, and for positions that do not ascend.
    pub(super) fn new(value: Cow<'a, [u8]>) -> Result<Self, IndexError> {
        let (words, rest) = value.as_chunks::<POSITION_BYTES>();
        if !rest.is_empty() {
            let what = "the length of a value is no multiple of four";
            return Err(IndexError::corrupt("positions", what, value.len() as u64));
        }
        // Big-endian words compare as the numbers do.
        if let Some(pair) = words.windows(2).position(|pair| pair.first() >= pair.last()) {
            return Err(IndexError::corrupt("positions", "positions are not ascending", pair as u64));
        }
        Ok(Self(value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator + '_ {
        self.words().iter().map(|word| Position(u32::from_be_bytes(*word)))
    }

    fn words(&self) -> &[[u8; POSITION_BYTES]] {
        self.0.as_chunks().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_ascend_or_are_refused() {
        let of = |positions: &[u32]| {
            let bytes: Vec<u8> = positions.iter().flat_map(|p| p.to_be_bytes()).collect();
            Positions::new(Cow::Owned(bytes)).map(|p| p.iter().map(|p| p.0).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]).unwrap(), []);
        assert_eq!(of(&[48, 256, 0x0100_0000, u32::MAX]).unwrap(), [48, 256, 0x0100_0000, u32::MAX]);
        for wrong in [&[5, 5][..], &[256, 48], &[1, 2, 3, 2]] {
            assert!(of(wrong).unwrap_err().to_string().contains("not ascending"), "{wrong:?}");
        }
        let odd = Positions::new(Cow::Borrowed(&[0, 0, 0, 1, 2])).unwrap_err();
        assert!(odd.to_string().contains("multiple of four"), "{odd}");
    }
}
