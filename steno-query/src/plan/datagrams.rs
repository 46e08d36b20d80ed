//! Which first fragment a later one belongs to: the one of the same datagram that is nearest in time, in whichever segment it is.
//!
//! A datagram is told by its source, its destination and its identification, over IPv4 by its protocol too (RFC 791, section 3.2;
//! RFC 8200, section 4.5). Identifications come again, so that what lies further apart than a receiver waits is of another one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use steno_core::TimestampNs;
use steno_index::{Class, ConvNo, Direction, Endpoint, Ends, Index, LaterFragment, NetworkKind};

use super::Stop;
use crate::{
    Fields, TimeSet, TimeSpan,
    receipt::{Receipt, Truncation, Unreadable},
    store::{Catalogue, Fault, Segment, SegmentIndex, Shelf},
};

/// How long a receiver waits for the rest of a datagram (RFC 8200, section 4.5), and the most that RFC 791 has it wait for.
pub(crate) const REASSEMBLY_NS: u64 = 60_000_000_000;
/// Later fragments, and first ones, that are held against each other at a time.
const TOGETHER: usize = 1 << 16;
/// First fragments that are looked at between two looks at whether to go on.
const BETWEEN_LOOKS: u32 = 4096;

/// A segment that may have the first fragments of later ones that are asked for.
#[derive(Clone, Debug)]
struct Around {
    segment: Arc<Segment>,
    /// Its packets are not from before this.
    first: TimestampNs,
    /// Nor from after this.
    last: TimestampNs,
}

/// The segments that are near enough to the time asked for a datagram to begin in one and to end within that time.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// The time asked, and as long before it and after it as a receiver waits.
    times: TimeSet,
    shelves: Vec<Shelf>,
    /// Of files that are being written.
    open: Vec<Around>,
}

/// Finds first fragments in the segments around.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    surroundings: Option<Surroundings>,
    /// Indexes in which first fragments had to be looked for, and could not be.
    unreadable: Mutex<BTreeMap<String, String>>,
    /// Segments whose index does not tell which fragments belong together.
    untold: AtomicU64,
}

/// A later fragment with the fields of its datagram.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) later: LaterFragment,
    /// Its layers. Of one whose first fragment was found: with the protocol of that, and its ports if it has any.
    pub(crate) class: Arc<Class>,
    /// Who sent it.
    pub(crate) from: Endpoint,
    /// Who was to receive it.
    pub(crate) to: Endpoint,
}

impl Fragment {
    /// What a query looks at.
    pub(crate) fn fields(&self) -> Fields<'_> {
        super::matching::fields(&self.class, self.from, self.to)
    }

    /// The same as if the other end had sent it.
    pub(crate) fn fields_back(&self) -> Fields<'_> {
        super::matching::fields(&self.class, self.to, self.from)
    }
}

impl Surroundings {
    /// Of what is listed and has packets from the first of two moments to the second.
    pub(crate) fn of(catalogue: &Catalogue, (from, until): (TimestampNs, TimestampNs)) -> Self {
        let times = between(from, until);
        Self { times, shelves: catalogue.shelves().cloned().collect(), open: Vec::new() }
    }

    /// Adds a part of a file that is being written, or was when the store was listed.
    pub(crate) fn add(&mut self, segment: &Arc<Segment>) {
        if let Some((first, last)) = segment.known_times()
            && self.times.overlaps(first, last)
        {
            self.open.push(Around { segment: Arc::clone(segment), first, last });
        }
    }

    /// Those that have packets from the first of two moments to the second, by thread and name, which decides between first fragments
    /// that are alike in all else.
    fn within(&self, (from, until): (TimestampNs, TimestampNs)) -> Vec<Arc<Segment>> {
        let times = between(from, until).intersection(self.times.clone());
        let mut found = Vec::new();
        for shelf in &self.shelves {
            shelf.known_within(&times, &mut |segment| found.push(Arc::clone(segment)));
        }
        let open = self.open.iter().filter(|around| times.overlaps(around.first, around.last));
        found.extend(open.map(|around| Arc::clone(&around.segment)));
        found.sort_by_key(|segment| (segment.thread(), segment.id()));
        found
    }
}

/// From a moment to another, both included.
fn between(from: TimestampNs, until: TimestampNs) -> TimeSet {
    let until = Some(until).filter(|until| *until < TimestampNs::MAX).map(|until| until.saturating_add_ns(1));
    TimeSet::of(TimeSpan { from: Some(from), until })
}

