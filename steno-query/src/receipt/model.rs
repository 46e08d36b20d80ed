//! The fields of a receipt.

use serde::Serialize;
use steno_core::TimestampNs;

use super::{ClockStep, Losses, moment};

/// What an answer says about itself.
///
/// Serialized, times are RFC 3339 texts with nine decimals, in UTC, and open bounds are null; `complete` is added, which
/// is [`Self::is_complete`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The query as understood; it parses back to itself.
    pub query: String,
    /// What the answer was held to besides; `None`: nothing. Whatever the receipt says is then said of the packets within it, as
    /// if the store held no others: a complete answer has all of these that match.
    pub scope: Option<Within>,
    /// The earliest time that the query can match, included; `None` without a bound.
    pub asked_from: Option<TimestampNs>,
    /// The first time past those that the query can match; `None` without a bound.
    pub asked_until: Option<TimestampNs>,
    /// The times of the earliest and the latest packet that the readable part of the store holds; `None` if it holds none.
    pub held: Option<Held>,
    /// What became of the segments.
    pub segments: SegmentCounts,
    /// Files that could not be used, or not all of them.
    pub unreadable: Vec<Unreadable>,
    /// Files that are still being written, or were left by a crash, and were not searched.
    pub unsealed: Vec<Unsealed>,
    /// Packets delivered. Of an answer in flows: packets of the flows.
    pub packets: u64,
    /// Bytes of the capture file delivered. Of an answer in flows: bytes on the wire of the packets of the flows.
    pub bytes: u64,
    /// Packets that the kernel dropped for lack of room in seconds that overlap the time asked. They are in no store, so that
    /// they do not make an answer incomplete.
    pub kernel_drops: u64,
    /// When capture was down within the time asked, as far as the segments say so, those without a packet of that time too.
    pub gaps: Vec<Gap>,
    /// How much of the time asked lies in gaps of one thread or more, in nanoseconds.
    pub gap_ns: u64,
    /// What else was lost, in seconds that overlap the time asked. Like drops and gaps it does not make an answer incomplete.
    pub losses: Losses,
    /// When the clock was set, where that touches the time asked.
    pub clock_steps: Vec<ClockStep>,
    /// What ended the answer early; `None` if nothing did.
    pub truncated_by: Option<Truncation>,
    /// BLAKE3 of the bytes delivered, as 64 hexadecimal digits; `None` where packets, not bytes, were handed over.
    pub blake3: Option<String>,
}

impl Receipt {
    /// Takes in what is known of what was added to the store since.
    pub(crate) fn join(&mut self, since: Self) {
        let (counts, more) = (&mut self.segments, since.segments);
        counts.total += more.total;
        counts.outside += more.outside;
        counts.considered += more.considered;
        counts.not_reached += more.not_reached;
        counts.of_1_0_1 += more.of_1_0_1;
        let oldest_newest = |held: Option<Held>| held.map(|held| (held.oldest, held.newest));
        self.held = match (oldest_newest(self.held), oldest_newest(since.held)) {
            (Some((oldest, newest)), Some((from, until))) => {
                Some(Held { oldest: oldest.min(from), newest: newest.max(until) })
            }
            _ => since.held.or(self.held),
        };
        self.unreadable.extend(since.unreadable);
        self.unsealed = since.unsealed;
        self.kernel_drops = self.kernel_drops.saturating_add(since.kernel_drops);
        self.losses = self.losses.and(since.losses);
        self.gaps.extend(since.gaps);
        self.clock_steps.extend(since.clock_steps);
        self.settle();
        self.truncated_by = since.truncated_by;
    }

    /// Whether everything in the store that matches was delivered: nothing ended the answer early, and no file that could
    /// not be read might hold a match.
    pub fn is_complete(&self) -> bool {
        self.truncated_by.is_none()
            && self.unreadable.iter().all(|file| !file.may_hold_matches)
            && self.unsealed.iter().all(|file| !file.may_hold_matches)
    }
}

/// A scope that an answer was held to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Within {
    /// What it is called where it was set.
    pub name: String,
    /// What is true of its packets, as a query.
    pub query: String,
}

/// The reach of a store in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The earliest packet.
    #[serde(serialize_with = "moment::serialize")]
    pub oldest: TimestampNs,
    /// The latest packet.
    #[serde(serialize_with = "moment::serialize")]
    pub newest: TimestampNs,
}

