//! What a store held when it was last listed.

use std::{
    fs::{File, Metadata},
    ops::RangeInclusive,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::log::OpenPart;

use super::{Fault, Segment, Shelf, ThreadDirs, listing::Listing, segment::KeptOpen};
use crate::TimeSpan;

/// What a store held when it was last listed. It stays as it is; [`Store::refresh`](super::Store::refresh) makes a new one.
#[derive(Debug)]
pub struct Catalogue {
    segments: Arc<Vec<Arc<Segment>>>,
    orphans: Vec<Orphan>,
    open_files: Vec<OpenFile>,
    live: Option<Live>,
    room: Arc<KeptOpen>,
    /// What was listed, by thread.
    listings: Vec<Listing>,
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
    pub(super) fn new(name: String, thread: u32, id: SegmentId, metadata: &Metadata) -> Self {
        let modified = u64::try_from(metadata.mtime()).unwrap_or(0).saturating_mul(1_000_000_000);
        let modified = TimestampNs(modified.saturating_add(u64::try_from(metadata.mtime_nsec()).unwrap_or(0)));
        // A file that was last written before its name was due: the clock was set back, and names go on ascending. Then the
        // name says nothing of its packets.
        let named_ahead = modified.saturating_add_ns(COARSE_NS) < id.opened_at();
        let begins = if named_ahead { TimestampNs::MIN } else { id.opened_at().saturating_sub_ns(FILLING_NS) };
        Self { name, thread, id, bytes: metadata.len(), begins }
    }

    /// What is in `file` behind the blocks of `parts`; `None` where that is nothing. Where it cannot be known, it is all of it.
    fn behind(dirs: &ThreadDirs, id: SegmentId, parts: &[Arc<Segment>], file: &File) -> Option<Self> {
        let told = parts.last().map_or(Some(0), |part| part.next_block_bytes()).unwrap_or(0);
        let metadata = file.metadata().ok()?;
        let file = Self::new(format!("PKT{}/{}", dirs.thread, id.hidden_name()), dirs.thread, id, &metadata);
        Some(Self { bytes: metadata.len().saturating_sub(told), ..file }).filter(|file| file.bytes > 0)
    }
}

/// Who knows what is in files that are being written.
pub trait OpenLogs: std::fmt::Debug + Send + Sync {
    /// What is in a thread's packet file by now; `None` where that is not known. It stays known until the segment is published.
    fn contents(&self, thread: u32, id: SegmentId) -> Option<OpenContents>;

    /// The files that something is known of.
    fn files(&self) -> Vec<(u32, SegmentId)>;
}

/// What is in a packet file that is being written.
#[derive(Clone, Debug)]
pub struct OpenContents {
    /// The indexes of its blocks, part after part.
    pub parts: Vec<OpenPart>,
    /// Whether its writer had ended by the time that these were read, or after it. What it wrote last may be on the disk then
    /// without being in them, for it had no time to tell.
    pub writer_has_ended: bool,
}

/// What a file that was listed as open has become.
#[derive(Debug)]
pub(crate) struct Now {
    /// The segment, or so much of it as its writer has told of.
    pub(crate) parts: Vec<Arc<Segment>>,
    /// What is behind that in the file, of a writer that will tell no more; `None` where nothing is.
    pub(crate) untold: Option<OpenFile>,
}

/// The threads whose open files are known, and by whom.
#[derive(Clone, Debug)]
struct Live {
    logs: Arc<dyn OpenLogs>,
    threads: Vec<Arc<ThreadDirs>>,
}

impl Catalogue {
    /// Lists `threads`. What `before` knows of a segment that is still there is kept.
    pub(super) fn list(threads: &[ThreadDirs], before: Option<&Self>, logs: Option<&Arc<dyn OpenLogs>>) -> Self {
        let listed = |dirs: &ThreadDirs| {
            let known = before.and_then(|before| before.listings.iter().find(|listing| listing.is_of(dirs)));
            Listing::of(dirs, known)
        };
        let mut listings: Vec<Listing> = threads.iter().map(listed).collect();
        listings.sort_by_key(|listing| listing.dirs.thread);
        let orphans = listings.iter().flat_map(|listing| listing.orphans.iter().cloned()).collect();
        let open_files = listings.iter().flat_map(|listing| listing.open_files.iter().cloned()).collect();
        let threads = || listings.iter().map(|listing| Arc::clone(&listing.dirs)).collect();
        let live = logs.map(|logs| Live { logs: Arc::clone(logs), threads: threads() });
        let same = |(one, other): (&Listing, &Listing)| one.shelf.is_same(&other.shelf);
        if let Some(before) = before
            && before.listings.len() == listings.len()
            && before.listings.iter().zip(&listings).all(same)
        {
            let (segments, room) = (Arc::clone(&before.segments), Arc::clone(&before.room));
            return Self { segments, orphans, open_files, live, room, listings };
        }
        let segments: Vec<_> = listings.iter().flat_map(|listing| listing.shelf.segments().iter().cloned()).collect();
        let room = KeptOpen::with(segments.iter().filter(|s| s.is_kept_open()).count());
        let (segments, room) = (Arc::new(segments), Arc::new(room));
        Self { segments, orphans, open_files, live, room, listings }
    }

    /// The segments that are whole by their names, by thread and name.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The segments of each thread, by thread.
    pub(crate) fn shelves(&self) -> impl Iterator<Item = &Shelf> {
        self.listings.iter().map(|listing| &listing.shelf)
    }

    /// The segments that may hold packets of `span`, as runs of names of a thread that follow one another: by the times of their
    /// packets where these are known; else by their names, from which, and from that of the next, packets are no further than
    /// `slack_ns`. Opens nothing.
    pub fn runs(&self, span: TimeSpan, slack_ns: u64) -> Vec<(u32, RangeInclusive<SegmentId>)> {
        let mut runs = Vec::new();
        self.shelves().for_each(|shelf| shelf.runs(span, slack_ns, &mut runs));
        runs
    }

    /// Of how many segments no catalogue file keeps anything, though one could: the next one that is written
    /// ([`Store::keep_catalogue`](super::Store::keep_catalogue)) has them, unless they cannot be read.
    pub fn not_kept(&self) -> usize {
        let all = self.shelves().flat_map(Shelf::segments_and_kept);
        all.filter(|(segment, kept)| kept.is_none() && segment.may_be_kept()).count()
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
    pub(crate) fn now(&self, thread: u32, id: SegmentId) -> Option<Now> {
        let live = self.live.as_ref()?;
        let dirs = live.threads.iter().find(|dirs| dirs.thread == thread)?;
        let contents = live.logs.contents(thread, id);
        let has_ended = contents.as_ref().is_none_or(|contents| contents.writer_has_ended);
        if has_ended && is_published(dirs, id) {
            return Some(Now { parts: vec![Arc::new(Segment::just_published(dirs, id))], untold: None });
        }
        let (parts, file) = Segment::being_written(dirs, id, contents?.parts)?;
        let untold = has_ended.then(|| OpenFile::behind(dirs, id, &parts, &file)).flatten();
        Some(Now { parts, untold })
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

    /// How many more indexes may be kept open.
    pub(crate) fn room(&self) -> &Arc<KeptOpen> {
        &self.room
    }

    pub(super) fn listings(&self) -> &[Listing] {
        &self.listings
    }
}

/// Whether a file that was hidden when it was listed is not any more.
fn is_published(dirs: &ThreadDirs, id: SegmentId) -> bool {
    let name = id.to_string();
    !dirs.packets.join(id.hidden_name()).exists()
        && dirs.packets.join(&name).exists()
        && dirs.index.join(&name).exists()
}
