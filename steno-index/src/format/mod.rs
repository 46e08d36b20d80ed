//! The layout of an index file outside of its columns (`docs/format/index.md` sections 1, 2 and 4). Encoders and
//! decoders stand side by side; nothing here reads or writes a file.

mod footer;
mod record;
mod row_group;
mod section;
mod version;

pub use section::SectionInfo;
pub use version::{FORMAT_MAJOR, FORMAT_MINOR};

pub(crate) use footer::{FOOTER_BYTES, Footer, HEADER_BYTES, header, read_header};
pub(crate) use record::{BLOCK_RECORD_BYTES, BlockRecord, decode_classes, encode_class};
pub(crate) use row_group::{DENSE_FIELDS, FIELDS, Field, conversation_flag};
pub(crate) use section::{Section, SectionId, TOC_ENTRY_BYTES, Toc};
pub(crate) use version::{
    FIRST_WITH_LISTS, MINOR_WITH_LOSSES, MINOR_WITH_RUNNING_CHECKSUMS, OLDEST_MAJOR, most_row_groups, row_groups,
    version_of,
};

/// The first bytes of an index file.
pub(crate) const MAGIC_START: [u8; 8] = *b"\x89STENOIX";
/// Its last bytes. An SSTable's are `57 fb 80 8b 24 75 47 db`.
pub(crate) const MAGIC_END: [u8; 8] = *b"XIONETS\x89";
/// Bytes that one entry of the page table covers.
pub(crate) const PAGE_BYTES: u32 = 4096;
/// Conversations of a row group, and values of a column block.
pub(crate) const GROUP: usize = ROWS as usize;
/// The same, for their numbers.
pub(crate) const ROWS: u32 = 128;
/// Packets of a block from one anchor to the next.
pub(crate) const ANCHOR_STEP: u32 = 16;
/// The most packets that a packet file of 4 GiB can hold: a header takes 48 bytes.
pub(crate) const MAX_PACKETS: u32 = u32::MAX / 48;
