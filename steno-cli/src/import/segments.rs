//! The segments that a capture file becomes: blocks filled as the kernel fills them, an index, and the publishing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use steno_core::{
    BLOCK_BYTES, SegmentId, TimestampNs,
    block::{Block, BlockWriter, Push},
    pcap::{LINKTYPE_ETHERNET, SNAPLEN},
};
use steno_index::{BlockChecksums, Damage, Facts, IndexError, Log, note_block, seal, segment::SegmentPaths};

use super::{ImportError, reader::Packet};

/// When a segment is closed: at this size, or when its log has grown to this, which bounds the memory of an import.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    blocks: u32,
    log_bytes: u64,
}

impl Default for Limits {
    /// 1 GiB of packets, well below the 4 GiB that positions reach, and 128 MiB of log: 2 to 4 million packets.
    fn default() -> Self {
        Self { blocks: 1024, log_bytes: 128 << 20 }
    }
}

/// Names of interfaces that a segment tells at the most.
const INTERFACES_MAX: usize = 16;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// It is in a block.
    Yes,
    /// No block holds it.
    TooLarge,
}

/// The segments of one capture file in thread 0 of a store. Until [`Self::publish`] all of them are hidden, and dropping
/// this removes them.
pub(super) struct Segments {
    packets_dir: PathBuf,
    index_dir: PathBuf,
    /// Directories that were made for this import, outermost first.
    made: Vec<PathBuf>,
    file_name: String,
    limits: Limits,
    open: Option<Open>,
    sealed: Vec<SegmentPaths>,
    block: BlockWriter,
    log: Log,
}

/// The segment that packets go to.
struct Open {
    paths: SegmentPaths,
    file: File,
    /// Blocks written.
    blocks: u32,
    interfaces: Vec<String>,
}

impl Segments {
    /// Nothing is written before the first packet.
    pub(super) fn new(store: &Path, file_name: &str, limits: Limits) -> Self {
        Self {
            packets_dir: store.join("PKT0"),
            index_dir: store.join("IDX0"),
            made: Vec::new(),
            file_name: file_name.to_owned(),
            limits,
            open: None,
            sealed: Vec::new(),
            block: BlockWriter::new(BLOCK_BYTES),
            log: Log::new(),
        }
    }

    /// Stores a packet behind the ones before it.
    pub(super) fn store(&mut self, time: TimestampNs, packet: &Packet<'_>) -> Result<Stored, ImportError> {
        loop {
            if self.open.is_none() {
                self.open = Some(self.begin(time)?);
            }
            let Some(open) = &mut self.open else { continue };
            match self.block.push(time, packet.wire_len, packet.data) {
                Ok(Push::Stored { .. }) => {
                    open.name_interface(packet.interface);
                    return Ok(Stored::Yes);
                }
                Ok(Push::Full) => {
                    self.write_block()?;
                    if self.open.as_ref().is_some_and(|o| o.blocks >= self.limits.blocks)
                        || self.log.bytes() >= self.limits.log_bytes
                    {
                        self.seal()?;
                    }
                }
                // The only error of a push is a frame that fits no block.
                Err(_) => return Ok(Stored::TooLarge),
            }
        }
    }

    /// Seals what is open, and makes all segments appear. Where one cannot be published, neither it nor those behind it
    /// are, and they are removed.
    pub(super) fn publish(mut self) -> Result<Vec<SegmentId>, ImportError> {
        self.seal()?;
        // From the first to the last, so that dropping this finds the ones that are left.
        self.sealed.reverse();
        let mut published = Vec::new();
        while let Some(paths) = self.sealed.last() {
            paths.publish().map_err(error("publish the segment", paths.packet_file()))?;
            published.push(paths.id());
            self.made.clear();
            let _ = self.sealed.pop();
        }
        Ok(published)
    }

    /// Opens a segment that is named for its first packet, so that names stay in order of time and tools that go by
    /// names (1.0.1's) find it. Where the name is taken, the next free one.
    fn begin(&mut self, time: TimestampNs) -> Result<Open, ImportError> {
        for dir in [self.packets_dir.clone(), self.index_dir.clone()] {
            self.make(&dir)?;
        }
        let mut id = SegmentId::at(time);
        loop {
            let paths = SegmentPaths::new(&self.packets_dir, &self.index_dir, id);
            let hidden = paths.hidden_packet_file();
            let taken = [paths.packet_file(), paths.index_file(), paths.hidden_index_file()];
            // The hidden name is what a second import at the same time would collide on.
            let file = if taken.iter().any(|path| path.exists()) { None } else { create(&hidden)? };
            if let Some(file) = file {
                return Ok(Open { paths, file, blocks: 0, interfaces: Vec::new() });
            }
            id = SegmentId(id.0 + 1);
        }
    }

