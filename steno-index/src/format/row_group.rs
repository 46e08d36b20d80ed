//! The fields of a row group: 128 conversations, one block of values a field.

/// Fields of a row group.
pub(crate) const FIELDS: usize = 15;
/// How many of them, at the front, have a value for every conversation.
pub(crate) const DENSE_FIELDS: usize = 11;

/// The fields in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Field {
    Class = 0,
    LowAddress,
    HighAddress,
    LowPort,
    HighPort,
    Flags,
    /// One less than there are.
    ForwardPackets,
    ReversePackets,
    FirstPacket,
    ForwardBytes,
    ForwardFirst,
    ForwardLast,
    ReverseBytes,
    ReverseFirst,
    ReverseLast,
}

impl Field {
    /// Whether its values are multiples of the scale of the section.
    pub(crate) const fn is_time(self) -> bool {
        matches!(self, Self::ForwardFirst | Self::ForwardLast | Self::ReverseFirst | Self::ReverseLast)
    }
}

/// Bits of the field `flags`.
pub(crate) mod conversation_flag {
    /// The high end sent the first packet.
    pub(crate) const OPENED_BY_HIGH: u64 = 1;
    /// `reverse-last` counts back from the latest forward time.
    pub(crate) const REVERSE_LAST_EARLIER: u64 = 1 << 1;
    /// `reverse-first` counts back from the earliest forward time.
    pub(crate) const REVERSE_FIRST_EARLIER: u64 = 1 << 2;
}

const _: () = assert!(Field::ReverseLast as usize + 1 == FIELDS && Field::ForwardLast as usize == DENSE_FIELDS);
