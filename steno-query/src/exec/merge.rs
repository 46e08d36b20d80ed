//! The packets of all segments in the order of the answer (step 11 of the data flow).
//!
//! One heap holds a lower bound for whatever may still come: for a segment that was not opened its earliest time, for a
//! block that was not loaded likewise, for a loaded block its next packet. What is on top is opened, loaded or delivered.
//! So the order is exact even where segments overlap, threads interleave, or a clock was set back, and a segment is opened
//! only when its time comes: or a little before, by several threads, where nothing was found in those before it, or nothing that
//! comes before it.
//!
//! Where the loaded blocks outgrow the memory allowed, the one whose next packet is latest is dropped, and read again from
//! that packet on when its turn comes: its bound stays in the heap.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

use steno_core::{TimestampNs, block::RawPacket, chain};

use super::{
    Options,
    at_once::AtOnce,
    damage::Damage,
    hits::Hits,
    key::{Key, Source},
    loaded::Entry,
    opened::{Due, Opened},
    slots::Slots,
};
use crate::{
    TimeSet,
    plan::{Matcher, Selected, Stop},
    receipt::{Outcome, Receipt, Tally, Truncation, Unreadable},
    store::{Fault, KeptOpen, Segment},
};

/// Packet files that are kept open at once.
const FILES_OPEN_MAX: usize = 64;

/// The slot of a block that was not loaded yet.
const NOT_LOADED: u32 = u32::MAX;

/// When to give up, as the caller says it.
pub(super) type Interrupted<'a> = &'a (dyn Fn() -> Option<Truncation> + Sync);

/// The merge of all segments.
#[derive(Debug)]
pub(super) struct Merge {
    matcher: Matcher,
    times: TimeSet,
    room: Arc<KeptOpen>,
    always_whole: bool,
    memory_bytes: u64,
    /// Bytes that may still be read into the page cache to stay.
    cached_bytes: u64,
    segments: Vec<Planned>,
    waiting: BinaryHeap<Reverse<(Key, Source)>>,
    opened: BTreeMap<u32, Opened>,
    /// Those of them whose packet file is open.
    with_file: Vec<u32>,
    slots: Slots,
    /// Bytes that the look-ups of what is opened hold.
    hits_bytes: u64,
    at_once: AtOnce,
    /// The slot whose packets come next, and the packet delivered last.
    current: Option<usize>,
    delivered: Option<Entry>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A packet: [`Merge::packet`].
    Packet,
    /// Nothing any more.
    End,
    /// The caller gave up.
    Interrupted(Truncation),
}

/// A segment of the answer.
#[derive(Debug)]
struct Planned {
    segment: Arc<Segment>,
    state: State,
    /// Packets that the kernel dropped in the time asked.
    kernel_drops: u64,
    /// Where the blocks begin that are wanted.
    from_bytes: u64,
    /// What its wanted packets take in memory at the most, until they are read.
    most_hits_bytes: u64,
    /// The first thing that was wrong with it, in which file, and how many things were.
    damage: Option<(String, String, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its index was not looked up, or none of its packets were read.
    NotReached,
    /// Nothing matches.
    Skipped,
    /// Packets were read.
    Read,
    /// Its index cannot be used.
    Failed,
}

/// What a look-up came to.
struct LookedUp {
    /// What is wrong besides, and in which file.
    noted: Vec<(String, String)>,
    found: Result<(Opened, Vec<Due>), Unusable>,
}

/// Why a look-up came to nothing.
enum Unusable {
    /// The index fails.
    Index(Fault),
    /// The packet file does.
    Packets(Fault),
    /// The caller had to give up.
    Interrupted(Truncation),
}

impl Merge {
    /// Of `selected`, whose order is that of ties. Indexes stay open within `room`; blocks take about so much memory, and are
    /// read whole wherever that lets them be held against a checksum if so wanted.
    pub(super) fn new(
        matcher: Matcher,
        times: TimeSet,
        selected: Vec<Selected>,
        room: Arc<KeptOpen>,
        options: &Options,
    ) -> Self {
        let bound =
            |(segment, s): (u32, &Selected)| Reverse((Key { time: s.first, segment, packet: 0 }, Source::Segment));
        let waiting = (0..).zip(&selected).filter(|(_, s)| !s.is_screened_out).map(bound).collect();
        let planned = |s: Selected| Planned {
            segment: s.segment,
            state: if s.is_screened_out { State::Skipped } else { State::NotReached },
            kernel_drops: s.kernel_drops,
            from_bytes: s.from_bytes,
            most_hits_bytes: s.packets.map_or(u64::MAX, Hits::most_memory_bytes),
            damage: None,
        };
        Self {
            matcher,
            times,
            room,
            always_whole: options.verify_blocks,
            memory_bytes: options.memory_bytes,
            cached_bytes: options.cached_bytes,
            segments: selected.into_iter().map(planned).collect(),
            waiting,
            opened: BTreeMap::new(),
            with_file: Vec::new(),
            slots: Slots::default(),
            hits_bytes: 0,
            at_once: AtOnce::new(),
            current: None,
            delivered: None,
        }
    }

