//! Which segments a query has to look into, by the true times of their packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv6Addr,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use steno_core::{SegmentId, TimestampNs};
use steno_index::{AnyIndex, Attribute, Version2Index};

use super::{
    Asked, Lookup,
    datagrams::{Datagrams, REASSEMBLY_NS, Surroundings},
    screen::Screen,
};
use crate::{
    TimeSet, TimeSpan,
    receipt::{Held, Receipt, Truncation, Unreadable, Unsealed},
    store::{Catalogue, Fault, KeptSegment, Now, OpenFile, Orphan, Place, Region, Segment, Shelf, Step},
};

/// The segments that may hold matches, and all that is known of the others.
#[derive(Debug)]
pub(crate) struct Selection {
    /// When a packet of the answer may have arrived.
    pub(crate) times: TimeSet,
    /// The segments to be looked into, by thread and name. Where several were passed over together because none of them has a match, the
    /// receipt counts them as skipped, and they are not here.
    pub(crate) selected: Vec<Selected>,
    /// Where first fragments are looked for.
    pub(crate) datagrams: Datagrams,
    /// The receipt as far as it can be filled in by now.
    pub(crate) receipt: Receipt,
    /// How far this is to get, of an answer that goes on.
    pub(crate) seen: Option<Seen>,
    /// Files that were named as such that cannot be searched, and have been by now: their other half has come.
    pub(crate) mended: Vec<String>,
    /// Whether the file that was found unreadable last had not been named before.
    named_now: bool,
    /// What a segment has to have.
    screen: Screen,
}

/// What an answer is made of, as far as it decides where to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Packets, which are asked for their datagram only where the query looks at what that tells.
    Packets,
    /// The same, with what interface each segment of the time asked was captured on, whether it has a match or not.
    PacketsAndInterfaces,
    /// Flows, of which all fragments of a datagram are.
    Flows,
}

/// A segment that may hold matches.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) segment: Arc<Segment>,
    /// No packet is earlier.
    pub(crate) first: TimestampNs,
    /// How many packets it has; `None` where that is not known.
    pub(crate) packets: Option<u32>,
    /// Packets that the kernel dropped in the time asked, as this segment tells.
    pub(crate) kernel_drops: u64,
    /// Where the blocks begin that are to be searched: those before it have been.
    pub(crate) from_bytes: u64,
    /// Whether its filter shows that it holds no match: it is not to be opened.
    pub(crate) is_screened_out: bool,
}

/// How far an answer that goes on has got.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Where the blocks of a packet file end that were searched.
    files: BTreeMap<(u32, SegmentId), u64>,
    /// Files that cannot be searched, and are named.
    named: BTreeSet<String>,
}