    /// Makes a directory and those above it, and remembers which were not there.
    fn make(&mut self, dir: &Path) -> Result<(), ImportError> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
        for dir in missing.into_iter().rev() {
            fs::create_dir(dir).map_err(error("make the directory", dir))?;
            self.made.push(dir.to_owned());
        }
        Ok(())
    }

    /// Writes the block that is full, and begins an empty one.
    fn write_block(&mut self) -> Result<(), ImportError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let seq_num = u64::from(open.blocks) + 1;
        let bytes = self.block.finish(seq_num);
        let offset_bytes = u64::from(open.blocks) * u64::from(BLOCK_BYTES);
        let damage = |error| ImportError::Index {
            path: open.paths.hidden_index_file(),
            source: Damage { offset_bytes, error }.into(),
        };
        let block = Block::parse(bytes).map_err(damage)?;
        let checksums = BlockChecksums::of(block.used());
        let _captured = note_block(&mut self.log, offset_bytes, &block, Some(&checksums)).map_err(damage)?;
        // What is not used stays a hole.
        let written = open.file.write_all_at(block.used(), offset_bytes);
        let end = offset_bytes + u64::from(BLOCK_BYTES);
        written.and_then(|()| open.file.set_len(end)).map_err(error("write", open.paths.hidden_packet_file()))?;
        open.blocks += 1;
        self.block.clear();
        Ok(())
    }

    /// Ends the open segment: last block, index, both on disk, still hidden.
    fn seal(&mut self) -> Result<(), ImportError> {
        if self.block.packets() > 0 {
            self.write_block()?;
        }
        let Some(open) = self.open.take() else { return Ok(()) };
        let facts = self.facts(&open);
        // From here on dropping removes both files, whatever fails.
        self.sealed.push(open.paths.clone());
        let path = open.paths.hidden_index_file();
        let index = create(&path)?;
        let index = index.ok_or(io::ErrorKind::AlreadyExists.into()).map_err(error("create", &path))?;
        let mut out = BufWriter::new(index);
        let _ = seal(&self.log, &facts, &mut out)
            .map_err(|source: IndexError| ImportError::Index { path: path.clone(), source })?;
        out.flush().map_err(error("write", &path))?;
        self.log.clear();
        Ok(())
    }

    fn facts(&self, open: &Open) -> Facts {
        let interface = if open.interfaces.is_empty() { self.file_name.clone() } else { open.interfaces.join(",") };
        Facts {
            interface,
            link_type: LINKTYPE_ETHERNET,
            snaplen: SNAPLEN,
            software: format!("steno {} (import)", env!("CARGO_PKG_VERSION")),
            block_bytes: BLOCK_BYTES,
            ..Facts::default()
        }
    }
}

impl Drop for Segments {
    /// Removes what was not published, and the directories that were made for it, as far as they are empty.
    fn drop(&mut self) {
        // Nothing can be done about a failure here: a hidden file is no segment, and the next start of a sensor takes
        // it up.
        let open = self.open.take().map(|open| open.paths);
        for paths in self.sealed.drain(..).chain(open) {
            let _ = fs::remove_file(paths.hidden_packet_file());
            let _ = fs::remove_file(paths.hidden_index_file());
        }
        for dir in self.made.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

impl Open {
    fn name_interface(&mut self, name: Option<&str>) {
        if let Some(name) = name
            && self.interfaces.len() < INTERFACES_MAX
            && !self.interfaces.iter().any(|known| known == name)
        {
            self.interfaces.push(name.to_owned());
        }
    }
}

/// Creates a file that only its owner may read, as 1.0.1's are; `None` where the name is taken.
fn create(path: &Path) -> Result<Option<File>, ImportError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(e) => Err(error("create", path)(e)),
    }
}

fn error(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.as_ref().to_owned();
    move |source| ImportError::Store { action, path, source }
}

#[cfg(test)]
mod tests {
    use steno_index::verify_segment;

    use super::*;

    /// Stores 5,000 packets of 1,000 bytes, 970 a block, and says how many packets each segment got.
    fn segments(limits: Limits) -> Vec<u32> {
        let dir = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(dir.path(), "file", limits);
        let data = [7; 1000];
        for second in 0..5000 {
            let time = TimestampNs::from_parts(second, 0);
            let packet = Packet { time: Some(time), link_type: 1, wire_len: 1000, interface: None, data: &data };
            assert_eq!(segments.store(time, &packet).unwrap(), Stored::Yes);
        }
        let ids = segments.publish().unwrap();
        let reports = ids.iter().map(|&id| {
            let paths = SegmentPaths::new(&dir.path().join("PKT0"), &dir.path().join("IDX0"), id);
            let report = verify_segment(&paths.packet_file(), &paths.index_file());
            assert!(report.is_clean(), "{:?}", report.problems);
            report.packets
        });
        reports.collect()
    }

    #[test]
    fn a_segment_is_closed_at_its_limits_and_the_next_one_goes_on() {
        assert_eq!(segments(Limits::default()), [5000]);
        let two_blocks = segments(Limits { blocks: 2, ..Limits::default() });
        assert_eq!((two_blocks.len(), two_blocks.iter().sum::<u32>()), (3, 5000), "{two_blocks:?}");
        // A log is looked at when a block is full.
        let little_log = segments(Limits { log_bytes: 1, ..Limits::default() });
        assert_eq!((little_log.len(), little_log.iter().sum::<u32>()), (6, 5000), "{little_log:?}");
    }

    #[test]
    fn what_is_not_published_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("deep/store");
        let mut segments = Segments::new(&store, "file", Limits { blocks: 1, ..Limits::default() });
        let data = [7; 1000];
        let packet = Packet { time: None, link_type: 1, wire_len: 1000, interface: None, data: &data };
        for _ in 0..3000 {
            let _ = segments.store(TimestampNs::MIN, &packet).unwrap();
        }
        assert_eq!(fs::read_dir(store.join("PKT0")).unwrap().count(), 4);
        drop(segments);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "directories were left behind");
    }
}
