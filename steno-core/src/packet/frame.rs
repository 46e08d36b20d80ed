//! A frame as it was on the wire, although the kernel hands it over in two parts.

/// Bytes of the two MAC addresses, behind which the outermost tag goes.
const MAC_ADDRESSES_BYTES: usize = 12;
/// Bytes of an 802.1Q tag.
const TAG_BYTES: u32 = 4;

/// An 802.1Q or 802.1ad tag (IEEE 802.1Q, clause 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100, 0x88a8, ...
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1), VLAN id (12).
    pub tci: u16,
}

impl VlanTag {
    /// The VLAN id, 0 to 4095.
    pub const fn id(self) -> u16 {
        self.tci & 0x0fff
    }
}

/// A frame: the bytes captured, and the outermost tag where the kernel took it out of them.
///
/// Linux strips the outermost 802.1Q or 802.1ad tag before an AF_PACKET socket sees the frame and reports it beside it
/// (packet(7), PACKET_AUXDATA; `tp_vlan_tci` in a ring). All that this type gives out has the tag in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    stripped: Option<VlanTag>,
}

impl<'a> Frame<'a> {
    /// A frame whose bytes are all there.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, stripped: None }
    }

    /// A frame whose outermost tag was taken out of `bytes`. Where `bytes` ends within the MAC addresses, the place of
    /// the tag was not captured, and it stays out.
    pub fn with_stripped(bytes: &'a [u8], tag: VlanTag) -> Self {
        Self { bytes, stripped: (bytes.len() >= MAC_ADDRESSES_BYTES).then_some(tag) }
    }

    /// Captured bytes, the tag put back.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.restored_bytes() as usize
    }

    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes as the kernel handed them over.
    pub fn captured(&self) -> &'a [u8] {
        self.bytes
    }

    /// The tag that goes back into [`Self::captured`], if any.
    pub fn stripped(&self) -> Option<VlanTag> {
        self.stripped
    }

    /// Bytes that putting the tag back adds: 4 or 0.
    pub fn restored_bytes(&self) -> u32 {
        self.stripped.map_or(0, |_| TAG_BYTES)
    }

    /// Appends the frame, the tag in its place.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.stripped.and_then(|tag| Some((tag, self.bytes.split_at_checked(MAC_ADDRESSES_BYTES)?))) {
            None => out.extend_from_slice(self.bytes),
            Some((tag, (addresses, rest))) => {
                out.extend_from_slice(addresses);
                out.extend_from_slice(&tag.tpid.to_be_bytes());
                out.extend_from_slice(&tag.tci.to_be_bytes());
                out.extend_from_slice(rest);
            }
        }
    }

    /// The frame in memory of its own.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.append_to(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: VlanTag = VlanTag { tpid: 0x88a8, tci: 0x2064 };

    #[test]
    fn the_tag_goes_behind_the_addresses() {
        let frame = Frame::with_stripped(b"ddddddssssss\x08\x00payload", TAG);
        assert_eq!(frame.to_vec(), b"ddddddssssss\x88\xa8\x20\x64\x08\x00payload");
        assert_eq!((frame.len(), frame.restored_bytes(), TAG.id()), (25, 4, 100));
        assert_eq!(Frame::new(b"abc").to_vec(), b"abc");
    }

    #[test]
    fn the_id_is_each_of_twelve_bits_and_none_of_the_others() {
        let id = |tci| VlanTag { tpid: 0x8100, tci }.id();
        (0..12).for_each(|bit| assert_eq!(id(1 << bit), 1 << bit, "bit {bit}"));
        (12..16).for_each(|bit| assert_eq!(id(1 << bit), 0, "priority and drop eligible are no part of it: bit {bit}"));
        assert_eq!(id(0xffff), 4095);
    }

    #[test]
    fn a_frame_cut_within_the_addresses_stays_as_it_is() {
        assert_eq!(Frame::with_stripped(b"ddddddsssss", TAG).to_vec(), b"ddddddsssss");
        assert_eq!(Frame::with_stripped(b"ddddddssssss", TAG).to_vec(), b"ddddddssssss\x88\xa8\x20\x64");
    }
}
