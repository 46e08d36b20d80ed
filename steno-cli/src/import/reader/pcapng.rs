//! pcapng blocks (draft-ietf-opsawg-pcapng): sections in either byte order, each with interfaces of its own, and the
//! three kinds of blocks that hold packets. All other blocks are stepped over.

use std::io::Read;

use steno_core::TimestampNs;

use super::{Packet, RECORD_BYTES_MAX, ReadError, Record, input::Input, order::Order};

/// Read the same in either byte order.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete, and found in old files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

const OPT_END: u16 = 0;
const OPT_IF_NAME: u16 = 2;
const OPT_IF_TSRESOL: u16 = 9;
const OPT_IF_TSOFFSET: u16 = 14;

/// Block type and both lengths.
const BLOCK_OVERHEAD_BYTES: u32 = 12;
/// Block type, length, byte-order magic.
const SECTION_START_BYTES: usize = 12;
const SECTION_BYTES_MIN: u32 = 28;
/// Interfaces of a section; a bound on memory that no capture comes near.
const INTERFACES_MAX: usize = 65_536;
/// Bytes of an interface's name that are kept.
const NAME_BYTES_MAX: usize = 128;

/// The blocks of a pcapng file.
#[derive(Debug, Default)]
pub(super) struct PcapNgBlocks {
    /// Of the section; none before the first section header.
    order: Option<Order>,
    interfaces: Vec<Interface>,
    /// Blocks whose two lengths differ, and the offset of the first.
    unlike: Option<(u64, u64)>,
}

/// What packets need of an interface description.
#[derive(Debug)]
struct Interface {
    link_type: u16,
    /// 0 for no limit.
    snaplen: u32,
    resolution: Resolution,
    offset_secs: i64,
    name: Option<Box<str>>,
}

/// Timestamp units a second (if_tsresol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolution {
    /// 10 to this power.
    Decimal(u8),
    /// 2 to this power.
    Binary(u8),
}

/// Start of a block.
struct Head {
    kind: u32,
    total_bytes: u32,
    offset_bytes: u64,
}

/// Where a packet lies in the body of its block.
struct Found {
    interface: usize,
    time: Option<TimestampNs>,
    wire_len: u32,
    start: usize,
    captured: usize,
}

