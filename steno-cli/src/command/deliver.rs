//! Delivers the packets of an answer through tcpdump, or as plain lines. Where they come from, a store or a sensor, is the
//! business of what is handed in.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufWriter, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
};

use steno_core::{packet::Frame, pcap::Format};

use super::{CommandError, output::Reader};
use crate::{print::packet_line, sensor::pcap_packets};

/// An answer that is being read.
pub(super) trait Answering {
    /// Whole records of a capture file, and their memory.
    type Chunk: AsRef<[u8]> + Default + Send;

    /// Puts the next of them in the place of those in `chunk`; `false` at the end.
    fn next_chunk(&mut self, chunk: &mut Self::Chunk) -> Result<bool, CommandError>;

    /// Whether another thread may go on from here without taking over memory that this one has filled.
    fn is_between_blocks(&self) -> bool {
        true
    }
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

fn through<A: Answering>(answer: &mut A, mut tcpdump: Child) -> Result<Printed, CommandError> {
    let handed = tcpdump.stdin.take().map_or(Ok(Reader::There), |mut pipe| {
        let mut records = A::Chunk::default();
        while answer.next_chunk(&mut records)? {
            if let Err(e) = pipe.write_all(records.as_ref()) {
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
pub(super) fn to_lines<A: Answering>(answer: &mut A, format: Format) -> Result<Reader, CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = |chunk: &[u8]| {
        for (time, wire_len, frame) in pcap_packets(format, chunk) {
            writeln!(out, "{}", packet_line(time, wire_len, &Frame::new(frame)))?;
        }
        // What was found is shown, whatever becomes of the rest.
        out.flush()
    };
    let mut chunk = A::Chunk::default();
    while answer.next_chunk(&mut chunk)? {
        match print(chunk.as_ref()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(Reader::Gone),
            printed => printed.map_err(CommandError::Stdout)?,
        }
    }
    Ok(Reader::There)
}
