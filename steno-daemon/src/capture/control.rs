//! What a capture process says over its control socket (`docs/format/control.md`).
//!
//! Owns the reading of single datagrams, and nothing else: the socket belongs to [`super::process`], what follows from a
//! message to [`super::supervisor`]. The other end may be any program that `StenotypePath` names, so every field is
//! checked, and what is not understood is an error or nothing, never a guess.

use std::str::{FromStr, SplitAsciiWhitespace};

use steno_core::{ParseSegmentIdError, SegmentId, TimestampNs};

/// The environment variable in which the capture process finds the number of its end of the socket pair.
pub const CONTROL_FD_VARIABLE: &str = "STENO_CONTROL_FD";

/// The longest datagram that is read, in bytes; what is longer is refused unread.
pub(super) const MAX_DATAGRAM_BYTES: usize = 512;

/// One datagram, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// It was started, and is getting ready.
    Starting,
    /// Every ring is open and packets are being taken.
    Ready {
        /// How many threads capture.
        threads: u32,
    },
    /// A segment was published: packet file and index bear their final names.
    Sealed {
        /// The capture process's own number of the thread, from 0.
        thread: u32,
        /// The segment's name.
        id: SegmentId,
    },
    /// The file that a thread is writing; the memory of its log comes beside the message.
    Log {
        /// The capture process's own number of the thread, from 0.
        thread: u32,
        /// The name that the file will have.
        id: SegmentId,
        /// How far apart its blocks are.
        block_bytes: u32,
    },
    /// What a thread has counted since the capture process started.
    Counters {
        /// The capture process's own number of the thread, from 0.
        thread: u32,
        /// The counts.
        counters: Counters,
    },
    /// The clock was set.
    Clock {
        /// What it would have said, had it not been set.
        from: TimestampNs,
        /// What it said when that was noticed.
        to: TimestampNs,
    },
    /// The capture process was asked to stop, and writes out what its rings hold.
    Stopping,
}

/// What a capture thread counts, cumulative since its process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets taken out of the ring.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Packets that the kernel dropped because the ring was full.
    pub drops: u64,
    /// How often the ring was full (`tp_freeze_q_cnt`).
    pub freezes: u64,
    /// Blocks taken out of the ring.
    pub blocks: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Packets that were taken out of the ring but did not reach the disk.
    pub lost: u64,
    /// Packets of which less was kept than there was.
    pub cut: u64,
    /// Nanoseconds in which writes were under way and none ended.
    pub write_stall_ns: u64,
    /// Packets that the interface counts as dropped on their way in (`rx_dropped`). This and what follows is of the first thread
    /// of a capture process only.
    pub interface_dropped: u64,
    /// Packets for which the interface had no room (`rx_missed_errors`).
    pub interface_missed: u64,
    /// Packets that overran a queue of the interface (`rx_fifo_errors`).
    pub interface_overrun: u64,
    /// Packets that passed the interface while nothing captured, before this process did.
    pub uncaptured: u64,
    /// Finished files that had to wait for their index.
    pub late: u64,
}

impl Counters {
    /// The sum, field by field: what several runs of a capture process counted together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
            drops: self.drops.saturating_add(other.drops),
            freezes: self.freezes.saturating_add(other.freezes),
            blocks: self.blocks.saturating_add(other.blocks),
            write_errors: self.write_errors.saturating_add(other.write_errors),
            lost: self.lost.saturating_add(other.lost),
            cut: self.cut.saturating_add(other.cut),
            write_stall_ns: self.write_stall_ns.saturating_add(other.write_stall_ns),
            interface_dropped: self.interface_dropped.saturating_add(other.interface_dropped),
            interface_missed: self.interface_missed.saturating_add(other.interface_missed),
            interface_overrun: self.interface_overrun.saturating_add(other.interface_overrun),
            uncaptured: self.uncaptured.saturating_add(other.uncaptured),
            late: self.late.saturating_add(other.late),
        }
    }
}

