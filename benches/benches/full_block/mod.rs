//! A block as a busy link leaves it, for whoever measures what is done with one.

use steno_core::{
    BLOCK_BYTES, TimestampNs,
    block::{BlockWriter, Push},
    testkit::FrameBuilder,
};

/// A full block of TCP and UDP over IPv4 and IPv6, one in eight tagged.
pub(crate) fn full_block() -> Vec<u8> {
    let mut writer = BlockWriter::new(BLOCK_BYTES);
    for i in 0u16.. {
        let [high, low] = i.to_be_bytes();
        let frame = FrameBuilder::ethernet();
        let frame = if i % 8 == 0 { frame.tag(0x8100, 100) } else { frame };
        let frame = match i % 5 {
            0 => frame.ipv6([high; 16], [low; 16]).tcp(443, i),
            1 => frame.ipv4([10, 0, high, low], [192, 0, 2, low]).udp(i, 53),
            _ => frame.ipv4([10, 0, high, low], [198, 51, 100, low]).tcp(i, 443),
        };
        let frame = frame.payload(&[0; 400]).build();
        let wire_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match writer.push(TimestampNs::new(u64::from(i)), wire_len, &frame) {
            Ok(Push::Stored { .. }) => {}
            _ => break,
        }
    }
    writer.finish(1).to_vec()
}
