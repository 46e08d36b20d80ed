//! `steno read`: the packets of a query, into a capture file, through tcpdump, or as plain lines.

use std::{
    fs,
    io::{self, BufWriter, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use steno_core::{Clock as _, SystemClock};
use steno_query::{Answer, Options, Receipt, Store, parse};

use super::{
    CommandError,
    output::{Output, Reader},
    store_dir,
};
use crate::{args::ReadArgs, exit::Exit, print::packet_line};

/// Delivers the packets, then the receipt.
pub(super) fn read(args: &ReadArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    if args.follow {
        return Err(CommandError::Usage("--follow is not supported yet: it comes with the daemon".to_owned()));
    }
    let dir = store_dir(&args.store)?;
    let query = parse(&args.query, SystemClock.now())?;
    let store = Store::open(dir)?;
    let options = Options {
        format: args.format.into(),
        limit_packets: args.limit_packets,
        limit_bytes: args.limit_bytes,
        cancel: Arc::clone(interrupted).into(),
        ..Options::default()
    };
    let mut answer = store.answer(&query, options);
    let delivered = match &args.write {
        Some(path) => to_file(&mut answer, path),
        None => to_terminal(&mut answer, args),
    };
    // Whatever went wrong, the receipt says what was delivered before.
    let receipt = answer.receipt();
    eprintln!("{receipt}");
    if let Some(path) = &args.receipt {
        write_receipt(&receipt, path)?;
    }
    match delivered? {
        _ if interrupted.load(Ordering::Relaxed) => Ok(Exit::Interrupted),
        Reader::Gone => Ok(Exit::Done),
        Reader::There if receipt.is_complete() => Ok(Exit::Done),
        Reader::There => Ok(Exit::Incomplete),
    }
}

fn to_file(answer: &mut Answer, path: &Path) -> Result<Reader, CommandError> {
    let mut output = Output::open(path)?;
    let mut chunk = Vec::new();
    while answer.next_chunk(&mut chunk) {
        if output.write(&chunk)? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// Through tcpdump, where it is installed.
fn to_terminal(answer: &mut Answer, args: &ReadArgs) -> Result<Reader, CommandError> {
    let mut command = Command::new("tcpdump");
    let command = command.args(["-r", "-", "-s", "0"]).args(&args.tcpdump_args).stdin(Stdio::piped());
    match command.spawn() {
        Ok(tcpdump) => through(answer, tcpdump),
        Err(e) if e.kind() == io::ErrorKind::NotFound && args.tcpdump_args.is_empty() => to_lines(answer),
        Err(e) => {
            Err(CommandError::Program(format!("cannot start tcpdump, which is to take the arguments after `--`: {e}")))
        }
    }
}

/// Hands a capture file to tcpdump. Where it stops reading (`-c 5`), that is all that is wanted.
fn through(answer: &mut Answer, mut tcpdump: Child) -> Result<Reader, CommandError> {
    let mut reader = Reader::There;
    if let Some(mut pipe) = tcpdump.stdin.take() {
        let mut chunk = Vec::new();
        while answer.next_chunk(&mut chunk) {
            if let Err(e) = pipe.write_all(&chunk) {
                if e.kind() != io::ErrorKind::BrokenPipe {
                    return Err(CommandError::Program(format!("cannot hand packets to tcpdump: {e}")));
                }
                reader = Reader::Gone;
                break;
            }
        }
        // Dropping the pipe tells tcpdump that this is the end.
    }
    let status = tcpdump.wait().map_err(|e| CommandError::Program(format!("cannot wait for tcpdump: {e}")))?;
    if status.success() {
        return Ok(reader);
    }
    // Killed by the pipe of its own output, as in `steno read ... | head`.
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(signal_hook::consts::SIGPIPE) {
        return Ok(Reader::Gone);
    }
    Err(CommandError::Program(format!("tcpdump ended with {status}")))
}

/// One plain line a packet.
fn to_lines(answer: &mut Answer) -> Result<Reader, CommandError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut print = || {
        while let Some(packet) = answer.next_packet() {
            writeln!(out, "{}", packet_line(packet.time, packet.wire_len, &packet.frame))?;
        }
        out.flush()
    };
    match print() {
        Ok(()) => Ok(Reader::There),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(e) => Err(CommandError::Stdout(e)),
    }
}

fn write_receipt(receipt: &Receipt, path: &Path) -> Result<(), CommandError> {
    let error = |source| CommandError::Write { path: path.to_owned(), source };
    let mut json = serde_json::to_vec(receipt).map_err(|e| error(e.into()))?;
    json.push(b'\n');
    fs::write(path, json).map_err(error)
}
