//! The log of a file that is being written, which another process keeps in shared memory: [`SharedLogReader`].
//!
//! The first byte says how far the writer has come when it is read for the first time; the rest is the memory. Reading ends,
//! whatever is in there. What is read in two steps is the same as what is read at once, each part is an index that holds, and
//! no more packets come out than there are records.

#![no_main]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use libfuzzer_sys::{Corpus, fuzz_target};
use steno_index::BlockChecksums;
use steno_index::log::{OpenPart, SLOT_BYTES, SharedLogReader, decode};

/// `docs/format/open-log.md`: the count of the bytes of records, and where these begin.
const COUNT_AT: usize = 16;
const RECORDS_AT: usize = 32;
/// How far apart the blocks of the packet file are, as in the seeds.
const BLOCK_BYTES: u32 = 1 << 18;
/// Conversations of a part that are looked at: a small file may claim very many.
const LOOKED_AT: u32 = 1_000;

/// What a log says: the blocks, and of each conversation the packets and bytes of both directions together.
#[derive(Debug, Default, PartialEq)]
struct Said {
    blocks: Vec<(u64, u32, u32, Option<BlockChecksums>)>,
    conversations: BTreeMap<String, (u64, u64)>,
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&cut, memory)) = input.split_first() else { return Corpus::Reject };
    let records = memory.get(RECORDS_AT..).unwrap_or_default();
    let entries = decode(records).take_while(Result::is_ok).count();
    assert!(entries <= records.len() / SLOT_BYTES, "more entries than records");

    let Ok(mut file) = tempfile::tempfile() else { return Corpus::Reject };
    if file.write_all(memory).is_err() {
        return Corpus::Reject;
    }
    let at_once = read(&mut SharedLogReader::new(reopened(&file), BLOCK_BYTES));
    if let Some(said) = &at_once {
        let packets: u64 = said.blocks.iter().map(|(_, _, packets, _)| u64::from(*packets)).sum();
        assert!(packets <= (records.len() / SLOT_BYTES) as u64, "more packets than records");
    }
    let Some(count) = count_before(memory, cut) else { return Corpus::Keep };
    let mut reader = SharedLogReader::new(reopened(&file), BLOCK_BYTES);
    put_count(&mut file, count);
    if read(&mut reader).is_some() {
        put_count(&mut file, u64::from_le_bytes(count_of(memory)));
        assert_eq!(read(&mut reader), at_once, "read in two steps, the first of {count} bytes");
    }
    Corpus::Keep
});

/// The same file, as another process has it.
fn reopened(file: &File) -> File {
    file.try_clone().expect("a descriptor")
}

fn count_of(memory: &[u8]) -> [u8; 8] {
    memory.get(COUNT_AT..COUNT_AT + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// A count of whole records before the one that is told; none where that is none.
fn count_before(memory: &[u8], cut: u8) -> Option<u64> {
    let told = usize::try_from(u64::from_le_bytes(count_of(memory))).ok()?;
    let slots = told.min(memory.len().checked_sub(RECORDS_AT)?) / SLOT_BYTES;
    u64::try_from((slots * usize::from(cut) / 256) * SLOT_BYTES).ok().filter(|count| *count > 0)
}

fn put_count(file: &mut File, count: u64) {
    let written = file.seek(SeekFrom::Start(COUNT_AT as u64)).and_then(|_| file.write_all(&count.to_le_bytes()));
    written.expect("what was written once is written again");
}

fn read(reader: &mut SharedLogReader) -> Option<Said> {
    let parts = reader.parts().ok()?;
    let (mut said, mut first) = (Said::default(), 0);
    for OpenPart { index, first_packet } in parts {
        assert_eq!(first_packet, first, "the parts do not follow each other");
        index.verify().expect("what was made of records holds");
        for no in 0..index.block_count() {
            let block = index.block(no).expect("a block that is counted is there");
            let checksums = index.checksums(no).expect("the checksums of a block that is there");
            said.blocks.push((block.offset_bytes, block.used_bytes, block.packets, checksums));
        }
        first = first.saturating_add(index.packets());
        if index.conversations() > LOOKED_AT {
            return None;
        }
        for each in index.iter() {
            let (_, conversation) = each.expect("a conversation that is counted is there");
            let name = format!("{:?} {:?} {:?}", conversation.a, conversation.b, conversation.class);
            let sum = said.conversations.entry(name).or_default();
            for side in &conversation.sides {
                sum.0 += u64::from(side.packets);
                sum.1 += side.bytes;
            }
        }
    }
    Some(said)
}
