//! Merges what each segment says of a conversation.

use std::{
    cell::Cell,
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use steno_core::TimestampNs;
use steno_index::{Class, Conversation, ConversationCursor, Direction, Endpoint, Index, IndexError};

use super::{Flows, Traffic};
use crate::{
    Query, TimeSet,
    exec::{AtOnce, Options, index_scope, index_version2},
    plan::{Asked, Fragment, Fragments, Matched, Matcher, Of, Selected, Selection, Stop},
    receipt::{Outcome, Receipt, Tally, Truncation, Unreadable},
    store::{Catalogue, Fault, KeptOpen, Segment, SegmentIndex, Version2Segment},
};

/// What tells a flow from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ends {
    /// The lower of the two ends.
    pub(super) low: Endpoint,
    /// The other.
    pub(super) high: Endpoint,
    /// The class, by its place in [`Flows`].
    pub(super) class: u32,
}

/// What is known of a flow so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) first: TimestampNs,
    pub(super) last: TimestampNs,
    /// Whether the high end sent the first packet.
    pub(super) opened_by_high: bool,
    /// From low to high, and from high to low.
    pub(super) ways: [Traffic; 2],
    pub(super) partial: bool,
}

/// The conversations that match `query`.
pub(crate) fn gather(catalogue: &Catalogue, query: &Query, options: &Options) -> Flows {
    let asked = Asked::new(query, options);
    let selection = Selection::of(catalogue, &asked, Of::Flows, None, &|| options.is_over());
    let Selection { selected, datagrams, mut receipt, .. } = selection;
    let mut gathering = Gathering {
        matcher: Matcher::new(asked.expr().clone(), Of::Flows, datagrams),
        asked,
        room: Arc::clone(catalogue.room()),
        gathered: Gathered::within(options.memory_bytes - options.memory_bytes / AtOnce::SHARE),
        tally: Tally::default(),
    };
    let (skipped, wanted): (Vec<_>, Vec<_>) = selected.iter().partition(|each| each.is_screened_out);
    skipped.into_iter().for_each(|each| gathering.tally.note(&each.segment, Outcome::Skipped));
    if let Err((by, left)) = gathering.add_all(&wanted, options, &mut receipt) {
        receipt.truncated_by = Some(by);
        left.iter().for_each(|each| gathering.tally.note(&each.segment, Outcome::NotReached));
    }
    let Gathering { matcher, gathered: Gathered { classes, flows, .. }, tally, .. } = gathering;
    tally.add_to(&mut receipt.segments);
    matcher.report(&mut receipt);
    // A segment may hold only that side of a conversation which does not match.
    let matching = |share: &Share| share.ways.iter().any(|way| way.matches);
    let mut shares: Vec<_> = flows.into_iter().filter(|(_, share)| matching(share)).collect();
    shares.sort_unstable_by_key(|(ends, share)| (share.first, *ends));
    for way in shares.iter().flat_map(|(_, share)| share.ways) {
        receipt.packets += way.packets;
        receipt.bytes = receipt.bytes.saturating_add(way.bytes);
    }
    receipt.segments.unreadable = receipt.unreadable.len() as u64;
    Flows { classes, shares, receipt }
}

/// Memory that a flow takes, in the table and in the list that it is sorted in.
const FLOW_BYTES: u64 = 2 * (size_of::<(Ends, Share)>() as u64 + 16);

/// So many of something, but one at least.
fn count(of: u64) -> usize {
    usize::try_from(of).unwrap_or(usize::MAX).max(1)
}

/// The place of a class that has none yet.
const UNNUMBERED: u32 = u32::MAX;

/// What a segment says of a conversation or of a fragment.
struct Found {
    class: Arc<Class>,
    /// Their class is [`UNNUMBERED`] until this is gathered.
    ends: Ends,
    share: Share,
}

struct Gathering {
    asked: Asked,
    matcher: Matcher,
    room: Arc<KeptOpen>,
    gathered: Gathered,
    tally: Tally,
}

/// The flows so far.
struct Gathered {
    /// Flows that fit the memory.
    most: usize,
    class_numbers: HashMap<Arc<Class>, u32>,
    classes: Vec<Arc<Class>>,
    flows: HashMap<Ends, Share>,
    /// Whether one had to be left out.
    full: bool,
}

