//! An answer as the caller takes it: packet by packet, or as the bytes of a capture file, and a receipt.

use std::sync::Arc;

use steno_core::{
    PacketNo, SegmentId, TimestampNs,
    packet::Frame,
    pcap::{CaptureMeta, CaptureWriter, Format, InterfaceDrops, InterfaceMeta, Record},
};

use super::{
    Options,
    merge::{Merge, Next},
    options::Meter,
};
use crate::{
    Query,
    plan::{Asked, Matcher, Of, Seen, Selected, Selection},
    receipt::{Receipt, Tally, Truncation, Unreadable},
    store::{Catalogue, Store},
};

/// Bytes of a chunk, which a sensor sends in one message.
const CHUNK_BYTES: usize = 256 << 10;
/// A chunk is full when no more than this is left. The packet that comes to that is still in it, and hardly any is longer.
const LAST_BYTES: usize = 16 << 10;
/// A chunk of so many bytes ends where a block does.
const LEAST_BYTES: usize = 64 << 10;

/// The answer to a query: exactly the packets that match, by arrival time, ties in ring order.
///
/// It is taken with [`Self::next_packet`] or with [`Self::next_chunk`], not with both. Nothing is read ahead of the caller
/// but the block at hand, and an answer that is dropped reads no more. Whatever goes wrong on the way does not end it: what
/// could not be had is in the [`Receipt`].
#[derive(Debug)]
pub struct Answer {
    merge: Merge,
    options: Options,
    meter: Meter,
    output: Output,
    receipt: Receipt,
    tally: Tally,
    /// Whether the end was reached, and what brought it about.
    ended: Option<Option<Truncation>>,
    /// What it is to go on with.
    following: Option<Following>,
}

/// An answer that goes on with what arrives.
#[derive(Debug)]
struct Following {
    asked: Asked,
    seen: Seen,
}

/// A packet of an answer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// Arrival time.
    pub time: TimestampNs,
    /// Bytes on the wire, every tag included.
    pub wire_len: u32,
    /// What was captured.
    pub frame: Frame<'a>,
    /// The capture thread.
    pub thread: u32,
    /// The segment that it is in.
    pub segment: SegmentId,
    /// Its number in that segment; where stenographer 1.0.1 or `--index_format=leveldb` made the index, which numbers no
    /// packets, the position of its header. Ascends in ring order in either case.
    pub number: PacketNo,
}

impl Answer {
    /// To `query`, from what is in `catalogue`. Finds the segments in range; reads packets when they are asked for.
    pub(crate) fn new(catalogue: &Catalogue, query: &Query, options: Options) -> Self {
        Self::begin(catalogue, query, options, None)
    }

    /// To `query`, from what is in `catalogue`, and then from what is added: see [`Self::go_on`].
    pub(crate) fn following(catalogue: &Catalogue, query: &Query, options: Options) -> Self {
        Self::begin(catalogue, query, options, Some(Seen::default()))
    }

    fn begin(catalogue: &Catalogue, query: &Query, options: Options, seen: Option<Seen>) -> Self {
        let asked = Asked::new(query, &options);
        let of = match options.format {
            Format::PcapNg => Of::PacketsAndInterfaces,
            _ => Of::Packets,
        };
        let selection = Selection::of(catalogue, &asked, of, seen, &|| options.is_over());
        let Selection { times, selected, datagrams, receipt, seen, .. } = selection;
        let output = Output::new(&options, &selected);
        let ended = receipt.truncated_by.map(Some);
        let matcher = Matcher::new(asked.expr().clone(), Of::Packets, datagrams);
        let room = Arc::clone(catalogue.room());
        let merge = Merge::new(matcher, times, selected, room, &options);
        let following = seen.map(|seen| Following { asked, seen });
        Self { merge, meter: Meter::new(&options), options, output, receipt, tally: Tally::default(), ended, following }
    }

    /// Of an answer that follows ([`Store::follow`](crate::Store::follow)): takes up what was added to `store`, as it was last
    /// listed, since it came to the end of what there was. Packets that come later are in order of time among those that are taken up
    /// together, and none is delivered twice.
    pub fn go_on(&mut self, store: &Store) {
        let Some(Following { asked, seen }) = self.following.take() else { return };
        let options = &self.options;
        if self.ended.is_none() {
            self.ended = options.interrupted().map(Some);
        }
        if self.ended.is_some() {
            self.following = Some(Following { asked, seen });
            return;
        }
        self.merge.report(&mut self.receipt, &mut self.tally);
        let interrupted = || options.is_over();
        let catalogue = store.catalogue();
        let selection = Selection::of(&catalogue, &asked, Of::Packets, Some(seen), &interrupted);
        let Selection { times, selected, datagrams, receipt, seen, mended, .. } = selection;
        self.receipt.unreadable.retain(|file| !mended.contains(&file.file));
        self.output.go_on_with(&selected);
        let matcher = Matcher::new(asked.expr().clone(), Of::Packets, datagrams);
        let room = Arc::clone(catalogue.room());
        self.merge = Merge::new(matcher, times, selected, room, options);
        self.receipt.join(receipt);
        self.ended = self.receipt.truncated_by.map(Some);
        self.following = seen.map(|seen| Following { asked, seen });
    }

