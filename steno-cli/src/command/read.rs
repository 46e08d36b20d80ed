//! `steno read`: the packets of a query, into a capture file, through tcpdump, or as plain lines.

use std::{
    ffi::OsStr,
    fs,
    io::{self, IsTerminal as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use steno_core::{Clock as _, SystemClock};
use steno_proto::v1;
use steno_query::{Answer, Options, Receipt, Store, Truncation, parse};

use super::{
    CommandError,
    deliver::{Answering, Printed, Tcpdump, to_lines},
    milliseconds,
    output::Reader,
    progress::Progress,
    source::{Source, source},
    to_file::{follow_to_file, found_to_file, received_to_file},
};
use crate::{
    args::ReadArgs,
    exit::Exit,
    sensor::{Ending, Next, Packets, Sensor, SensorError, SoFar},
};

/// Delivers the packets, then the receipt.
pub(super) fn read(args: &ReadArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    match source(&args.source, interrupted)? {
        Source::Store(dir) => read_store(args, dir, interrupted),
        Source::Sensor(sensor) => read_sensor(args, &sensor, interrupted),
    }
}

fn read_store(args: &ReadArgs, dir: &Path, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let query = parse(&args.query, SystemClock.now())?;
    let store = Store::open(dir)?;
    let options = Options {
        format: args.format.into(),
        limit_packets: args.limit_packets,
        limit_bytes: args.limit_bytes,
        cancel: Arc::clone(interrupted).into(),
        deadline: args.deadline.and_then(|within| Instant::now().checked_add(within)),
        ..Options::default()
    };
    let (delivered, mut receipt) = if args.follow {
        let mut following = Following { answer: store.follow(&query, options), store: &store };
        (deliver(&mut following, args), following.answer.receipt())
    } else if let Some(path) = &args.write {
        stored_to_file(store.answer(&query, Options { digest: false, ..options }), path)
    } else {
        let mut stored = Stored { answer: store.answer(&query, options) };
        (deliver(&mut stored, args), stored.answer.receipt())
    };
    // Whatever went wrong, the receipt says what was found before.
    hold_to(&mut receipt, &delivered);
    give_receipt(&receipt, args)?;
    match delivered? {
        _ if interrupted.load(Ordering::Relaxed) => Ok(Exit::Interrupted),
        Reader::Gone => Ok(Exit::Done),
        Reader::There if receipt.is_complete() => Ok(Exit::Done),
        Reader::There => Ok(Exit::Incomplete),
    }
}

/// The digest is made apart from what finds the chunks, while others are found.
fn stored_to_file(answer: Answer, path: &Path) -> (Result<Reader, CommandError>, Receipt) {
    let (mut stored, mut digest) = (Stored { answer }, blake3::Hasher::new());
    let delivered = found_to_file(&mut stored, path, &mut digest);
    let mut receipt = stored.answer.receipt();
    receipt.blake3 = Some(digest.finalize().to_hex().to_string());
    (delivered, receipt)
}

fn read_sensor(args: &ReadArgs, sensor: &Sensor, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let request = v1::QueryRequest {
        query: args.query.clone(),
        format: v1::CaptureFormat::from(args.format).into(),
        max_bytes: args.limit_bytes,
        max_packets: args.limit_packets,
        deadline_ms: args.deadline.map_or(0, milliseconds),
        follow: args.follow,
        ..v1::QueryRequest::default()
    };
    let to_stdout = args.write.as_deref().is_none_or(|path| path == "-");
    let mut remote = Remote::new(sensor.packets(request)?, Progress::new(to_stdout && io::stdout().is_terminal()));
    let delivered = deliver(&mut remote, args);
    let (mut ending, so_far) = remote.end();
    if let Some(ending) = &mut ending {
        hold_to(&mut ending.receipt, &delivered);
        give_receipt(&ending.receipt, args)?;
    }
    match (delivered?, ending) {
        // Ctrl-C ends the reader as well, which may be first.
        (Reader::Gone, _) if interrupted.load(Ordering::Relaxed) => Err(SensorError::Interrupted(so_far).into()),
        (Reader::Gone, None) => {
            eprintln!("ended by its reader after {so_far}, without a receipt");
            Ok(Exit::Done)
        }
        (Reader::Gone, Some(_)) => Ok(Exit::Done),
        (Reader::There, Some(ending)) => Ok(verdict(&ending)),
        // An answer does not come to its end without one.
        (Reader::There, None) => Err(SensorError::Cut { so_far, why: "no receipt came".to_owned() }.into()),
    }
}

/// An answer of which a part went nowhere is not one that is complete, and nobody has the bytes of its digest.
fn hold_to(receipt: &mut Receipt, delivered: &Result<Reader, CommandError>) {
    if !matches!(delivered, Ok(Reader::There)) {
        let _by = receipt.truncated_by.get_or_insert(Truncation::Unfinished);
        receipt.blake3 = None;
    }
}

/// The exit status that the end of an answer comes to. Says what the receipt does not.
pub(super) fn verdict(ending: &Ending) -> Exit {
    match &ending.said {
        _ if !ending.receipt.is_complete() => Exit::Incomplete,
        Some(said) => {
            eprintln!("NOT COMPLETE: {said}");
            Exit::Incomplete
        }
        None => Exit::Done,
    }
}

fn deliver(answer: &mut impl Answering, args: &ReadArgs) -> Result<Reader, CommandError> {
    if let Some(path) = &args.write {
        return if args.follow { follow_to_file(answer, path) } else { received_to_file(answer, path) };
    }
    let tcpdump = Tcpdump {
        program: OsStr::new("tcpdump"),
        input: "-",
        // Nobody who follows wants to wait for a full page.
        by_line: args.follow,
        args: &args.tcpdump_args,
    };
    match tcpdump.print(answer)? {
        Printed::Done(reader) => Ok(reader),
        Printed::Failed(status) => Err(CommandError::Program(format!("tcpdump ended with {status}"))),
        Printed::Missing(_) if args.tcpdump_args.is_empty() => to_lines(answer, args.format.into()),
        Printed::Missing(e) => {
            Err(CommandError::Program(format!("cannot start tcpdump, which is to take the arguments after `--`: {e}")))
        }
    }
}

/// An answer from files.
struct Stored {
    answer: Answer,
}

impl Answering for Stored {
    type Chunk = Vec<u8>;

    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, CommandError> {
        Ok(self.answer.next_chunk(chunk))
    }

    fn is_between_blocks(&self) -> bool {
        self.answer.is_between_blocks()
    }
}

/// How often a store is looked into for what was added.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An answer from files that goes on with those that are added.
struct Following<'a> {
    answer: Answer,
    store: &'a Store,
}

impl Answering for Following<'_> {
    type Chunk = Vec<u8>;

    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, CommandError> {
        loop {
            if self.answer.next_chunk(chunk) {
                return Ok(true);
            }
            if self.answer.has_ended() {
                return Ok(false);
            }
            thread::sleep(LOOK_EVERY);
            self.store.refresh()?;
            self.answer.go_on(self.store);
        }
    }
}

