//! Writes sections one behind the other, and what stands around them: header, page table, table of contents, footer.

use std::io::Write;

use steno_core::crc32c;

use crate::{
    IndexError,
    column::ColumnWriter,
    format::{FOOTER_BYTES, Footer, PAGE_BYTES, Section, SectionId, header},
};

/// Pages that are written at once.
const BUFFER_PAGES: usize = 64;

pub(super) struct Output<'w, W> {
    out: &'w mut W,
    /// Bytes that are not written yet, from a page's start on.
    buffer: Vec<u8>,
    written: u64,
    page_crcs: Vec<u32>,
    sections: Vec<Section>,
    version: (u16, u16),
}

impl<'w, W: Write> Output<'w, W> {
    /// A file of this version.
    pub(super) fn new(out: &'w mut W, version: (u16, u16)) -> Result<Self, IndexError> {
        let buffer = Vec::with_capacity(BUFFER_PAGES * PAGE_BYTES as usize);
        let mut output = Self { out, buffer, written: 0, page_crcs: Vec::new(), sections: Vec::new(), version };
        output.put(&header(version))?;
        Ok(output)
    }

    /// The version of the file.
    pub(super) fn version(&self) -> (u16, u16) {
        self.version
    }

    /// A section that is no column.
    pub(super) fn section(&mut self, id: SectionId, count: u64, bytes: &[u8]) -> Result<(), IndexError> {
        let offset = self.align()?;
        self.put(bytes)?;
        self.sections.push(Section { id, offset, len: bytes.len() as u64, count, scale: 1 });
        Ok(())
    }

    /// A column, which this finishes.
    pub(super) fn column(&mut self, id: SectionId, column: &mut ColumnWriter) -> Result<(), IndexError> {
        column.finish()?;
        let offset = self.align()?;
        for start in column.directory() {
            self.put(&start.to_le_bytes())?;
        }
        self.put(column.data())?;
        let len = column.directory().len() as u64 * 4 + column.data().len() as u64;
        self.sections.push(Section { id, offset, len, count: column.count(), scale: column.scale() });
        Ok(())
    }

    /// Writes what stands behind the sections, and gives the length of the file.
    pub(super) fn finish(mut self, footer: Footer) -> Result<u64, IndexError> {
        let page_table_offset = self.align()?;
        self.flush_pages(true)?;
        let page_table: Vec<u8> = self.page_crcs.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        self.sections.sort_unstable_by_key(|section| section.id);
        let toc: Vec<u8> = self.sections.iter().flat_map(Section::encode).collect();
        let toc_offset = page_table_offset + page_table.len() as u64;
        let file_bytes = toc_offset + (toc.len() + FOOTER_BYTES) as u64;
        let footer = Footer {
            major: self.version.0,
            minor: self.version.1,
            file_bytes,
            toc_offset,
            toc_entries: count(self.sections.len())?,
            toc_crc: crc32c::crc32c(&toc),
            page_table_offset,
            pages: count(self.page_crcs.len())?,
            page_table_crc: crc32c::crc32c(&page_table),
            ..footer
        };
        for part in [&page_table[..], &toc, &footer.encode()] {
            self.out.write_all(part).map_err(|source| IndexError::Write { source })?;
        }
        self.out.flush().map_err(|source| IndexError::Write { source })?;
        Ok(file_bytes)
    }

    /// Fills up to a multiple of 8, and says where that is.
    fn align(&mut self) -> Result<u64, IndexError> {
        let fill = self.buffer.len().next_multiple_of(8) - self.buffer.len();
        self.put([0; 8].get(..fill).unwrap_or_default())?;
        Ok(self.written + self.buffer.len() as u64)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_PAGES * PAGE_BYTES as usize { self.flush_pages(false) } else { Ok(()) }
    }

    /// Writes whole pages, and with `all` the rest too.
    fn flush_pages(&mut self, all: bool) -> Result<(), IndexError> {
        let page = PAGE_BYTES as usize;
        let end = if all { self.buffer.len() } else { self.buffer.len() / page * page };
        let ready = self.buffer.get(..end).unwrap_or_default();
        self.page_crcs.extend(ready.chunks(page).map(crc32c::crc32c));
        self.out.write_all(ready).map_err(|source| IndexError::Write { source })?;
        self.written += end as u64;
        drop(self.buffer.drain(..end));
        Ok(())
    }
}

fn count(items: usize) -> Result<u32, IndexError> {
    let (got, most) = (items as u64, u64::from(u32::MAX));
    u32::try_from(items).map_err(|_| IndexError::TooLarge { what: "pages", got, most })
}
