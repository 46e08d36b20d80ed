//! `steno export`: one packet file, block by block, as a capture file.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use steno_core::{
    BLOCK_BYTES,
    block::{Block, BlockError},
    pcap::{CaptureMeta, CaptureWriter, InterfaceMeta, Record},
};
use steno_index::{AnyIndex, Facts, detect_block_bytes};
use steno_query::Store;

use super::{
    CommandError, chain,
    output::{Output, Reader},
    store_dir,
};
use crate::{args::ExportArgs, exit::Exit, print::count};

/// Writes the capture file. A damaged block is named and left out, and the exit status tells that something is missing.
pub(super) fn export(args: &ExportArgs, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let store = Store::open(store_dir(&args.store)?)?;
    let segment = find(&store, &args.segment)?;
    let read = |source| CommandError::Read { path: segment.packets.clone(), source };
    let file = File::open(&segment.packets).map_err(read)?;
    let file_bytes = file.metadata().map_err(read)?.len();
    let facts = segment.facts(&file);
    let block_bytes = if facts.block_bytes == 0 { BLOCK_BYTES } else { facts.block_bytes };
    let mut export = Export::new(args, &facts)?;
    // Not more than there is, whatever an index says of its blocks.
    let mut block = vec![0; usize::try_from(file_bytes.min(u64::from(block_bytes))).unwrap_or_default()];
    let mut offset_bytes = 0;
    while offset_bytes < file_bytes {
        if interrupted.load(Ordering::Relaxed) {
            eprintln!("interrupted after {}", count(export.packets, "packet"));
            return Ok(Exit::Interrupted);
        }
        let there = usize::try_from(file_bytes - offset_bytes).unwrap_or(usize::MAX).min(block.len());
        let place = block.get_mut(..there).unwrap_or_default();
        file.read_exact_at(place, offset_bytes).map_err(read)?;
        if let Err(error) = export.block(place) {
            eprintln!("{}: the block at byte {offset_bytes}: {error}", segment.name);
            export.damaged_blocks += 1;
        }
        if export.flush()? == Reader::Gone {
            return Ok(Exit::Done);
        }
        offset_bytes += u64::from(block_bytes);
    }
    eprintln!("{}: {} exported", segment.name, count(export.packets, "packet"));
    if export.damaged_blocks > 0 {
        eprintln!("{} damaged: the packets behind the damage are missing", count(export.damaged_blocks, "block"));
        return Ok(Exit::Incomplete);
    }
    Ok(Exit::Done)
}

/// A capture file in the making.
struct Export {
    output: Output,
    writer: CaptureWriter,
    records: Vec<u8>,
    packets: u64,
    damaged_blocks: u64,
}

impl Export {
    fn new(args: &ExportArgs, facts: &Facts) -> Result<Self, CommandError> {
        let interface = InterfaceMeta {
            name: facts.interface.clone(),
            link_type: facts.link_type,
            snaplen: facts.snaplen,
            filter: facts.filter.clone(),
        };
        let meta = CaptureMeta {
            interfaces: vec![interface],
            application: format!("steno {}", env!("CARGO_PKG_VERSION")),
            os: facts.kernel.clone(),
            hardware: facts.host.clone(),
        };
        let writer = CaptureWriter::new(args.format.into(), meta);
        let mut records = Vec::new();
        writer.start(&mut records);
        Ok(Self { output: Output::open(&args.write)?, writer, records, packets: 0, damaged_blocks: 0 })
    }

    /// Appends the packets of a block, up to the first that is damaged.
    fn block(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        for packet in Block::parse(bytes)?.packets() {
            let packet = packet?;
            let record =
                Record { time: packet.timestamp(), wire_len: packet.wire_len(), frame: packet.frame(), interface: 0 };
            self.writer.packet(&mut self.records, &record);
            self.packets += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<Reader, CommandError> {
        let reader = self.output.write(&[&self.records])?;
        self.records.clear();
        Ok(reader)
    }
}

/// A segment of the store, with or without its index.
struct Found {
    name: String,
    packets: PathBuf,
    index: Option<PathBuf>,
}

impl Found {
    /// What its index says of the capture. Without one, and with one of 1.0.1, the packets are all that there is, and they
    /// suffice.
    fn facts(&self, packets: &File) -> Facts {
        let told = self.index.as_ref().and_then(|path| {
            let facts = AnyIndex::open(path).and_then(|index| match index {
                AnyIndex::Native(index) => index.facts().cloned().map(Some),
                AnyIndex::Version2(index) => Ok(index.extra().map(|extra| extra.facts.clone())),
            });
            facts.unwrap_or_else(|error| {
                eprintln!("{}: goes on without its index: {}", self.name, chain(&error));
                None
            })
        });
        told.unwrap_or_else(|| {
            // Where the file does not begin with a block, reading the first one tells.
            let block_bytes = detect_block_bytes(packets).ok().flatten().unwrap_or(BLOCK_BYTES);
            Facts { block_bytes, ..Facts::default() }
        })
    }
}

/// Finds the segment that `wanted` names, as `NAME` or `PKT<i>/NAME`.
fn find(store: &Store, wanted: &str) -> Result<Found, CommandError> {
    let catalogue = store.catalogue();
    let named = |name: &str| name == wanted || name.rsplit('/').next() == Some(wanted);
    let whole = catalogue.segments().iter().filter(|segment| named(&segment.packet_name())).map(|segment| Found {
        name: segment.packet_name(),
        packets: segment.packet_file(),
        index: Some(segment.index_file()),
    });
    let halves = catalogue.orphans().iter().filter(|orphan| orphan.name.starts_with("PKT") && named(&orphan.name));
    let halves = halves.map(|o| Found { name: o.name.clone(), packets: o.path.clone(), index: None });
    let mut found: Vec<Found> = whole.chain(halves).collect();
    match (found.pop(), found.as_slice()) {
        (Some(one), []) => Ok(one),
        (Some(one), others) => {
            let names: Vec<&str> = others.iter().chain([&one]).map(|f| f.name.as_str()).collect();
            Err(CommandError::Usage(format!("several segments are called {wanted}; say which: {}", names.join(", "))))
        }
        (None, _) => Err(CommandError::Read {
            path: wanted.into(),
            source: io::Error::new(
                io::ErrorKind::NotFound,
                "no segment of the store has this name (`steno verify` lists them)",
            ),
        }),
    }
}