impl PcapNgBlocks {
    /// The next packet; `None` at the end.
    pub(super) fn next_record<'a, R: Read>(
        &'a mut self,
        input: &'a mut Input<R>,
    ) -> Result<Option<Record<'a>>, ReadError> {
        loop {
            let Some((head, order)) = self.head(input)? else { return Ok(None) };
            match head.kind {
                SECTION_HEADER | INTERFACE_DESCRIPTION => self.describe(input, &head, order)?,
                PACKET | SIMPLE_PACKET | ENHANCED_PACKET if head.total_bytes > RECORD_BYTES_MAX => {
                    input.skip(u64::from(head.total_bytes), "a packet block")?;
                    return Ok(Some(Record::TooLarge { bytes: head.total_bytes }));
                }
                PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    let block = input.take(head.total_bytes as usize, "a packet block")?;
                    let found = self.find(&head, order, block)?;
                    let interface = self.interfaces.get(found.interface);
                    let packet = Packet {
                        time: found.time,
                        link_type: interface.map_or(0, |i| i.link_type),
                        wire_len: found.wire_len,
                        interface: interface.and_then(|i| i.name.as_deref()),
                        data: block.get(found.start..found.start + found.captured).unwrap_or_default(),
                    };
                    return Ok(Some(Record::Packet(packet)));
                }
                _ => input.skip(u64::from(head.total_bytes), "a block")?,
            }
        }
    }

    /// What is odd in the file and yet did not stop the reading.
    pub(super) fn oddity(&self) -> Option<String> {
        let (blocks, offset_bytes) = self.unlike?;
        Some(format!("{blocks} blocks end with another length than they start with, the first at byte {offset_bytes}"))
    }

    /// Type and length of the next block, which stay to be taken, and the byte order to read it in.
    fn head<R: Read>(&self, input: &mut Input<R>) -> Result<Option<(Head, Order)>, ReadError> {
        let offset_bytes = input.offset_bytes();
        let start = input.peek(SECTION_START_BYTES)?;
        if start.is_empty() {
            return Ok(None);
        }
        let cut = |got: usize, expected: u32| ReadError::Cut {
            what: "a block",
            offset_bytes,
            expected: u64::from(expected),
            got: got as u64,
        };
        if start.len() < SECTION_START_BYTES {
            return Err(cut(start.len(), BLOCK_OVERHEAD_BYTES));
        }
        let damaged = |why: String| ReadError::Damaged { offset_bytes, why };
        let order = if start.starts_with(&SECTION_HEADER.to_be_bytes()) {
            let magic = |order: &Order| order.u32(start, 8) == Some(BYTE_ORDER_MAGIC);
            let order = [Order::Little, Order::Big].into_iter().find(magic);
            order.ok_or_else(|| damaged("a section header without a byte-order magic".to_owned()))?
        } else {
            self.order.ok_or_else(|| damaged("no section header comes first".to_owned()))?
        };
        let kind = order.u32(start, 0).unwrap_or_default();
        let total_bytes = order.u32(start, 4).unwrap_or_default();
        let least = if kind == SECTION_HEADER { SECTION_BYTES_MIN } else { BLOCK_OVERHEAD_BYTES };
        if total_bytes < least || total_bytes % 4 != 0 {
            return Err(damaged(format!("a block of type {kind:#x} says that it is {total_bytes} bytes long")));
        }
        Ok(Some((Head { kind, total_bytes, offset_bytes }, order)))
    }

    /// Takes a section header or an interface description.
    fn describe<R: Read>(&mut self, input: &mut Input<R>, head: &Head, order: Order) -> Result<(), ReadError> {
        if head.kind == SECTION_HEADER {
            input.skip(u64::from(head.total_bytes), "a section header")?;
            self.order = Some(order);
            self.interfaces.clear();
            return Ok(());
        }
        let damaged = |why: String| ReadError::Damaged { offset_bytes: head.offset_bytes, why };
        if head.total_bytes > RECORD_BYTES_MAX {
            return Err(damaged(format!("an interface description of {} bytes", head.total_bytes)));
        }
        let block = input.take(head.total_bytes as usize, "an interface description")?;
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(damaged(format!("a section with more than {INTERFACES_MAX} interfaces")));
        }
        let interface = Interface::parse(body(block), order);
        self.interfaces.push(interface.ok_or_else(|| damaged("an interface description of 12 bytes".to_owned()))?);
        Ok(())
    }

    /// Finds the packet in a packet block.
    fn find(&mut self, head: &Head, order: Order, block: &[u8]) -> Result<Found, ReadError> {
        let damaged = |why: String| ReadError::Damaged { offset_bytes: head.offset_bytes, why };
        let body = body(block);
        let found = match head.kind {
            SIMPLE_PACKET => self.simple(order, body),
            kind => self.timed(order, body, kind),
        };
        let mut found = found.map_err(damaged)?;
        if found.start + found.captured > body.len() {
            let room = body.len().saturating_sub(found.start);
            return Err(damaged(format!("a packet of {} bytes in a block with room for {room}", found.captured)));
        }
        // Offsets in the block from here on.
        found.start += 8;
        if order.u32(block, block.len() - 4) != Some(head.total_bytes) {
            let (blocks, _) = self.unlike.get_or_insert((0, head.offset_bytes));
            *blocks += 1;
        }
        Ok(found)
    }

    /// A simple packet: of the first interface, without a time, cut to the interface's snapshot length.
    fn simple(&self, order: Order, body: &[u8]) -> Result<Found, String> {
        let first = self.interfaces.first().ok_or("a packet before any interface")?;
        let wire_len = order.u32(body, 0).ok_or("a packet block without room for a length")?;
        let limit = if first.snaplen == 0 { u32::MAX } else { first.snaplen };
        // Writers also cut without saying so: what is there is then all that there is.
        let captured = (wire_len.min(limit) as usize).min(body.len() - 4);
        Ok(Found { interface: 0, time: Some(TimestampNs::MIN), wire_len, start: 4, captured })
    }

    /// An enhanced packet, or an obsolete one, whose interface is but 16 bits wide.
    fn timed(&self, order: Order, body: &[u8], kind: u32) -> Result<Found, String> {
        let word = |at| order.u32(body, at).ok_or("a packet block without room for its fields");
        let interface = if kind == PACKET { order.u16(body, 0).map(u32::from) } else { order.u32(body, 0) };
        let interface = interface.unwrap_or_default() as usize;
        let units = u64::from(word(4)?) << 32 | u64::from(word(8)?);
        let (captured, wire_len) = (word(12)? as usize, word(16)?);
        let described = self.interfaces.get(interface);
        let described = described.ok_or_else(|| {
            format!("a packet of interface {interface}, of which {} are described", self.interfaces.len())
        })?;
        Ok(Found { interface, time: described.time(units), wire_len, start: 20, captured })
    }
}

impl Interface {
    /// Reads the body of an interface description; `None` where its fixed part is cut. An option that makes no sense is
    /// passed by, and ends the options where its length does not fit.
    fn parse(body: &[u8], order: Order) -> Option<Self> {
        let mut interface = Self {
            link_type: order.u16(body, 0)?,
            snaplen: order.u32(body, 4)?,
            resolution: Resolution::Decimal(6),
            offset_secs: 0,
            name: None,
        };
        let mut rest = body.get(8..).unwrap_or_default();
        while let (Some(code), Some(len)) = (order.u16(rest, 0), order.u16(rest, 2)) {
            let value = rest.get(4..4 + usize::from(len));
            let Some(value) = value.filter(|_| code != OPT_END) else { break };
            interface.option(code, value, order);
            rest = rest.get(4 + usize::from(len).next_multiple_of(4)..).unwrap_or_default();
        }
        Some(interface)
    }

