//! Opening: the footer, the table of contents, the page table, and whether their counts agree.

use std::sync::OnceLock;

use steno_core::crc32c;

use super::{Index, pages::Pages};
use crate::{
    IndexError,
    format::{
        FOOTER_BYTES, Footer, HEADER_BYTES, MAX_PACKETS, PAGE_BYTES, SectionId, TOC_ENTRY_BYTES, Toc, read_header,
    },
};

impl Index {
    pub(super) fn new(mut pages: Pages) -> Result<Self, IndexError> {
        let bytes = pages.unchecked();
        let tail = bytes.get(bytes.len().saturating_sub(FOOTER_BYTES)..).unwrap_or_default();
        let footer = Footer::decode(tail, bytes.len() as u64)?;
        check_layout(&footer)?;
        let page_table = between(bytes, footer.page_table_offset, footer.toc_offset);
        compare("the page table", page_table, footer.page_table_offset, footer.page_table_crc)?;
        let toc = between(bytes, footer.toc_offset, footer.file_bytes - FOOTER_BYTES as u64);
        compare("the table of contents", toc, footer.toc_offset, footer.toc_crc)?;
        let toc = Toc::decode(toc, footer.page_table_offset)?;
        pages.set_table(footer.page_table_offset, footer.pages);
        read_header(pages.get(0, HEADER_BYTES as u64)?, footer.major)?;
        check_counts(&footer, &toc)?;
        Ok(Self { pages, footer, toc, facts: OnceLock::new(), classes: OnceLock::new() })
    }
}

/// Page table, table of contents and footer follow one another up to the end, and there is a page for every byte
/// before.
fn check_layout(footer: &Footer) -> Result<(), IndexError> {
    let page_table_end = footer.page_table_offset.checked_add(u64::from(footer.pages) * 4);
    let toc_end = footer.toc_offset.checked_add(u64::from(footer.toc_entries) * TOC_ENTRY_BYTES as u64);
    let whole = page_table_end == Some(footer.toc_offset)
        && toc_end.and_then(|end| end.checked_add(FOOTER_BYTES as u64)) == Some(footer.file_bytes)
        && footer.page_table_offset.div_ceil(u64::from(PAGE_BYTES)) == u64::from(footer.pages)
        && footer.page_table_offset >= HEADER_BYTES as u64;
    if whole { Ok(()) } else { Err(IndexError::corrupt("footer", "the parts of the file do not fill it", 0u32)) }
}

fn between(bytes: &[u8], start: u64, end: u64) -> &[u8] {
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) => bytes.get(start..end).unwrap_or_default(),
        _ => &[],
    }
}

fn compare(what: &'static str, bytes: &[u8], offset_bytes: u64, expected: u32) -> Result<(), IndexError> {
    let got = crc32c::crc32c(bytes);
    if got == expected { Ok(()) } else { Err(IndexError::Checksum { what, offset_bytes, expected, got }) }
}

/// Compares the counts of the sections with each other and with the footer. From here on a count may size an
/// allocation: all are bounded by the packets, and those by what a packet file can hold.
fn check_counts(footer: &Footer, toc: &Toc) -> Result<(), IndexError> {
    let count = |id| toc.get(id).count;
    let (packets, conversations) = (u64::from(footer.packets), u64::from(footer.conversations));
    if footer.packets > MAX_PACKETS || conversations > packets || (packets > 0) != (conversations > 0) {
        return Err(IndexError::corrupt("footer", "impossible counts of packets and conversations", packets));
    }
    if footer.min_time_ns > footer.max_time_ns {
        return Err(IndexError::corrupt("footer", "the earliest time is after the latest", footer.min_time_ns));
    }
    let exact = [
        (SectionId::Blocks, u64::from(footer.blocks)),
        (SectionId::ClassStarts, count(SectionId::Classes).saturating_add(1)),
        (SectionId::V4Starts, count(SectionId::V4).saturating_add(1)),
        (SectionId::V6Starts, count(SectionId::V6).saturating_add(1)),
        (SectionId::PortStarts, count(SectionId::Ports).saturating_add(1)),
        (SectionId::Conversations, conversations),
        (SectionId::PacketLists, packets - conversations),
        (SectionId::FirstFragmentSides, count(SectionId::FirstFragmentIds)),
        (SectionId::FirstFragmentTimes, count(SectionId::FirstFragmentIds)),
        (SectionId::LaterFragmentSides, count(SectionId::LaterFragmentIds)),
        (SectionId::LaterFragmentTimes, count(SectionId::LaterFragmentIds)),
        (SectionId::LaterFragmentBytes, count(SectionId::LaterFragmentIds)),
    ];
    let most = [
        (SectionId::Anchors, packets),
        (SectionId::Classes, conversations),
        (SectionId::ClassPostings, conversations),
        (SectionId::V4, 2 * conversations),
        (SectionId::V4Postings, 2 * conversations),
        (SectionId::V6, 2 * conversations),
        (SectionId::V6Postings, 2 * conversations),
        (SectionId::Ports, 1 << 16),
        (SectionId::PortPostings, 2 * conversations),
        (SectionId::FirstFragmentIds, packets),
        (SectionId::LaterFragmentIds, packets.saturating_sub(count(SectionId::FirstFragmentIds))),
    ];
    let wrong = exact.iter().find(|(id, expected)| count(*id) != *expected);
    match wrong.or_else(|| most.iter().find(|(id, most)| count(*id) > *most)) {
        Some((id, _)) => Err(toc.get(*id).corrupt("the count is at odds with those of other sections", count(*id))),
        None => Ok(()),
    }
}
