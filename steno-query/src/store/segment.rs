//! A segment: a packet file and its index, opened when it is needed.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use steno_core::{
    SegmentId, TimestampNs,
    block::{BLOCK_HEADER_BYTES, BlockHeader},
};
use steno_index::{AnyIndex, Facts, Index, log::OpenPart, segment::SegmentPaths};

use super::{Fault, Lost, ThreadDirs, identity::Identity, version2::Version2Segment};

/// A packet file and its index.
#[derive(Debug)]
pub struct Segment {
    dirs: Arc<ThreadDirs>,
    id: SegmentId,
    /// What the index said when it was first opened.
    summary: OnceLock<Summary>,
    /// The index, kept open as long as there is room for it.
    index: OnceLock<SegmentIndex>,
    /// Of the index file that the two above are of.
    identity: OnceLock<Identity>,
    /// The packet file, of one that was being written when the store was listed: it may get another name, and go, while it is read.
    packets: Option<Arc<File>>,
    /// The number of the first packet: of one that was being written, this may be a part.
    first_packet: u32,
    /// Where its blocks end in the packet file: of one that was being written, to which more is added.
    end_bytes: Option<u64>,
}

/// The index of a segment, of either format. Clones are the same index.
#[derive(Clone, Debug)]
pub enum SegmentIndex {
    /// Steno's own.
    Native(Arc<Index>),
    /// The table of stenographer 1.0.1, with what the packet file adds to it.
    Version2(Arc<Version2Segment>),
}

/// What is known of a segment without looking into it again.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    /// The earliest and the latest time of a packet; `None` without packets.
    pub(crate) times: Option<(TimestampNs, TimestampNs)>,
    /// Times between which all packets certainly lie; `None` without packets.
    pub(crate) bounds: Option<(TimestampNs, TimestampNs)>,
    /// Packets, where its index says that.
    pub(crate) packets: Option<u32>,
    /// Whether its index is Steno's own, not one of version 2.
    pub(crate) is_native: bool,
    /// Whether its index is one that stenographer 1.0.1 wrote.
    pub(crate) of_1_0_1: bool,
    /// What was never captured; `None` where that is nothing, or is not known.
    pub(crate) lost: Option<Arc<Lost>>,
}

impl SegmentIndex {
    /// The earliest and the latest time of a packet; `None` without packets. In a segment of stenographer 1.0.1, the times
    /// of its first and its last packet.
    pub fn time_range(&self) -> Option<(TimestampNs, TimestampNs)> {
        match self {
            Self::Native(index) => index.time_range(),
            Self::Version2(segment) => segment.times(),
        }
    }

    /// Packets; `None` where stenographer 1.0.1 wrote the index, which does not say.
    pub fn packets(&self) -> Option<u32> {
        match self {
            Self::Native(index) => Some(index.packets()),
            Self::Version2(segment) => segment.packets(),
        }
    }

    /// Conversations; `None` in the format that knows none.
    pub fn conversations(&self) -> Option<u32> {
        match self {
            Self::Native(index) => Some(index.conversations()),
            Self::Version2(_) => None,
        }
    }

    /// The circumstances of the capture; `None` where stenographer 1.0.1 wrote the index, which does not say.
    ///
    /// # Errors
    /// A damaged index.
    pub fn facts(&self) -> Result<Option<&Facts>, Fault> {
        match self {
            Self::Native(index) => index.facts().map(Some).map_err(|e| Fault::of_index(&e)),
            Self::Version2(segment) => Ok(segment.facts()),
        }
    }

    fn summary(&self) -> Summary {
        // Facts that do not read are found again, and reported, when the segment's turn comes.
        let lost = self.facts().ok().flatten().and_then(Lost::of).map(Arc::new);
        let packets = self.packets();
        match self {
            Self::Native(index) => {
                let times = index.time_range();
                Summary { times, bounds: times, packets, is_native: true, of_1_0_1: false, lost }
            }
            Self::Version2(segment) => {
                let (times, bounds, of_1_0_1) = (segment.times(), segment.bounds(), segment.is_of_1_0_1());
                Summary { times, bounds, packets, is_native: false, of_1_0_1, lost }
            }
        }
    }
}

impl Segment {
    pub(super) fn new(dirs: Arc<ThreadDirs>, id: SegmentId) -> Self {
        Self {
            dirs,
            id,
            summary: OnceLock::new(),
            index: OnceLock::new(),
            identity: OnceLock::new(),
            packets: None,
            first_packet: 0,
            end_bytes: None,
        }
    }