/// Why a datagram was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not text.
    #[error("a control message is not UTF-8")]
    NotText,
    /// It was cut off.
    #[error("a control message is longer than {MAX_DATAGRAM_BYTES} bytes")]
    TooLong,
    /// A field is not there.
    #[error("control message {word:?} lacks its field {field}")]
    Missing {
        /// The first word.
        word: &'static str,
        /// The name of the field, as in the format's description.
        field: &'static str,
    },
    /// A field that should be a number is none, or too large.
    #[error("control message {word:?} has {got:?} for its field {field}, a decimal number")]
    NotANumber {
        /// The first word.
        word: &'static str,
        /// The name of the field.
        field: &'static str,
        /// What stands there.
        got: String,
    },
    /// A segment's name is none.
    #[error("control message \"sealed\" names no segment")]
    NotAName(#[from] ParseSegmentIdError),
    /// A file's name is none.
    #[error("control message \"log\" names no segment")]
    NotALog(#[source] ParseSegmentIdError),
}

/// Reads one datagram. `None`: its first word is not known here, which a newer capture process may well say.
///
/// Fields after the known ones are ignored, for the same reason.
///
/// # Errors
/// [`ControlError`], where a known message does not hold what it must.
pub fn parse(datagram: &[u8]) -> Result<Option<Message>, ControlError> {
    if datagram.len() > MAX_DATAGRAM_BYTES {
        return Err(ControlError::TooLong);
    }
    let text = str::from_utf8(datagram).map_err(|_| ControlError::NotText)?;
    let mut words = text.split_ascii_whitespace();
    match words.next() {
        Some("starting") => Ok(Some(Message::Starting)),
        Some("ready") => {
            let mut fields = Fields { word: "ready", words };
            Ok(Some(Message::Ready { threads: fields.number("THREADS")? }))
        }
        Some("sealed") => {
            let mut fields = Fields { word: "sealed", words };
            let thread = fields.number("THREAD")?;
            Ok(Some(Message::Sealed { thread, id: fields.text("NAME")?.parse()? }))
        }
        Some("log") => {
            let mut fields = Fields { word: "log", words };
            let thread = fields.number("THREAD")?;
            let id = fields.text("NAME")?.parse().map_err(ControlError::NotALog)?;
            Ok(Some(Message::Log { thread, id, block_bytes: fields.number("BLOCK_BYTES")? }))
        }
        Some("counters") => {
            let mut fields = Fields { word: "counters", words };
            Ok(Some(Message::Counters {
                thread: fields.number("THREAD")?,
                counters: Counters {
                    packets: fields.number("PACKETS")?,
                    bytes: fields.number("BYTES")?,
                    drops: fields.number("DROPS")?,
                    freezes: fields.number("FREEZES")?,
                    blocks: fields.number("BLOCKS")?,
                    write_errors: fields.number("WRITE_ERRORS")?,
                    lost: fields.number("LOST")?,
                    cut: fields.added("CUT")?,
                    write_stall_ns: fields.added("WRITE_STALL")?,
                    interface_dropped: fields.added("DROPPED")?,
                    interface_missed: fields.added("MISSED")?,
                    interface_overrun: fields.added("OVERRUN")?,
                    uncaptured: fields.added("UNCAPTURED")?,
                    late: fields.added("LATE")?,
                },
            }))
        }
        Some("clock") => {
            let mut fields = Fields { word: "clock", words };
            let from = TimestampNs::new(fields.number("FROM")?);
            Ok(Some(Message::Clock { from, to: TimestampNs::new(fields.number("TO")?) }))
        }
        Some("stopping") => Ok(Some(Message::Stopping)),
        _ => Ok(None),
    }
}

struct Fields<'a> {
    word: &'static str,
    words: SplitAsciiWhitespace<'a>,
}

