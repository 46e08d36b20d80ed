//! What the two directories of a thread hold. They are listed again only where something in them has come, gone or got another
//! name; of a segment that is still there, what is known stays.

use std::{
    fs::{self, File},
    io,
    num::NonZero,
    path::Path,
    sync::Arc,
    thread,
};

use steno_core::{Clock, SegmentId, SystemClock};

use super::{
    Fault, OpenFile, Orphan, Segment, Shelf, ThreadDirs,
    identity::Identity,
    kept::{CATALOGUE_FILE, Kept, KeptSegment, write},
    scan::{Names, either},
};

/// Files that one thread looks at by itself: more of them are worth other threads.
const LOOKED_AT_ALONE: usize = 1024;
/// Threads that look at files at once. A disk that has to be asked is asked by all of them.
const LOOKING_MAX: usize = 8;

/// How often directories are listed at the most until nothing is changed in the meantime.
const LISTED_MAX: usize = 8;

/// What the directories of a thread held.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) dirs: Arc<ThreadDirs>,
    /// Both directories as they were before they were listed; `None` where a change since need not show.
    stamp: Option<[Identity; 2]>,
    /// The catalogue file.
    kept: Option<Arc<Kept>>,
    pub(super) shelf: Shelf,
    pub(super) orphans: Vec<Orphan>,
    pub(super) open_files: Vec<OpenFile>,
}

impl Listing {
    /// Of `dirs`, of which `before` is what was found the last time.
    ///
    /// What goes away in the middle of it is none of the store's when it is done: the directories are listed again then. An empty
    /// file that a killed capture left goes that way, and so does what retention takes. So they are when anything was changed: a
    /// directory of many names is read piece by piece, and a file that gets another name meanwhile may be in none of the pieces.
    pub(super) fn of(dirs: &ThreadDirs, before: Option<&Self>) -> Self {
        let mut at_first = stamp(dirs);
        let mut listing = Self::once(dirs, before);
        for _ in 1..LISTED_MAX {
            let now = stamp(dirs);
            let has_vanished = listing.orphans.iter().any(|orphan| orphan.fault == Fault::Vanished);
            if now == at_first && !has_vanished {
                break;
            }
            at_first = now;
            listing = Self::once(dirs, before);
        }
        listing
    }

    /// As [`of`](Self::of), with what has gone since its name was read among the orphans.
    fn once(dirs: &ThreadDirs, before: Option<&Self>) -> Self {
        let now = SystemClock.now();
        let stamp = stamp(dirs).filter(|stamp| stamp.iter().all(|dir| dir.is_settled(now)));
        if let Some(before) = before.filter(|before| stamp.is_some() && before.stamp == stamp)
            && let Some(again) = before.again()
        {
            return again;
        }
        let dirs = before.map_or_else(|| Arc::new(dirs.clone()), |before| Arc::clone(&before.dirs));
        let mut found = Finding { dirs: &dirs, orphans: Vec::new(), open_files: Vec::new() };
        // A packet file is published before its index, so that an index listed first has its packet file by then.
        let index = found.names("IDX", &dirs.index);
        let packets = found.names("PKT", &dirs.packets);
        let (mut segments, mut kept) = (Vec::new(), None);
        let stamp = stamp.filter(|_| index.is_some() && packets.is_some());
        if let (Some(index), Some(packets)) = (index, packets) {
            let kept_before = before.and_then(|before| before.kept.as_ref());
            // One that is not believed is as good as none.
            kept = Kept::open(&dirs.index.join(CATALOGUE_FILE), kept_before).ok();
            let known = Known::of(&dirs, &index, before, kept.as_ref());
            segments = found.segments(&index, &packets, known);
            found.hidden(&index, &packets, &segments);
            found.missed(before, &packets);
        }
        let Finding { orphans, open_files, .. } = found;
        Self { dirs, stamp, kept, shelf: Shelf::new(segments), orphans, open_files }
    }

    /// Whether it is one of these directories.
    pub(super) fn is_of(&self, dirs: &ThreadDirs) -> bool {
        *self.dirs == *dirs
    }