    /// One of which `summary` is known, of the index file that `identity` tells.
    pub(super) fn with(dirs: Arc<ThreadDirs>, id: SegmentId, identity: Identity, summary: Summary) -> Self {
        Self { identity: identity.into(), summary: summary.into(), ..Self::new(dirs, id) }
    }

    /// What has been published since the store was listed, opened at once: no query that was told of it has pinned it, and retention
    /// may take it while it is read. What cannot be opened is told of when its turn comes.
    pub(super) fn just_published(dirs: &Arc<ThreadDirs>, id: SegmentId) -> Self {
        let segment = Self::new(Arc::clone(dirs), id);
        match (File::open(segment.packet_file()), segment.index()) {
            (Ok(packets), Ok(index)) => Self { index: index.into(), packets: Some(Arc::new(packets)), ..segment },
            _ => segment,
        }
    }

    /// What a file that is being written holds by the indexes of its parts, and the file; `None` where that is gone.
    pub(super) fn being_written(
        dirs: &Arc<ThreadDirs>,
        id: SegmentId,
        parts: Vec<OpenPart>,
    ) -> Option<(Vec<Arc<Self>>, Arc<File>)> {
        // It is published by a rename, after which it bears the other name.
        let names = [id.hidden_name(), id.to_string()];
        let packets = names.iter().find_map(|name| File::open(dirs.packets.join(name)).ok()).map(Arc::new)?;
        let part = |OpenPart { index, first_packet }| {
            let last = index.block_count().checked_sub(1).and_then(|last| index.block(last).ok());
            let end_bytes = last.map_or(0, |last| last.offset_bytes.saturating_add(last.used_bytes.into()));
            let index = SegmentIndex::Native(index);
            let (summary, index) = (index.summary().into(), index.into());
            let (dirs, packets) = (Arc::clone(dirs), Some(Arc::clone(&packets)));
            let (identity, end_bytes) = (OnceLock::new(), Some(end_bytes));
            Arc::new(Self { dirs, id, summary, index, identity, packets, first_packet, end_bytes })
        };
        Some((parts.into_iter().map(part).collect(), packets))
    }

    /// Of a part of a file that is being written: where the block behind it begins; `None` where its index does not tell.
    pub(super) fn next_block_bytes(&self) -> Option<u64> {
        let Some(SegmentIndex::Native(index)) = self.index.get() else { return None };
        let last = index.block(index.block_count().checked_sub(1)?).ok()?;
        Some(last.offset_bytes.saturating_add(index.facts().ok()?.block_bytes.into()))
    }

    /// Where what is known of it ends in the packet file; `None` of a whole one.
    pub(crate) fn end_bytes(&self) -> Option<u64> {
        self.end_bytes
    }

    /// The number of its first packet.
    pub(crate) fn first_packet(&self) -> u32 {
        self.first_packet
    }

    /// The capture thread.
    pub fn thread(&self) -> u32 {
        self.dirs.thread
    }

    /// Its name.
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Both files, by all of their names.
    pub fn paths(&self) -> SegmentPaths {
        SegmentPaths::new(&self.dirs.packets, &self.dirs.index, self.id)
    }

    /// The packet file.
    pub fn packet_file(&self) -> PathBuf {
        self.dirs.packets.join(self.id.to_string())
    }

    /// Opens the packet file.
    pub(crate) fn open_packet_file(&self) -> io::Result<File> {
        self.packets.as_ref().map_or_else(|| File::open(self.packet_file()), |file| file.try_clone())
    }

    /// The index file.
    pub fn index_file(&self) -> PathBuf {
        self.dirs.index.join(self.id.to_string())
    }

    /// The packet file as receipts name it.
    pub fn packet_name(&self) -> String {
        format!("PKT{}/{}", self.dirs.thread, self.id)
    }

    /// The index file as receipts name it.
    pub fn index_name(&self) -> String {
        format!("IDX{}/{}", self.dirs.thread, self.id)
    }

    /// The index, opened if it is not open, or another file by now. Opening reads its footer and its tables, not its contents; of a segment of
    /// stenographer 1.0.1, the first and the last block header too.
    ///
    /// # Errors
    /// Why it cannot be used. It is tried again at the next call.
    pub fn index(&self) -> Result<SegmentIndex, Fault> {
        if let Some(index) = self.index.get().filter(|_| self.is_as_it_was()) {
            return Ok(index.clone());
        }
        let path = self.index_file();
        // Before the file is opened: should it be replaced between the two, the next refresh forgets what was read.
        let identity = Identity::of(&fs::metadata(&path).map_err(|e| Fault::of_io(&e))?);
        let index = match AnyIndex::open(&path).map_err(|e| Fault::of_index(&e))? {
            AnyIndex::Native(index) => SegmentIndex::Native(Arc::new(index)),
            AnyIndex::Version2(index) => {
                SegmentIndex::Version2(Arc::new(Version2Segment::new(index, &self.packet_file())?))
            }
        };
        let _known = self.identity.set(identity);
        let _known = self.summary.set(index.summary());
        Ok(index)
    }

