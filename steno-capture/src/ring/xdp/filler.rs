//! The block that is being filled, and when it is handed over: when it is full, or its time is up.

use std::time::{Duration, Instant};

use steno_core::{
    TimestampNs,
    block::{BLOCK_HEADER_BYTES, BlockHeader, BlockWriter, LINK_ADDRESS_BYTES, Push, TP_STATUS_BLK_TMO},
};

/// ARPHRD_ETHER (linux/if_arp.h), AF_PACKET.
const ARPHRD_ETHER: u16 = 1;
const AF_PACKET: u16 = 17;
/// Values of `sll_pkttype` (linux/if_packet.h): for this station, for all, for some, for another.
const PACKET_HOST: u8 = 0;
const PACKET_BROADCAST: u8 = 1;
const PACKET_MULTICAST: u8 = 2;
const PACKET_OTHERHOST: u8 = 3;
const STATION_BYTES: u8 = 6;

/// Fills one block after the other.
#[derive(Debug)]
pub(super) struct Filler<B> {
    block: Option<Filling<B>>,
    retire_after: Duration,
    /// The sequence number of the block that is being filled, or comes next.
    seq_num: u64,
    interface: u32,
    station: [u8; 6],
}

#[derive(Debug)]
struct Filling<B> {
    writer: BlockWriter<B>,
    due: Instant,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// It is in the block.
    Stored,
    /// The block is full: to be handed over, and the frame to be given to the next one.
    Full,
    /// There is no block: [`Filler::begin`].
    NoBlock,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Filler<B> {
    /// Of what the interface with this index and station address receives.
    pub(super) fn new(retire_after: Duration, interface: u32, station: [u8; 6]) -> Self {
        Self { block: None, retire_after, seq_num: 1, interface, station }
    }

    /// Fills `memory` from now on. It is due a while later.
    pub(super) fn begin(&mut self, memory: B, now: Instant) {
        self.block = Some(Filling { writer: BlockWriter::over(memory), due: now + self.retire_after });
    }

    /// Puts a frame into the block. Of one that no block has room for, as much is kept as fits.
    pub(super) fn push(&mut self, time: TimestampNs, frame: &[u8]) -> Filled {
        let address = link_address(frame, self.interface, self.station);
        let Some(Filling { writer, .. }) = &mut self.block else { return Filled::NoBlock };
        match writer.push_from(time, frame, &address, |_| ()) {
            Ok(Push::Stored { .. }) => Filled::Stored,
            Ok(Push::Full) => Filled::Full,
            Err(steno_core::block::BlockError::FrameTooLarge { most, .. }) if writer.packets() == 0 => {
                let kept = frame.get(..most as usize).unwrap_or(frame);
                let wire_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                match writer.push_from(time, kept, &address, |header| header.len = wire_len) {
                    Ok(Push::Stored { .. }) => Filled::Stored,
                    _ => Filled::Full,
                }
            }
            Err(_) => Filled::Full,
        }
    }

    /// Takes the block out, where it has packets: by its timer, or because it is full.
    pub(super) fn finish(&mut self, by_timer: bool) -> Option<B> {
        let Filling { mut writer, .. } = self.block.take_if(|filling| filling.writer.packets() > 0)?;
        let _ = writer.finish(self.seq_num);
        self.seq_num += 1;
        let mut memory = writer.into_memory();
        if by_timer
            && let Ok(header) = BlockHeader::parse(memory.as_ref())
            && let Some(place) = memory.as_mut().first_chunk_mut::<{ BLOCK_HEADER_BYTES as usize }>()
        {
            *place = BlockHeader { status: header.status | TP_STATUS_BLK_TMO, ..header }.encode();
        }
        Some(memory)
    }

    /// When the block is to be handed over at the latest, where it has packets.
    pub(super) fn due(&self) -> Option<Instant> {
        self.block.as_ref().filter(|filling| filling.writer.packets() > 0).map(|filling| filling.due)
    }
}

/// The `struct sockaddr_ll` that a packet socket would give: family, protocol, interface, kind of link and of packet, and the
/// sender's address.
fn link_address(frame: &[u8], interface: u32, station: [u8; 6]) -> [u8; LINK_ADDRESS_BYTES] {
    let mut address = [0; LINK_ADDRESS_BYTES];
    let (Some(to), Some([from @ .., type_high, type_low])) =
        (frame.first_chunk::<6>(), frame.get(6..).and_then(|rest| rest.first_chunk::<8>()))
    else {
        return address;
    };
    let kind = match to {
        _ if *to == station => PACKET_HOST,
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => PACKET_BROADCAST,
        [first, ..] if first & 1 != 0 => PACKET_MULTICAST,
        _ => PACKET_OTHERHOST,
    };
    let ([f0, f1], [h0, h1]) = (AF_PACKET.to_le_bytes(), ARPHRD_ETHER.to_le_bytes());
    let [i0, i1, i2, i3] = interface.to_le_bytes();
    let head = [f0, f1, *type_high, *type_low, i0, i1, i2, i3, h0, h1, kind, STATION_BYTES];
    for (place, byte) in address.iter_mut().zip(head.iter().chain(from)) {
        *place = *byte;
    }
    address
}

#[cfg(test)]
mod tests {
    use steno_core::block::{Block, TP_STATUS_USER};

