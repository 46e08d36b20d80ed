//! `steno explain`: how a query is understood and planned.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::Serialize;
use steno_core::{Clock as _, SystemClock};
use steno_proto::v1;
use steno_query::{
    Options, Receipt, Store, parse, plain, plain_lines,
    plan::{Estimate, SegmentPlan},
};

use super::{
    CommandError,
    source::{Source, source},
    to_stdout,
};
use crate::{
    args::ExplainArgs,
    exit::Exit,
    sensor::{Sensor, estimate, receipt, segment_plan},
};

/// Prints it. Nothing is read from packet files.
pub(super) fn explain(args: &ExplainArgs, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    match source(&args.source, interrupted)? {
        Source::Store(dir) => explain_on_store(args, dir, interrupted),
        Source::Sensor(sensor) => explain_on_sensor(args, &sensor),
    }
}

fn explain_on_store(args: &ExplainArgs, dir: &Path, interrupted: &Arc<AtomicBool>) -> Result<Exit, CommandError> {
    let query = parse(&args.query, SystemClock.now())?;
    let options = Options { cancel: Arc::clone(interrupted).into(), ..Options::default() };
    let explanation = Store::open(dir)?.explain(&query, &options);
    let text = if args.json { json(&explanation)? } else { explanation.to_string() };
    let exit = give(&text, &explanation.receipt)?;
    Ok(if interrupted.load(Ordering::Relaxed) { Exit::Interrupted } else { exit })
}

fn explain_on_sensor(args: &ExplainArgs, sensor: &Sensor) -> Result<Exit, CommandError> {
    let said = sensor.explain(v1::ExplainRequest { query: args.query.clone(), deadline_ms: 0 })?;
    let receipt = receipt(said.receipt.unwrap_or_default());
    if !args.json {
        return give(&plain_lines(&said.text), &receipt);
    }
    let told = Told {
        query: said.query,
        lookup: said.lookup,
        segments: said.segments.into_iter().map(segment_plan).collect(),
        conversations: said.conversations,
        estimate: estimate(said.estimate.unwrap_or_default()),
        receipt: &receipt,
        segments_omitted: Some(said.segments_omitted).filter(|omitted| *omitted > 0),
    };
    give(&json(&told)?, &receipt)
}

/// An explanation by a sensor, with the fields of one by a store, and one more where its list of segments is not whole.
#[derive(Serialize)]
struct Told<'a> {
    query: String,
    lookup: String,
    segments: Vec<SegmentPlan>,
    conversations: u64,
    estimate: Estimate,
    receipt: &'a Receipt,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_omitted: Option<u64>,
}

fn json(explanation: &impl Serialize) -> Result<String, CommandError> {
    serde_json::to_string(explanation).map_err(|e| CommandError::Stdout(e.into()))
}

fn give(text: &str, receipt: &Receipt) -> Result<Exit, CommandError> {
    let _ = to_stdout(format!("{text}\n").as_bytes())?;
    for file in &receipt.unreadable {
        eprintln!("unreadable: {}: {}", plain(&file.file), plain(&file.reason));
    }
    Ok(if receipt.is_complete() { Exit::Done } else { Exit::Incomplete })
}