impl Seen {
    /// Whether nothing will be added to what was searched, or it is known that it cannot be.
    pub(crate) fn is_done(&self, thread: u32, id: SegmentId) -> bool {
        self.files.get(&(thread, id)) == Some(&u64::MAX) || self.named.contains(&format!("IDX{thread}/{id}"))
    }
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Considered {
    /// It has been looked into before.
    Known,
    /// All of its packets are outside of the time asked.
    Outside,
    /// It is to be looked into.
    Within,
    /// It cannot be.
    Unreadable,
}

impl Selection {
    /// Of the segments of `catalogue`, those that `asked` may match, but for what was `seen` before. Where `interrupted` says to give up, the receipt is
    /// marked, and the segments that were not looked at are counted as not reached.
    pub(crate) fn of(
        catalogue: &Catalogue,
        asked: &Asked,
        answer: Of,
        seen: Option<Seen>,
        interrupted: &dyn Fn() -> Option<Truncation>,
    ) -> Self {
        let expr = asked.expr();
        let times = expr.may_match_times();
        let span = times.hull();
        let (query, scope) = (asked.query().to_string(), asked.within());
        let receipt = Receipt { query, scope, asked_from: span.from, asked_until: span.until, ..Receipt::default() };
        let joins = !times.is_empty() && (answer == Of::Flows || expr.looks_at_transport());
        let mut around = joins.then(|| Surroundings::of(catalogue, around(&span)));
        let screen = Screen::of(&Lookup::of(expr));
        // Where each has to be remembered, or named, none is passed over with others.
        let singly = seen.is_some() || answer == Of::PacketsAndInterfaces;
        let (datagrams, selected, mended) = (Datagrams::default(), Vec::new(), Vec::new());
        let mut selection = Self { times, selected, datagrams, receipt, seen, mended, named_now: false, screen };
        let mut rest = catalogue.segments().len();
        for shelf in catalogue.shelves() {
            shelf.walk(&mut |place| {
                if let Some(by) = interrupted() {
                    selection.receipt.truncated_by = Some(by);
                    return Step::Stop;
                }
                match place {
                    Place::Region(_) if singly => Step::Into,
                    Place::Region(region) => {
                        let step = selection.consider_region(shelf, region);
                        rest -= if step == Step::Over { region.segments().len() } else { 0 };
                        step
                    }
                    Place::Segment(at) => {
                        if let Some((segment, kept)) = shelf.at(at) {
                            let key = (segment.thread(), segment.id());
                            selection.consider_parts(catalogue, key, (std::slice::from_ref(segment), kept));
                        }
                        rest -= 1;
                        Step::Over
                    }
                }
            });
            if selection.receipt.truncated_by.is_some() {
                selection.receipt.segments.total += rest as u64;
                selection.receipt.segments.not_reached += rest as u64;
                break;
            }
        }
        for orphan in catalogue.orphans() {
            selection.add_orphan(orphan);
        }
        for file in catalogue.open_files() {
            match catalogue.now(file.thread, file.id) {
                Some(now) => selection.consider_now(catalogue, (file.thread, file.id), &now, around.as_mut()),
                None => selection.add_open_file(file),
            }
        }
        for (thread, id) in catalogue.begun_since() {
            // One that is not known any more is a segment of the time after the question.
            if let Some(now) = catalogue.now(thread, id) {
                selection.consider_now(catalogue, (thread, id), &now, around.as_mut());
            }
        }
        selection.selected.sort_by_key(|selected| (selected.segment.thread(), selected.segment.id()));
        selection.receipt.settle();
        if let Some(around) = around {
            selection.datagrams = Datagrams::new(around);
        }
        let counts = &mut selection.receipt.segments;
        counts.considered = counts.total - counts.outside;
        selection
    }

    /// Several segments together. It comes to what each of them would come to by itself, or they are to be considered one by one.
    fn consider_region(&mut self, shelf: &Shelf, region: &Region) -> Step {
        let Some((empty, bounds)) = region.known() else { return Step::Into };
        let all = region.segments().len();
        let with_packets = match bounds.filter(|&(first, last)| self.times.overlaps(first, last)) {
            None => 0,
            // Nothing matches in any of them, and each has packets of the time asked or none at all.
            Some((first, last)) if self.screens_out(region.filter()) && self.times.covers(first, last) => {
                all as u64 - u64::from(empty)
            }
            Some(_) => return Step::Into,
        };
        if let Some((oldest, newest)) = bounds {
            self.add_held(oldest, newest);
        }
        for (thread, lost) in shelf.lost(region) {
            lost.add_to(&mut self.receipt, thread, &self.times);
        }
        let counts = &mut self.receipt.segments;
        counts.total += all as u64;
        counts.skipped += with_packets;
        counts.outside += all as u64 - with_packets;
        Step::Over
    }

    fn add_held(&mut self, oldest: TimestampNs, newest: TimestampNs) {
        let held = self.receipt.held.get_or_insert(Held { oldest, newest });
        held.oldest = held.oldest.min(oldest);
        held.newest = held.newest.max(newest);
    }

    /// What an open file has become.
    fn consider_now(
        &mut self,
        catalogue: &Catalogue,
        key: (u32, SegmentId),
        Now { parts, untold }: &Now,
        around: Option<&mut Surroundings>,
    ) {
        self.consider_parts(catalogue, key, (parts, None));
        if let Some(around) = around {
            parts.iter().for_each(|part| around.add(part));
        }
        if let Some(file) = untold {
            self.add_open_file(file);
        }
    }