    /// Of an answer that follows: whether a segment was searched to its end, or named as one that cannot be.
    pub fn has_searched(&self, thread: u32, id: SegmentId) -> bool {
        self.following.as_ref().is_some_and(|following| following.seen.is_done(thread, id))
    }

    /// Ends an answer that follows, because these files went before it came to them.
    pub fn end_without(&mut self, files: impl IntoIterator<Item = String>, reason: &str) {
        let lost = |file| Unreadable { file, reason: reason.to_owned(), may_hold_matches: true };
        self.receipt.unreadable.extend(files.into_iter().map(lost));
        self.ended = self.ended.or(Some(None));
    }

    /// Whether it has come to its end. One that follows does so for what its options say only.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The next packet, or `None` at the end of the answer.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        if !self.step() {
            return None;
        }
        let (raw, at, number) = self.merge.packet()?;
        let packet = Packet {
            time: raw.timestamp(),
            wire_len: raw.wire_len(),
            frame: raw.frame(),
            thread: self.merge.segment(at)?.thread(),
            segment: self.merge.segment(at)?.id(),
            number: PacketNo(number.saturating_add(self.merge.segment(at)?.first_packet())),
        };
        self.meter.count(packet.frame.len());
        Some(packet)
    }

    /// Fills `chunk`, whose memory is used again, with the next bytes of a capture file of [`Options::format`]: nearly 256 KiB,
    /// more only where a packet is longer than 16 KiB, fewer at the end, and down to 64 KiB where a block of packets ends. The chunks
    /// one after the other are the file; that of an answer without packets is an empty capture file. `false`, and an empty chunk,
    /// when all has been given out; where the answer follows, all that there is by now.
    pub fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> bool {
        chunk.clear();
        chunk.append(&mut self.output.ahead);
        if self.output.stage == Stage::Packets {
            chunk.reserve(CHUNK_BYTES);
        }
        if self.output.stage == Stage::Start {
            self.output.stage = Stage::Packets;
            self.output.writer.start(chunk);
        }
        while self.output.stage == Stage::Packets && !self.is_full(chunk.len()) {
            if !self.step() {
                if self.ended.is_none() {
                    // More may come.
                    break;
                }
                self.output.stage = Stage::Done;
                let time = self.receipt.held.map_or(TimestampNs::MIN, |held| held.newest);
                self.output.writer.finish(chunk, &self.output.losses(time, self.merge.kernel_drops()));
            } else if let Some((raw, at, _)) = self.merge.packet() {
                let interface = self.output.interface(at);
                let frame = raw.frame();
                self.meter.count(frame.len());
                let record = Record { time: raw.timestamp(), wire_len: raw.wire_len(), frame, interface };
                self.output.writer.packet(chunk, &record);
            }
        }
        if let Some(digest) = &mut self.output.digest {
            let _hashed = digest.update(chunk);
        }
        self.output.bytes += chunk.len() as u64;
        !chunk.is_empty()
    }

    /// Whether a chunk of so many bytes is to have no more.
    #[inline]
    fn is_full(&self, chunk_bytes: usize) -> bool {
        chunk_bytes >= CHUNK_BYTES - LAST_BYTES || chunk_bytes >= LEAST_BYTES && self.is_between_blocks()
    }

    /// Whether all is given out of the block of packets that was read last. Here an answer that several threads take in turn is best
    /// handed on: the next of them reads the next block, and none takes over the memory of a block from another.
    #[inline]
    pub fn is_between_blocks(&self) -> bool {
        self.merge.is_between_blocks()
    }

    /// The receipt: final once the answer has come to its end, and marked as unfinished before.
    pub fn receipt(&self) -> Receipt {
        let (mut receipt, mut tally) = (self.receipt.clone(), self.tally.clone());
        self.merge.report(&mut receipt, &mut tally);
        tally.add_to(&mut receipt.segments);
        if self.following.is_some() {
            // What had no packets of the time asked when it was first seen may have got some.
            let counts = &mut receipt.segments;
            counts.considered = counts.considered.max(counts.skipped + counts.read + counts.not_reached);
            counts.outside = counts.total.saturating_sub(counts.considered);
        }
        receipt.segments.unreadable = receipt.unreadable.len() as u64;
        receipt.packets = self.meter.packets();
        receipt.bytes = self.output.bytes;
        receipt.truncated_by = self.ended.unwrap_or(Some(Truncation::Unfinished));
        if self.output.stage != Stage::Start {
            receipt.blake3 = self.output.digest.as_ref().map(|digest| digest.finalize().to_hex().to_string());
        }
        receipt
    }

    /// Moves on to the next packet that is to be delivered; `false` at the end.
    #[inline]
    fn step(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        let options = &self.options;
        if let Some(by) = self.meter.reached() {
            let more = self.following.is_some() || self.merge.more_may_match(&|| options.interrupted());
            self.ended = Some(more.then_some(by));
            return false;
        }
        match self.merge.advance(&|| options.interrupted()) {
            Next::Packet => return true,
            Next::End if self.following.is_some() => {}
            Next::End => self.ended = Some(None),
            Next::Interrupted(by) => self.ended = Some(Some(by)),
        }
        false
    }
}

