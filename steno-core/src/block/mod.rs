//! The blocks that a packet file is made of, as the kernel's TPACKET_V3 ring lays them out
//! (`docs/format/block.md`; linux/if_packet.h; Documentation/networking/packet_mmap.rst).
//!
//! Steps 1, 4 and 10 of the data flow: capture hands ring blocks through unchanged, import builds the same blocks from a
//! capture file, and every reader walks them with [`Block`].

mod error;
mod header;
mod reader;
mod writer;

pub use error::BlockError;
pub use header::{
    BLOCK_HEADER_BYTES, BlockHeader, PACKET_HEADER_BYTES, PacketHeader, TP_STATUS_BLK_TMO, TP_STATUS_USER,
    TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID,
};
pub use reader::{Block, Packets, RawPacket, packet_at};
pub use writer::{BlockWriter, LINK_ADDRESS_BYTES, PACKET_ALIGN_BYTES, Push};