    /// Writes the catalogue file of the directory, where there is something to be added to it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn keep(&self) -> io::Result<()> {
        let kept = self.shelf.segments_and_kept().map(|(segment, kept)| (&**segment, kept));
        if kept.clone().all(|(segment, kept)| kept.is_some() || !segment.may_be_kept()) {
            return Ok(());
        }
        write(&self.dirs.index, kept)
    }

    /// The same directories with the same names in them: only files that are being written can have become longer. `None` where
    /// one of those has gone after all.
    fn again(&self) -> Option<Self> {
        let now = |file: &OpenFile| {
            let (_, name) = file.name.split_once('/')?;
            let metadata = fs::metadata(self.dirs.packets.join(name)).ok()?;
            Some(OpenFile::new(file.name.clone(), file.thread, file.id, &metadata))
        };
        Some(Self {
            dirs: Arc::clone(&self.dirs),
            stamp: self.stamp,
            kept: self.kept.clone(),
            shelf: self.shelf.clone(),
            orphans: self.orphans.clone(),
            open_files: self.open_files.iter().map(now).collect::<Option<_>>()?,
        })
    }
}

/// Both directories as they are.
fn stamp(dirs: &ThreadDirs) -> Option<[Identity; 2]> {
    let of = |dir: &Path| fs::metadata(dir).map(|metadata| Identity::of(&metadata)).ok();
    Some([of(&dirs.index)?, of(&dirs.packets)?])
}

/// What is known of segments whose index is still the same file, ascending.
struct Known(Vec<(SegmentId, Arc<Segment>, Option<KeptSegment>)>);

impl Known {
    /// By what `before` knew, and by what is kept of those that it did not know.
    fn of(dirs: &Arc<ThreadDirs>, index: &Names, before: Option<&Listing>, kept: Option<&Arc<Kept>>) -> Self {
        let segments = before.map_or(&[][..], |before| before.shelf.segments());
        let mut segments = segments.iter().peekable();
        let mut entries = kept.into_iter().flat_map(|kept| kept.entries().map(move |entry| (kept, entry))).peekable();
        let mut found = Vec::new();
        for &id in &index.sealed {
            while segments.next_if(|segment| segment.id() < id).is_some() {}
            while entries.next_if(|(_, (_, entry))| entry.id < id).is_some() {}
            let segment = segments.next_if(|segment| segment.id() == id);
            let entry = entries.next_if(|(_, (_, entry))| entry.id == id);
            if segment.is_some() || entry.is_some() {
                found.push((id, segment, entry));
            }
        }
        let asked: Vec<SegmentId> = found.iter().map(|(id, ..)| *id).collect();
        let now = identities(&dirs.index, &asked);
        let of_one = |((id, segment, entry), now): ((SegmentId, Option<&Arc<Segment>>, _), Option<Identity>)| {
            let is_now = |identity: Identity| now == Some(identity);
            let segment = segment.filter(|segment| segment.identity().is_none_or(is_now)).cloned();
            let entry: Option<(&Arc<Kept>, (u32, _))> = entry;
            let entry = entry.and_then(|(kept, (number, entry))| {
                let summary = kept.summary(&entry).filter(|_| is_now(entry.identity))?;
                Some((entry.identity, summary, KeptSegment::new(kept, number)))
            });
            match (segment, entry) {
                (Some(segment), entry) => Some((id, segment, entry.map(|(.., kept)| kept))),
                (None, Some((identity, summary, kept))) => {
                    let segment = Segment::with(Arc::clone(dirs), id, identity, summary);
                    Some((id, Arc::new(segment), Some(kept)))
                }
                (None, None) => None,
            }
        };
        Self(found.into_iter().zip(now).filter_map(of_one).collect())
    }
}

/// The index files of these names as they are now; `None` of one that is not there.
fn identities(dir: &Path, ids: &[SegmentId]) -> Vec<Option<Identity>> {
    let Ok(dir) = File::open(dir) else { return vec![None; ids.len()] };
    let look = |ids: &[SegmentId]| -> Vec<Option<Identity>> {
        ids.iter().map(|id| Identity::at(&dir, &id.to_string())).collect()
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).clamp(2, LOOKING_MAX);
    let share = ids.len().div_ceil(threads).max(LOOKED_AT_ALONE);
    if ids.len() <= share {
        return look(ids);
    }
    let look = &look;
    thread::scope(|scope| {
        let shares: Vec<_> = ids.chunks(share).map(|ids| (ids, scope.spawn(move || look(ids)))).collect();
        let found = shares.into_iter().flat_map(|(ids, looking)| {
            // A thread that failed has found nothing.
            looking.join().unwrap_or_else(|_| vec![None; ids.len()])
        });
        found.collect()
    })
}

