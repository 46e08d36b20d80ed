//! What the files of one thread take on the disk.
//!
//! Sealed files do not change, so each is looked at once; files that are being written are looked at with every scan. All
//! files with segments' names count, hidden ones too: they fill the disk alike.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use steno_core::{SegmentId, TimestampNs};

use super::{Candidate, NewestPacket, ThreadStatus};
use crate::capture::ThreadDirectories;

/// A file that is no part of a whole segment may be about to become one: it may go only when nothing has happened to it
/// for so long, and newer ones are there.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(600);

/// The bytes of a block in `st_blocks` (inode(7)), whatever the file system's own blocks are.
const STAT_BLOCK_BYTES: u64 = 512;

/// The files of one thread.
#[derive(Debug)]
pub(super) struct Inventory {
    directories: ThreadDirectories,
    entries: BTreeMap<SegmentId, Files>,
}

/// The files of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Files {
    packets: Option<Facts>,
    index: Option<Facts>,
    hidden_packets: Option<Facts>,
    hidden_index: Option<Facts>,
    /// The time of the newest packet, once it was asked for.
    newest: Option<TimestampNs>,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    /// What the file takes on the disk: less than its length where it has holes.
    bytes: u64,
    modified: TimestampNs,
}

/// What a segment takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) packets: u64,
    pub(super) index: u64,
}

/// A directory cannot be looked through.
#[derive(Debug, thiserror::Error)]
#[error("cannot look through {path}: {source}", path = path.display())]
pub(super) struct ScanError {
    path: PathBuf,
    source: io::Error,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = Facts> {
        [self.packets, self.index, self.hidden_packets, self.hidden_index].into_iter().flatten()
    }

    fn size(&self) -> Size {
        let bytes = |a: Option<Facts>, b: Option<Facts>| a.map_or(0, |f| f.bytes) + b.map_or(0, |f| f.bytes);
        Size { packets: bytes(self.packets, self.hidden_packets), index: bytes(self.index, self.hidden_index) }
    }

    /// Both files bear their names.
    fn is_whole(&self) -> bool {
        self.packets.is_some() && self.index.is_some()
    }

    fn modified(&self) -> TimestampNs {
        self.all().map(|f| f.modified).max().unwrap_or(TimestampNs::MAX)
    }
}

/// Which of the four names are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Names {
    packets: bool,
    index: bool,
    hidden_packets: bool,
    hidden_index: bool,
}

impl Inventory {
    pub(super) fn new(directories: ThreadDirectories) -> Self {
        Self { directories, entries: BTreeMap::new() }
    }

