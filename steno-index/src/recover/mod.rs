//! What a capture that was killed left behind: packet files without an index, hidden or published.
//!
//! A hidden packet file is cut behind its last whole block and published with an index of its whole blocks; one that was
//! published alone gets its index; an index without packets is set aside. Nothing that reached the disk whole is deleted,
//! whoever wrote it. Files of stenographer 1.0.1 are recovered alike, but not cut: nothing of them is changed but the name. It may be interrupted at any instruction and done again.
//! This is the one piece of code for it, whoever recovers: a capture what an earlier one left, `steno verify --repair` also
//! what a disk has damaged ([`repair`]).

mod repair;
#[cfg(test)]
mod tests;
mod walk;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, XattrFlags, fgetxattr_query, flock, fsetxattr},
    io::Errno,
};
use steno_core::{SegmentId, TimestampNs, is_written_elsewhere};

pub use self::repair::{Repaired, repair};
use self::walk::{not_whole, walk, walk_on, write};
use crate::{
    Facts, Gap, IndexError, Log, Summary,
    packet_file::block_bytes_of_remains,
    segment::{SegmentPaths, scan_dir},
    verify_segment,
};

/// The extended attribute of Steno's packet files.
const MARK: &str = "user.steno";

/// Writes the index of a log in the format that is wanted.
pub type WriteIndex<'a> = &'a mut dyn FnMut(&Log, &Facts, &mut dyn Write) -> Result<Summary, IndexError>;

/// What was left of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// A packet file that was being written.
    Hidden,
    /// A published packet file without an index.
    WithoutIndex,
    /// An index without a packet file.
    WithoutPackets,
}

/// What a recovery goes by.
pub struct Means<'a> {
    /// Those of the capture, but for the distance of the blocks, which the file tells.
    pub facts: &'a Facts,
    /// Without it a hidden packet file is published alone.
    pub write_index: Option<WriteIndex<'a>>,
    /// Asked before each block.
    pub called_off: &'a dyn Fn() -> bool,
    /// Whether a hidden packet file of Steno's that holds no whole block is removed; else it stays.
    pub remove_husks: bool,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").field("facts", self.facts).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovered {
    /// It is published, with its index.
    Published {
        /// Packets in it.
        packets: u32,
        /// Bytes behind the last whole block that were cut off.
        cut_bytes: u64,
        /// Blocks before the last whole one that are not whole themselves: they were never written, or are torn.
        holes: u32,
    },
    /// An index without packets bears this name now. It promises packets that are not there.
    SetAside(PathBuf),
    /// It holds no whole block. It is removed, where that was wanted.
    Nothing {
        /// Bytes that it has, or had.
        cut_bytes: u64,
    },
    /// Somebody is writing it.
    InUse,
    /// It was called off. What is there is as it was.
    CalledOff,
}

