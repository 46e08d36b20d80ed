//! Newtypes for quantities that must not be mixed up: times, packet ordinals, file positions, segment names.

use std::{fmt, num::ParseIntError, str::FromStr};

/// Bytes of a packet-file block unless a capture was told otherwise (`--blocksize_kb`): 1 MiB.
pub const BLOCK_BYTES: u32 = 1 << 20;

const NS_PER_SEC: u64 = 1_000_000_000;

/// A moment in nanoseconds since the UNIX epoch, UTC, without leap seconds: what the kernel stamps packets with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimestampNs(pub u64);

impl TimestampNs {
    /// The epoch.
    pub const MIN: Self = Self(0);
    /// The last moment that can be said (in the year 2554).
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `ns` nanoseconds after the epoch.
    pub const fn new(ns: u64) -> Self {
        Self(ns)
    }

    /// From the two words that `struct tpacket3_hdr` and pcap records hold. A `nanos` of a second or more carries over.
    pub const fn from_parts(secs: u32, nanos: u32) -> Self {
        Self(secs as u64 * NS_PER_SEC + nanos as u64)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / NS_PER_SEC
    }

    /// Nanoseconds within the second, below 10⁹.
    pub const fn subsec_ns(self) -> u32 {
        (self.0 % NS_PER_SEC) as u32
    }

    /// This moment and `ns` nanoseconds, or [`Self::MAX`].
    #[must_use]
    pub const fn saturating_add_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// This moment less `ns` nanoseconds, or [`Self::MIN`].
    #[must_use]
    pub const fn saturating_sub_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_sub(ns))
    }
}

/// Seconds since the epoch with nine decimals, as `date +%s.%N` prints.
impl fmt::Display for TimestampNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.secs(), self.subsec_ns())
    }
}

/// The ordinal of a packet in its segment, from 0, in ring order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketNo(pub u32);

/// The byte offset of a packet's `tpacket3_hdr` in its packet file. 32 bits: a packet file never reaches past 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u32);

/// The name that a packet file and its index share: microseconds since the UNIX epoch at which the file was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The name for a file opened at `time`.
    pub const fn at(time: TimestampNs) -> Self {
        Self(time.as_ns() / 1_000)
    }

    /// The moment that the name says, to the microsecond.
    pub const fn opened_at(self) -> TimestampNs {
        TimestampNs(self.0.saturating_mul(1_000))
    }

    /// The file name while the segment is written: the name behind a leading dot.
    pub fn hidden_name(self) -> String {
        format!(".{}", self.0)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A file name that is not a decimal number of microseconds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a segment name (decimal microseconds since 1970): {name:?}")]
pub struct ParseSegmentIdError {
    name: String,
    #[source]
    source: Option<ParseIntError>,
}

impl FromStr for SegmentId {
    type Err = ParseSegmentIdError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let err = |source| ParseSegmentIdError { name: name.to_owned(), source };
        // One spelling a number, so that a name read from a directory can be rebuilt from the number.
        if name.len() > 1 && name.starts_with('0') || !name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(err(None));
        }
        name.parse().map(Self).map_err(|e| err(Some(e)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_parts_round_trip() {
        let t = TimestampNs::from_parts(1_795_395_475, 638_619_797);
        assert_eq!((t.secs(), t.subsec_ns()), (1_795_395_475, 638_619_797));
        assert_eq!(t.to_string(), "1795395475.638619797");
        assert_eq!(TimestampNs::from_parts(u32::MAX, u32::MAX).secs(), u64::from(u32::MAX) + 4);
    }

    #[test]
    fn segment_names_have_one_spelling() {
        assert_eq!("1795395475661823".parse(), Ok(SegmentId(1_795_395_475_661_823)));
        assert_eq!(SegmentId(7).hidden_name(), ".7");
        for bad in ["", ".7", "07", "+7", "7a", "99999999999999999999"] {
            assert!(bad.parse::<SegmentId>().is_err(), "{bad:?} was taken for a segment name");
        }
        assert_eq!("0".parse(), Ok(SegmentId(0)));
    }
}