    /// Moves on to the next packet.
    #[inline]
    pub(super) fn advance(&mut self, interrupted: Interrupted<'_>) -> Next {
        loop {
            if let Some(slot) = self.current.and_then(|at| self.slots.get_mut(at)) {
                let next = slot.loaded.peek().copied();
                match (slot.holds, next) {
                    (Some((segment, block)), Some(entry)) => {
                        let key = Key { time: entry.time, segment, packet: entry.packet };
                        if self.waiting.peek().is_none_or(|Reverse((other, _))| key <= *other) {
                            slot.loaded.advance();
                            self.delivered = Some(entry);
                            return Next::Packet;
                        }
                        self.set_aside(key, block);
                    }
                    _ => self.finish_block(),
                }
            }
            if let Some(by) = interrupted() {
                return Next::Interrupted(by);
            }
            match self.go_on(interrupted) {
                Ok(true) => {}
                Ok(false) => return Next::End,
                Err(by) => return Next::Interrupted(by),
            }
        }
    }

    /// The packet that [`Self::advance`] moved on to, and the segment it is from.
    #[inline]
    pub(super) fn packet(&self) -> Option<(RawPacket<'_>, u32, u32)> {
        let slot = self.slots.get(self.current?)?;
        let entry = self.delivered?;
        let (segment, _) = slot.holds?;
        Some((slot.loaded.packet(&entry)?, segment, entry.packet))
    }

    /// Whether all is delivered of the block that the packet of [`Self::packet`] is in.
    #[inline]
    pub(super) fn is_between_blocks(&self) -> bool {
        self.current.and_then(|at| self.slots.get(at)).is_none_or(|slot| slot.loaded.peek().is_none())
    }

    /// The segment with this place.
    pub(super) fn segment(&self, at: u32) -> Option<&Arc<Segment>> {
        self.segments.get(at as usize).map(|planned| &planned.segment)
    }

    /// Packets that the kernel dropped in the time asked, segment by segment.
    pub(super) fn kernel_drops(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments.iter().map(|planned| planned.kernel_drops)
    }

    /// Whether more packets may match: looks up indexes until it is sure, and reads no packet file.
    pub(super) fn more_may_match(&mut self, interrupted: Interrupted<'_>) -> bool {
        let slot = self.current.and_then(|at| self.slots.get(at));
        if slot.is_some_and(|slot| slot.loaded.peek().is_some()) {
            return true;
        }
        loop {
            match self.waiting.pop() {
                None => return false,
                Some(Reverse((_, Source::Block { .. }))) => return true,
                Some(Reverse((key, Source::Segment))) => {
                    if interrupted().is_some() || self.open_with_next(key, interrupted).is_err() {
                        return true;
                    }
                }
            }
        }
    }

    /// Fills in what the segments have to say.
    pub(super) fn report(&self, receipt: &mut Receipt, tally: &mut Tally) {
        for planned in &self.segments {
            let outcome = match planned.state {
                State::NotReached => Some(Outcome::NotReached),
                State::Skipped => Some(Outcome::Skipped),
                State::Read => Some(Outcome::Read),
                State::Failed => None,
            };
            if let Some(outcome) = outcome {
                tally.note(&planned.segment, outcome);
            }
            if let Some((file, first, more)) = &planned.damage {
                let reason = match more {
                    0 => first.clone(),
                    1 => format!("{first}; and 1 more fault"),
                    more => format!("{first}; and {more} more faults"),
                };
                let unreadable = Unreadable { file: file.clone(), reason, may_hold_matches: true };
                if !receipt.unreadable.contains(&unreadable) {
                    receipt.unreadable.push(unreadable);
                }
            }
        }
        self.matcher.report(receipt);
    }

