//! `steno flows`: the conversations of a query, from the indexes alone.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use steno_core::{Clock as _, SystemClock};
use steno_proto::v1;
use steno_query::{Flow, Options, Receipt, Store, parse};

use super::{
    CommandError, milliseconds,
    progress::Progress,
    read::verdict,
    source::{Source, source},
};
use crate::{
    args::FlowsArgs,
    exit::Exit,
    print::{count, flow_as_csv, flow_as_json, flows_as_table, flows_csv_heading},
    sensor::{Ending, FlowBatches, NextFlows, Sensor, SensorError},
};

/// Lists them, then prints the receipt.
pub(super) fn flows(args: &FlowsArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    match source(&args.source, interrupted)? {
        Source::Store(dir) => flows_of_store(args, dir, interrupted),
        Source::Sensor(sensor) => flows_of_sensor(args, &sensor, interrupted),
    }
}

fn flows_of_store(args: &FlowsArgs, dir: &Path, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let query = parse(&args.query, SystemClock.now())?;
    let deadline = args.deadline.and_then(|within| Instant::now().checked_add(within));
    let options = Options { cancel: Arc::clone(interrupted).into(), deadline, ..Options::default() };
    let flows = Store::open(dir)?.flows(&query, &options);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = if args.json || args.csv {
        begin(args, &mut out).and_then(|()| rows(args, flows.iter(), &mut out))
    } else {
        flows_as_table(|| flows.iter(), &mut out)
    };
    let printed = printed.and_then(|()| out.flush());
    give_receipt(flows.len() as u64, flows.receipt());
    match printed {
        _ if interrupted.load(Ordering::Relaxed) => Ok(Exit::Interrupted),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(e) => Err(CommandError::Stdout(e)),
        Ok(()) if flows.receipt().is_complete() => Ok(Exit::Done),
        Ok(()) => Ok(Exit::Incomplete),
    }
}

fn flows_of_sensor(args: &FlowsArgs, sensor: &Sensor, interrupted: &AtomicBool) -> Result<Exit, CommandError> {
    let deadline_ms = args.deadline.map_or(0, milliseconds);
    let mut batches = sensor.flows(v1::FlowsRequest { query: args.query.clone(), deadline_ms })?;
    let mut out = BufWriter::new(io::stdout().lock());
    match print(args, &mut batches, &mut out) {
        Ok((flows, ending)) => {
            give_receipt(flows, &ending.receipt);
            Ok(verdict(&ending))
        }
        // Ctrl-C ends the reader as well, which may be first.
        Err(Stop::Stdout(_)) if interrupted.load(Ordering::Relaxed) => Ok(Exit::Interrupted),
        Err(Stop::Stdout(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(Stop::Stdout(e)) => Err(CommandError::Stdout(e)),
        Err(Stop::Sensor(e)) => Err(e.into()),
    }
}

/// Why the printing of an answer ended before the answer.
enum Stop {
    Stdout(io::Error),
    Sensor(SensorError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Stdout(error)
    }
}

/// Prints flows as they come; a table, whose widths depend on all of them, at the end, or where the answer breaks off.
fn print(args: &FlowsArgs, batches: &mut FlowBatches<'_>, out: &mut impl Write) -> Result<(u64, Box<Ending>), Stop> {
    let streams = args.json || args.csv;
    let mut progress = Progress::new(streams && io::stdout().is_terminal());
    let mut table: Vec<Flow> = Vec::new();
    let mut flows = 0u64;
    begin(args, out)?;
    let ended = loop {
        match batches.next() {
            Ok(NextFlows::Flows(batch)) => {
                flows += batch.len() as u64;
                if streams {
                    rows(args, batch, out)?;
                    out.flush()?;
                } else {
                    table.extend(batch);
                }
                progress.flows(flows);
            }
            Ok(NextFlows::Progress) => progress.flows(flows),
            Ok(NextFlows::End(ending)) => break Ok(ending),
            Err(error) => break Err(error),
        }
    };
    progress.clear();
    if !streams {
        flows_as_table(|| table.iter().cloned(), out)?;
    }
    out.flush()?;
    Ok((flows, ended.map_err(Stop::Sensor)?))
}

fn begin(args: &FlowsArgs, out: &mut impl Write) -> io::Result<()> {
    if args.csv { flows_csv_heading(out) } else { Ok(()) }
}

fn rows(args: &FlowsArgs, flows: impl IntoIterator<Item = Flow>, out: &mut impl Write) -> io::Result<()> {
    flows.into_iter().try_for_each(|flow| if args.csv { flow_as_csv(&flow, out) } else { flow_as_json(&flow, out) })
}

fn give_receipt(flows: u64, receipt: &Receipt) {
    eprintln!("{}", count(flows, "flow"));
    eprintln!("{receipt}");
}
