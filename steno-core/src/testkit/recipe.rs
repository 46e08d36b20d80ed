//! Captures as text: a line a packet, so that fixtures can be read and need no binary files.
//!
//! ```text
//! # seconds.nanoseconds, then layers from the outside in, then options
//! 1700000000.000000001 vlan 100 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80 data 120
//! 1700000000.000000900 qinq 7 vlan 8 ip 10.0.0.1 > 10.0.0.2 udp 5353 > 53 data 20 stripped
//! 1700000001.5         mpls 29 mpls 30 ip 2001:db8::1 > 2001:db8::2 tcp 1 > 2
//! 1700000002.0         ip 10.0.0.1 > 10.0.0.2 frag 77 185+ udp 1 > 2
//! 1700000003.0         type 0x0806 data 28 wire 60
//! 1700000004.0         ip 10.0.0.1 > 10.0.0.9 proto 47 data 8 snap 30
//! ```
//! `data N` appends N bytes, `snap N` keeps the first N bytes of the frame, `wire N` says its length on the wire,
//! `stripped` has the outermost tag taken out as the kernel does.

use std::{net::IpAddr, str::SplitWhitespace};

use super::FrameBuilder;
use crate::{
    TimestampNs,
    block::{BlockWriter, PacketHeader, Push, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID},
    packet::{Frame, VlanTag},
};

/// A packet of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipePacket {
    /// Arrival time.
    pub time: TimestampNs,
    /// Bytes on the wire, the stripped tag not counted.
    pub wire_len: u32,
    /// Captured bytes, the stripped tag not among them.
    pub bytes: Vec<u8>,
    /// The outermost tag, where the recipe has it stripped.
    pub stripped: Option<VlanTag>,
}

impl RecipePacket {
    /// The frame with its tag in place.
    pub fn frame(&self) -> Frame<'_> {
        match self.stripped {
            Some(tag) => Frame::with_stripped(&self.bytes, tag),
            None => Frame::new(&self.bytes),
        }
    }
}

/// A line that is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recipe line {line}: {why}")]
pub struct RecipeError {
    line: usize,
    why: String,
}

/// The packets of a recipe, in the order of its lines. Empty lines and lines that start with `#` count for nothing.
///
/// # Errors
/// The first line that does not read as one.
pub fn recipe(text: &str) -> Result<Vec<RecipePacket>, RecipeError> {
    let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| packet(line).map_err(|why| RecipeError { line: number, why }))
        .collect()
}

/// Puts packets into `writer` as a ring would hold them, up to the first that does not fit; says how many it took.
///
/// # Errors
/// A frame that no block holds.
pub fn block_of(writer: &mut BlockWriter, packets: &[RecipePacket]) -> Result<usize, crate::block::BlockError> {
    for (i, packet) in packets.iter().enumerate() {
        if writer.push_with(packet.time, packet.wire_len, &packet.bytes, |header| mark(header, packet.stripped))?
            == Push::Full
        {
            return Ok(i);
        }
    }
    Ok(packets.len())
}

fn mark(header: &mut PacketHeader, stripped: Option<VlanTag>) {
    if let Some(tag) = stripped {
        header.status |= TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;
        header.vlan_tci = u32::from(tag.tci);
        header.vlan_tpid = tag.tpid;
    }
}

fn packet(line: &str) -> Result<RecipePacket, String> {
    let mut words = line.split_whitespace();
    let time = time(words.next().unwrap_or_default())?;
    let mut frame = FrameBuilder::ethernet();
    let (mut snap, mut wire, mut strip) = (None, None, false);
    while let Some(word) = words.next() {
        frame = match word {
            "vlan" => frame.tag(0x8100, number(&mut words)?),
            "qinq" => frame.tag(0x88a8, number(&mut words)?),
            "mpls" => frame.mpls(number(&mut words)?),
            "ip" => match (address(&mut words)?, arrow(&mut words)?, address(&mut words)?) {
                (IpAddr::V4(a), (), IpAddr::V4(b)) => frame.ipv4(a.octets(), b.octets()),
                (IpAddr::V6(a), (), IpAddr::V6(b)) => frame.ipv6(a.octets(), b.octets()),
                _ => return Err("addresses of two kinds".to_owned()),
            },
            "frag" => {
                let id = number(&mut words)?;
                let offset = words.next().unwrap_or_default();
                let value = offset.trim_end_matches('+').parse().map_err(|e| format!("offset {offset:?}: {e}"))?;
                frame.fragment(id, value, offset.ends_with('+'))
            }
            "ext" => frame.extension(number(&mut words)?, 1),
            "tcp" | "udp" => {
                let (src, (), dst) = (number(&mut words)?, arrow(&mut words)?, number(&mut words)?);
                if word == "tcp" { frame.tcp(src, dst) } else { frame.udp(src, dst) }
            }
            "proto" => frame.protocol(number(&mut words)?, &[]),
            "type" => frame.other(number(&mut words)?, &[]),
            "data" => frame.payload(&filling(number(&mut words)?)),
            "snap" => {
                snap = Some(number::<u32>(&mut words)? as usize);
                frame
            }
            "wire" => {
                wire = Some(number(&mut words)?);
                frame
            }
            "stripped" => {
                strip = true;
                frame
            }
            other => return Err(format!("unknown word {other:?}")),
        };
    }
    Ok(finish(time, frame.build(), strip, snap, wire))
}

