//! How many packets have passed since an earlier capture began, and are neither on the disk nor told as lost.

use steno_core::SegmentId;
use steno_index::{
    Index,
    segment::{SegmentPaths, scan_dir},
};

use super::{Entry, balance::Accounted};
use crate::segment::Place;

/// Packets that nobody captured, of what an earlier capture's entry tells of. To be called once everything that it left is recovered.
///
/// `beyond` is what the interface has counted beyond what this capture received; `first` are the first segments of this one's
/// threads. `None` where it can't be known: the interface has counted anew, or a segment can't be read.
pub(super) fn missing(earlier: &Entry, beyond: i64, places: &[Place], first: &[SegmentId]) -> Option<u64> {
    // What passed since the earlier capture began, but for what this one received: the interface's count went from
    // `earlier.beyond` + received to `beyond` + 0.
    let passed = beyond.checked_sub(earlier.beyond).and_then(|passed| u64::try_from(passed).ok())?;
    let mut owed = earlier.owed;
    let mut known = 0u64;
    for (number, &(through, packets)) in earlier.threads.iter().enumerate() {
        let (place, first) = (places.get(number)?, *first.get(number)?);
        let since = published(place, through, first)?;
        known = known.saturating_add(packets).saturating_add(since.packets);
        owed = owed.saturating_sub(since.uncaptured);
    }
    Some(passed.saturating_sub(known).saturating_add(owed))
}

/// What the segments behind `through` and before `first` account for.
fn published(place: &Place, through: SegmentId, first: SegmentId) -> Option<Accounted> {
    let (ids, _) = scan_dir(&place.index_dir).ok()?;
    let mut sum = Accounted::default();
    for id in ids.into_iter().filter(|id| (through.0.saturating_add(1)..first.0).contains(&id.0)) {
        let paths = SegmentPaths::new(&place.packets_dir, &place.index_dir, id);
        let index = Index::open(&paths.index_file()).ok()?;
        sum = sum.and(Accounted::of(index.packets(), index.facts().ok()?));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use steno_core::{
        block::BlockWriter,
        testkit::{block_of, recipe},
    };
    use steno_index::{Cause, Drops, Facts, Loss, index_packet_file};

    use super::*;
    use crate::ledger::Identity;

    const BLOCK: u32 = 1 << 16;

    fn place(dir: &Path, thread: u32) -> Place {
        let place =
            Place { packets_dir: dir.join(format!("PKT{thread}")), index_dir: dir.join(format!("IDX{thread}")) };
        fs::create_dir(&place.packets_dir).unwrap();
        fs::create_dir(&place.index_dir).unwrap();
        place
    }

    /// A segment of two packets, which tells of losses.
    fn segment(place: &Place, id: u64, (dropped, not_written, uncaptured): (u64, u64, u64)) {
        let mut writer = BlockWriter::new(BLOCK);
        let packets = recipe("1.0 ip 10.0.0.1 > 10.0.0.2 udp 1 > 2\n1.5 ip 10.0.0.1 > 10.0.0.2 udp 1 > 2").unwrap();
        assert_eq!(block_of(&mut writer, &packets), Ok(2));
        let loss = |cause, count| Loss { second: 1, cause, count };
        let facts = Facts {
            block_bytes: BLOCK,
            drops: vec![Drops { second: 1, packets: dropped }],
            losses: vec![loss(Cause::NotWritten, not_written), loss(Cause::Uncaptured, uncaptured)],
            ..Facts::default()
        };
        let mut index = Vec::new();
        let _built = index_packet_file(&mut &writer.finish(1)[..], &facts, &mut index).unwrap();
        fs::write(place.index_dir.join(id.to_string()), index).unwrap();
    }

    #[test]
    fn what_is_neither_stored_nor_told_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let places = [place(dir.path(), 0), place(dir.path(), 1)];
        // Of the capture before that, accounted for, recovered, recovered, and of this capture.
        (0..).zip([5, 20, 21, 22, 30]).for_each(|(n, id)| segment(&places[0], id, (n, n, 1)));
        segment(&places[1], 15, (0, 0, 0));
        let entry = Entry {
            identity: Identity { boot: "b".to_owned(), namespace: 1, interface: 2 },
            beyond: 1_000,
            owed: 0,
            threads: vec![(SegmentId(20), 100), (SegmentId(9), 10)],
        };
        let first = [SegmentId(30), SegmentId(30)];
        let missing = |entry: &Entry, beyond| missing(entry, beyond, &places, &first);
        // Accounted for; two recovered segments with two packets and what they tell; one of the other thread.
        let known = 100 + 10 + (2 + 2 + 2) + (2 + 3 + 3) + 2;
        assert_eq!(missing(&entry, 1_000 + known + 7), Some(7));
        assert_eq!(missing(&entry, 1_000 + known), Some(0));
        assert_eq!(missing(&entry, 1_003), Some(0), "more was stored than the interface counted");
        assert_eq!(missing(&entry, 999), None, "the interface counts anew");
        let owing = Entry { owed: 5, ..entry.clone() };
        assert_eq!(missing(&owing, 1_000 + known + 7), Some(7 + 5 - 2), "two are told by the recovered segments");
        let negative = Entry { beyond: -50, ..entry.clone() };
        assert_eq!(missing(&negative, known - 50 + 7), Some(7));
        let more_threads = Entry { threads: vec![(SegmentId(1), 0); 3], ..entry.clone() };
        assert_eq!(missing(&more_threads, 5_000), None, "the directories of the third are not known");
        fs::write(places[0].index_dir.join("23"), "not an index").unwrap();
        assert_eq!(missing(&entry, 5_000), None);
    }
}
