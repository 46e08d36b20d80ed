//! Until when an earlier capture wrote into the directories of a thread: nothing was captured from then on.

use std::{
    fs::{self, Metadata},
    time::UNIX_EPOCH,
};

use steno_core::TimestampNs;
use steno_index::{
    Gap, Index,
    segment::{SegmentPaths, scan_dir},
};

use super::Place;

/// Until when is known to have been captured; to be asked before a file is made. `None` where nothing tells.
///
/// A capture that ended in order has said so in its last index. Of one that did not, the file that it was writing tells when
/// that was last written to or renamed; what its ring held then is lost.
pub(crate) fn captured_until(place: &Place, now: TimestampNs) -> Option<TimestampNs> {
    let (published, _) = scan_dir(&place.index_dir).ok()?;
    let (_, hidden) = scan_dir(&place.packets_dir).ok()?;
    let paths = |id| SegmentPaths::new(&place.packets_dir, &place.index_dir, id);
    let told = published.last().and_then(|id| {
        let index = Index::open(&paths(*id).index_file()).ok()?;
        index.facts().ok()?.ended.or_else(|| index.time_range().map(|(_, last)| last))
    });
    let written = hidden.last().and_then(|id| changed(&fs::metadata(paths(*id).hidden_packet_file()).ok()?));
    // What is from the future is from before the clock was set back: how long ago that was is not known.
    told.max(written).filter(|until| *until < now)
}

/// When a file was last written to.
pub(super) fn changed(file: &Metadata) -> Option<TimestampNs> {
    let since_epoch = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_nanos()).ok().map(TimestampNs::new)
}

/// The gap between an earlier capture and this one.
pub(crate) fn gap(until: TimestampNs, begins: TimestampNs) -> Option<Gap> {
    let reason = Gap::BETWEEN_CAPTURES.to_owned();
    (until < begins).then_some(Gap { from: until, to: begins, reason })
}