/// Why a segment could not be recovered. Its files are as they were.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// The system refused something.
    #[error("{what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index could not be made.
    #[error("index {}", path.display())]
    Index {
        /// The packet file.
        path: PathBuf,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// The files could not get their names.
    #[error("publish it")]
    Publish(#[source] io::Error),
}

/// What was left in the directories of a thread, by name. Files that are being written are among them; [`recover`] tells.
///
/// # Errors
/// What the system says, with the directory's name.
pub fn leftovers(packets_dir: &Path, index_dir: &Path) -> io::Result<Vec<(SegmentId, Left)>> {
    // The index is published last. Listed first, it is not missed beside a packet file that was.
    let (with_index, _) = scan_dir(index_dir)?;
    let (published, hidden) = scan_dir(packets_dir)?;
    let alone = published.iter().copied().filter(|id| with_index.binary_search(id).is_err());
    let has_packets = |id: &SegmentId| published.binary_search(id).is_ok() || hidden.binary_search(id).is_ok();
    let promises = with_index.iter().copied().filter(|id| !has_packets(id));
    let mut left: Vec<_> = hidden.iter().map(|id| (*id, Left::Hidden)).collect();
    left.extend(alone.map(|id| (id, Left::WithoutIndex)));
    left.extend(promises.map(|id| (id, Left::WithoutPackets)));
    left.sort_unstable();
    Ok(left)
}

/// Marks a packet file as being written, as long as it is open: nobody recovers it meanwhile.
///
/// # Errors
/// What flock(2) says; `WouldBlock` where somebody else has it.
pub fn claim(packet_file: &File) -> io::Result<()> {
    Ok(flock(packet_file, FlockOperation::NonBlockingLockExclusive)?)
}

/// Marks a packet file as one that Steno writes (extended attribute `user.steno`). Of others, such as those of stenographer 1.0.1,
/// recovery neither cuts nor removes anything.
///
/// # Errors
/// What fsetxattr(2) says: not every file system has such attributes.
pub fn mark(packet_file: &File) -> io::Result<()> {
    Ok(fsetxattr(packet_file, MARK, b"packets", XattrFlags::empty())?)
}

/// Where a file system knows no such attributes, all files are taken for marked.
fn is_marked(packet_file: &File) -> bool {
    matches!(fgetxattr_query(packet_file, MARK), Ok(_) | Err(Errno::NOTSUP))
}

/// Recovers what was left of a segment.
///
/// # Errors
/// What keeps it from being published. It can be tried again.
pub fn recover(paths: &SegmentPaths, left: Left, means: Means<'_>) -> Result<Recovered, RecoverError> {
    let path = match left {
        Left::Hidden => paths.hidden_packet_file(),
        Left::WithoutIndex => paths.packet_file(),
        Left::WithoutPackets => return set_aside_index(paths, "without-packets"),
    };
    let Means { facts, write_index, called_off, remove_husks } = means;
    let failed = |what| {
        let path = path.clone();
        move |source| RecoverError::File { what, path, source }
    };
    // For writing, so that the lock and the cut are those of one open file.
    let mut options = OpenOptions::new();
    let _ = options.read(true).write(left == Left::Hidden);
    let mut packets = match options.open(&path) {
        Ok(file) => file,
        // Published or removed since it was listed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Recovered::InUse),
        Err(e) => return Err(failed("open")(e)),
    };
    match claim(&packets) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Recovered::InUse),
        Err(e) => return Err(failed("lock")(e)),
    }
    // Who writes it need not know of the lock: stenographer 1.0.1 does not.
    let is_written = left == Left::Hidden && is_written_elsewhere(&packets).unwrap_or(false);
    if is_written || is_published(paths, left) {
        return Ok(Recovered::InUse);
    }
    let file_bytes = packets.metadata().map_err(failed("look at"))?.len();
    let is_ours = is_marked(&packets);
    if left == Left::Hidden && file_bytes == 0 && !is_ours {
        return Ok(Recovered::Nothing { cut_bytes: 0 });
    }
    if left == Left::Hidden && paths.index_file().exists() {
        // Of the two renames of publishing, the disk has kept the second alone.
        let report = verify_segment(&path, &paths.index_file());
        if report.is_clean() {
            paths.publish_without_index().map_err(RecoverError::Publish)?;
            return Ok(Recovered::Published { packets: report.packets, cut_bytes: 0, holes: report.holes });
        }
        let _aside = set_aside_index(paths, "damaged")?;
    }
    let index_failed = |source| RecoverError::Index { path: path.clone(), source };
    let block_bytes = block_bytes_of_remains(&packets, facts.block_bytes).map_err(index_failed)?;
    let mut facts = Facts { block_bytes, ..facts.clone() };
    let mut log = Log::new();
    let Some(walked) = walk(&mut packets, block_bytes, paths.id(), &mut log, called_off).map_err(index_failed)? else {
        return Ok(Recovered::CalledOff);
    };
    let whole_bytes = walked.end;
    facts.gaps.extend(walked.gaps);
    if walked.end == 0 && left == Left::Hidden {
        if remove_husks && is_ours {
            fs::remove_file(&path).map_err(failed("remove"))?;
        }
        return Ok(Recovered::Nothing { cut_bytes: file_bytes });
    }
    if left == Left::Hidden && is_ours && whole_bytes != file_bytes {
        packets.set_len(whole_bytes).map_err(failed("cut"))?;
    }
    let with_index = write_index.is_some();
    if let Some(write_index) = write_index {
        let _summary = write(&paths.hidden_index_file(), &log, &facts, write_index)?;
    }
    let published = match left {
        Left::Hidden if with_index => paths.publish(),
        Left::Hidden => paths.publish_without_index(),
        Left::WithoutIndex if with_index => paths.publish_index(),
        Left::WithoutIndex | Left::WithoutPackets => Ok(()),
    };
    published.map_err(RecoverError::Publish)?;
    let cut_bytes = if is_ours { file_bytes.saturating_sub(whole_bytes) } else { 0 };
    Ok(Recovered::Published { packets: log.packets(), cut_bytes, holes: walked.holes })
}

/// Notes the whole blocks of the packet file of segment `id`, which was written until `until` and is read from its beginning:
/// those behind one that is damaged, too. Gives how many are not whole, and what times they are of.
///
/// # Errors
/// [`IndexError::ReadPackets`]; [`IndexError::TooLarge`] for a file past 4 GiB; [`IndexError::Corrupt`] for
/// `block_bytes` that hold no block.
pub fn note_whole_blocks(
    packets: &mut impl Read,
    block_bytes: u32,
    id: SegmentId,
    until: TimestampNs,
    log: &mut Log,
) -> Result<(u32, Vec<Gap>), IndexError> {
    let Some(walked) = walk_on(packets, block_bytes, id, log, &|| false)? else { return Ok((0, Vec::new())) };
    let (from, behind, mut gaps) = (walked.latest, walked.behind, walked.gaps);
    if behind > 0 {
        gaps.push(Gap { from, to: until.max(from), reason: not_whole(behind) });
    }
    Ok((walked.holes + behind, gaps))
}

/// Gives an index another name.
fn set_aside_index(paths: &SegmentPaths, why: &str) -> Result<Recovered, RecoverError> {
    let (from, to) = (paths.index_file(), free_name(paths, why));
    match fs::rename(&from, &to) {
        Ok(()) => Ok(Recovered::SetAside(to)),
        // Retention, which removes the index first, was between the two listings.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Recovered::InUse),
        Err(source) => Err(RecoverError::File { what: "rename", path: from, source }),
    }
}

/// A name for a segment's index under which nobody looks for one, and which is not taken: its own and a word.
fn free_name(paths: &SegmentPaths, why: &str) -> PathBuf {
    let name = |n: u32| {
        let number = if n == 0 { String::new() } else { format!(".{n}") };
        paths.index_file().with_file_name(format!("{}.{why}{number}", paths.id()))
    };
    (0..u32::MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(u32::MAX))
}

/// Whether it was published between the listing and the lock.
fn is_published(paths: &SegmentPaths, left: Left) -> bool {
    match left {
        Left::Hidden => !paths.hidden_packet_file().exists(),
        Left::WithoutIndex | Left::WithoutPackets => paths.index_file().exists(),
    }
}
