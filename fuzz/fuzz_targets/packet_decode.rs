//! Headers of any frame: [`steno_core::packet::decode`].
//!
//! The first byte says how the rest is read: an odd one takes four bytes off as a VLAN tag that the kernel stripped.
//! Whatever the bytes, decoding ends, and does not depend on whether the tag was stripped.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_core::packet::{Fragment, Frame, Network, VlanTag, decode, ip_protocol};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let frame = match rest.split_first_chunk::<4>() {
        Some(([a, b, c, d], bytes)) if mode & 1 == 1 => {
            let tag = VlanTag { tpid: u16::from_be_bytes([*a, *b]), tci: u16::from_be_bytes([*c, *d]) };
            Frame::with_stripped(bytes, tag)
        }
        _ => Frame::new(rest),
    };
    let mut tags = Vec::new();
    let decoded = decode(&frame, &mut tags);

    let restored = frame.to_vec();
    assert_eq!(restored.len(), frame.len());
    let mut tags_of_restored = Vec::new();
    let decoded_restored = decode(&Frame::new(&restored), &mut tags_of_restored);
    assert_eq!((&decoded_restored, &tags_of_restored), (&decoded, &tags), "a stripped tag changes what is decoded");

    if decoded.ports.is_some() {
        assert_ne!(decoded.fragment, Fragment::Later, "a fragment after the first has no ports");
        let protocol = decoded.protocol;
        let known = [ip_protocol::TCP, ip_protocol::UDP, ip_protocol::SCTP].map(Some);
        assert!(known.contains(&protocol), "ports of protocol {protocol:?}");
    }
    if matches!(decoded.network, Network::None { .. }) {
        assert_eq!((decoded.protocol, decoded.ports), (None, None), "a protocol without a network layer");
        assert_eq!(decoded.fragment, Fragment::Whole, "a fragment without a network layer");
    }
    let most_tags = frame.len() / 4;
    assert!(tags.len() <= most_tags, "{} tags in {} bytes", tags.len(), frame.len());
});
