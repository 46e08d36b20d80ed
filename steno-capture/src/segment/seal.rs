//! From a file whose blocks are written to a published segment.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use steno_index::{Facts, IndexError, Log, Pause, Summary, recover::note_whole_blocks, segment::SegmentPaths};

use super::{Indexer, earlier::changed};
use crate::{
    console::error,
    io::PacketFile,
    watchdog::{Pulse, Watched, Work},
};

/// Buffer of an index file that is being written.
const BUFFER_BYTES: usize = 1 << 18;

/// A file whose blocks have all been written.
#[derive(Debug)]
pub(crate) struct SealJob {
    pub(crate) paths: SegmentPaths,
    pub(crate) file: Arc<PacketFile>,
    /// Its whole blocks.
    pub(crate) blocks: u32,
    /// Its packets, those and no others. Without it the packet file is read back: where a block could not be written, and
    /// where too many files wait to be sealed.
    pub(crate) log: Option<Log>,
    pub(crate) facts: Facts,
}

/// Why a segment was not published. Its hidden files stay.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("{path}: {source}")]
    Index { path: String, source: IndexError },
    #[error("{0}")]
    Publish(io::Error),
}

impl SealJob {
    /// Bytes of the packet file: whole blocks.
    pub(crate) fn file_bytes(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.facts.block_bytes)
    }

    /// Gives the packet file its length, writes the index beside it unless there is to be none, and publishes what is
    /// there. May be tried again. `pause` is taken where packets are read back; `pulse` shows each call that could get stuck.
    pub(crate) fn run(
        &self,
        indexer: Option<&mut Indexer>,
        pause: &Pause,
        pulse: &Pulse,
    ) -> Result<Option<Summary>, SealError> {
        pulse.turn_to(Work::Sync);
        let result = self.seal(indexer, pause, pulse);
        pulse.turn_to(Work::Rest);
        result
    }

    fn seal(&self, indexer: Option<&mut Indexer>, pause: &Pause, pulse: &Pulse) -> Result<Option<Summary>, SealError> {
        let packets = self.paths.hidden_packet_file();
        let at = |path: &Path| path.display().to_string();
        let file_error = |source| SealError::File { path: at(&packets), source };
        let written = self.file.file().metadata().map_err(file_error)?;
        // Once only: when it was last changed says until when it was written.
        if written.len() != self.file_bytes() {
            self.file.set_len(self.file_bytes()).map_err(file_error)?;
        }
        let Some(indexer) = indexer else {
            self.paths.publish_without_index().map_err(SealError::Publish)?;
            return Ok(None);
        };
        let path = self.paths.hidden_index_file();
        let index_error = |source| SealError::Index { path: at(&path), source };
        let write = |source| SealError::File { path: at(&path), source };
        let mut out = create(&path, pulse).map_err(write)?;
        pulse.turn_to(Work::Rest);
        let summary = match &self.log {
            Some(log) => indexer.seal(log, &self.facts, &mut out).map_err(index_error)?,
            None => {
                let packets = File::open(&packets).map_err(file_error)?;
                let packets = Pausing { inner: Watched::new(packets, pulse), pause };
                let mut packets = BufReader::new(packets).take(self.file_bytes());
                let (log, facts) = self.read_back(&mut packets, &written).map_err(index_error)?;
                indexer.seal(&log, &facts, &mut out).map_err(index_error)?
            }
        };
        out.flush().map_err(write)?;
        drop(out);
        pulse.turn_to(Work::Sync);
        self.paths.publish().map_err(SealError::Publish)?;
        Ok(Some(summary))
    }

    /// Notes what the packet file holds. Blocks that are not whole any more are told, and their times are gaps.
    fn read_back(&self, packets: &mut impl Read, written: &Metadata) -> Result<(Log, Facts), IndexError> {
        let until = self.facts.ended.or_else(|| changed(written)).unwrap_or_default();
        let (mut log, mut facts) = (Log::new(), self.facts.clone());
        let (id, block_bytes) = (self.paths.id(), facts.block_bytes);
        let (holes, gaps) = note_whole_blocks(packets, block_bytes, id, until, &mut log)?;
        if holes > 0 {
            let (path, all) = (self.paths.packet_file(), self.blocks);
            error!("{}: {holes} of {all} blocks are not whole any more, and not in the index", path.display());
        }
        facts.gaps.extend(gaps);
        Ok((log, facts))
    }
}

/// A file that is read with a pause before each piece.
struct Pausing<'a, R> {
    inner: R,
    pause: &'a Pause,
}

impl<R: Read> Read for Pausing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pause.take();
        self.inner.read(buffer)
    }
}

/// A new index file; one that an earlier attempt left is replaced.
fn create<'a>(path: &Path, pulse: &'a Pulse) -> io::Result<BufWriter<Watched<'a, File>>> {
    if let Err(e) = fs::remove_file(path)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, Watched::new(file, pulse)))
}