/// What became of the segments of a store. A segment that could be read in part counts as read *and* unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SegmentCounts {
    /// Segments in the store.
    pub total: u64,
    /// Those whose packets are all outside of the time asked: not looked at.
    pub outside: u64,
    /// The others.
    pub considered: u64,
    /// Of those considered: the index shows that nothing matches.
    pub skipped: u64,
    /// Of those considered: packets were read from them.
    pub read: u64,
    /// Of those considered: could not be used, or not wholly. Each is named among the unreadable files.
    pub unreadable: u64,
    /// Of those considered: the answer ended before they were reached.
    pub not_reached: u64,
    /// Of those considered: indexed by stenographer 1.0.1. Such a segment does not say what was never captured (packets
    /// dropped, gaps), and the payload of IPv4 fragments after the first counts as ports in it.
    pub of_1_0_1: u64,
    /// Of those looked into: the index does not tell which fragments belong together (one of version 2, or one of version 3.0 in
    /// which it matters), and the query looks at ports or protocols. In such a segment a fragment after the first has no ports
    /// but those that 1.0.1 would read.
    pub fragments_apart: u64,
}

/// A file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// The file, as `PKT0/1795395475661823` or `IDX0/1795395475661823`.
    pub file: String,
    /// Why, and what part of it.
    pub reason: String,
    /// Whether packets that match may be in it.
    pub may_hold_matches: bool,
}

/// A packet file with a leading dot: being written, or left by a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unsealed {
    /// The file, as `PKT0/.1795395475661823`.
    pub file: String,
    /// When it was opened, by its name.
    #[serde(serialize_with = "moment::serialize")]
    pub opened: TimestampNs,
    /// Its length so far.
    pub bytes: u64,
    /// Whether packets that match may be in it: it is not empty, and the time asked reaches past its opening.
    pub may_hold_matches: bool,
}

/// A time in which nothing was captured although it should have been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gap {
    /// Its beginning.
    #[serde(serialize_with = "moment::serialize")]
    pub from: TimestampNs,
    /// Its end.
    #[serde(serialize_with = "moment::serialize")]
    pub until: TimestampNs,
    /// The capture thread.
    pub thread: u32,
    /// What capture wrote down as the reason.
    pub reason: String,
}

/// What ended an answer before all that matches was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Truncation {
    /// The limit of packets was reached, and more may match.
    LimitPackets,
    /// The limit of bytes was reached, and more may match.
    LimitBytes,
    /// The deadline passed.
    Deadline,
    /// It was cancelled.
    Cancelled,
    /// More flows match than fit the memory that the query may use.
    Memory,
    /// The receipt was asked for before the end of the answer.
    Unfinished,
    /// The sensor gives no answer more bytes. A store does not do this, nor what follows.
    SensorLimitBytes,
    /// The sensor is stopping.
    Stopping,
    /// The client took nothing for too long.
    Stalled,
}

impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// The same fields with the one that is computed.
        #[derive(Serialize)]
        struct Fields<'a> {
            query: &'a str,
            scope: Option<&'a Within>,
            #[serde(serialize_with = "moment::serialize_option")]
            asked_from: Option<TimestampNs>,
            #[serde(serialize_with = "moment::serialize_option")]
            asked_until: Option<TimestampNs>,
            held: Option<Held>,
            segments: SegmentCounts,
            unreadable: &'a [Unreadable],
            unsealed: &'a [Unsealed],
            packets: u64,
            bytes: u64,
            kernel_drops: u64,
            gaps: &'a [Gap],
            gap_ns: u64,
            losses: Losses,
            clock_steps: &'a [ClockStep],
            complete: bool,
            truncated_by: Option<Truncation>,
            blake3: Option<&'a str>,
        }
        Fields {
            query: &self.query,
            scope: self.scope.as_ref(),
            asked_from: self.asked_from,
            asked_until: self.asked_until,
            held: self.held,
            segments: self.segments,
            unreadable: &self.unreadable,
            unsealed: &self.unsealed,
            packets: self.packets,
            bytes: self.bytes,
            kernel_drops: self.kernel_drops,
            gaps: &self.gaps,
            gap_ns: self.gap_ns,
            losses: self.losses,
            clock_steps: &self.clock_steps,
            complete: self.is_complete(),
            truncated_by: self.truncated_by,
            blake3: self.blake3.as_deref(),
        }
        .serialize(serializer)
    }
}