fn finish(time: TimestampNs, mut bytes: Vec<u8>, strip: bool, snap: Option<usize>, wire: Option<u32>) -> RecipePacket {
    let mut stripped = None;
    if strip && bytes.len() >= 16 {
        let tag: Vec<u8> = bytes.drain(12..16).collect();
        if let [a, b, c, d] = *tag {
            stripped = Some(VlanTag { tpid: u16::from_be_bytes([a, b]), tci: u16::from_be_bytes([c, d]) });
        }
    }
    let wire_len = wire.unwrap_or_else(|| u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    bytes.truncate(snap.unwrap_or(usize::MAX));
    RecipePacket { time, wire_len, bytes, stripped }
}

/// Bytes that differ from place to place, so that a shifted read shows.
fn filling(len: u32) -> Vec<u8> {
    (0..len).map(|i| i.to_le_bytes()).map(|[low, ..]| low ^ 0x5a).collect()
}

fn time(word: &str) -> Result<TimestampNs, String> {
    let (secs, fraction) = word.split_once('.').unwrap_or((word, ""));
    let secs = secs.parse().map_err(|e| format!("time {word:?}: {e}"))?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("time {word:?}: at most nine decimals"));
    }
    let nanos = format!("{fraction:0<9}").parse().map_err(|e| format!("time {word:?}: {e}"))?;
    Ok(TimestampNs::from_parts(secs, nanos))
}

fn number<T: TryFrom<u64>>(words: &mut SplitWhitespace<'_>) -> Result<T, String> {
    let word = words.next().ok_or("a number is missing")?;
    let parsed = match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => word.parse(),
    };
    let value = parsed.map_err(|e| format!("number {word:?}: {e}"))?;
    T::try_from(value).map_err(|_| format!("number {word:?} is too large"))
}

fn address(words: &mut SplitWhitespace<'_>) -> Result<IpAddr, String> {
    let word = words.next().unwrap_or_default();
    word.parse().map_err(|e| format!("address {word:?}: {e}"))
}

fn arrow(words: &mut SplitWhitespace<'_>) -> Result<(), String> {
    if words.next() == Some(">") { Ok(()) } else { Err("expected `>`".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        block::Block,
        packet::{Network, Tag, decode},
    };

    #[test]
    fn the_documented_recipe_reads_and_decodes() {
        let text = include_str!("recipe.rs");
        let lines: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix("//! ")).filter(|l| l.starts_with(['1', '#'])).collect();
        let packets = recipe(&lines.join("\n")).unwrap();
        assert_eq!(packets.len(), 6);
        let mut tags = Vec::new();
        let d = decode(&packets[1].frame(), &mut tags);
        assert_eq!(tags, [Tag::Vlan(7), Tag::Vlan(8)]);
        assert_eq!(d.ports, Some((5353, 53)));
        assert!(matches!(decode(&packets[2].frame(), &mut tags).network, Network::V6 { .. }));
        assert_eq!((packets[4].wire_len, packets[4].bytes.len()), (60, 42));
        assert_eq!(packets[5].bytes.len(), 30);
    }

    #[test]
    fn a_block_of_a_recipe_gives_its_frames_back() {
        let packets =
            recipe("1.5 vlan 9 ip 10.0.0.1 > 10.0.0.2 tcp 1 > 2 data 9 stripped\n2 type 0x0806 data 28").unwrap();
        let mut writer = BlockWriter::new(4096);
        assert_eq!(block_of(&mut writer, &packets), Ok(2));
        let bytes = writer.finish(1).to_vec();
        let block = Block::parse(&bytes).unwrap();
        let frames: Vec<_> = block.packets().map(|p| p.unwrap().frame().to_vec()).collect();
        assert_eq!(frames, packets.iter().map(|p| p.frame().to_vec()).collect::<Vec<_>>());
        assert_eq!(frames[0][12..16], [0x81, 0, 0, 9]);
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in ["x", "1 nonsense", "1 vlan", "1 vlan 70000", "1 ip 1.2.3.4 1.2.3.5", "1.0000000001 type 1"] {
            assert!(recipe(&format!("\n{bad}")).unwrap_err().to_string().starts_with("recipe line 2: "), "{bad}");
        }
    }
}