    use super::*;

    const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn filler() -> Filler<Vec<u8>> {
        Filler::new(Duration::from_secs(1), 7, STATION)
    }

    fn at(ns: u64) -> TimestampNs {
        TimestampNs::new(ns)
    }

    #[test]
    fn blocks_are_full_or_due_and_count_from_one() {
        let mut filler = filler();
        let begun = Instant::now();
        assert_eq!((filler.push(at(1), &[1; 60]), filler.finish(true), filler.due()), (Filled::NoBlock, None, None));
        filler.begin(vec![0xee; 4096], begun);
        assert_eq!((filler.due(), filler.finish(true)), (None, None), "one without packets is never due");
        let mut frames = 0u8;
        while filler.push(at(1_000 + u64::from(frames)), &[frames; 200]) == Filled::Stored {
            assert_eq!(filler.due(), Some(begun + Duration::from_secs(1)));
            frames += 1;
        }
        let full = filler.finish(false).unwrap();
        filler.begin(vec![0; 4096], begun);
        assert_eq!(filler.push(at(9), &[frames; 200]), Filled::Stored);
        let timed = filler.finish(true).unwrap();
        let (full, timed) = (Block::parse(&full).unwrap(), Block::parse(&timed).unwrap());
        assert_eq!((full.header().seq_num, full.header().status), (1, TP_STATUS_USER));
        assert_eq!((timed.header().seq_num, timed.header().status), (2, TP_STATUS_USER | TP_STATUS_BLK_TMO));
        assert_eq!((full.header().num_pkts, timed.header().num_pkts), (u32::from(frames), 1));
        for (i, packet) in (0..).zip(full.packets()) {
            let packet = packet.unwrap();
            assert_eq!((packet.bytes, packet.timestamp().as_ns()), (&[i; 200][..], 1_000 + u64::from(i)));
        }
    }

    #[test]
    fn a_frame_that_no_block_has_room_for_is_cut_and_says_how_long_it_was() {
        let mut filler = filler();
        filler.begin(vec![0; 4096], Instant::now());
        assert_eq!(filler.push(at(1), &[1; 60]), Filled::Stored);
        assert_eq!(filler.push(at(2), &[2; 9000]), Filled::Full, "it begins a block of its own");
        let _ = filler.finish(false).unwrap();
        filler.begin(vec![0; 4096], Instant::now());
        assert_eq!(filler.push(at(2), &[2; 9000]), Filled::Stored);
        let bytes = filler.finish(false).unwrap();
        let packet = Block::parse(&bytes).unwrap().packets().next().unwrap().unwrap();
        assert_eq!((packet.header.snaplen, packet.header.len), (4096 - 48 - 82, 9000));
    }

    #[test]
    fn addresses_are_those_that_a_packet_socket_gives() {
        for (to, kind) in [(STATION, 0), ([0xff; 6], 1), ([1, 0, 0x5e, 0, 0, 1], 2), ([2, 0, 0, 0, 0, 2], 3)] {
            let frame = [&to[..], &[2, 9, 9, 9, 9, 9], &[0x86, 0xdd, 1, 2]].concat();
            let expected = [17, 0, 0x86, 0xdd, 7, 0, 0, 0, 1, 0, kind, 6, 2, 9, 9, 9, 9, 9, 0, 0];
            assert_eq!(link_address(&frame, 7, STATION), expected);
        }
        assert_eq!(link_address(&[1; 13], 7, STATION), [0; 20]);
    }
}