    /// Whether an index that is kept open is still that of the file: pages of it that were held against their checksums are not held
    /// against them again, whatever has become of them on the disk.
    fn is_as_it_was(&self) -> bool {
        let now = || fs::metadata(self.index_file()).map(|metadata| Identity::of(&metadata));
        // The index of a file that is being written is in memory; one that has just been published is held with its packets.
        self.packets.is_some() || self.identity().is_some_and(|before| now().is_ok_and(|now| now == before))
    }

    /// Whether the packet file is the one that `index` describes, as far as its first and its last block tell.
    ///
    /// # Errors
    /// Another packet file, or one that cannot be read.
    pub(crate) fn check_packets(&self, index: &Index) -> Result<(), Fault> {
        let io = |e: io::Error| Fault::of_io(&e);
        let file = self.open_packet_file().map_err(io)?;
        for number in [Some(0), index.block_count().checked_sub(1)].into_iter().flatten() {
            let block = index.block(number).map_err(|e| Fault::of_index(&e))?;
            let mut bytes = [0; BLOCK_HEADER_BYTES as usize];
            file.read_exact_at(&mut bytes, block.offset_bytes).map_err(io)?;
            let head = BlockHeader::parse(&bytes).ok();
            let same = |head: BlockHeader| {
                (head.num_pkts, head.blk_len, head.seq_num) == (block.packets, block.used_bytes, block.seq_num)
            };
            if !head.is_some_and(same) {
                let what =
                    format!("the block at offset {} is not the one that its index describes", block.offset_bytes);
                return Err(Fault::DamagedPackets(what));
            }
        }
        Ok(())
    }

    /// Times between which all packets lie, where the index has been opened before and there are packets. Opens nothing.
    pub fn known_times(&self) -> Option<(TimestampNs, TimestampNs)> {
        self.summary.get().and_then(|summary| summary.bounds)
    }

    /// What its index said when it was first opened; `None` where that has not been. Opens nothing.
    pub(super) fn known_summary(&self) -> Option<&Summary> {
        self.summary.get()
    }

    /// What its index said when it was first opened; opens it if that has not been.
    pub(crate) fn summary(&self, room: &KeptOpen) -> Result<Summary, Fault> {
        if let Some(summary) = self.summary.get() {
            return Ok(summary.clone());
        }
        Ok(self.index_within(room)?.summary())
    }

    /// The index, which stays open if there is room for it.
    pub(crate) fn index_within(&self, room: &KeptOpen) -> Result<SegmentIndex, Fault> {
        let index = self.index()?;
        if self.index.get().is_none() && room.take() && self.index.set(index.clone()).is_err() {
            room.give_back();
        }
        Ok(index)
    }

    /// The index file that what is known of it is of; `None` where nothing is known.
    pub(super) fn identity(&self) -> Option<Identity> {
        self.identity.get().copied()
    }

    /// Whether its index was opened before, or is known without, and what it said was of use.
    pub fn is_known(&self) -> bool {
        self.summary.get().is_some()
    }

    /// Whether its index is one that a catalogue file keeps something of, as far as is known.
    pub(super) fn may_be_kept(&self) -> bool {
        self.summary.get().is_none_or(|summary| summary.is_native)
    }

    /// Whether its index is kept open.
    pub(super) fn is_kept_open(&self) -> bool {
        self.index.get().is_some()
    }
}

/// How many more indexes may be kept open.
///
/// An open index is a memory map, of which a process has 65,530 at the most (`vm.max_map_count`). Opening one costs some
/// ten microseconds, more than most look-ups do.
#[derive(Debug)]
pub(crate) struct KeptOpen(AtomicUsize);

impl KeptOpen {
    /// Indexes that a store keeps open.
    const MOST: usize = 16_384;

    /// With `taken` of them open.
    pub(super) fn with(taken: usize) -> Self {
        Self(AtomicUsize::new(Self::MOST.saturating_sub(taken)))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        let _before = self.0.fetch_add(1, Ordering::Relaxed);
    }
}