impl<'a> Fields<'a> {
    fn text(&mut self, field: &'static str) -> Result<&'a str, ControlError> {
        self.words.next().ok_or(ControlError::Missing { word: self.word, field })
    }

    /// A count that capture processes of before do not send.
    fn added(&mut self, field: &'static str) -> Result<u64, ControlError> {
        self.words.next().map_or(Ok(0), |text| self.number_in(text, field))
    }

    fn number<N: FromStr>(&mut self, field: &'static str) -> Result<N, ControlError> {
        let text = self.text(field)?;
        self.number_in(text, field)
    }

    fn number_in<N: FromStr>(&self, text: &str, field: &'static str) -> Result<N, ControlError> {
        // FromStr takes a plus sign; the format does not.
        let number = if text.starts_with('+') { None } else { text.parse().ok() };
        number.ok_or_else(|| ControlError::NotANumber { word: self.word, field, got: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_message_of_the_description_is_understood() {
        let older = Counters {
            packets: 1,
            bytes: 2,
            drops: 3,
            freezes: 4,
            blocks: 5,
            write_errors: 6,
            lost: u64::MAX,
            ..Counters::default()
        };
        let counters = Counters {
            cut: 7,
            write_stall_ns: 8,
            interface_dropped: 9,
            interface_missed: 10,
            interface_overrun: 11,
            uncaptured: 12,
            late: 13,
            ..older
        };
        let cases: [(&[u8], Message); 9] = [
            (b"starting", Message::Starting),
            (b"ready 2", Message::Ready { threads: 2 }),
            (b"sealed 1 1795395475661823\n", Message::Sealed { thread: 1, id: SegmentId(1_795_395_475_661_823) }),
            (
                b"log 1 1795395475661823 1048576",
                Message::Log { thread: 1, id: SegmentId(1_795_395_475_661_823), block_bytes: 1 << 20 },
            ),
            (b"counters 0 1 2 3 4 5 6 18446744073709551615", Message::Counters { thread: 0, counters: older }),
            (
                b"counters 0 1 2 3 4 5 6 18446744073709551615 7 8 9 10 11 12 13",
                Message::Counters { thread: 0, counters },
            ),
            (
                b"counters 0 1 2 3 4 5 6 18446744073709551615 7 8 9 10 11 12 13 new fields",
                Message::Counters { thread: 0, counters },
            ),
            (b"clock 7 18446744073709551615", Message::Clock { from: TimestampNs::new(7), to: TimestampNs::MAX }),
            (b"stopping", Message::Stopping),
        ];
        for (datagram, message) in cases {
            assert_eq!(parse(datagram), Ok(Some(message)));
        }
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        assert_eq!(parse(b"weather fine"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"READY 1"), Ok(None));
    }

    #[test]
    fn what_does_not_hold_is_named() {
        assert_eq!(parse(b"ready"), Err(ControlError::Missing { word: "ready", field: "THREADS" }));
        assert_eq!(
            parse(b"counters 0 1 -2 3 4 5 6 7"),
            Err(ControlError::NotANumber { word: "counters", field: "BYTES", got: "-2".into() })
        );
        assert_eq!(
            parse(b"ready +1"),
            Err(ControlError::NotANumber { word: "ready", field: "THREADS", got: "+1".into() })
        );
        assert_eq!(
            parse(b"ready 4294967296"),
            Err(ControlError::NotANumber { word: "ready", field: "THREADS", got: "4294967296".into() })
        );
        assert!(matches!(parse(b"sealed 0 ../../x"), Err(ControlError::NotAName(_))));
        assert!(matches!(parse(b"log 0 x 1"), Err(ControlError::NotALog(_))));
        assert_eq!(parse(b"clock 7"), Err(ControlError::Missing { word: "clock", field: "TO" }));
        assert_eq!(parse(b"log 0 17"), Err(ControlError::Missing { word: "log", field: "BLOCK_BYTES" }));
        assert_eq!(parse(b"ready \xff"), Err(ControlError::NotText));
        assert_eq!(parse(&[b' '; MAX_DATAGRAM_BYTES + 1]), Err(ControlError::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let answer = parse(&bytes);
            prop_assert_eq!(answer == Err(ControlError::TooLong), bytes.len() > MAX_DATAGRAM_BYTES);
        }
    }
}
