//! One capture file on its way into a store.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use steno_core::{SegmentId, TimestampNs};

use super::{
    ImportError, Skipped,
    reader::{CaptureReader, ETHERNET, Packet, ReadError, Record},
    segments::{Limits, Segments, Stored},
};

/// What became of a capture file.
#[derive(Debug, Default)]
pub struct Imported {
    /// Packets stored.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Times of the earliest and the latest of them.
    pub time_range: Option<(TimestampNs, TimestampNs)>,
    /// The segments they are in, published.
    pub segments: Vec<SegmentId>,
    /// Packets that were left out.
    pub skipped: Skipped,
    /// Why the reading ended before the end of the file.
    pub stopped: Option<ReadError>,
    /// What is odd in the file and lost nothing.
    pub oddity: Option<String>,
}

impl Imported {
    /// Whether every packet of the file was stored.
    pub fn is_complete(&self) -> bool {
        self.skipped.packets() == 0 && self.stopped.is_none() && self.oddity.is_none()
    }
}

/// Imports one capture file into the store at `store`, which is made where it is missing. Where the file is cut or damaged,
/// what was whole before that place is imported, and [`Imported::stopped`] says why it ended. A file with no packets is
/// imported into no segments.
///
/// # Errors
/// Where nothing of the file can be imported, or the store cannot be written; the store is then as it was.
pub fn import_file(file: &Path, store: &Path, interrupted: &AtomicBool) -> Result<Imported, ImportError> {
    let opened = File::open(file).map_err(ImportError::Open)?;
    if opened.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(ImportError::Open(std::io::ErrorKind::IsADirectory.into()));
    }
    let mut reader = CaptureReader::open(opened)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut segments = Segments::new(store, &name, Limits::default());
    let mut imported = Imported::default();
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Err(ImportError::Interrupted);
        }
        match reader.next_record() {
            Ok(None) => break,
            Ok(Some(Record::TooLarge { .. })) => imported.skipped.too_large += 1,
            Ok(Some(Record::Packet(packet))) => imported.take(&packet, &mut segments)?,
            Err(error) => {
                imported.stopped = Some(error);
                break;
            }
        }
    }
    imported.oddity = reader.oddity();
    if imported.packets == 0 && imported.skipped.packets() > 0 {
        return Err(ImportError::NothingToStore { skipped: imported.skipped });
    }
    if imported.packets == 0
        && let Some(error) = imported.stopped
    {
        return Err(error.into());
    }
    imported.segments = segments.publish()?;
    Ok(imported)
}

impl Imported {
    /// Stores a packet, or counts why it cannot be.
    fn take(&mut self, packet: &Packet<'_>, segments: &mut Segments) -> Result<(), ImportError> {
        if packet.link_type != ETHERNET {
            *self.skipped.link_types.entry(packet.link_type).or_default() += 1;
            return Ok(());
        }
        // A packet header has 32 bits for the seconds.
        let Some(time) = packet.time.filter(|t| u32::try_from(t.secs()).is_ok()) else {
            self.skipped.out_of_time += 1;
            return Ok(());
        };
        match segments.store(time, packet)? {
            Stored::Yes => {
                self.packets += 1;
                self.bytes += packet.data.len() as u64;
                let (first, last) = self.time_range.get_or_insert((time, time));
                (*first, *last) = ((*first).min(time), (*last).max(time));
            }
            Stored::TooLarge => self.skipped.too_large += 1,
        }
        Ok(())
    }
}
