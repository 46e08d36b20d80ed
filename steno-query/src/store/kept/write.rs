//! Makes a catalogue file, and puts it in the place of the one before by a rename.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use steno_core::{Clock, SystemClock, TimestampNs, crc32c};
use steno_index::{Facts, Index};

use super::{
    CATALOGUE_FILE, Kept, KeptGroup, KeptSegment,
    filter::{BLOCK_BYTES, blocks_for, insert},
    format::{Entry, Group, HEADER_BYTES, Header, Part},
    group::{Member, make_filters, plan},
};
use crate::store::{Segment, identity::Identity};

/// A file that was begun so long ago was left by a writer that died.
const LEFT_AFTER: Duration = Duration::from_secs(3600);

/// What is to be kept of a segment. The parts of the entry say nothing yet of where they are.
struct Content {
    entry: Entry,
    lost: Vec<u8>,
    filter: Vec<u8>,
    /// How many addresses its index has; `None` where it was not looked into.
    addresses: Option<u64>,
}

/// Writes what is known of `segments`, which ascend, into the catalogue file of the directory `dir` of indexes: what is kept by
/// now is taken as it is, the other indexes are opened. Of one that cannot be read, or has just been written, nothing is kept.
/// Where there is nothing to be added, nothing is written.
///
/// # Errors
/// What the system says.
pub(in crate::store) fn write<'a>(
    dir: &Path,
    segments: impl Iterator<Item = (&'a Segment, Option<&'a KeptSegment>)> + Clone,
) -> io::Result<()> {
    let is_new = |(segment, kept): (&Segment, Option<&KeptSegment>)| kept.is_none() && Content::of(segment).is_some();
    if !segments.clone().any(is_new) {
        return Ok(());
    }
    remove_left(dir);
    let mut file = Unfinished::create(dir)?;
    let mut out = BufWriter::new(&file.file);
    out.write_all(&[0; HEADER_BYTES])?;
    let (mut at, mut table, mut members) = (HEADER_BYTES as u64, Vec::new(), Vec::new());
    // All that is kept is kept in one file.
    let before = segments.clone().find_map(|(_, kept)| Some(kept?.place().0));
    for (segment, kept) in segments {
        let known = kept.and_then(KeptSegment::parts);
        let known = known.map(|(entry, lost, filter)| {
            let (lost, filter) = (lost.to_vec(), filter.to_vec());
            Content { entry, lost, filter, addresses: None }
        });
        let is_known = known.is_some();
        let Some(content) = known.or_else(|| Content::of(segment)) else { continue };
        let Content { mut entry, lost, filter, addresses } = content;
        entry.filter = put(&mut out, &mut at, &filter)?;
        entry.lost = put(&mut out, &mut at, &lost)?;
        entry.encode(&mut table);
        let before = kept.filter(|_| is_known).map(|kept| kept.place().1);
        members.push(Member { segment, identity: entry.identity, addresses, before });
    }
    let (groups_table, groups) = groups(&members, before, &mut out, &mut at)?;
    out.write_all(&groups_table)?;
    out.write_all(&table)?;
    out.flush()?;
    drop(out);
    let entries_at = at + groups_table.len() as u64;
    let header = Header {
        entries: number(members.len()),
        file_bytes: entries_at + table.len() as u64,
        entries_at,
        entries_crc: crc32c::crc32c(&table),
        groups,
        groups_at: at,
        groups_crc: crc32c::crc32c(&groups_table),
    };
    file.file.write_all_at(&header.encode(), 0)?;
    // It is not synced: what a power failure leaves of it does not bear its checksums.
    file.publish(&dir.join(CATALOGUE_FILE))
}