/// An answer from a sensor, and what is shown of its progress.
pub(super) struct Remote<'s> {
    packets: Packets<'s>,
    progress: Progress,
}

impl<'s> Remote<'s> {
    pub(super) fn new(packets: Packets<'s>, progress: Progress) -> Self {
        Self { packets, progress }
    }

    /// The end of the answer, where it has come, and what has come. The answer ends with this.
    pub(super) fn end(mut self) -> (Option<Ending>, SoFar) {
        self.progress.clear();
        (self.packets.ending().cloned(), self.packets.so_far())
    }
}

impl Answering for Remote<'_> {
    type Chunk = Bytes;

    fn next_chunk(&mut self, chunk: &mut Bytes) -> Result<bool, CommandError> {
        loop {
            let next = self.packets.next().inspect_err(|_| self.progress.clear())?;
            if let SoFar::Packets { packets, bytes } = self.packets.so_far() {
                self.progress.packets(packets, bytes);
            }
            match next {
                Next::Records(records) if !records.is_empty() => {
                    *chunk = records;
                    return Ok(true);
                }
                Next::Records(_) | Next::Progress => {}
                Next::End => {
                    self.progress.clear();
                    return Ok(false);
                }
            }
        }
    }
}

/// The receipt on standard error, and into its file.
fn give_receipt(receipt: &Receipt, args: &ReadArgs) -> Result<(), CommandError> {
    eprintln!("{receipt}");
    let Some(path) = &args.receipt else { return Ok(()) };
    let error = |source| CommandError::Write { path: path.clone(), source };
    let mut json = serde_json::to_vec(receipt).map_err(|e| error(e.into()))?;
    json.push(b'\n');
    fs::write(path, json).map_err(error)
}