    /// Takes up what is on top of the heap; `false` when it is empty.
    fn go_on(&mut self, interrupted: Interrupted<'_>) -> Result<bool, Truncation> {
        let Some(Reverse((key, source))) = self.waiting.pop() else { return Ok(false) };
        match source {
            Source::Segment => self.open_with_next(key, interrupted)?,
            Source::Block { block, slot } => {
                let there = self.slots.get(slot as usize).is_some_and(|s| s.holds == Some((key.segment, block)));
                if there {
                    self.current = Some(slot as usize);
                } else {
                    // One that was never loaded has delivered nothing, whatever it was expected to begin with.
                    let again = slot != NOT_LOADED;
                    self.load(key, block, if again { (key.time, key.packet) } else { (TimestampNs::MIN, 0) });
                }
            }
        }
        Ok(true)
    }

    /// Puts the current block back among those that wait; `key` is its next packet.
    fn set_aside(&mut self, key: Key, block: u32) {
        if let Some(at) = self.current.take() {
            let slot = u32::try_from(at).unwrap_or(u32::MAX);
            self.waiting.push(Reverse((key, Source::Block { block, slot })));
        }
    }

    /// The current block is delivered.
    fn finish_block(&mut self) {
        let Some(at) = self.current.take() else { return };
        let held = self.slots.release(at);
        let Some((segment, _)) = held else { return };
        let Some(opened) = self.opened.get_mut(&segment) else { return };
        opened.blocks_left = opened.blocks_left.saturating_sub(1);
        if opened.blocks_left == 0 {
            self.close(segment);
        }
    }

    /// Forgets what was looked up of a segment.
    fn close(&mut self, segment: u32) {
        if let Some(opened) = self.opened.remove(&segment) {
            self.with_file.retain(|with_file| *with_file != segment);
            self.hits_bytes = self.hits_bytes.saturating_sub(opened.memory_bytes());
        }
    }

    /// Looks up the segment of `key`, and with it those that come next as long as no block does, the more of them the longer that
    /// was so; lets their blocks wait.
    fn open_with_next(&mut self, key: Key, interrupted: Interrupted<'_>) -> Result<(), Truncation> {
        let mut room = self.memory_bytes / AtOnce::SHARE;
        let mut batch = vec![key];
        while batch.len() < self.at_once.most()
            && let Some(next) = self.next_segment()
        {
            let needed = self.segments.get(next.segment as usize).map_or(0, |planned| planned.most_hits_bytes);
            let Some(left) = room.checked_sub(needed) else { break };
            room = left;
            let _same = self.waiting.pop();
            batch.push(next);
        }
        let Self { segments, matcher, times, room, at_once, .. } = self;
        let looked_up = at_once.look_up(&batch, |key| {
            Some(segments.get(key.segment as usize)?.look_up(matcher, times, room, interrupted))
        });
        let mut outcome = Ok(());
        for (key, looked_up) in batch.into_iter().zip(looked_up) {
            outcome = outcome.and(looked_up.map_or(Ok(()), |looked_up| self.take_up(key, looked_up)));
        }
        // Whatever was found, those that come now have to be opened before any of it.
        let goes_on = self.next_segment().is_some();
        self.at_once.learn(goes_on);
        outcome
    }

    /// The segment that comes next, if no block does.
    fn next_segment(&self) -> Option<Key> {
        match self.waiting.peek()? {
            Reverse((key, Source::Segment)) => Some(*key),
            Reverse((_, Source::Block { .. })) => None,
        }
    }

    /// Takes up what a look-up came to.
    fn take_up(&mut self, key: Key, LookedUp { noted, found }: LookedUp) -> Result<(), Truncation> {
        let Some(planned) = self.segments.get_mut(key.segment as usize) else { return Ok(()) };
        match found {
            // It is done again.
            Err(Unusable::Interrupted(by)) => {
                self.waiting.push(Reverse((key, Source::Segment)));
                return Err(by);
            }
            Err(Unusable::Index(fault)) => planned.fail(&fault),
            Err(Unusable::Packets(fault)) => {
                planned.state = State::Failed;
                planned.note(planned.segment.packet_name(), fault.to_string());
            }
            Ok((_, due)) if due.is_empty() => planned.state = State::Skipped,
            Ok((opened, due)) => {
                self.hits_bytes = self.hits_bytes.saturating_add(opened.memory_bytes());
                let _new = self.opened.insert(key.segment, opened);
                for Due { block, time, packet } in due {
                    let bound = Key { time, segment: key.segment, packet };
                    self.waiting.push(Reverse((bound, Source::Block { block, slot: NOT_LOADED })));
                }
            }
        }
        noted.into_iter().for_each(|(file, what)| planned.note(file, what));
        Ok(())
    }

