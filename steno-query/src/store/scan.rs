//! Lists the directories of a store.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use steno_core::SegmentId;

/// Where the files of a capture thread lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadDirs {
    /// The number of the thread, the `i` of `PKT<i>` and `IDX<i>`.
    pub thread: u32,
    /// Its packet files.
    pub packets: PathBuf,
    /// Its index files.
    pub index: PathBuf,
}

/// The threads of a store: every `i` of which `PKT<i>` or `IDX<i>` is in `dir`, ascending.
pub(super) fn threads(dir: &Path) -> io::Result<Vec<ThreadDirs>> {
    let mut numbers = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_str().unwrap_or_default();
        let digits = name.strip_prefix("PKT").or_else(|| name.strip_prefix("IDX")).unwrap_or_default();
        // One spelling a number, so that the name can be rebuilt from it.
        if let Some(number) = digits.parse::<u32>().ok().filter(|n| n.to_string() == digits) {
            let _new = numbers.insert(number);
        }
    }
    let dirs = |thread| ThreadDirs {
        thread,
        packets: dir.join(format!("PKT{thread}")),
        index: dir.join(format!("IDX{thread}")),
    };
    Ok(numbers.into_iter().map(dirs).collect())
}

/// The names in a directory of segments.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Published files.
    pub(super) sealed: BTreeSet<SegmentId>,
    /// Files with a leading dot.
    pub(super) hidden: BTreeSet<SegmentId>,
}

/// Lists a directory of packet files or of index files. Other names than those of segments are not ours.
pub(super) fn names(dir: &Path) -> io::Result<Names> {
    let (sealed, hidden) = steno_index::segment::scan_dir(dir)?;
    Ok(Names { sealed: sealed.into_iter().collect(), hidden: hidden.into_iter().collect() })
}