/// What is found while the directories are listed.
struct Finding<'a> {
    dirs: &'a Arc<ThreadDirs>,
    orphans: Vec<Orphan>,
    open_files: Vec<OpenFile>,
}

impl Finding<'_> {
    fn names(&mut self, kind: &str, dir: &Path) -> Option<Names> {
        match Names::of(dir) {
            Ok(names) => Some(names),
            Err(e) => {
                let name = format!("{kind}{}", self.dirs.thread);
                self.orphans.push(Orphan { name, path: dir.to_owned(), fault: Fault::Io(e.to_string()) });
                None
            }
        }
    }

    /// The segments that are whole by their names.
    fn segments(
        &mut self,
        index: &Names,
        packets: &Names,
        Known(known): Known,
    ) -> Vec<(Arc<Segment>, Option<KeptSegment>)> {
        let (mut known, mut segments) = (known.into_iter().peekable(), Vec::new());
        for (id, [has_packets, has_index]) in either(&packets.sealed, &index.sealed) {
            let (segment, kept) = match known.next_if(|(known, ..)| *known == id) {
                Some((_, segment, kept)) => (segment, kept),
                None => (Arc::new(Segment::new(Arc::clone(self.dirs), id)), None),
            };
            if has_packets && has_index || self.is_whole(&segment, has_packets, has_index) {
                segments.push((segment, kept));
            }
        }
        segments
    }

    /// Whether a segment, one of whose files was not listed, is there nevertheless: what one listing lacks may have come, and
    /// what it has may have gone, between the two.
    fn is_whole(&mut self, segment: &Segment, has_packets: bool, has_index: bool) -> bool {
        let (thread, id) = (segment.thread(), segment.id());
        let (packet_file, index_file) = (segment.packet_file(), segment.index_file());
        let has_packets = has_packets || packet_file.exists();
        let has_index = has_index || index_file.exists();
        if has_packets && has_index {
            return true;
        }
        if has_packets && packet_file.exists() {
            let hidden_index = self.dirs.index.join(id.hidden_name());
            match fs::metadata(&packet_file) {
                // Being published: its index is about to get its name too.
                Ok(metadata) if hidden_index.exists() => {
                    self.open_files.push(OpenFile::new(segment.packet_name(), thread, id, &metadata));
                }
                Ok(_) if index_file.exists() => return true,
                other => {
                    let fault = other.map_or_else(|e| Fault::of_io(&e), |_| Fault::NoIndex);
                    self.orphans.push(Orphan { name: segment.packet_name(), path: packet_file, fault });
                }
            }
        } else if has_index && index_file.exists() && !self.dirs.packets.join(id.hidden_name()).exists() {
            // With its packet file hidden it belongs to that, which is among the open ones: stenographer 1.0.1, stopped
            // on a quiet link, publishes an index alone and leaves an empty packet file.
            self.orphans.push(Orphan { name: segment.index_name(), path: index_file, fault: Fault::NoPackets });
        }
        false
    }

    /// Files that were open `before` and were not come to, though they are there under one of their names: a change within the same
    /// tick of the clock of a file system as another need not show.
    fn missed(&mut self, before: Option<&Listing>, packets: &Names) {
        let ThreadDirs { thread, packets: dir, .. } = &**self.dirs;
        for id in before.into_iter().flat_map(|before| &before.open_files).map(|file| file.id) {
            if packets.hidden.binary_search(&id).is_ok() || packets.sealed.binary_search(&id).is_ok() {
                continue;
            }
            let there = [id.hidden_name(), id.to_string()].into_iter().find_map(|name| {
                let metadata = fs::metadata(dir.join(&name)).ok()?;
                Some(OpenFile::new(format!("PKT{thread}/{name}"), *thread, id, &metadata))
            });
            self.open_files.extend(there);
        }
    }

    /// Files with a leading dot that have not been published since they were listed.
    fn hidden(&mut self, index: &Names, packets: &Names, segments: &[(Arc<Segment>, Option<KeptSegment>)]) {
        let ThreadDirs { thread, packets: packets_dir, index: index_dir } = &**self.dirs;
        for &id in &packets.hidden {
            let path = packets_dir.join(id.hidden_name());
            let name = format!("PKT{thread}/{}", id.hidden_name());
            match fs::metadata(&path) {
                Ok(metadata) => self.open_files.push(OpenFile::new(name, *thread, id, &metadata)),
                // Published between the listing and now: it has just become too young to be searched.
                Err(_) if segments.binary_search_by_key(&id, |(segment, _)| segment.id()).is_ok() => {}
                Err(_) => match fs::metadata(packets_dir.join(id.to_string())) {
                    Ok(metadata) => self.open_files.push(OpenFile::new(name, *thread, id, &metadata)),
                    Err(e) => self.orphans.push(Orphan { name, path, fault: Fault::of_io(&e) }),
                },
            }
        }
        for (id, [is_index, is_packets]) in either(&index.hidden, &packets.hidden) {
            let path = index_dir.join(id.hidden_name());
            let is_alone = is_index && !is_packets && packets.sealed.binary_search(&id).is_err();
            if is_alone && path.exists() {
                let name = format!("IDX{thread}/{}", id.hidden_name());
                self.orphans.push(Orphan { name, path, fault: Fault::NoPackets });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicBool, Ordering},
        thread::sleep,
        time::Duration,
    };

    use super::*;

    #[test]
    fn a_file_that_was_open_and_is_in_no_list_of_names_is_looked_for_by_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let [packets, index] = ["packets", "index"].map(|name| dir.path().join(name));
        [&packets, &index].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
        fs::write(packets.join(".5"), "packets").unwrap();
        let dirs = ThreadDirs { thread: 0, packets: packets.clone(), index };
        let before = Listing::of(&dirs, None);
        let missed = |names: &Names| {
            let mut found = Finding { dirs: &before.dirs, orphans: Vec::new(), open_files: Vec::new() };
            found.missed(Some(&before), names);
            found.open_files.into_iter().map(|file| (file.name, file.id.0, file.bytes)).collect::<Vec<_>>()
        };
        let none = Names::default();
        assert_eq!(missed(&none), [("PKT0/.5".to_owned(), 5, 7)]);
        assert_eq!(missed(&Names { hidden: vec![SegmentId(5)], ..Names::default() }), []);
        fs::rename(packets.join(".5"), packets.join("5")).unwrap();
        assert_eq!(missed(&none), [("PKT0/5".to_owned(), 5, 7)]);
        assert_eq!(missed(&Names { sealed: vec![SegmentId(5)], ..Names::default() }), []);
        fs::remove_file(packets.join("5")).unwrap();
        assert_eq!(missed(&none), []);
    }

    #[test]
    fn a_file_that_gets_its_name_while_the_directory_is_listed_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let [packets, index] = ["packets", "index"].map(|name| dir.path().join(name));
        [&packets, &index].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
        // So many that the directory is read in pieces.
        let all: BTreeSet<u64> = (10_000..13_000).collect();
        for name in &all {
            fs::write(packets.join(format!(".{name}")), "packets").unwrap();
        }
        let dirs = ThreadDirs { thread: 0, packets: packets.clone(), index };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _publishing = scope.spawn(|| {
                let names = all.iter().cycle();
                for (name, from) in names.zip((0..).map(|at| at / all.len())) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (hidden, sealed) = (packets.join(format!(".{name}")), packets.join(name.to_string()));
                    let (one, other) = if from % 2 == 0 { (hidden, sealed) } else { (sealed, hidden) };
                    fs::rename(one, other).unwrap();
                    sleep(Duration::from_millis(30));
                }
            });
            let mut before: Option<Listing> = None;
            // By whom it was listed before, and by whom it was not.
            for round in 0..150 {
                let listing = Listing::of(&dirs, before.as_ref().filter(|_| round % 2 == 0));
                let open = listing.open_files.iter().map(|file| file.id.0);
                let alone = listing.orphans.iter().map(|orphan| {
                    let name = orphan.path.file_name().unwrap().to_str().unwrap();
                    name.trim_start_matches('.').parse().unwrap()
                });
                let found: BTreeSet<u64> = open.chain(alone).collect();
                let missed: Vec<_> = all.difference(&found).collect();
                if !missed.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                }
                assert!(missed.is_empty(), "{missed:?}");
                before = Some(listing);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
