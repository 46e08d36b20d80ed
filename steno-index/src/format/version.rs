//! Versions of files, and what of their contents depends on them (`docs/format/index.md` section 2).

use super::ROWS;

/// The highest major version written and read.
pub const FORMAT_MAJOR: u16 = 4;
/// Its highest minor version written.
pub const FORMAT_MINOR: u16 = 1;
/// The oldest major version read. It is still written where there is nothing for row groups to shorten.
pub(crate) const OLDEST_MAJOR: u16 = 3;
/// Its highest minor version. A file that has nothing of it says a lower one.
pub(crate) const OLDEST_MAJOR_MINOR: u16 = 2;
/// Its first minor version with facts of losses and with fragments. Version 4.0 has both.
pub(crate) const MINOR_WITH_LOSSES: u16 = 1;
/// Its first minor version with running checksums. The next one has them from 4.1 on.
pub(crate) const MINOR_WITH_RUNNING_CHECKSUMS: u16 = OLDEST_MAJOR_MINOR;

/// The first version whose blocks of values may have lists.
pub(crate) const FIRST_WITH_LISTS: (u16, u16) = (4, 0);

/// The version of a file of so many conversations that has what came with `minor` of the oldest major version.
pub(crate) fn version_of(conversations: u32, minor: u16) -> (u16, u16) {
    match most_row_groups(FORMAT_MAJOR, conversations) > 0 {
        true => (FORMAT_MAJOR, minor.saturating_sub(MINOR_WITH_LOSSES)),
        false => (OLDEST_MAJOR, minor),
    }
}

/// Row groups of a file of so many conversations.
pub(crate) const fn row_groups(conversations: u32) -> u32 {
    conversations.div_ceil(ROWS)
}

/// An item that is in no more row groups than this is posted by row groups, not by conversations: where few are looked
/// through, a search costs little, and the bits that tell the conversations of a group apart need not be stored.
pub(crate) fn most_row_groups(major: u16, conversations: u32) -> u64 {
    let groups = u64::from(row_groups(conversations));
    if major <= OLDEST_MAJOR { 0 } else { (groups / 4).min(16 + groups / 128) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_four_row_groups_and_more_are_of_the_new_version() {
        assert_eq!([version_of(0, 0), version_of(3 * 128, 1)], [(3, 0), (3, 1)]);
        assert_eq!([version_of(3 * 128 + 1, 0), version_of(1 << 20, 1)], [(4, 0); 2]);
        let newest = (FORMAT_MAJOR, FORMAT_MINOR);
        assert_eq!([version_of(0, 2), version_of(1 << 20, 2), newest], [(3, 2), (4, 1), (4, 1)]);
    }

    #[test]
    fn row_groups_are_for_what_is_rare() {
        let most = |groups: u32| most_row_groups(4, groups * 128);
        assert_eq!([3, 4, 16, 256, 320, 8192].map(most), [0, 1, 4, 18, 18, 80]);
        assert_eq!(most_row_groups(3, u32::MAX), 0, "the version before has none");
        assert!(most(u32::MAX / 128) < 1 << 21);
    }
}