impl Gathering {
    /// Adds what all segments have: of those that have little, several are looked up at once. Says what ended it, if anything did,
    /// and which were not added.
    fn add_all<'a, 'b>(
        &mut self,
        mut left: &'a [&'b Selected],
        options: &Options,
        receipt: &mut Receipt,
    ) -> Result<(), (Truncation, &'a [&'b Selected])> {
        let mut at_once = AtOnce::new();
        let few = count(AtOnce::memory_of_one(options.memory_bytes) / size_of::<Found>() as u64);
        while !left.is_empty() {
            let batch = left.get(..at_once.most()).unwrap_or(left);
            let ahead = match batch {
                [_] => vec![None],
                _ => at_once.look_up(batch, |selected| self.look_ahead(selected, few, options)),
            };
            let mut paid = true;
            for (selected, ahead) in batch.iter().zip(ahead) {
                paid &= batch.len() == 1 || ahead.is_some();
                let added = match ahead {
                    Some(found) => self.take(&selected.segment, found),
                    None => self.add(selected, options, receipt).map_err(|by| (by, left))?,
                };
                if self.gathered.full {
                    return Err((Truncation::Memory, left));
                }
                paid &= added <= few as u64;
                left = left.get(1..).unwrap_or_default();
            }
            at_once.learn(paid);
        }
        Ok(())
    }

    /// What a segment has, if its index alone tells, and it is no more than `few`; `None` else, and where something is wrong:
    /// it is to be looked up when its turn comes.
    fn look_ahead(&self, selected: &Selected, few: usize, options: &Options) -> Option<Vec<Found>> {
        if self.asked.is_divided(selected.first) {
            return None;
        }
        let SegmentIndex::Native(index) = selected.segment.index_within(&self.room).ok()? else { return None };
        let (mut all, are_many) = (Vec::new(), Cell::new(false));
        let over = || are_many.get().then_some(Truncation::Memory).or_else(|| options.interrupted());
        let looked_up = self.matcher.each(&index, Fragments::Joined, &over, |cursor, matched| {
            if all.len() < few {
                all.extend(found(cursor, matched)?);
            } else {
                are_many.set(true);
            }
            Ok(())
        });
        looked_up.ok().filter(|()| !are_many.get())?;
        if !all.is_empty() {
            selected.segment.check_packets(&index).ok()?;
        }
        Some(all)
    }

    /// Takes up what was found in a segment; says how much.
    fn take(&mut self, segment: &Segment, found: Vec<Found>) -> u64 {
        let added = found.len() as u64;
        found.into_iter().for_each(|found| self.gathered.put(found));
        self.note(segment, added);
        added
    }

    fn note(&mut self, segment: &Segment, added: u64) {
        self.tally.note(segment, if added == 0 { Outcome::Skipped } else { Outcome::Read });
    }

    /// Adds what a segment has; says how much.
    fn add(&mut self, selected: &Selected, options: &Options, receipt: &mut Receipt) -> Result<u64, Truncation> {
        let segment = &selected.segment;
        let index = match segment.index_within(&self.room) {
            Ok(index) => index,
            Err(fault) => {
                receipt.unreadable.push(unreadable(segment, &fault));
                return Ok(0);
            }
        };
        let added = match index {
            SegmentIndex::Native(_) if self.asked.is_divided(selected.first) => {
                self.add_scope(selected, options, receipt)
            }
            SegmentIndex::Native(index) => self.add_index(&index, Fragments::Joined, options).and_then(|added| {
                // The index alone has answered: it should be the right one.
                let checked = if added > 0 { segment.check_packets(&index) } else { Ok(()) };
                checked.map(|()| added).map_err(Stop::Packets)
            }),
            SegmentIndex::Version2(version2) => self.add_packets(segment, version2, options, receipt),
        };
        match added {
            Ok(added) => {
                self.note(segment, added);
                return Ok(added);
            }
            Err(Stop::Index(e)) => receipt.unreadable.push(unreadable(segment, &Fault::of_index(&e))),
            Err(Stop::Packets(fault)) => receipt.unreadable.push(Unreadable {
                file: segment.packet_name(),
                reason: fault.to_string(),
                may_hold_matches: true,
            }),
            Err(Stop::Interrupted(by)) => return Err(by),
        }
        Ok(0)
    }

    /// Adds the conversations of a segment whose index knows none: those of the packets that it leads to, which are read.
    fn add_packets(
        &mut self,
        segment: &Segment,
        version2: Arc<Version2Segment>,
        options: &Options,
        receipt: &mut Receipt,
    ) -> Result<u64, Stop> {
        self.matcher.note_untold();
        let (lookup, from) = (self.matcher.lookup().clone(), self.asked.from());
        let mut added = 0;
        let mut add = |index: &Index| {
            added += self.add_index(index, Fragments::AsIndexed, options)?;
            Ok(())
        };
        index_version2(segment, (version2, &lookup), from, options, receipt, &mut add)?;
        Ok(added)
    }

    /// Adds the conversations of a segment that the scope divides in time: those of the packets that are in it, which are
    /// read. The index counts the others with them.
    fn add_scope(&mut self, selected: &Selected, options: &Options, receipt: &mut Receipt) -> Result<u64, Stop> {
        let (asked, room) = (self.asked.clone(), Arc::clone(&self.room));
        let mut added = 0;
        let mut add = |index: &Index| {
            added += self.add_index(index, Fragments::Joined, options)?;
            Ok(())
        };
        index_scope(selected, &asked, &room, options, receipt, &mut add)?;
        Ok(added)
    }

    /// Adds the conversations of an index that match; says how many.
    fn add_index(&mut self, index: &Index, fragments: Fragments, options: &Options) -> Result<u64, Stop> {
        let mut added = 0;
        let Self { matcher, gathered, .. } = self;
        matcher.each(index, fragments, &|| options.interrupted(), |cursor, matched| {
            if let Some(found) = found(cursor, matched)? {
                added += 1;
                gathered.put(found);
            }
            Ok(())
        })?;
        Ok(added)
    }
}