    /// A segment, which may come in parts while it is written, and what is kept of it otherwise.
    fn consider_parts(
        &mut self,
        catalogue: &Catalogue,
        key: (u32, SegmentId),
        (parts, kept): (&[Arc<Segment>], Option<&KeptSegment>),
    ) {
        let searched = self.seen.as_ref().and_then(|seen| seen.files.get(&key).copied());
        let (mut all, mut until) = (Considered::Known, searched.unwrap_or(0));
        for part in parts {
            let end = part.end_bytes().unwrap_or(u64::MAX);
            let from_bytes = searched.map_or(0, |searched| if end <= searched { u64::MAX } else { searched });
            all = all.max(self.consider(catalogue, (part, kept), from_bytes));
            until = until.max(end);
        }
        let is_new = match all {
            Considered::Unreadable => self.named_now,
            _ => searched.is_none(),
        };
        let counts = &mut self.receipt.segments;
        counts.total += u64::from(is_new);
        counts.outside += u64::from(is_new && all <= Considered::Outside);
        // What cannot be read is tried again.
        if let Some(seen) = self.seen.as_mut().filter(|_| all != Considered::Unreadable) {
            let _before = seen.files.insert(key, until);
            let (thread, id) = key;
            let names = [format!("PKT{thread}/{id}"), format!("IDX{thread}/{id}")];
            self.mended.extend(names.into_iter().filter(|name| seen.named.remove(name)));
        }
    }

    /// Considers the blocks of a segment from `from_bytes` on; none of one that is known by now.
    fn consider(
        &mut self,
        catalogue: &Catalogue,
        (segment, kept): (&Arc<Segment>, Option<&KeptSegment>),
        from_bytes: u64,
    ) -> Considered {
        match segment.summary(catalogue.room()) {
            Ok(_) if from_bytes == u64::MAX => Considered::Known,
            Ok(summary) => {
                let lost = summary.lost.as_deref();
                if let Some(lost) = lost {
                    lost.add_to(&mut self.receipt, segment.thread(), &self.times);
                }
                let (Some((oldest, newest)), Some((first, last))) = (summary.times, summary.bounds) else {
                    return Considered::Outside;
                };
                self.add_held(oldest, newest);
                if self.times.overlaps(first, last) {
                    self.receipt.segments.of_1_0_1 += u64::from(summary.of_1_0_1);
                    let kernel_drops = lost.map_or(0, |lost| lost.kernel_drops(&self.times));
                    let is_screened_out = self.screens_out(kept.and_then(KeptSegment::filter));
                    let (segment, packets) = (Arc::clone(segment), summary.packets);
                    let from = Selected { segment, first, packets, kernel_drops, from_bytes, is_screened_out };
                    self.selected.push(from);
                    return Considered::Within;
                }
                Considered::Outside
            }
            Err(fault) => {
                let is_lost = matches!(fault, Fault::DamagedPackets(_)) || holds_something(&segment.packet_file());
                let may_hold_matches = !self.times.is_empty() && is_lost;
                self.add_unreadable(segment.index_name(), &fault, may_hold_matches);
                Considered::Unreadable
            }
        }
    }

    /// Whether a filter, if there is one, shows that nothing matches in what it is of.
    fn screens_out(&self, filter: Option<&[u8]>) -> bool {
        self.screen != Screen::Open && filter.is_some_and(|filter| !self.screen.passes(filter))
    }

    fn add_orphan(&mut self, orphan: &Orphan) {
        let may_hold_matches = !self.times.is_empty()
            && match &orphan.fault {
                Fault::NoIndex => holds_something(&orphan.path),
                // The index still tells the times of what is missing.
                Fault::NoPackets => match AnyIndex::open(&orphan.path) {
                    Ok(AnyIndex::Native(index)) => self.overlaps(index.time_range()),
                    Ok(AnyIndex::Version2(index)) => match index.extra() {
                        Some(extra) => self.overlaps(extra.time_range),
                        None => has_attributes(&index),
                    },
                    Err(_) => true,
                },
                _ => true,
            };
        self.add_unreadable(orphan.name.clone(), &orphan.fault, may_hold_matches);
        self.receipt.segments.total += u64::from(self.named_now);
    }

    fn overlaps(&self, range: Option<(TimestampNs, TimestampNs)>) -> bool {
        range.is_some_and(|(first, last)| self.times.overlaps(first, last))
    }

    fn add_open_file(&mut self, file: &OpenFile) {
        self.receipt.unsealed.push(Unsealed {
            file: file.name.clone(),
            opened: file.id.opened_at(),
            bytes: file.bytes,
            may_hold_matches: file.bytes > 0 && self.times.overlaps(file.begins, TimestampNs::MAX),
        });
    }

