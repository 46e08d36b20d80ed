//! Reads a block's wanted packets from the packet file, and checks them (step 10 of the data flow).
//!
//! Where many are wanted the whole block comes in one read, and its bytes are held against the checksum in the index. Where
//! few are, only the pieces that hold them are read, and each is held against the running checksums in the index. An index
//! without those has its blocks read whole. Where there is no checksum at all, or none is asked for, the stretches between anchors
//! that hold wanted packets are read; each such packet is decoded, held against the query again, and its chain must lead to the next
//! anchor. What fails a check is left out and reported.

use steno_core::{
    PacketNo, TimestampNs,
    block::{Block, PACKET_HEADER_BYTES, RawPacket, packet_at},
    crc32c,
    packet::{Fragment, Tag, decode},
};
use steno_index::{BlockInfo, Index, Locator};

use super::{
    damage::Damage,
    hits::{Hit, Hits},
    loaded::{Entry, Loaded},
    packet_file::PacketFile,
    pieces::Pieces,
};
use crate::{Expr, Fields};

/// Packets from one anchor to the next (`docs/format/index.md` section 4).
const ANCHOR_STEP: u32 = 16;
/// Used bytes up to which a block is always read whole: one read costs as much as a few pages.
pub(super) const SMALL_BLOCK_BYTES: u32 = 32 << 10;
/// Bytes between two stretches up to which they are read in one go.
pub(super) const BRIDGED_BYTES: u64 = 16 << 10;
/// More than any block has; a table that says so is damaged, and its number sizes no allocation.
pub(super) const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// Loads blocks of one segment.
#[derive(Debug)]
pub(super) struct Fetch<'a> {
    pub(super) index: &'a Index,
    pub(super) hits: &'a Hits,
    pub(super) file: &'a PacketFile,
    pub(super) expr: &'a Expr,
    /// Whether what has a checksum is always held against it.
    pub(super) always_whole: bool,
}

impl Fetch<'_> {
    /// Fills `loaded` with the wanted packets of a block, which comes with its number, from the time and number `from` on. What
    /// could not be had is told to `report`; the rest is there.
    pub(super) fn load(
        &self,
        (number, block): (u32, &BlockInfo),
        from: (TimestampNs, u32),
        loaded: &mut Loaded,
        report: &mut dyn FnMut(Damage),
    ) {
        loaded.clear();
        let mut tags = Vec::new();
        let mut task = Task { fetch: self, number, block, from, loaded, report, tags: &mut tags };
        if let Err(damage) = task.run() {
            (task.report)(damage);
        }
        loaded.sort();
    }
}

/// One block being loaded.
struct Task<'a> {
    fetch: &'a Fetch<'a>,
    number: u32,
    block: &'a BlockInfo,
    from: (TimestampNs, u32),
    loaded: &'a mut Loaded,
    report: &'a mut dyn FnMut(Damage),
    tags: &'a mut Vec<Tag>,
}

/// A stretch of a block from an anchor up to another, or to the end of the block; or one of whole pieces around such.
pub(super) struct Stretch {
    /// Where it starts and ends in the packet file.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Its groups, ascending: where each starts, its first packet, and how many it has.
    pub(super) groups: Vec<Group>,
}

/// The packets from one anchor to the next.
pub(super) struct Group {
    pub(super) start: u64,
    pub(super) end: u64,
    first: u32,
    packets: u32,
}