/// What the fragments of a datagram share. Those of one identification are next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identification: u32,
    src: IpAddr,
    dst: IpAddr,
    /// Over IPv4.
    protocol: Option<u8>,
}

impl Key {
    /// `None` without addresses.
    fn of(identification: u32, class: &Class, from: Endpoint, to: Endpoint) -> Option<Self> {
        let protocol = class.protocol.filter(|_| class.network == NetworkKind::V4);
        Some(Self { identification, src: from.addr?, dst: to.addr?, protocol })
    }
}

/// A later fragment whose datagram is looked for.
#[derive(Debug)]
struct Pending {
    key: Key,
    later: LaterFragment,
    /// Its conversation, by its place in the batch.
    conversation: u32,
    direction: Direction,
    best: Option<First>,
}

/// A first fragment.
#[derive(Clone, Debug)]
struct First {
    key: Key,
    time: TimestampNs,
    class: Arc<Class>,
    ports: Option<(u16, u16)>,
}

/// Later fragments of one index, so many that their datagrams are worth looking for.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    conversations: Vec<(ConvNo, Ends)>,
    pending: Vec<Pending>,
}

impl Batch {
    /// Adds the later fragments that a conversation has in one direction.
    pub(crate) fn add(&mut self, number: ConvNo, ends: &Ends, direction: Direction, laters: &[LaterFragment]) {
        if self.conversations.last().is_none_or(|(last, _)| *last != number) {
            self.conversations.push((number, ends.clone()));
        }
        let conversation = u32::try_from(self.conversations.len() - 1).unwrap_or(u32::MAX);
        let (from, to) = ends.from_to(direction);
        self.pending.extend(laters.iter().filter_map(|&later| {
            let key = Key::of(later.identification, &ends.class, from, to)?;
            Some(Pending { key, later, conversation, direction, best: None })
        }));
    }

    /// Whether it is time to look for their datagrams.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() >= TOGETHER
    }

    /// Gives out the fragments with the fields of their datagrams, and forgets them.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Fragment> + '_ {
        let Self { conversations, pending } = self;
        let mut joined: Option<(Arc<Class>, Arc<Class>, Arc<Class>)> = None;
        let each = move |Pending { later, conversation, direction, best, .. }: Pending| {
            let (_, ends) = conversations.get(conversation as usize)?;
            let (from, to) = ends.from_to(direction);
            let Some(first) = best else {
                return Some(Fragment { later, class: Arc::clone(&ends.class), from, to });
            };
            let class = match &joined {
                Some((own, of_first, class))
                    if Arc::ptr_eq(own, &ends.class) && Arc::ptr_eq(of_first, &first.class) =>
                {
                    Arc::clone(class)
                }
                _ => {
                    let Class { protocol, has_ports, .. } = *first.class;
                    let class = Class { protocol, has_ports, later_fragments: false, ..(*ends.class).clone() };
                    let class = Arc::new(class);
                    joined = Some((Arc::clone(&ends.class), first.class, Arc::clone(&class)));
                    class
                }
            };
            let with = |end: Endpoint, port| Endpoint { port, ..end };
            let (src, dst) = first.ports.map_or((None, None), |(src, dst)| (Some(src), Some(dst)));
            Some(Fragment { later, class, from: with(from, src), to: with(to, dst) })
        };
        pending.drain(..).filter_map(each)
    }

    /// Forgets the conversations, whose fragments have been given out.
    pub(crate) fn clear(&mut self) {
        self.conversations.clear();
        self.pending.clear();
    }
}