    fn option(&mut self, code: u16, value: &[u8], order: Order) {
        match (code, value) {
            (OPT_IF_NAME, _) => {
                let text = String::from_utf8_lossy(value.get(..NAME_BYTES_MAX).unwrap_or(value));
                let name = text.trim_end_matches('\0');
                self.name = (!name.is_empty()).then(|| name.into());
            }
            (OPT_IF_TSRESOL, &[byte, ..]) => {
                let power = byte & 0x7f;
                self.resolution = if byte & 0x80 == 0 { Resolution::Decimal(power) } else { Resolution::Binary(power) };
            }
            (OPT_IF_TSOFFSET, _) => self.offset_secs = order.i64(value, 0).unwrap_or_default(),
            _ => {}
        }
    }

    /// The time that `units` of this interface mean.
    fn time(&self, units: u64) -> Option<TimestampNs> {
        let ns = self.resolution.ns(units) + i128::from(self.offset_secs) * 1_000_000_000;
        u64::try_from(ns).ok().map(TimestampNs::new)
    }
}

impl Resolution {
    /// Nanoseconds in `units`, cut to whole ones. At most 2^64 seconds, which 94 bits hold.
    fn ns(self, units: u64) -> i128 {
        let billionths = u128::from(units) * 1_000_000_000;
        let ns = match self {
            Self::Binary(power) => billionths.checked_shr(u32::from(power)).unwrap_or(0),
            // From 10^39 on the divisor exceeds 128 bits, and the quotient is below one.
            Self::Decimal(power) => 10u128.checked_pow(u32::from(power)).map_or(0, |divisor| billionths / divisor),
        };
        i128::try_from(ns).unwrap_or(i128::MAX)
    }
}

/// What lies between the first length of a block and the second.
fn body(block: &[u8]) -> &[u8] {
    block.get(8..block.len().saturating_sub(4)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_resolution_come_out_in_nanoseconds() {
        let ns = |resolution: Resolution, units| resolution.ns(units);
        assert_eq!(ns(Resolution::Decimal(0), 3), 3_000_000_000);
        assert_eq!(ns(Resolution::Decimal(6), 1_700_000_000_123_456), 1_700_000_000_123_456_000);
        assert_eq!(ns(Resolution::Decimal(9), 7), 7);
        assert_eq!(ns(Resolution::Decimal(12), 1_999), 1);
        assert_eq!(ns(Resolution::Binary(32), 3 << 31), 1_500_000_000);
        assert_eq!(ns(Resolution::Binary(0), u64::MAX), i128::from(u64::MAX) * 1_000_000_000);
        for power in 0..=127 {
            assert!(ns(Resolution::Decimal(power), u64::MAX) >= ns(Resolution::Decimal(127), 1));
            assert!(ns(Resolution::Binary(power), u64::MAX) >= ns(Resolution::Binary(127), 1));
        }
        assert_eq!((ns(Resolution::Decimal(127), u64::MAX), ns(Resolution::Binary(127), u64::MAX)), (0, 0));
    }

    #[test]
    fn an_offset_shifts_the_time_and_may_shift_it_out_of_range() {
        let interface = |offset_secs| Interface {
            link_type: 1,
            snaplen: 0,
            resolution: Resolution::Decimal(0),
            offset_secs,
            name: None,
        };
        assert_eq!(interface(-3).time(5), Some(TimestampNs::from_parts(2, 0)));
        assert_eq!(interface(-6).time(5), None);
        assert_eq!(interface(i64::MAX).time(u64::MAX), None);
        assert_eq!(interface(i64::MIN).time(0), None);
    }

    #[test]
    fn options_that_make_no_sense_are_passed_by() {
        let fixed = [1, 0, 0, 0, 0, 1, 0, 0];
        let parse = |options: &[u8]| Interface::parse(&[&fixed, options].concat(), Order::Little).unwrap();
        assert_eq!(parse(&[]).resolution, Resolution::Decimal(6));
        assert_eq!(parse(&[9, 0, 1, 0, 0x8a, 0, 0, 0]).resolution, Resolution::Binary(10));
        // A name that is not UTF-8, an empty resolution, an offset of two bytes; then a good resolution.
        let odd = parse(&[2, 0, 2, 0, 0xff, b'x', 0, 0, 9, 0, 0, 0, 14, 0, 2, 0, 1, 1, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0]);
        assert_eq!((odd.name.as_deref(), odd.resolution), (Some("\u{fffd}x"), Resolution::Decimal(9)));
        assert_eq!(odd.offset_secs, 0);
        // What comes behind the end of options, or behind a length that does not fit, does not count.
        assert_eq!(parse(&[0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0]).resolution, Resolution::Decimal(6));
        assert_eq!(parse(&[1, 0, 9, 9, 9, 0, 1, 0, 9, 0, 0, 0]).resolution, Resolution::Decimal(6));
        assert!(Interface::parse(&fixed[..7], Order::Little).is_none());
    }
}
