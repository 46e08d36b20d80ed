//! The names of a thread's files: when each was opened, and ascending.

use std::{
    io,
    path::{Path, PathBuf},
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::segment::{SegmentPaths, scan_dir};

use super::Place;

/// How far ahead of the clock names may run. A clock that is set back by less than this costs names that say too late a
/// time, in the right order; files from further ahead were named by a clock that was wrong, and are not followed.
const AHEAD_MOST_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// Gives out the names of a thread's files, each after all before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    last: SegmentId,
}

impl Names {
    /// Goes on after `last`.
    pub(super) fn after(last: SegmentId) -> Self {
        Self { last }
    }

    /// Goes on after the files that are there, of whatever process, published or not.
    pub(super) fn of(place: &Place, now: TimestampNs) -> io::Result<Self> {
        let mut last = SegmentId(0);
        for dir in [&place.packets_dir, &place.index_dir] {
            let (published, hidden) = scan_dir(dir)?;
            let followed = published.into_iter().chain(hidden).filter(|id| follows(*id, now));
            last = last.max(followed.max().unwrap_or_default());
        }
        Ok(Self { last })
    }

    /// The name of a file that is opened now.
    pub(super) fn next(&mut self, place: &Place, now: TimestampNs) -> io::Result<SegmentPaths> {
        let SegmentId(mut micros) = SegmentId::at(now);
        if follows(self.last, now) {
            micros = micros.max(self.last.0 + 1);
        }
        loop {
            let paths = SegmentPaths::new(&place.packets_dir, &place.index_dir, SegmentId(micros));
            // Another process may have put files there meanwhile.
            let all = [paths.packet_file(), paths.hidden_packet_file(), paths.index_file(), paths.hidden_index_file()];
            if !any_exists(&all)? {
                self.last = SegmentId(micros);
                return Ok(paths);
            }
            micros += 1;
        }
    }
}

/// Whether names go on after this one.
fn follows(last: SegmentId, now: TimestampNs) -> bool {
    last.0 <= SegmentId::at(now).0.saturating_add(AHEAD_MOST_MICROS)
}

fn any_exists(paths: &[PathBuf]) -> io::Result<bool> {
    for path in paths {
        if Path::try_exists(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: u64 = 1_795_395_475_661_823;
    const HOUR: u64 = 60 * 60 * 1_000_000;

    fn at(micros: u64) -> TimestampNs {
        TimestampNs::new(micros * 1_000 + 999)
    }

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { packets_dir: dir.path().join("p"), index_dir: dir.path().join("i") };
        fs::create_dir(&place.packets_dir).unwrap();
        fs::create_dir(&place.index_dir).unwrap();
        (dir, place)
    }

    #[test]
    fn names_ascend_whatever_the_clock_does() {
        let (_dir, place) = place();
        let mut names = Names::of(&place, at(NOW)).unwrap();
        let mut next = |micros| names.next(&place, at(micros)).unwrap().id().0 - NOW;
        assert_eq!([NOW, NOW + 5, NOW + 5, NOW + 5].map(&mut next), [0, 5, 6, 7], "it stands still");
        assert_eq!([NOW - 2, NOW - 23 * HOUR, NOW + 9].map(&mut next), [8, 9, 10], "it is set back");
        assert_eq!(next(NOW + HOUR), HOUR);
    }

    #[test]
    fn names_go_on_after_those_of_an_earlier_process() {
        for name in ["p/N", "p/.N", "i/N", "i/.N"] {
            let (dir, place) = place();
            let there = |ahead: u64| fs::write(dir.path().join(name.replace('N', &(NOW + ahead).to_string())), "");
            there(0).unwrap();
            let mut names = Names::of(&place, at(NOW)).unwrap();
            assert_eq!(names.next(&place, at(NOW)).unwrap().id().0, NOW + 1, "{name}: the same microsecond");
            there(2 * HOUR).unwrap();
            let mut names = Names::of(&place, at(NOW)).unwrap();
            assert_eq!(
                names.next(&place, at(NOW)).unwrap().id().0,
                NOW + 2 * HOUR + 1,
                "{name}: the clock was set back"
            );
        }
    }

    #[test]
    fn a_name_that_is_taken_meanwhile_is_passed_over() {
        let (_dir, place) = place();
        let mut names = Names::after(SegmentId(NOW));
        fs::write(place.index_dir.join((NOW + 1).to_string()), "").unwrap();
        assert_eq!(names.next(&place, at(NOW)).unwrap().id().0, NOW + 2);
    }

    #[test]
    fn files_of_a_clock_that_was_wrong_are_not_followed() {
        let (_dir, place) = place();
        for name in [NOW + 25 * HOUR, u64::MAX] {
            fs::write(place.packets_dir.join(name.to_string()), "").unwrap();
        }
        let mut names = Names::of(&place, at(NOW)).unwrap();
        assert_eq!(names.next(&place, at(NOW)).unwrap().id().0, NOW);
        let mut names = Names::after(SegmentId(NOW + 25 * HOUR));
        assert_eq!(names.next(&place, at(NOW)).unwrap().id().0, NOW);
    }
}
