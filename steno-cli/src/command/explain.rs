//! `steno explain`: how a query is understood and planned.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use steno_core::{Clock as _, SystemClock};
use steno_query::{Options, Store, parse};

use super::{CommandError, store_dir, to_stdout};
use crate::{args::ExplainArgs, exit::Exit};

/// Prints it. Nothing is read from packet files.
pub(super) fn explain(args: &ExplainArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let dir = store_dir(&args.store)?;
    let query = parse(&args.query, SystemClock.now())?;
    let options = Options { cancel: Arc::clone(interrupted).into(), ..Options::default() };
    let explanation = Store::open(dir)?.explain(&query, &options);
    let text = if args.json {
        serde_json::to_string(&explanation).map_err(|e| CommandError::Stdout(e.into()))?
    } else {
        explanation.to_string()
    };
    let _ = to_stdout(format!("{text}\n").as_bytes())?;
    for file in &explanation.receipt.unreadable {
        eprintln!("unreadable: {}: {}", file.file, file.reason);
    }
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Exit::Interrupted);
    }
    Ok(if explanation.receipt.is_complete() { Exit::Done } else { Exit::Incomplete })
}