/// Writes the filters of the groups that `members` fall into; says what is to stand in the table of groups, and how many stand there.
/// Filters of the file `before` are taken as they are.
fn groups(
    members: &[Member<'_>],
    before: Option<&Arc<Kept>>,
    out: &mut impl Write,
    at: &mut u64,
) -> io::Result<(Vec<u8>, u32)> {
    let places: Vec<Option<u32>> = members.iter().map(|member| member.before).collect();
    let mut planned = plan(&places, before.map(|before| &**before));
    let mut filters: Vec<Option<Part>> = vec![None; planned.len()];
    for (planned, place) in planned.iter_mut().zip(&mut filters) {
        let known = before.zip(planned.before).and_then(|(before, group)| KeptGroup::new(before, group).bytes());
        match known {
            Some(filter) => *place = Some(put(out, at, &filter)?),
            None => planned.before = None,
        }
    }
    make_filters(members, &planned, &mut |group, filter| {
        let part = put(out, at, &filter)?;
        if let Some(place) = filters.get_mut(group) {
            *place = Some(part);
        }
        Ok(())
    })?;
    let (mut table, mut groups) = (Vec::new(), 0);
    // One whose indexes cannot be read now is made another time.
    for (planned, filter) in planned.iter().zip(filters).filter_map(|(planned, filter)| Some((planned, filter?))) {
        let (first, end) = (planned.entries.start, planned.entries.end);
        Group { first, entries: end - first, level: planned.level, filter }.encode(&mut table);
        groups += 1;
    }
    Ok((table, groups))
}

/// How many there are: of entries and of bytes of a part there are never as many as do not fit.
fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Writes a part and fills up to the next block of a filter, so that each of those lies in one line of the processor's cache.
fn put(out: &mut impl Write, at: &mut u64, bytes: &[u8]) -> io::Result<Part> {
    let part = Part { at: *at, bytes: number(bytes.len()), crc: crc32c::crc32c(bytes) };
    out.write_all(bytes)?;
    let fill = bytes.len().next_multiple_of(BLOCK_BYTES) - bytes.len();
    out.write_all([0; BLOCK_BYTES].get(..fill).unwrap_or_default())?;
    *at += (bytes.len() + fill) as u64;
    Ok(if bytes.is_empty() { Part::default() } else { part })
}

impl Content {
    /// Of an index of Steno's own that is whole as far as it is looked at, and of which every change to come would show.
    fn of(segment: &Segment) -> Option<Self> {
        if !segment.may_be_kept() {
            return None;
        }
        let (path, now) = (segment.index_file(), SystemClock.now());
        let identity = || fs::metadata(&path).map(|metadata| Identity::of(&metadata)).ok();
        let before = identity().filter(|identity| identity.is_settled(now))?;
        // Not the one that the segment may keep open: what is kept is of the file that has the name.
        let index = Index::open(&path).ok()?;
        let filter = filter_of(&index)?;
        let Facts { drops, gaps, losses, clock_steps, .. } = index.facts().ok()?.clone();
        let nothing = drops.is_empty() && gaps.is_empty() && losses.is_empty() && clock_steps.is_empty();
        let facts = Facts { drops, gaps, losses, clock_steps, ..Facts::default() };
        let (lost, tags) = if nothing { (Vec::new(), 0) } else { facts.encode().ok()? };
        let entry = Entry {
            id: segment.id(),
            identity: before,
            times: index.time_range().unwrap_or((TimestampNs::MIN, TimestampNs::MIN)),
            packets: index.packets(),
            lost: Part::default(),
            lost_tags: u32::try_from(tags).ok()?,
            filter: Part::default(),
        };
        let is_small = u32::try_from(lost.len()).is_ok();
        (is_small && identity() == Some(before)).then_some(Self {
            entry,
            lost,
            filter,
            addresses: Some(index.addresses()),
        })
    }
}

/// The filter of an index, without bytes where that is not worth having; `None` where the index fails.
fn filter_of(index: &Index) -> Option<Vec<u8>> {
    let Some(blocks) = blocks_for(index.addresses()) else { return Some(Vec::new()) };
    let mut filter = vec![0; blocks as usize * BLOCK_BYTES];
    index.each_address(&mut |address| insert(&mut filter, address.into())).ok()?;
    Some(filter)
}

/// Begun files of this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// A file that has no name yet that anybody looks for. Dropped, it is removed.
struct Unfinished {
    file: File,
    path: Option<PathBuf>,
}

impl Unfinished {
    /// Only its owner may read it, as the indexes.
    fn create(dir: &Path) -> io::Result<Self> {
        let number = BEGUN.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{CATALOGUE_FILE}.{}-{number}", std::process::id()));
        let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = match create() {
            // Left by another process of this number.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                create()?
            }
            created => created?,
        };
        Ok(Self { file, path: Some(path) })
    }

    fn publish(&mut self, path: &Path) -> io::Result<()> {
        let Some(own) = self.path.take() else { return Ok(()) };
        fs::rename(&own, path).inspect_err(|_| self.path = Some(own))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What stays is removed by a later writer.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes what writers that died have left.
fn remove_left(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let prefix = OsString::from(format!("{CATALOGUE_FILE}."));
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            continue;
        }
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age >= LEFT_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
