//! Delivers the packets of an answer: into a capture file, through tcpdump, or as plain lines. Where they come from, a store
//! or a sensor, is the business of what is handed in.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufWriter, Write as _},
    iter,
    os::unix::process::ExitStatusExt as _,
    panic::resume_unwind,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use bytes::Bytes;
use steno_core::{packet::Frame, pcap::Format};

use super::{
    CommandError,
    output::{Output, Reader},
};
use crate::{print::packet_line, sensor::pcap_packets};

/// An answer that is being read.
pub(super) trait Answering {
    /// The next whole records of a capture file; `None` at the end.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, CommandError>;
}

/// Chunks that may wait to be written.
const AHEAD: usize = 16;
/// Chunks that are written by one call, at the most.
const TOGETHER: usize = 8;

/// Into a file, or standard output for `-`. What comes next is found, or received, while a chunk is written, and put into `digest`
/// where there is one.
pub(super) fn to_file<A: Answering>(
    answer: &mut A,
    path: &Path,
    digest: Option<&mut blake3::Hasher>,
) -> Result<Reader, CommandError> {
    let output = Output::open(path)?;
    // Each chunk is made here and freed by the one that writes.
    steno_core::keep_freed_memory();
    let (give, take) = sync_channel(AHEAD);
    thread::scope(|scope| {
        let writer = thread::Builder::new().name("writer".to_owned());
        let writer = writer.spawn_scoped(scope, move || write_behind(output, &take, digest));
        let writer = writer.map_err(|e| CommandError::Program(format!("cannot start a thread that writes: {e}")))?;
        let found = give_all(answer, &give);
        drop(give);
        match writer.join().unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(Reader::There) => found.map(|()| Reader::There),
            // Whatever became of the answer after that.
            ended => ended,
        }
    })
}

/// Gives away all chunks, as long as somebody takes them.
fn give_all(answer: &mut impl Answering, give: &SyncSender<Bytes>) -> Result<(), CommandError> {
    while let Some(records) = answer.next_chunk()? {
        if give.send(records).is_err() {
            break;
        }
    }
    Ok(())
}