    pub(super) fn directories(&self) -> &ThreadDirectories {
        &self.directories
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Looks through both directories; files that are new or still written are measured.
    pub(super) fn scan(&mut self) -> Result<(), ScanError> {
        let mut there: BTreeMap<SegmentId, Names> = BTreeMap::new();
        list(&self.directories.packets, |id, hidden| {
            let names = there.entry(id).or_default();
            *(if hidden { &mut names.hidden_packets } else { &mut names.packets }) = true;
        })?;
        list(&self.directories.index, |id, hidden| {
            let names = there.entry(id).or_default();
            *(if hidden { &mut names.hidden_index } else { &mut names.index }) = true;
        })?;
        self.entries.retain(|id, _| there.contains_key(id));
        for (id, names) in there {
            let known = self.entries.get(&id).map(|files| Names {
                packets: files.packets.is_some(),
                index: files.index.is_some(),
                hidden_packets: files.hidden_packets.is_some(),
                hidden_index: files.hidden_index.is_some(),
            });
            if known != Some(names) || names.hidden_packets || names.hidden_index {
                self.measure(id);
            }
        }
        Ok(())
    }

    /// Measures the files of one name; forgets it where there are none.
    pub(super) fn measure(&mut self, id: SegmentId) {
        let facts = |directory: &Path, name: &str| {
            let metadata = fs::symlink_metadata(directory.join(name)).ok().filter(fs::Metadata::is_file)?;
            Some(Facts { bytes: metadata.blocks().saturating_mul(STAT_BLOCK_BYTES), modified: modified(&metadata) })
        };
        let (name, hidden) = (id.to_string(), id.hidden_name());
        let files = Files {
            packets: facts(&self.directories.packets, &name),
            index: facts(&self.directories.index, &name),
            hidden_packets: facts(&self.directories.packets, &hidden),
            hidden_index: facts(&self.directories.index, &hidden),
            newest: None,
        };
        if files.all().next().is_none() {
            self.forget(id);
        } else {
            let _ = self.entries.insert(id, files);
        }
    }

    pub(super) fn forget(&mut self, id: SegmentId) {
        let _ = self.entries.remove(&id);
    }

    pub(super) fn size(&self, id: SegmentId) -> Size {
        self.entries.get(&id).map(Files::size).unwrap_or_default()
    }

    /// The names as the rule wants them, ascending. The time of its newest packet is asked of a segment's index only
    /// where the segment is old enough for that to matter: where its name is from before `cutoff`.
    pub(super) fn candidates(&mut self, cutoff: Option<TimestampNs>, newest: &NewestPacket) -> Vec<Candidate> {
        let directory = &self.directories.index;
        let candidate = |(id, files): (&SegmentId, &mut Files)| {
            let opened = id.opened_at();
            let newest = if cutoff.is_none_or(|cutoff| opened >= cutoff) {
                opened
            } else {
                let known = files.newest.unwrap_or_else(|| {
                    let told = files.index.and_then(|_| newest(&directory.join(id.to_string())));
                    told.unwrap_or_else(|| files.packets.map_or(files.modified(), |f| f.modified))
                });
                files.newest = Some(known);
                known
            };
            let size = files.size();
            Candidate { id: *id, bytes: size.packets.saturating_add(size.index), newest }
        };
        self.entries.iter_mut().map(candidate).collect()
    }

    /// Whether nobody is writing the files of this name any more.
    pub(super) fn is_settled(&self, id: SegmentId, now: TimestampNs) -> bool {
        let Some(files) = self.entries.get(&id) else { return false };
        let patience = u64::try_from(LEFT_BEHIND_AFTER.as_nanos()).unwrap_or(u64::MAX);
        let is_newest = self.entries.last_key_value().is_some_and(|(last, _)| *last == id);
        files.is_whole() || (!is_newest && files.modified().saturating_add_ns(patience) < now)
    }

    /// Writes what is there into `status`.
    pub(super) fn report(&self, status: &mut ThreadStatus) {
        (status.segments, status.packet_bytes, status.index_bytes, status.other_bytes) = (0, 0, 0, 0);
        (status.oldest, status.newest) = (None, None);
        for (id, files) in &self.entries {
            let size = files.size();
            if files.is_whole() {
                status.segments += 1;
                status.packet_bytes += size.packets;
                status.index_bytes += size.index;
                status.oldest = status.oldest.or(Some(*id));
                status.newest = Some(*id);
            } else {
                status.other_bytes += size.packets + size.index;
            }
        }
    }
}

fn list(directory: &Path, mut name: impl FnMut(SegmentId, bool)) -> Result<(), ScanError> {
    let failed = |source| ScanError { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let file_name = entry.map_err(failed)?.file_name();
        let Some(text) = file_name.to_str() else { continue };
        let (digits, hidden) = text.strip_prefix('.').map_or((text, false), |rest| (rest, true));
        if let Ok(id) = digits.parse() {
            name(id, hidden);
        }
    }
    Ok(())
}

fn modified(metadata: &fs::Metadata) -> TimestampNs {
    let seconds = u64::try_from(metadata.mtime()).unwrap_or(0);
    let nanos = u64::try_from(metadata.mtime_nsec()).unwrap_or(0);
    TimestampNs(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::Arc, time::UNIX_EPOCH};

    use super::*;

    fn inventory(root: &Path) -> Inventory {
        let directories = ThreadDirectories { thread: 0, packets: root.join("p"), index: root.join("i") };
        fs::create_dir(&directories.packets).unwrap();
        fs::create_dir(&directories.index).unwrap();
        Inventory::new(directories)
    }

    fn write(path: &Path, bytes: usize, modified_s: u64) {
        let bytes = vec![1u8; bytes];
        fs::write(path, &bytes).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        file.sync_all().unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(modified_s)).unwrap();
    }

    fn at(s: u64) -> TimestampNs {
        TimestampNs(s * 1_000_000_000)
    }

    fn unknown() -> NewestPacket {
        Arc::new(|_| None)
    }