    /// Reads a block from the time and packet `from` on, and makes it the current one.
    fn load(&mut self, key: Key, block: u32, from: (TimestampNs, u32)) {
        // Without the segment its file is gone, and that was noted.
        let Some(opened) = self.opened.get(&key.segment) else { return };
        let needed = match opened.block_memory(block) {
            Ok(needed) => needed,
            Err(fault) => return self.give_up(key.segment, &fault),
        };
        if !self.opened.get(&key.segment).is_some_and(Opened::has_file) {
            self.close_files_before(key.segment);
        }
        match self.load_into_slot(needed, key.segment, block, from) {
            Ok(at) => self.current = Some(at),
            Err(fault) => self.give_up(key.segment, &fault),
        }
    }

    /// Reads a block that needs so many bytes into a slot.
    fn load_into_slot(
        &mut self,
        needed: u64,
        segment: u32,
        block: u32,
        from: (TimestampNs, u32),
    ) -> Result<usize, Fault> {
        let (Some(planned), Some(opened)) = (self.segments.get_mut(segment as usize), self.opened.get_mut(&segment))
        else {
            return Err(Fault::Vanished);
        };
        let how = (self.matcher.expr(), self.always_whole, self.cached_bytes == 0);
        let at = self.slots.take(needed, self.memory_bytes.saturating_sub(self.hits_bytes));
        let mut read_bytes = 0;
        self.slots.fill(at, (segment, block), |loaded| {
            opened.load(block, from, how, loaded, &mut |damage| planned.note_packets(&damage))?;
            read_bytes = loaded.bytes().len() as u64;
            Ok(())
        })?;
        self.cached_bytes = self.cached_bytes.saturating_sub(read_bytes);
        planned.state = State::Read;
        Ok(at)
    }

    /// Keeps the number of open packet files bounded: that of `segment` is about to be one more.
    fn close_files_before(&mut self, segment: u32) {
        if self.with_file.len() >= FILES_OPEN_MAX {
            for with_file in self.with_file.drain(..) {
                self.opened.get_mut(&with_file).into_iter().for_each(Opened::close_file);
            }
        }
        self.with_file.push(segment);
    }

    /// No more can be read of a segment.
    fn give_up(&mut self, segment: u32, fault: &Fault) {
        self.close(segment);
        if let Some(planned) = self.segments.get_mut(segment as usize) {
            planned.note(planned.segment.packet_name(), fault.to_string());
            if planned.state == State::NotReached {
                planned.state = State::Failed;
            }
        }
    }
}

impl Planned {
    /// Looks it up.
    fn look_up(&self, matcher: &Matcher, times: &TimeSet, room: &KeptOpen, interrupted: Interrupted<'_>) -> LookedUp {
        let (segment, mut noted) = (&self.segment, Vec::new());
        let index = match segment.index_within(room) {
            Ok(index) => index,
            Err(fault) => return LookedUp { noted, found: Err(Unusable::Index(fault)) },
        };
        if let Err(fault) = index.facts() {
            noted.push((segment.index_name(), fault.to_string()));
        }
        let wanted = (times, self.from_bytes);
        let mut damaged = |damage: Damage| {
            noted.push((segment.packet_name(), Fault::DamagedPackets(chain(&damage)).to_string()));
        };
        let found = Opened::look_up(segment, index, matcher, wanted, interrupted, &mut damaged);
        let found = found.map_err(|stop| match stop {
            Stop::Index(e) => Unusable::Index(Fault::of_index(&e)),
            Stop::Packets(fault) => Unusable::Packets(fault),
            Stop::Interrupted(by) => Unusable::Interrupted(by),
        });
        LookedUp { noted, found }
    }

    /// Its index cannot be used.
    fn fail(&mut self, fault: &Fault) {
        self.state = State::Failed;
        self.note(self.segment.index_name(), fault.to_string());
    }

    /// Something is wrong with its packet file.
    fn note_packets(&mut self, damage: &Damage) {
        self.note(self.segment.packet_name(), Fault::DamagedPackets(chain(damage)).to_string());
    }

    /// Something is wrong with it. The first fault is kept, the others are counted.
    fn note(&mut self, file: String, what: String) {
        match &mut self.damage {
            Some((_, _, more)) => *more += 1,
            None => self.damage = Some((file, what, 0)),
        }
    }
}
