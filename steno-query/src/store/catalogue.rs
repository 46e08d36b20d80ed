//! What a store held when it was last listed.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::log::OpenPart;

use super::{
    Fault, Segment, ThreadDirs,
    scan::{Names, names},
    segment::KeptOpen,
};

/// What a store held when it was last listed. It stays as it is; [`Store::refresh`](super::Store::refresh) makes a new one.
#[derive(Debug)]
pub struct Catalogue {
    segments: Vec<Arc<Segment>>,
    orphans: Vec<Orphan>,
    open_files: Vec<OpenFile>,
    live: Option<Live>,
    room: KeptOpen,
}

/// Something that cannot be searched: a file whose other half is missing, or a directory that could not be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name as receipts show it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is the matter with it.
    pub fault: Fault,
}

/// A packet file with a leading dot: still written, or left by a crash.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// Its name as receipts show it.
    pub name: String,
    /// The name it will have.
    pub id: SegmentId,
    /// Its length when the store was listed.
    pub bytes: u64,
    /// The capture thread.
    pub thread: u32,
    /// No packet of it is from before this: its opening, less what a ring block takes to fill.
    pub begins: TimestampNs,
}

/// How long before a file was opened its first packets may have arrived: a ring block is filled before it is written, and
/// stenographer 1.0.1 retires one after ten seconds at the latest.
const FILLING_NS: u64 = 10_000_000_000;
/// How far the clock of a file system may be behind the one that files are named after.
const COARSE_NS: u64 = 1_000_000_000;

impl OpenFile {
    fn new(name: String, thread: u32, id: SegmentId, metadata: &Metadata) -> Self {
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0).saturating_mul(1_000_000_000);
        let modified = TimestampNs(modified.saturating_add(u64::try_from(metadata.mtime_nsec()).unwrap_or(0)));
        // A file that was last written before its name was due: the clock was set back, and names go on ascending. Then the
        // name says nothing of its packets.
        let named_ahead = modified.saturating_add_ns(COARSE_NS) < id.opened_at();
        let begins = if named_ahead { TimestampNs::MIN } else { id.opened_at().saturating_sub_ns(FILLING_NS) };
        Self { name, thread, id, bytes: metadata.len(), begins }
    }
}

/// Who knows what is in files that are being written.
pub trait OpenLogs: std::fmt::Debug + Send + Sync {
    /// The indexes of all blocks of a thread's packet file that are on the disk by now, part after part; `None` where that is not
    /// known, or the file is not being written any more. It stays known until the segment is published.
    fn parts(&self, thread: u32, id: SegmentId) -> Option<Vec<OpenPart>>;

    /// The files that something is known of.
    fn files(&self) -> Vec<(u32, SegmentId)>;
}

/// The threads whose open files are known, and by whom.
#[derive(Clone, Debug)]
struct Live {
    logs: Arc<dyn OpenLogs>,
    threads: Vec<Arc<ThreadDirs>>,
}

impl Catalogue {
    /// Lists `threads`. What `before` knows of a segment that is still there is kept.
    pub(super) fn list(threads: Vec<ThreadDirs>, before: Option<&Self>, logs: Option<&Arc<dyn OpenLogs>>) -> Self {
        let known: BTreeMap<_, _> = before
            .iter()
            .flat_map(|c| &c.segments)
            .filter(|s| s.is_current())
            .map(|s| ((s.thread(), s.id()), Arc::clone(s)))
            .collect();
        let threads: Vec<_> = threads.into_iter().map(Arc::new).collect();
        let mut listed = Self {
            segments: Vec::new(),
            orphans: Vec::new(),
            open_files: Vec::new(),
            live: logs.map(|logs| Live { logs: Arc::clone(logs), threads: threads.clone() }),
            room: KeptOpen::with(0),
        };
        threads.iter().for_each(|dirs| listed.add_thread(dirs, &known));
        listed.segments.sort_by_key(|s| (s.thread(), s.id()));
        listed.room = KeptOpen::with(listed.segments.iter().filter(|s| s.is_kept_open()).count());
        listed
    }

    /// The segments that are whole by their names, by thread and name.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// What cannot be searched for lack of its other half.
    pub fn orphans(&self) -> &[Orphan] {
        &self.orphans
    }

    /// Packet files that are not sealed.
    pub fn open_files(&self) -> &[OpenFile] {
        &self.open_files
    }

    /// What a file that was listed as open holds now: so far, in parts, or as a segment that it has become since; `None` where
    /// that is not known.
    pub(crate) fn now(&self, thread: u32, id: SegmentId) -> Option<Vec<Arc<Segment>>> {
        let live = self.live.as_ref()?;
        let dirs = live.threads.iter().find(|dirs| dirs.thread == thread)?;
        let parts = live.logs.parts(thread, id);
        let open = parts.and_then(|parts| Segment::being_written(dirs, id, parts));
        let sealed = || is_published(dirs, id).then(|| vec![Arc::new(Segment::new(Arc::clone(dirs), id))]);
        open.or_else(sealed)
    }