    fn add_unreadable(&mut self, file: String, fault: &Fault, may_hold_matches: bool) {
        self.named_now = self.seen.as_mut().is_none_or(|seen| seen.named.insert(file.clone()));
        if self.named_now {
            self.receipt.unreadable.push(Unreadable { file, reason: fault.to_string(), may_hold_matches });
        }
    }
}

/// When a datagram may begin or end of which a part is within the time asked.
fn around(span: &TimeSpan) -> (TimestampNs, TimestampNs) {
    let from = span.from.map_or(TimestampNs::MIN, |from| from.saturating_sub_ns(REASSEMBLY_NS));
    (from, span.until.map_or(TimestampNs::MAX, |until| until.saturating_add_ns(REASSEMBLY_NS)))
}

/// Whether an index of 1.0.1 tells of packets. On a quiet link each stop and start of 1.0.1 leaves one that does not, and no packet
/// file with it: the stop publishes the index alone, the start removes the hidden packet file.
fn has_attributes(index: &Version2Index) -> bool {
    let all = Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from(u128::MAX));
    let mut any = false;
    let visited = index.each(all, &mut |_, _| {
        any = true;
        ControlFlow::Break(())
    });
    any || visited.is_err()
}

/// Whether a packet file may hold packets: stenographer 1.0.1 leaves empty ones. One that is gone held some.
fn holds_something(packet_file: &Path) -> bool {
    fs::metadata(packet_file).map_or(true, |metadata| metadata.len() > 0)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, thread::sleep, time::Duration};

    use steno_core::{
        BLOCK_BYTES,
        block::{Block, BlockWriter, Push},
        testkit::FrameBuilder,
    };
    use steno_index::{Facts, Log, note_block, seal};

    use super::*;
    use crate::{Options, Store};

    /// The bytes of a packet file with one packet, of second 1000, and its index.
    fn segment() -> (Vec<u8>, Vec<u8>) {
        let mut writer = BlockWriter::new(BLOCK_BYTES);
        let frame = FrameBuilder::ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build();
        assert_ne!(writer.push(TimestampNs::from_parts(1000, 0), 60, &frame), Ok(Push::Full));
        let block = writer.finish(1);
        let mut log = Log::new();
        let _captured = note_block(&mut log, 0, &Block::parse(block).unwrap(), None).unwrap();
        let mut index = Vec::new();
        let _summary = seal(&log, &Facts { block_bytes: BLOCK_BYTES, ..Facts::default() }, &mut index).unwrap();
        (block.to_vec(), index)
    }

    #[test]
    fn wherever_it_is_given_up_every_segment_is_counted_once() {
        const SEGMENTS: u64 = 80;
        let dir = tempfile::tempdir().unwrap();
        let [packets, indexes] = ["PKT0", "IDX0"].map(|name| dir.path().join(name));
        [&packets, &indexes].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let (block, index) = segment();
        for name in 0..SEGMENTS {
            fs::write(packets.join(name.to_string()), &block).unwrap();
            fs::write(indexes.join(name.to_string()), &index).unwrap();
        }
        sleep(Duration::from_millis(100));
        Store::open(dir.path()).unwrap().keep_catalogue().unwrap();
        let store = Store::open(dir.path()).unwrap();
        // Two groups, and what is left over.
        let (catalogue, before) = (store.catalogue(), TimestampNs::from_parts(2000, 0));
        for (text, passes, all) in
            [("host 10.9.9.9", false, 2 + 1 + 16), ("host 10.0.0.1", true, 3 + 80), ("before 1m ago", true, 3 + 80)]
        {
            let (query, options) = (crate::parse(text, before).unwrap(), Options::default());
            let asked = Asked::new(&query, &options);
            for steps in 0..=all {
                let left = Cell::new(steps);
                let interrupted = || {
                    left.set(left.get() - 1);
                    (left.get() < 0).then_some(Truncation::Deadline)
                };
                let selection = Selection::of(&catalogue, &asked, Of::Packets, None, &interrupted);
                let counts = selection.receipt.segments;
                let selected = selection.selected.len() as u64;
                assert_eq!(
                    (counts.total, counts.considered, counts.outside),
                    (SEGMENTS, SEGMENTS, 0),
                    "{text}, {steps}"
                );
                assert_eq!(counts.skipped + selected + counts.not_reached, SEGMENTS, "{text}, {steps}");
                assert_eq!(counts.not_reached == 0, steps == all, "{text}, {steps}");
                assert!(passes || steps < 2 || counts.skipped > 0, "{text}, {steps}");
            }
        }
    }
}