impl Gathered {
    /// None yet, and no more than fit so many bytes.
    fn within(memory_bytes: u64) -> Self {
        let most = count(memory_bytes / FLOW_BYTES);
        Self { most, class_numbers: HashMap::new(), classes: Vec::new(), flows: HashMap::new(), full: false }
    }

    /// Adds to a flow what a segment says of it.
    fn put(&mut self, Found { class, mut ends, share }: Found) {
        let Self { classes, class_numbers, flows, most, full } = self;
        ends.class = *class_numbers.entry(class).or_insert_with_key(|class| {
            classes.push(Arc::clone(class));
            u32::try_from(classes.len() - 1).unwrap_or(u32::MAX)
        });
        let room = flows.len() < *most;
        match flows.entry(ends) {
            Entry::Occupied(mut flow) => flow.get_mut().join(&share),
            Entry::Vacant(place) if room => {
                let _new = place.insert(share);
            }
            Entry::Vacant(_) => *full = true,
        }
    }
}

/// What an index says of what matches; `None` where that takes no part in a flow after all.
fn found(cursor: &mut ConversationCursor<'_>, matched: &Matched<'_>) -> Result<Option<Found>, IndexError> {
    let ((ends, share), class) = match matched {
        Matched::Conversation { number, times } => {
            let conversation = cursor.conversation(*number)?;
            let Some((matches, partial)) = at_right_time(&conversation, times) else { return Ok(None) };
            (share(&conversation, matches, partial), conversation.class)
        }
        Matched::Fragment { fragment, matches } => (share_of_fragment(fragment, *matches), Arc::clone(&fragment.class)),
    };
    Ok(Some(Found { class, ends, share }))
}

impl Share {
    /// Takes in what another segment says of the same flow.
    fn join(&mut self, other: &Self) {
        if other.first < self.first {
            self.first = other.first;
            self.opened_by_high = other.opened_by_high;
        }
        self.last = self.last.max(other.last);
        self.partial |= other.partial;
        for (way, more) in self.ways.iter_mut().zip(other.ways) {
            way.packets += more.packets;
            way.bytes = way.bytes.saturating_add(more.bytes);
            way.matches |= more.matches;
        }
    }
}

/// Which directions have packets that match, and whether others are counted with them, of a conversation that takes part in
/// a flow; `None` if it does not: neither direction could match in the time that it spans.
fn at_right_time(conversation: &Conversation, times: &[TimeSet; 2]) -> Option<([bool; 2], bool)> {
    let (first, last) = conversation.time_range();
    if !times.iter().any(|set| set.overlaps(first, last)) {
        return None;
    }
    let mut matches = [false; 2];
    for ((direction, set), matching) in Direction::BOTH.into_iter().zip(times).zip(&mut matches) {
        let side = conversation.side(direction);
        *matching = side.packets > 0 && set.overlaps(side.first, side.last);
    }
    let partial = times.iter().any(|set| !set.is_empty() && !set.covers(first, last));
    Some((matches, partial))
}

/// A conversation of one segment as a flow.
fn share(conversation: &Conversation, matches: [bool; 2], partial: bool) -> (Ends, Share) {
    let Conversation { a, b, sides, .. } = conversation;
    let opened_by_high = b < a;
    let (low, high) = if opened_by_high { (*b, *a) } else { (*a, *b) };
    let way =
        |side: &steno_index::Side, matches| Traffic { packets: u64::from(side.packets), bytes: side.bytes, matches };
    let ([forward, reverse], [forward_matches, reverse_matches]) = (sides, matches);
    let mut ways = [way(forward, forward_matches), way(reverse, reverse_matches)];
    if opened_by_high {
        ways.reverse();
    }
    let (first, last) = conversation.time_range();
    (Ends { low, high, class: UNNUMBERED }, Share { first, last, opened_by_high, ways, partial })
}

/// A later fragment as a part of the flow of its datagram.
fn share_of_fragment(fragment: &Fragment, matches: bool) -> (Ends, Share) {
    let Fragment { later, from, to, .. } = fragment;
    let opened_by_high = to < from;
    let (low, high) = if opened_by_high { (*to, *from) } else { (*from, *to) };
    let sent = Traffic { packets: 1, bytes: u64::from(later.wire_len), matches };
    let mut ways = [sent, Traffic { packets: 0, bytes: 0, matches: false }];
    if opened_by_high {
        ways.reverse();
    }
    let (first, last) = (later.time, later.time);
    (Ends { low, high, class: UNNUMBERED }, Share { first, last, opened_by_high, ways, partial: false })
}

fn unreadable(segment: &Segment, fault: &Fault) -> Unreadable {
    Unreadable { file: segment.index_name(), reason: fault.to_string(), may_hold_matches: true }
}
