//! Ends a copied block after a number of packets, as the kernel does when it hands one over (`prb_close_block` of
//! net/packet/af_packet.c): for the block that the kernel was filling when a capture stops, and for `--count`.

use steno_core::block::{BLOCK_HEADER_BYTES, Block, BlockError, BlockHeader, TP_STATUS_USER};

/// Ends the block in `bytes` after `packets` packets, or after all that it has.
///
/// # Errors
/// A chain that does not lead so far. `bytes` stay as they are.
pub(super) fn end_after(bytes: &mut [u8], packets: u32) -> Result<(), BlockError> {
    let block = Block::parse(bytes)?;
    let header = *block.header();
    let packets = packets.min(header.num_pkts);
    let mut last = None;
    for packet in block.packets().take(packets as usize) {
        let packet = packet?;
        last = Some((packet.offset_bytes, packet.header));
    }
    let header = match last {
        None => BlockHeader { num_pkts: 0, blk_len: header.offset_to_first_pkt, status: TP_STATUS_USER, ..header },
        Some((offset_bytes, packet)) => {
            // Behind the last of all packets there is nothing; behind another one the next packet starts.
            let end = if packets == header.num_pkts { header.blk_len } else { offset_bytes + packet.next_offset };
            put(bytes, offset_bytes, &0u32.to_le_bytes());
            BlockHeader {
                num_pkts: packets,
                blk_len: end,
                status: TP_STATUS_USER,
                ts_last: (packet.sec, packet.nsec),
                ..header
            }
        }
    };
    put(bytes, 0, &header.encode());
    Ok(())
}

fn put(bytes: &mut [u8], at: u32, what: &[u8]) {
    // The walk has read a header at `at`, and `parse` one at 0.
    if let Some(place) = bytes.get_mut(at as usize..).and_then(|rest| rest.get_mut(..what.len())) {
        place.copy_from_slice(what);
    }
}

const _: () = assert!(BLOCK_HEADER_BYTES == 48);

#[cfg(test)]
mod tests {
    use steno_core::{
        TimestampNs,
        block::{BlockWriter, Push},
    };

    use super::*;

    fn three() -> Vec<u8> {
        let mut writer = BlockWriter::new(4096);
        for i in 0..3u8 {
            let frame = vec![i; 60 + usize::from(i) * 10];
            let push = writer.push(TimestampNs::from_parts(100 + u32::from(i), 7), 99, &frame).unwrap();
            assert!(matches!(push, Push::Stored { .. }));
        }
        writer.finish(5).to_vec()
    }

    /// The block as it stands while the kernel fills it: the last packet leads on, nothing says when it ended.
    fn open_block() -> Vec<u8> {
        let mut bytes = three();
        let header = *Block::parse(&bytes).unwrap().header();
        let last = Block::parse(&bytes).unwrap().packets().last().unwrap().unwrap().offset_bytes;
        put(&mut bytes, last, &(header.blk_len - last).to_le_bytes());
        put(&mut bytes, 0, &BlockHeader { status: 0, ts_last: (0, 0), ..header }.encode());
        bytes
    }

    #[test]
    fn an_open_block_ends_as_the_kernel_ends_it() {
        let mut bytes = open_block();
        end_after(&mut bytes, u32::MAX).unwrap();
        assert_eq!(bytes, three());
    }

    #[test]
    fn a_block_ends_after_as_many_packets_as_asked() {
        for keep in 0..=3 {
            let mut bytes = three();
            end_after(&mut bytes, keep).unwrap();
            let block = Block::parse(&bytes).unwrap();
            assert_eq!(block.header().num_pkts, keep);
            let packets: Vec<_> = block.packets().map(Result::unwrap).collect();
            assert_eq!(packets.len(), keep as usize);
            if let Some(last) = packets.last() {
                assert_eq!(last.header.next_offset, 0);
                assert_eq!(block.header().ts_last, (99 + keep, 7));
                assert!(last.offset_bytes + 82 + last.header.snaplen <= block.header().blk_len);
            }
            let all: Vec<_> = Block::parse(&bytes).unwrap().packets().map(|p| p.unwrap().bytes.to_vec()).collect();
            let before = three();
            let first: Vec<_> = Block::parse(&before).unwrap().packets().map(|p| p.unwrap().bytes.to_vec()).collect();
            assert_eq!(all, first[..keep as usize]);
        }
    }

    #[test]
    fn a_broken_chain_changes_nothing() {
        let mut bytes = three();
        put(&mut bytes, 48, &1u32.to_le_bytes());
        let before = bytes.clone();
        assert!(end_after(&mut bytes, 2).is_err());
        assert_eq!(bytes, before);
    }
}