/// The capture file that the chunks make up.
#[derive(Debug)]
struct Output {
    writer: CaptureWriter,
    stage: Stage,
    /// What belongs before the next packet.
    ahead: Vec<u8>,
    /// Of all chunks, where it is made here.
    digest: Option<blake3::Hasher>,
    bytes: u64,
    /// The interface of each segment, for the format that says it.
    interfaces: Vec<u32>,
    /// Packets captured on each interface.
    captured: Vec<u64>,
    /// Whether they are told: whoever may see some of them is not to count the others.
    is_narrowed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Packets,
    Done,
}

impl Output {
    fn new(options: &Options, selected: &[Selected]) -> Self {
        let format = options.format;
        let mut meta = CaptureMeta {
            application: concat!("steno ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..CaptureMeta::default()
        };
        let (mut interfaces, mut captured) = (Vec::new(), Vec::new());
        // The other formats have no room for them, and the facts of each segment cost a look into it.
        if format == Format::PcapNg {
            for each in selected {
                let (interface, packets) = interface(each, &mut meta);
                let at = meta.interfaces.iter().position(|known| *known == interface).unwrap_or_else(|| {
                    meta.interfaces.push(interface);
                    captured.push(0);
                    meta.interfaces.len() - 1
                });
                if let Some(sum) = captured.get_mut(at) {
                    *sum += packets;
                }
                interfaces.push(u32::try_from(at).unwrap_or(u32::MAX));
            }
        }
        if meta.interfaces.is_empty() {
            meta.interfaces.push(InterfaceMeta::ethernet(UNKNOWN_INTERFACE));
        }
        let writer = CaptureWriter::new(format, meta);
        Self {
            writer,
            stage: Stage::Start,
            ahead: Vec::new(),
            digest: options.digest.then(blake3::Hasher::new),
            bytes: 0,
            interfaces,
            captured,
            is_narrowed: options.scope.is_some(),
        }
    }

    /// Gets ready for the packets of other segments.
    fn go_on_with(&mut self, selected: &[Selected]) {
        self.interfaces.clear();
        if self.writer.format() != Format::PcapNg {
            return;
        }
        for each in selected {
            let (meta, packets) = interface(each, &mut CaptureMeta::default());
            let known = (0..).zip(self.writer.interfaces()).find(|(_, known)| **known == meta).map(|(at, _)| at);
            let at = known.unwrap_or_else(|| self.writer.add_interface(&mut self.ahead, meta));
            if self.captured.len() <= at as usize {
                self.captured.resize(at as usize + 1, 0);
            }
            if let Some(sum) = self.captured.get_mut(at as usize) {
                *sum += packets;
            }
            self.interfaces.push(at);
        }
    }

    #[inline]
    fn interface(&self, segment: u32) -> u32 {
        self.interfaces.get(segment as usize).copied().unwrap_or(0)
    }

    /// What the interfaces got and lost up to `time`, by what each segment lost.
    fn losses(&self, time: TimestampNs, dropped: impl Iterator<Item = u64>) -> Vec<InterfaceDrops> {
        let told = |captured: u64| (!self.is_narrowed).then_some(captured);
        let each = |(interface, &captured)| InterfaceDrops { interface, time, received: told(captured), dropped: 0 };
        let mut losses: Vec<_> = (0..).zip(&self.captured).map(each).collect();
        for (&interface, dropped) in self.interfaces.iter().zip(dropped) {
            if let Some(loss) = losses.get_mut(interface as usize) {
                loss.dropped = loss.dropped.saturating_add(dropped);
            }
        }
        losses
    }
}

/// The name of an interface that the index does not name.
const UNKNOWN_INTERFACE: &str = "unknown";

/// The interface that a segment was captured on, and how many packets. Of a segment whose index fails nothing is known; that
/// it fails is found again, and reported, when its turn comes.
fn interface(selected: &Selected, meta: &mut CaptureMeta) -> (InterfaceMeta, u64) {
    let unknown = InterfaceMeta::ethernet(UNKNOWN_INTERFACE);
    let Ok(index) = selected.segment.index() else { return (unknown, 0) };
    let packets = index.packets().map_or(0, u64::from);
    let Ok(Some(facts)) = index.facts() else { return (unknown, packets) };
    if meta.os.is_empty() {
        meta.os.clone_from(&facts.kernel);
        meta.hardware.clone_from(&facts.host);
    }
    let name = if facts.interface.is_empty() { UNKNOWN_INTERFACE } else { &facts.interface };
    let (link_type, snaplen, filter) = (facts.link_type, facts.snaplen, facts.filter.clone());
    (InterfaceMeta { name: name.to_owned(), link_type, snaplen, filter }, packets)
}