impl Datagrams {
    /// Looks in `surroundings`.
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Self { surroundings: Some(surroundings), ..Self::default() }
    }

    /// Notes a segment whose index does not tell which fragments belong together.
    pub(crate) fn note_untold(&self) {
        let _before = self.untold.fetch_add(1, Relaxed);
    }

    /// Adds to `receipt` what was met with on the way.
    pub(crate) fn report(&self, receipt: &mut Receipt) {
        receipt.segments.fragments_apart += self.untold.load(Relaxed);
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        for (file, reason) in &*unreadable {
            if !receipt.unreadable.iter().any(|named| named.file == *file) {
                let reason = format!("first fragments were looked for: {reason}");
                receipt.unreadable.push(Unreadable { file: file.clone(), reason, may_hold_matches: true });
            }
        }
    }

    /// Finds the first fragments of a batch.
    ///
    /// # Errors
    /// What `interrupted` says. An index that fails is noted, and passed over.
    pub(crate) fn find(&self, batch: &mut Batch, interrupted: &dyn Fn() -> Option<Truncation>) -> Result<(), Stop> {
        let pending = &mut batch.pending;
        pending.sort_by_key(|each| (each.key, each.later.time));
        let times = pending.iter().map(|each| each.later.time);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return Ok(()) };
        let span = (first.saturating_sub_ns(REASSEMBLY_NS), last.saturating_add_ns(REASSEMBLY_NS));
        let around = self.surroundings.as_ref().map(|surroundings| surroundings.within(span)).unwrap_or_default();
        for segment in &around {
            let index = match segment.index() {
                Ok(SegmentIndex::Native(index)) => index,
                Ok(SegmentIndex::Version2(_)) => continue,
                Err(fault) => {
                    self.note_unreadable(segment, &fault);
                    continue;
                }
            };
            match find_in(&index, pending, span, interrupted) {
                Err(Stop::Index(error)) => self.note_unreadable(segment, &Fault::of_index(&error)),
                other => other?,
            }
        }
        Ok(())
    }

    fn note_unreadable(&self, segment: &Segment, fault: &Fault) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        let _reason = unreadable.entry(segment.index_name()).or_insert_with(|| fault.to_string());
    }
}

/// Finds the first fragments that an index has for `pending`, which is sorted by key and time.
fn find_in(
    index: &Index,
    pending: &mut [Pending],
    (from, until): (TimestampNs, TimestampNs),
    interrupted: &dyn Fn() -> Option<Truncation>,
) -> Result<(), Stop> {
    let (mut firsts, mut cursor, mut found) = (index.first_fragments(), index.cursor(), Vec::new());
    let mut looked_at = 0u32;
    if firsts.count() == 0 {
        return Ok(());
    }
    for alike in pending.chunk_by_mut(|a, b| a.key.identification == b.key.identification) {
        let Some(identification) = alike.first().map(|each| each.key.identification) else { continue };
        firsts.each(identification, |first| {
            looked_at = looked_at.wrapping_add(1);
            if looked_at.is_multiple_of(BETWEEN_LOOKS)
                && let Some(by) = interrupted()
            {
                return Err(Stop::Interrupted(by));
            }
            if first.time < from || first.time > until {
                return Ok(());
            }
            let ends = cursor.ends(first.conversation)?;
            let (sender, receiver) = ends.from_to(first.direction);
            let Some(key) = Key::of(identification, &ends.class, sender, receiver) else { return Ok(()) };
            if alike.binary_search_by(|each| each.key.cmp(&key)).is_ok() {
                let ports = sender.port.zip(receiver.port);
                found.push(First { key, time: first.time, class: ends.class, ports });
            }
            if found.len() >= TOGETHER {
                choose(alike, &mut found);
            }
            Ok::<(), Stop>(())
        })?;
        choose(alike, &mut found);
    }
    Ok(())
}

/// Gives each of `pending` the nearest of `found`, where that is nearer than the one it has; empties `found`.
fn choose(pending: &mut [Pending], found: &mut Vec<First>) {
    if found.is_empty() {
        return;
    }
    // Those alike stay in ring order.
    found.sort_by_key(|first| (first.key, first.time));
    for each in pending {
        let time = each.later.time;
        let after = found.partition_point(|first| (first.key, first.time) < (each.key, time));
        let before = after.checked_sub(1).and_then(|at| found.get(at)).filter(|first| first.key == each.key);
        // The first one of the latest time before.
        let before = before
            .and_then(|last| found.get(found.partition_point(|first| (first.key, first.time) < (last.key, last.time))));
        let after = found.get(after).filter(|first| first.key == each.key);
        for first in [before, after].into_iter().flatten() {
            let rank = |first: &First| (time.as_ns().abs_diff(first.time.as_ns()), first.time);
            let near = rank(first).0 <= REASSEMBLY_NS;
            if near && each.best.as_ref().is_none_or(|best| rank(first) < rank(best)) {
                each.best = Some(first.clone());
            }
        }
    }
    found.clear();
}