    /// Files that were begun after the store was listed, as far as their captures tell.
    pub(crate) fn begun_since(&self) -> Vec<(u32, SegmentId)> {
        let mut files = self.live.as_ref().map(|live| live.logs.files()).unwrap_or_default();
        files.retain(|(thread, id)| {
            let is_segment = self.segments.binary_search_by_key(&(*thread, *id), |s| (s.thread(), s.id())).is_ok();
            !is_segment && !self.open_files.iter().any(|file| (file.thread, file.id) == (*thread, *id))
        });
        files
    }

    pub(crate) fn room(&self) -> &KeptOpen {
        &self.room
    }

    fn add_thread(&mut self, dirs: &Arc<ThreadDirs>, known: &BTreeMap<(u32, SegmentId), Arc<Segment>>) {
        let thread = dirs.thread;
        // A packet file is published before its index, so that an index listed first has its packet file by then.
        let index = self.listing(format!("IDX{thread}"), &dirs.index);
        let packets = self.listing(format!("PKT{thread}"), &dirs.packets);
        let (Some(index), Some(packets)) = (index, packets) else { return };
        for &id in packets.sealed.union(&index.sealed) {
            let segment =
                known.get(&(thread, id)).cloned().unwrap_or_else(|| Arc::new(Segment::new(Arc::clone(dirs), id)));
            let (packet_file, index_file) = (segment.packet_file(), segment.index_file());
            // What one listing lacks may have come, and what it has may have gone, between the two.
            let has_packets = packets.sealed.contains(&id) || packet_file.exists();
            let has_index = index.sealed.contains(&id) || index_file.exists();
            if has_packets && has_index {
                self.segments.push(segment);
            } else if has_packets && packet_file.exists() {
                let hidden_index = dirs.index.join(id.hidden_name());
                match fs::metadata(&packet_file) {
                    // Being published: its index is about to get its name too.
                    Ok(metadata) if hidden_index.exists() => {
                        self.open_files.push(OpenFile::new(segment.packet_name(), thread, id, &metadata));
                    }
                    Ok(_) if index_file.exists() => self.segments.push(segment),
                    _ => self.orphan(segment.packet_name(), packet_file, Fault::NoIndex),
                }
            } else if has_index && index_file.exists() && !dirs.packets.join(id.hidden_name()).exists() {
                // With its packet file hidden it belongs to that, which is among the open ones: stenographer 1.0.1, stopped
                // on a quiet link, publishes an index alone and leaves an empty packet file.
                self.orphan(segment.index_name(), index_file, Fault::NoPackets);
            }
        }
        self.add_hidden(dirs, &index, &packets);
    }

    /// Files with a leading dot that have not been published since they were listed.
    fn add_hidden(&mut self, dirs: &ThreadDirs, index: &Names, packets: &Names) {
        let thread = dirs.thread;
        for &id in &packets.hidden {
            let path = dirs.packets.join(id.hidden_name());
            let name = format!("PKT{thread}/{}", id.hidden_name());
            match fs::metadata(&path) {
                Ok(metadata) => self.open_files.push(OpenFile::new(name, thread, id, &metadata)),
                // Published between the listing and now: it has just become too young to be searched.
                Err(_) if self.segments.iter().any(|s| s.thread() == thread && s.id() == id) => {}
                Err(_) => match fs::metadata(dirs.packets.join(id.to_string())) {
                    Ok(metadata) => self.open_files.push(OpenFile::new(name, thread, id, &metadata)),
                    Err(e) => self.orphan(name, path, Fault::of_io(&e)),
                },
            }
        }
        for &id in index.hidden.difference(&packets.hidden) {
            if !packets.sealed.contains(&id) && dirs.index.join(id.hidden_name()).exists() {
                let name = format!("IDX{thread}/{}", id.hidden_name());
                self.orphan(name, dirs.index.join(id.hidden_name()), Fault::NoPackets);
            }
        }
    }

    fn listing(&mut self, name: String, dir: &Path) -> Option<Names> {
        match names(dir) {
            Ok(names) => Some(names),
            Err(e) => {
                self.orphan(name, dir.to_owned(), Fault::Io(e.to_string()));
                None
            }
        }
    }

    fn orphan(&mut self, name: String, path: PathBuf, fault: Fault) {
        self.orphans.push(Orphan { name, path, fault });
    }
}

/// Whether a file that was hidden when it was listed is not any more.
fn is_published(dirs: &ThreadDirs, id: SegmentId) -> bool {
    let name = id.to_string();
    !dirs.packets.join(id.hidden_name()).exists()
        && dirs.packets.join(&name).exists()
        && dirs.index.join(&name).exists()
}
