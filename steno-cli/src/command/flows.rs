//! `steno flows`: the conversations of a query, from the indexes alone.

use std::{
    io::{self, BufWriter, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use steno_core::{Clock as _, SystemClock};
use steno_query::{Options, Store, parse};

use super::{CommandError, store_dir};
use crate::{
    args::FlowsArgs,
    exit::Exit,
    print::{count, flows_as_csv, flows_as_json, flows_as_table},
};

/// Lists them, then prints the receipt.
pub(super) fn flows(args: &FlowsArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let dir = store_dir(&args.store)?;
    let query = parse(&args.query, SystemClock.now())?;
    let options = Options { cancel: Arc::clone(interrupted).into(), ..Options::default() };
    let flows = Store::open(dir)?.flows(&query, &options);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match args {
        FlowsArgs { json: true, .. } => flows_as_json(&flows, &mut out),
        FlowsArgs { csv: true, .. } => flows_as_csv(&flows, &mut out),
        _ => flows_as_table(&flows, &mut out),
    };
    let printed = printed.and_then(|()| out.flush());
    eprintln!("{}", count(flows.len() as u64, "flow"));
    eprintln!("{}", flows.receipt());
    match printed {
        _ if interrupted.load(Ordering::Relaxed) => Ok(Exit::Interrupted),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(e) => Err(CommandError::Stdout(e)),
        Ok(()) if flows.receipt().is_complete() => Ok(Exit::Done),
        Ok(()) => Ok(Exit::Incomplete),
    }
}
