//! The list of segments, as `Segments` gives it.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use steno_core::{SegmentId, TimestampNs};
use steno_proto::v1::{Segment, SegmentState, SegmentsRequest};
use steno_query::{
    Cancel, TimeSet, TimeSpan,
    store::{Catalogue, OpenFile, Orphan, Segment as Stored},
};

use crate::sensor::SensorView;

/// Segments of a batch.
const BATCH: usize = 256;
/// `st_blocks` counts these, whatever the file system's blocks are (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// The time that a request asks for.
pub(super) fn span(wanted: &SegmentsRequest) -> TimeSpan {
    TimeSpan::new(wanted.from_ns.map(TimestampNs), wanted.until_ns.map(TimestampNs))
}

/// Gives the segments that `wanted` asks for in batches to `take`, by thread and name, until it wants no more. Whether all
/// were given.
pub(super) fn list(
    view: &SensorView,
    wanted: &SegmentsRequest,
    cancel: &Cancel,
    take: &mut dyn FnMut(Vec<Segment>) -> bool,
) -> bool {
    let catalogue = view.store().store().catalogue();
    let times = TimeSet::of(span(wanted));
    let mut batch = Vec::new();
    for (thread, id, found) in all(&catalogue) {
        if cancel.is_cancelled() {
            return false;
        }
        if wanted.thread.is_some_and(|wanted| wanted != thread) {
            continue;
        }
        let Some(segment) = found.within(&times) else { continue };
        batch.push(Segment { thread, id: id.0, ..segment });
        if batch.len() >= BATCH && !take(std::mem::take(&mut batch)) {
            return false;
        }
    }
    batch.is_empty() || take(batch)
}

/// What a name stands for.
enum Found<'a> {
    Sealed(&'a Arc<Stored>),
    Open(&'a OpenFile),
    Orphan(&'a Orphan),
}

/// Everything that has the name of a segment, by thread and name.
fn all(catalogue: &Catalogue) -> Vec<(u32, SegmentId, Found<'_>)> {
    let sealed = catalogue.segments().iter().map(|s| (s.thread(), s.id(), Found::Sealed(s)));
    let open = catalogue.open_files().iter().filter_map(|file| {
        let (thread, id) = place(&file.name)?;
        Some((thread, id, Found::Open(file)))
    });
    let orphans = catalogue.orphans().iter().filter_map(|orphan| {
        let (thread, id) = place(&orphan.name)?;
        Some((thread, id, Found::Orphan(orphan)))
    });
    let mut all: Vec<_> = sealed.chain(open).chain(orphans).collect();
    all.sort_by_key(|(thread, id, _)| (*thread, *id));
    all
}

/// The thread and the segment of a name as receipts have it: `PKT0/.1795395475661823`. A directory is none.
fn place(name: &str) -> Option<(u32, SegmentId)> {
    let (directory, file) = name.split_once('/')?;
    let thread = directory.strip_prefix("PKT").or_else(|| directory.strip_prefix("IDX"))?;
    let file = file.strip_prefix('.').unwrap_or(file);
    Some((thread.parse().ok()?, file.parse().ok()?))
}

impl Found<'_> {
    /// What is said of it; none where it holds nothing of `times`. Of what cannot be read, nothing is known of its times.
    fn within(&self, times: &TimeSet) -> Option<Segment> {
        match self {
            Self::Sealed(segment) => sealed(segment, times),
            Self::Open(file) => times.overlaps(file.begins, TimestampNs::MAX).then(|| Segment {
                state: SegmentState::Unsealed.into(),
                packet_bytes: file.bytes,
                ..Segment::default()
            }),
            Self::Orphan(orphan) => {
                let bytes = disk_bytes(&orphan.path);
                let is_index = orphan.name.starts_with("IDX");
                let (packet_bytes, index_bytes) = if is_index { (0, bytes) } else { (bytes, 0) };
                Some(Segment { packet_bytes, index_bytes, ..unreadable(orphan.fault.to_string()) })
            }
        }
    }
}

fn sealed(segment: &Stored, times: &TimeSet) -> Option<Segment> {
    let sizes = Segment {
        packet_bytes: disk_bytes(&segment.packet_file()),
        index_bytes: disk_bytes(&segment.index_file()),
        ..Segment::default()
    };
    let index = match segment.index() {
        Ok(index) => index,
        Err(fault) => {
            let Segment { packet_bytes, index_bytes, .. } = sizes;
            return Some(Segment { packet_bytes, index_bytes, ..unreadable(fault.to_string()) });
        }
    };
    let range = index.time_range();
    // One without packets is in no time, and listed where all are.
    if !range.map_or(times.is_all(), |(first, last)| times.overlaps(first, last)) {
        return None;
    }
    let (interface, kernel_drops, reason) = match index.facts() {
        Ok(None) => Default::default(),
        Ok(Some(facts)) => {
            let drops = facts.drops.iter().fold(0u64, |sum, drops| sum.saturating_add(drops.packets));
            (facts.interface.clone(), drops, String::new())
        }
        Err(e) => (String::new(), 0, e.to_string()),
    };
    Some(Segment {
        state: SegmentState::Sealed.into(),
        reason,
        first_ns: range.map(|(first, _)| first.as_ns()),
        last_ns: range.map(|(_, last)| last.as_ns()),
        packets: index.packets().map_or(0, u64::from),
        conversations: index.conversations().map_or(0, u64::from),
        interface,
        kernel_drops,
        ..sizes
    })
}

fn unreadable(reason: String) -> Segment {
    Segment { state: SegmentState::Unreadable.into(), reason, ..Segment::default() }
}

/// What a file takes on the disk; 0 of one that has just gone.
fn disk_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * STAT_BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_names_as_receipts_have_them() {
        assert_eq!(place("PKT0/17"), Some((0, SegmentId(17))));
        assert_eq!(place("IDX12/.17"), Some((12, SegmentId(17))));
        for none in ["PKT0", "DAT0/17", "PKT/17", "PKT0/x"] {
            assert_eq!(place(none), None, "{none}");
        }
    }
}
