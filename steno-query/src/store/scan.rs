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

/// The names in a directory of segments, ascending.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Published files.
    pub(super) sealed: Vec<SegmentId>,
    /// Files with a leading dot.
    pub(super) hidden: Vec<SegmentId>,
}

impl Names {
    /// Lists a directory of packet files or of index files. Other names than those of segments are not ours.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let (sealed, hidden) = steno_index::segment::scan_dir(dir)?;
        Ok(Self { sealed, hidden })
    }
}

/// The members of two lists, which ascend, and whether each is in the one and in the other.
pub(super) fn either<'a>(
    one: &'a [SegmentId],
    other: &'a [SegmentId],
) -> impl Iterator<Item = (SegmentId, [bool; 2])> + 'a {
    let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
    std::iter::from_fn(move || {
        let next = [one.peek(), other.peek()].into_iter().flatten().min().copied()?;
        Some((next, [one.next_if_eq(&next).is_some(), other.next_if_eq(&next).is_some()]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_apart_member_by_member() {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(SegmentId).collect::<Vec<_>>();
        let found: Vec<_> = either(&ids(&[1, 3, 4]), &ids(&[0, 3, 5])).map(|(id, [a, b])| (id.0, a, b)).collect();
        let expected = [(0, false, true), (1, true, false), (3, true, true), (4, true, false), (5, false, true)];
        assert_eq!(found, expected);
        assert_eq!(either(&[], &[]).count(), 0);
    }
}