impl Task<'_> {
    fn run(&mut self) -> Result<(), Damage> {
        let block = self.block;
        let offset_bytes = block.offset_bytes;
        let end = offset_bytes.checked_add(u64::from(block.used_bytes)).filter(|_| block.used_bytes <= BLOCK_BYTES_MAX);
        let end = end.ok_or(Damage::OtherBlock { offset_bytes })?;
        if end > self.fetch.file.bytes {
            return Err(Damage::Cut { offset_bytes, file_bytes: self.fetch.file.bytes });
        }
        let many = self.fetch.hits.count(block.first_packet.0, block.packets) > block.packets / 4;
        if many || block.used_bytes <= SMALL_BLOCK_BYTES {
            return self.whole_or_salvaged(end);
        }
        if self.fetch.always_whole && block.crc32c.is_some() {
            return match self.pieces(end) {
                Some((mut pieces, stretches)) if !pieces.cost_as_much_as_all(&stretches) => {
                    self.partly(&stretches, Some(&mut pieces))
                }
                _ => self.whole_or_salvaged(end),
            };
        }
        let stretches = self.stretches(end)?;
        let wanted: u64 = stretches.iter().map(|s| s.end - s.start).sum();
        if wanted > u64::from(block.used_bytes) / 2 {
            self.whole_or_salvaged(end)
        } else {
            self.partly(&stretches, None)
        }
    }

    /// Reads the block in one go. Of one that is not as it should be, the pieces that still are what was captured are taken;
    /// without checksums, all between anchors that still hold. One that differs from its checksum, without running ones, may be
    /// wrong anywhere, and nothing of it is taken.
    fn whole_or_salvaged(&mut self, end: u64) -> Result<(), Damage> {
        let Err(damage) = self.whole() else { return Ok(()) };
        if !matches!(damage, Damage::Block { .. } | Damage::Checksum { .. } | Damage::Read { .. }) {
            return Err(damage);
        }
        if let Some((mut pieces, stretches)) = self.pieces(end) {
            // Those that differ are reported, if anything of them is wanted.
            self.loaded.clear();
            return self.partly(&stretches, Some(&mut pieces));
        }
        if self.block.crc32c.is_some() || !matches!(damage, Damage::Block { .. }) {
            return Err(damage);
        }
        (self.report)(damage);
        self.loaded.clear();
        let stretches = self.stretches(end)?;
        self.partly(&stretches, None)
    }

    /// The pieces of the block, and the stretches of them that hold wanted packets. `None` where there are no running checksums, or
    /// the index does not give them: the whole block needs neither those nor anchors.
    fn pieces(&self, block_end: u64) -> Option<(Pieces, Vec<Stretch>)> {
        let checksums = self.fetch.index.checksums(self.number).ok()?;
        let pieces = Pieces::of(self.block, checksums)?;
        let stretches = self.stretches(block_end).ok()?;
        // An index that contradicts itself may lead elsewhere.
        let inside = |s: &Stretch| self.block.offset_bytes <= s.start && s.end <= block_end;
        let wide = stretches.iter().all(inside).then(|| pieces.widened(stretches))?;
        Some((pieces, wide))
    }

    /// Reads the block in one go.
    fn whole(&mut self) -> Result<(), Damage> {
        let (block, offset_bytes) = (self.block, self.block.offset_bytes);
        let (_, room) = self.loaded.room(block.used_bytes as usize);
        read(self.fetch.file, offset_bytes, room)?;
        let (bytes, entries) = self.loaded.parts();
        let parsed = Block::parse(bytes).map_err(|source| Damage::Block { offset_bytes, source })?;
        if let Some(expected) = block.crc32c {
            let got = crc32c::crc32c(parsed.used());
            if got != expected {
                return Err(Damage::Checksum { offset_bytes, expected, got });
            }
        }
        let header = parsed.header();
        if (header.blk_len, header.num_pkts, header.seq_num) != (block.used_bytes, block.packets, block.seq_num) {
            return Err(Damage::OtherBlock { offset_bytes });
        }
        // With a checksum that agrees, these are the bytes that the index was made from.
        let judge = Judge { expr: self.fetch.expr, block, trusted: block.crc32c.is_some() };
        let mut hits = self.fetch.hits.iter(block.first_packet.0, block.packets);
        let Some(mut hit) = hits.next() else { return Ok(()) };
        for (number, packet) in (block.first_packet.0..).zip(parsed.packets()) {
            let packet = packet.map_err(|source| Damage::Block { offset_bytes, source })?;
            if number != hit.packet {
                continue;
            }
            match judge.belongs(&packet, hit, self.tags) {
                Some(true) => entries.extend(entry(&packet, number, packet.offset_bytes, self.from)),
                Some(false) => {}
                None => {
                    let at = offset_bytes + u64::from(packet.offset_bytes);
                    (self.report)(Damage::OtherPacket { packet: number, offset_bytes: at });
                }
            }
            match hits.next() {
                Some(next) => hit = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Reads the stretches that hold wanted packets; with `pieces`, only what these vouch for is taken.
    fn partly(&mut self, stretches: &[Stretch], mut pieces: Option<&mut Pieces>) -> Result<(), Damage> {
        for stretch in stretches {
            let len = usize::try_from(stretch.end - stretch.start).unwrap_or(usize::MAX);
            let (start, room) = self.loaded.room(len);
            let file = self.fetch.file;
            match &mut pieces {
                Some(pieces) => pieces.read(file, stretch, room, self.report),
                None => read(file, stretch.start, room)?,
            }
            for group in &stretch.groups {
                let kept = self.loaded.parts().1.len();
                if let Err(damage) = self.walk(group, (stretch.start, start), pieces.as_deref()) {
                    self.loaded.parts().1.truncate(kept);
                    (self.report)(damage);
                }
            }
        }
        Ok(())
    }

    /// Walks a group. Its packets are good only if the chain leads to its end, as far as `pieces` vouch for it. `read_at` is where the
    /// stretch, which starts at `stretch_start` of the file, is in the bytes read.
    fn walk(
        &mut self,
        group: &Group,
        (stretch_start, read_at): (u64, usize),
        pieces: Option<&Pieces>,
    ) -> Result<(), Damage> {
        let judge = Judge { expr: self.fetch.expr, block: self.block, trusted: pieces.is_some() };
        let holds = |start: u64, len: u64| pieces.is_none_or(|pieces| pieces.hold(start, start + len));
        let end_packet = self.block.first_packet.0.saturating_add(self.block.packets);
        let mut hits = self.fetch.hits.iter(group.first, group.packets).peekable();
        let (bytes, entries) = self.loaded.parts();
        let place = |offset: u64| read_at as u64 + (offset - stretch_start);
        let (mut at, end) = (place(group.start), place(group.end));
        let bytes = usize::try_from(end).ok().and_then(|end| bytes.get(..end)).unwrap_or_default();
        for number in group.first..group.first + group.packets {
            let offset_bytes = stretch_start + (at - read_at as u64);
            if !holds(offset_bytes, PACKET_HEADER_BYTES.into()) {
                // Where it leads is not known, and has been reported.
                return Ok(());
            }
            let other = Damage::OtherPacket { packet: number, offset_bytes };
            let Some(packet) = u32::try_from(at).ok().and_then(|at| packet_at(bytes, at).ok()) else {
                return Err(other);
            };
            let len = u64::from(packet.header.mac) + packet.bytes.len() as u64;
            if let Some(hit) = hits.next_if(|hit| hit.packet == number)
                && holds(offset_bytes, len)
            {
                match judge.belongs(&packet, hit, self.tags) {
                    Some(true) => entries.extend(entry(&packet, number, packet.offset_bytes, self.from)),
                    Some(false) => {}
                    None => return Err(other),
                }
            }
            let step = packet.header.next_offset;
            at += u64::from(step);
            let (last, in_group) = (number + 1 == end_packet, step >= PACKET_HEADER_BYTES && at <= end);
            let leads_on = if last { step == 0 } else { in_group };
            if !leads_on {
                return Err(other);
            }
        }
        if at == end || group.first + group.packets == end_packet {
            return Ok(());
        }
        Err(Damage::OtherPacket { packet: group.first, offset_bytes: group.start })
    }

    /// The stretches that hold wanted packets, near ones joined. `block_end` is the end of the block's used bytes.
    fn stretches(&self, block_end: u64) -> Result<Vec<Stretch>, Damage> {
        let block = self.block;
        let end_packet = block.first_packet.0.saturating_add(block.packets);
        let mut locator = self.fetch.index.locator();
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut walked_to = 0;
        for hit in self.fetch.hits.iter(block.first_packet.0, block.packets) {
            if hit.packet < walked_to {
                continue;
            }
            let first = hit.packet - (hit.packet - block.first_packet.0) % ANCHOR_STEP;
            let next = first.saturating_add(ANCHOR_STEP).min(end_packet);
            let start = anchor(&mut locator, first)?;
            let end = if next < end_packet { anchor(&mut locator, next)? } else { block_end };
            if end <= start {
                return Err(Damage::OtherBlock { offset_bytes: block.offset_bytes });
            }
            let group = Group { start, end, first, packets: next - first };
            walked_to = next;
            match stretches.last_mut() {
                Some(last) if start < last.end => {
                    return Err(Damage::OtherBlock { offset_bytes: block.offset_bytes });
                }
                Some(last) if start - last.end <= BRIDGED_BYTES => {
                    last.end = end;
                    last.groups.push(group);
                }
                _ => stretches.push(Stretch { start, end, groups: vec![group] }),
            }
        }
        Ok(stretches)
    }
}

/// Decides packets that were read.
struct Judge<'a> {
    expr: &'a Expr,
    block: &'a BlockInfo,
    /// Whether these are known to be the bytes that the index was made from.
    trusted: bool,
}

impl Judge<'_> {
    /// Whether a wanted packet belongs to the answer; `None` where it is not what the index says.
    #[inline]
    fn belongs(&self, packet: &RawPacket<'_>, hit: Hit, tags: &mut Vec<Tag>) -> Option<bool> {
        let time = packet.timestamp();
        if time < self.block.min_time || time > self.block.max_time {
            return None;
        }
        if self.trusted && !hit.check {
            return Some(true);
        }
        let decoded = decode(&packet.frame(), tags);
        let fields = Fields::of(&decoded, tags);
        if self.expr.matches(&fields, time) {
            return Some(true);
        }
        // What the packet does not say itself the index has decided, and the time with it.
        if decoded.fragment == Fragment::Later && self.expr.times_of_fragment(&fields).1.contains(time) {
            return Some(true);
        }
        // Only its time may speak against it, and only where the index has left that open.
        (hit.check && !self.expr.times(&fields).is_empty()).then_some(false)
    }
}

/// The entry of a packet, unless it comes before what is to be delivered still.
#[inline]
fn entry(packet: &RawPacket<'_>, number: u32, offset_bytes: u32, from: (TimestampNs, u32)) -> Option<Entry> {
    let time = packet.timestamp();
    ((time, number) >= from).then_some(Entry { time, packet: number, offset_bytes })
}

/// Where the group that starts with packet `first` starts.
fn anchor(locator: &mut Locator<'_>, first: u32) -> Result<u64, Damage> {
    let anchor = locator.locate(PacketNo(first))?;
    let offset_bytes = u64::from(anchor.position.0);
    if anchor.skip == 0 { Ok(offset_bytes) } else { Err(Damage::OtherBlock { offset_bytes }) }
}

pub(super) fn read(file: &PacketFile, offset_bytes: u64, into: &mut [u8]) -> Result<(), Damage> {
    file.read_exact_at(into, offset_bytes).map_err(|source| Damage::Read { offset_bytes, source })
}
