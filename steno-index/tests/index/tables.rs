//! LevelDB tables for the tests: written by another implementation, or byte by byte as nobody should, and read by another.

use std::collections::BTreeMap;

use sstable::{CompressionType, Options, RandomAccess, SSIterator, Table, TableBuilder, current_key_val};

/// Keys and their values.
pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key and its value.
pub(crate) type Entry<'a> = (&'a [u8], &'a [u8]);

/// The version record of this version.
pub(crate) const VERSION: [u8; 8] = [0, 0, 0, 2, 0, 0, 0, 0];

/// The bytes of the positions.
pub(crate) fn value(positions: &[u32]) -> Vec<u8> {
    positions.iter().flat_map(|position| position.to_be_bytes()).collect()
}

/// What another implementation reads of a table, from its start and by seeking. Its `get` is not asked: it takes any meta
/// block for a filter.
pub(crate) fn read_by_other(file: &[u8]) -> Entries {
    let table = Table::new(Options::default(), Box::new(Memory(file.to_vec())), file.len()).unwrap();
    let (mut iter, mut entries) = (table.iter(), Entries::new());
    while let Some((key, value)) = iter.next() {
        assert_eq!(entries.insert(key, value), None);
    }
    for (key, value) in &entries {
        iter.seek(key);
        assert_eq!(current_key_val(&iter).as_ref(), Some(&(key.clone(), value.clone())));
    }
    entries
}

/// What another implementation writes.
pub(crate) fn written_by_other(entries: &Entries, snappy: bool, block_bytes: usize) -> Vec<u8> {
    let compression_type = if snappy { CompressionType::CompressionSnappy } else { CompressionType::CompressionNone };
    let options = Options { compression_type, block_size: block_bytes, ..Options::default() };
    let mut file = Vec::new();
    let mut builder = TableBuilder::new(options, &mut file);
    for (key, value) in entries {
        builder.add(key, value).unwrap();
    }
    let _len = builder.finish().unwrap();
    file
}

struct Memory(Vec<u8>);

impl RandomAccess for Memory {
    fn read_at(&self, offset: usize, out: &mut [u8]) -> sstable::Result<usize> {
        let there = self.0.get(offset..).unwrap_or_default();
        let len = there.len().min(out.len());
        out[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }
}

/// A table of these blocks, whatever is in them: each entry has its key in full. What the index of blocks says comes with
/// each block.
pub(crate) fn table(blocks: &[(&[u8], &[Entry<'_>])]) -> Vec<u8> {
    let (mut file, mut handles) = (Vec::new(), Vec::new());
    for (bound, entries) in blocks {
        handles.push((*bound, block(&mut file, entries, 0)));
    }
    let meta = block(&mut file, &[], 0);
    let handles: Vec<Entry<'_>> = handles.iter().map(|(bound, handle)| (*bound, handle.as_slice())).collect();
    let index = block(&mut file, &handles, 0);
    footer(&mut file, &[meta, index].concat());
    file
}

/// Appends a footer with these handles.
pub(crate) fn footer(file: &mut Vec<u8>, handles: &[u8]) {
    let end = file.len() + 40;
    file.extend_from_slice(handles);
    file.resize(end, 0);
    file.extend(0xdb47_7524_8b80_fb57u64.to_le_bytes());
}

/// Appends a block and gives its handle.
pub(crate) fn block(file: &mut Vec<u8>, entries: &[Entry<'_>], compression: u8) -> Vec<u8> {
    let (mut bytes, mut restarts) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        restarts.push(u32::try_from(bytes.len()).unwrap());
        for len in [0, key.len(), value.len()] {
            varint(&mut bytes, len as u64);
        }
        bytes.extend([*key, *value].concat());
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    let count = u32::try_from(restarts.len()).unwrap();
    bytes.extend(restarts.iter().chain([&count]).flat_map(|word| word.to_le_bytes()));
    stored(file, &bytes, compression)
}

/// Appends a block as it is stored, with a trailer, and gives its handle.
pub(crate) fn stored(file: &mut Vec<u8>, bytes: &[u8], compression: u8) -> Vec<u8> {
    let mut handle = Vec::new();
    varint(&mut handle, file.len() as u64);
    varint(&mut handle, bytes.len() as u64);
    let trailed = [bytes, &[compression]].concat();
    let crc = crc32c::crc32c(&trailed).rotate_right(15).wrapping_add(0xa282_ead8);
    file.extend(trailed);
    file.extend(crc.to_le_bytes());
    handle
}

/// Appends a number as LevelDB does.
pub(crate) fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
}