    #[test]
    fn packets_index_and_hidden_files_are_accounted_apart() {
        let root = tempfile::tempdir().unwrap();
        let mut inventory = inventory(root.path());
        let (p, i) = (root.path().join("p"), root.path().join("i"));
        write(&p.join("1"), 40_000, 5);
        write(&i.join("1"), 8_000, 5);
        write(&p.join("2"), 4_096, 5);
        write(&p.join(".3"), 4_096, 5);
        write(&p.join("other"), 4_096, 5);
        // A hole takes nothing.
        File::options().write(true).open(p.join("1")).unwrap().set_len(1 << 30).unwrap();
        inventory.scan().unwrap();
        let mut status = ThreadStatus::default();
        inventory.report(&mut status);
        assert_eq!((status.segments, status.oldest, status.newest), (1, Some(SegmentId(1)), Some(SegmentId(1))));
        assert!((40_000..80_000).contains(&status.packet_bytes), "{status:?}");
        assert!((8_000..20_000).contains(&status.index_bytes), "{status:?}");
        assert!((8_192..20_000).contains(&status.other_bytes), "{status:?}");
        let sum: u64 = inventory.candidates(None, &unknown()).iter().map(|c| c.bytes).sum();
        assert_eq!(sum, status.packet_bytes + status.index_bytes + status.other_bytes);
    }

    #[test]
    fn a_scan_follows_what_happens() {
        let root = tempfile::tempdir().unwrap();
        let mut inventory = inventory(root.path());
        let (p, i) = (root.path().join("p"), root.path().join("i"));
        write(&p.join(".1"), 4_096, 5);
        inventory.scan().unwrap();
        let before = inventory.size(SegmentId(1));
        write(&p.join(".1"), 400_000, 5);
        inventory.scan().unwrap();
        assert!(inventory.size(SegmentId(1)).packets > before.packets + 300_000);
        fs::rename(p.join(".1"), p.join("1")).unwrap();
        write(&i.join("1"), 100, 5);
        inventory.scan().unwrap();
        assert!(inventory.is_settled(SegmentId(1), at(5)));
        fs::remove_file(p.join("1")).unwrap();
        fs::remove_file(i.join("1")).unwrap();
        inventory.scan().unwrap();
        assert_eq!(inventory.len(), 0);
        fs::remove_dir(&i).unwrap();
        assert!(inventory.scan().unwrap_err().to_string().contains("/i: "));
    }

    #[test]
    fn half_segments_may_go_only_when_they_were_left_behind() {
        let root = tempfile::tempdir().unwrap();
        let mut inventory = inventory(root.path());
        let (p, i) = (root.path().join("p"), root.path().join("i"));
        write(&p.join("1"), 10, 1000);
        write(&p.join(".2"), 10, 1000);
        write(&i.join("3"), 10, 1000);
        write(&p.join(".4"), 10, 1000);
        inventory.scan().unwrap();
        let settled = |now| (1..=5).filter(|id| inventory.is_settled(SegmentId(*id), at(now))).collect::<Vec<_>>();
        assert!(settled(1600).is_empty());
        assert_eq!(settled(1601), [1, 2, 3], "the newest name may be a quiet link's open file");
    }

    #[test]
    fn ages_are_asked_of_the_index_where_they_matter_and_once() {
        let root = tempfile::tempdir().unwrap();
        let mut inventory = inventory(root.path());
        for id in [100_000_000u64, 200_000_000, 300_000_000] {
            write(&root.path().join("p").join(id.to_string()), 10, 900);
            write(&root.path().join("i").join(id.to_string()), 10, 900);
        }
        inventory.scan().unwrap();
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let note = Arc::clone(&asked);
        let newest: NewestPacket = Arc::new(move |path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            note.lock().unwrap().push(name.clone());
            (name == "100000000").then_some(at(150))
        });
        for _ in 0..2 {
            let candidates = inventory.candidates(Some(at(250)), &newest);
            // Told, not told (the packet file's time), and too young to be asked (its name's time).
            assert_eq!(candidates.iter().map(|c| c.newest).collect::<Vec<_>>(), [at(150), at(900), at(300)]);
        }
        assert_eq!(*asked.lock().unwrap(), ["100000000", "200000000"]);
        assert!(inventory.candidates(None, &newest).iter().all(|c| c.newest == c.id.opened_at()));
    }
}
