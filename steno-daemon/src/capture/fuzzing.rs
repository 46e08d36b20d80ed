//! What the fuzz targets reach of how a capture process is understood ([`crate::fuzzing`]).

use std::time::Duration;

use steno_core::TimestampNs;
use steno_index::ClockStep;

use super::{
    CaptureStatus, Exit, Kind, Message,
    lines::{LineBuffer, LineParser, MAX_LINE_BYTES, statistics},
    status::Record,
};

/// The longest line of a capture process that is passed on, in bytes, with the mark of one that was cut.
pub const LINE_BYTES_MOST: usize = MAX_LINE_BYTES + " [...]".len();

/// A line of a capture process: as it came, its thread, where it names one, and its level and text.
pub type Line = (String, Option<String>, String);

/// What becomes of the output of a capture process that comes in these pieces.
pub fn output(pieces: &[&[u8]]) -> Vec<Line> {
    let (mut buffer, mut parser, mut lines) = (LineBuffer::default(), LineParser::default(), Vec::new());
    let mut take = |line: &str| {
        let understood = parser.parse(line);
        let counted = statistics(&understood.text);
        let text = format!("{:?} {} {counted:?}", understood.level, understood.text);
        lines.push((line.to_owned(), understood.thread, text));
    };
    for piece in pieces {
        buffer.push(piece, &mut take);
    }
    buffer.finish(&mut take);
    lines
}

/// What is known of the capture of one thread whose processes, one after the other, have said all this.
pub fn told(runs: &[Vec<Message>]) -> CaptureStatus {
    let mut record = Record::new("fuzz0".to_owned(), vec![0]);
    let now = TimestampNs::from_parts(1_700_000_000, 0);
    for messages in runs {
        record.started();
        for message in messages {
            record.heard(now);
            match *message {
                Message::Counters { thread: 0, counters } => record.counted(0, counters),
                Message::Clock { from, to } => record.clock_step(ClockStep { from, to }),
                Message::Ready { .. } => record.running(1, Kind::Own, false, now),
                _ => {}
            }
        }
        record.ended(Exit::NotStarted("fuzz".to_owned()), Duration::ZERO, false, now);
    }
    record.snapshot()
}
