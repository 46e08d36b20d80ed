//! What a caller may ask of an answer besides the query: format, limits, and when to give up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use steno_core::pcap::Format;

use crate::{Scope, receipt::Truncation};

/// How an answer is to be given. The default is everything, as nanosecond pcap, in at most 256 MiB.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of the chunks.
    pub format: Format,
    /// End after this many packets.
    pub limit_packets: Option<u64>,
    /// End after the packet that reaches this many bytes, counted as stenographer 1.0.1 does, whatever the format: 16, and
    /// for each packet 16 and its captured length.
    pub limit_bytes: Option<u64>,
    /// The packets that the answer may be made of: the query is asked of these as if there were no others.
    pub scope: Option<Arc<Scope>>,
    /// Bytes of memory for what is read and not yet delivered. One block, and a quarter of a byte for each packet of the
    /// segments that overlap at one time, are held even where that is more.
    pub memory_bytes: u64,
    /// Bytes of packet files that the answer may bring into the page cache. What it reads beyond them leaves nothing there, where the
    /// kernel knows how to (RWF_DONTCACHE, Linux 6.14): so that one that goes through a disk drives out no index, and what is asked
    /// again is there as long as it is not much.
    pub cached_bytes: u64,
    /// Ends the answer from another thread.
    pub cancel: Cancel,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Called by each thread that works, at least once a block, once it is known which segments are to be read: it may make way for
    /// others there, and wait for its turn. Nothing is held then that other answers wait for.
    pub between: Option<fn()>,
    /// Hold all that is delivered against the checksums in the index, where it has any: no packet is delivered whose bytes are not
    /// those that were captured. Where few packets of a block match, the pieces that they lie in are read for that; the whole block
    /// where the index has no running checksums. Else, and where there is no checksum, single packets are decoded and held against
    /// the query.
    pub verify_blocks: bool,
    /// Make the BLAKE3 of the chunks for the receipt ([`Receipt::blake3`](crate::Receipt::blake3)). Without it the receipt has none
    /// unless the caller puts it there: one that hands the chunks to another thread has it made there, while the next is found.
    pub digest: bool,
}

impl Options {
    /// [`Self::memory_bytes`] unless told otherwise: 256 MiB.
    pub const MEMORY_BYTES: u64 = 256 << 20;

    /// [`Self::cached_bytes`] unless told otherwise: 1 GiB.
    pub const CACHED_BYTES: u64 = 1 << 30;

    /// What ends the work now, if anything does. Read at least once a block.
    pub(crate) fn interrupted(&self) -> Option<Truncation> {
        if let Some(between) = self.between {
            between();
        }
        self.is_over()
    }

    /// The same, and makes way for nobody: for work on what others wait for, who would wait for this thread's turn as well.
    pub(crate) fn is_over(&self) -> Option<Truncation> {
        if self.cancel.is_cancelled() {
            return Some(Truncation::Cancelled);
        }
        self.deadline.filter(|&deadline| Instant::now() >= deadline).map(|_| Truncation::Deadline)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: Format::default(),
            limit_packets: None,
            limit_bytes: None,
            scope: None,
            memory_bytes: Self::MEMORY_BYTES,
            cached_bytes: Self::CACHED_BYTES,
            cancel: Cancel::default(),
            deadline: None,
            between: None,
            verify_blocks: true,
            digest: true,
        }
    }
}

/// A flag that ends an answer. Clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the answer at its next block.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::cancel`] was called on any clone.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A flag that something else sets, such as a signal handler.
impl From<Arc<AtomicBool>> for Cancel {
    fn from(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }
}

/// How much has been delivered, and whether that is enough.
#[derive(Debug)]
pub(super) struct Meter {
    packets: u64,
    bytes: u64,
    limit_packets: u64,
    limit_bytes: u64,
}

impl Meter {
    /// Bytes that 1.0.1 counts before the first packet, and for each packet besides what was captured of it.
    const FILE_BYTES: u64 = 16;
    const RECORD_BYTES: u64 = 16;

    pub(super) fn new(options: &Options) -> Self {
        let (limit_packets, limit_bytes) =
            (options.limit_packets.unwrap_or(u64::MAX), options.limit_bytes.unwrap_or(u64::MAX));
        Self { packets: 0, bytes: Self::FILE_BYTES, limit_packets, limit_bytes }
    }

    /// Counts a packet of which `captured` bytes are delivered.
    #[inline]
    pub(super) fn count(&mut self, captured: usize) {
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(Self::RECORD_BYTES + captured as u64);
    }

    /// Packets counted.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// The limit that is reached, if one is. A limit of bytes lets at least one packet through, unless it is 0.
    #[inline]
    pub(super) fn reached(&self) -> Option<Truncation> {
        if self.packets >= self.limit_packets {
            Some(Truncation::LimitPackets)
        } else if self.bytes >= self.limit_bytes && (self.packets > 0 || self.limit_bytes == 0) {
            Some(Truncation::LimitBytes)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(options: &Options, sizes: &[usize]) -> (u64, Option<Truncation>) {
        let mut meter = Meter::new(options);
        for &size in sizes {
            if meter.reached().is_some() {
                break;
            }
            meter.count(size);
        }
        (meter.packets(), meter.reached())
    }

    #[test]
    fn the_packet_that_reaches_a_limit_is_the_last_one() {
        let sizes = [100, 100, 100];
        // 16 for the file, 116 for each packet.
        for (limit, packets) in [(0, 0), (1, 1), (16, 1), (17, 1), (132, 1), (133, 2), (248, 2), (249, 3), (364, 3)] {
            let options = Options { limit_bytes: Some(limit), ..Options::default() };
            assert_eq!(delivered(&options, &sizes), (packets, Some(Truncation::LimitBytes)), "limit {limit}");
        }
        let options = Options { limit_bytes: Some(365), ..Options::default() };
        assert_eq!(delivered(&options, &sizes), (3, None));
        for limit in 0..3 {
            let options = Options { limit_packets: Some(limit), ..Options::default() };
            assert_eq!(delivered(&options, &sizes), (limit, Some(Truncation::LimitPackets)));
        }
    }

    #[test]
    fn what_is_called_between_is_called_each_time() {
        use std::sync::atomic::AtomicU32;
        static CALLED: AtomicU32 = AtomicU32::new(0);
        fn call() {
            let _before = CALLED.fetch_add(1, Ordering::Relaxed);
        }
        let options = Options { between: Some(call), ..Options::default() };
        assert_eq!((options.interrupted(), options.interrupted()), (None, None));
        assert_eq!(CALLED.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn cancelling_goes_before_the_deadline() {
        let mut options = Options::default();
        assert_eq!(options.interrupted(), None);
        options.deadline = Some(Instant::now());
        assert_eq!(options.interrupted(), Some(Truncation::Deadline));
        options.cancel.clone().cancel();
        assert_eq!(options.interrupted(), Some(Truncation::Cancelled));
    }
}