/// Writes what is given, as long as it can.
fn write_behind(
    mut output: Output,
    given: &Receiver<Bytes>,
    mut digest: Option<&mut blake3::Hasher>,
) -> Result<Reader, CommandError> {
    while let Ok(first) = given.recv() {
        let chunks: Vec<_> = iter::once(first).chain(given.try_iter().take(TOGETHER - 1)).collect();
        if let Some(digest) = &mut digest {
            for chunk in &chunks {
                let _same = digest.update(chunk);
            }
        }
        if output.write(&chunks)? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// The same for an answer that goes on with what is captured: each chunk is written before the next is waited for, so that a reader
/// that is gone is noticed.
pub(super) fn follow_to_file<A: Answering>(answer: &mut A, path: &Path) -> Result<Reader, CommandError> {
    let mut output = Output::open(path)?;
    while let Some(records) = answer.next_chunk()? {
        if output.write(&[records])? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// `tcpdump`, and how it is told to read what it is given.
pub(super) struct Tcpdump<'a> {
    /// The program.
    pub(super) program: &'a OsStr,
    /// The name of its standard input.
    pub(super) input: &'a str,
    /// Whether it is to show each packet at once.
    pub(super) by_line: bool,
    /// What the user wants it to be told.
    pub(super) args: &'a [OsString],
}

/// How a tcpdump ended.
pub(super) enum Printed {
    /// It took what it wanted.
    Done(Reader),
    /// It failed.
    Failed(ExitStatus),
    /// It is not installed.
    Missing(io::Error),
}

impl Tcpdump<'_> {
    /// Hands it the answer. Where it stops reading (`-c 5`), that is all that is wanted.
    pub(super) fn print(&self, answer: &mut impl Answering) -> Result<Printed, CommandError> {
        let mut command = Command::new(self.program);
        let command = command.args(["-r", self.input, "-s", "0"]);
        let command = if self.by_line { command.arg("-l") } else { command };
        let command = command.args(self.args).stdin(Stdio::piped());
        match command.spawn() {
            Ok(tcpdump) => through(answer, tcpdump),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Printed::Missing(e)),
            Err(e) => Err(CommandError::Program(format!("cannot start tcpdump: {e}"))),
        }
    }
}

fn through(answer: &mut impl Answering, mut tcpdump: Child) -> Result<Printed, CommandError> {
    let handed = tcpdump.stdin.take().map_or(Ok(Reader::There), |mut pipe| {
        while let Some(records) = answer.next_chunk()? {
            if let Err(e) = pipe.write_all(&records) {
                if e.kind() != io::ErrorKind::BrokenPipe {
                    return Err(CommandError::Program(format!("cannot hand packets to tcpdump: {e}")));
                }
                return Ok(Reader::Gone);
            }
        }
        Ok(Reader::There)
        // Dropping the pipe tells tcpdump that this is the end.
    });
    let status = tcpdump.wait().map_err(|e| CommandError::Program(format!("cannot wait for tcpdump: {e}")))?;
    let reader = handed?;
    if status.success() {
        return Ok(Printed::Done(reader));
    }
    // Killed by the pipe of its own output, as in `steno read ... | head`.
    if status.signal() == Some(signal_hook::consts::SIGPIPE) {
        return Ok(Printed::Done(Reader::Gone));
    }
    Ok(Printed::Failed(status))
}

/// One plain line a packet of an answer in this format, which is not pcapng.
pub(super) fn to_lines(answer: &mut impl Answering, format: Format) -> Result<Reader, CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |chunk: &[u8]| {
        for (time, wire_len, frame) in pcap_packets(format, chunk) {
            writeln!(out, "{}", packet_line(time, wire_len, &Frame::new(frame)))?;
        }
        out.flush()
    };
    loop {
        let next = answer.next_chunk();
        // What was found is shown, whatever became of the rest.
        match print(next.as_ref().ok().and_then(Option::as_deref).unwrap_or_default()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(Reader::Gone),
            printed => printed.map_err(CommandError::Stdout)?,
        }
        if next?.is_none() {
            return Ok(Reader::There);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// So many chunks, each of its number, and then an end or a failure.
    struct Fake {
        chunks: u8,
        given: u8,
        fails: bool,
    }

    impl Fake {
        fn new(chunks: u8, fails: bool) -> Self {
            Self { chunks, given: 0, fails }
        }
    }

    impl Answering for Fake {
        fn next_chunk(&mut self) -> Result<Option<Bytes>, CommandError> {
            if self.given < self.chunks {
                self.given += 1;
                return Ok(Some(vec![self.given; 1000].into()));
            }
            if self.fails { Err(CommandError::Program("broken off".to_owned())) } else { Ok(None) }
        }
    }

    #[test]
    fn all_that_came_is_written_in_order_whatever_comes_after() {
        let dir = tempfile::tempdir().unwrap();
        let expected: Vec<u8> = (1..=20).flat_map(|n| [n; 1000]).collect();
        for (name, fails) in [("whole", false), ("broken", true)] {
            let path = dir.path().join(name);
            let mut digest = blake3::Hasher::new();
            let ended = to_file(&mut Fake::new(20, fails), &path, Some(&mut digest));
            assert_eq!(digest.finalize(), blake3::hash(&expected), "{name}");
            match fails {
                false => assert!(matches!(ended, Ok(Reader::There))),
                true => assert_eq!(ended.err().unwrap().to_string(), "broken off"),
            }
            assert!(fs::read(&path).unwrap() == expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_written_ends_an_answer_and_is_told_before_what_came_after() {
        let full = Path::new("/dev/full");
        let ahead = |answer: &mut Fake| to_file(answer, full, None);
        for to in [Box::new(ahead) as Box<dyn FnOnce(&mut Fake) -> _>, Box::new(|answer| follow_to_file(answer, full))]
        {
            let mut answer = Fake::new(200, true);
            let error = to(&mut answer).err().unwrap();
            assert!(matches!(&error, CommandError::Cut { whole_bytes: 0, .. }), "{error}");
            assert!(
                usize::from(answer.given) <= TOGETHER + AHEAD + 1,
                "{} chunks were found for nothing",
                answer.given
            );
        }
    }
}
