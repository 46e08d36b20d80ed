//! `steno status`: how a sensor fares, or what a directory of files holds.

mod model;
mod sensor;
mod store;
mod text;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use steno_proto::v1::StatusResponse;
use steno_query::plain_lines;

use super::{
    CommandError,
    source::{Source, source},
    to_stdout,
};
use crate::{args::StatusArgs, exit::Exit};

/// What it prints of a sensor.
pub(crate) fn page(message: StatusResponse) -> String {
    plain_lines(&text::text(&sensor::report(message)))
}

/// Prints it. What is not well has an exit status of its own.
pub(super) fn status(args: &StatusArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let report = match source(&args.source, interrupted)? {
        Source::Store(dir) => store::report(dir, interrupted)?,
        Source::Sensor(sensor) => sensor::report(sensor.status()?),
    };
    if interrupted.load(Ordering::Relaxed) {
        return Ok(Exit::Interrupted);
    }
    let text = if args.json {
        serde_json::to_string(&report).map_err(|e| CommandError::Stdout(e.into()))? + "\n"
    } else {
        plain_lines(&text::text(&report))
    };
    let _ = to_stdout(text.as_bytes())?;
    Ok(if report.healthy { Exit::Done } else { Exit::Incomplete })
}
