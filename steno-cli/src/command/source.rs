//! Where a command gets its answer: from files, or from a sensor.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::CommandError;
use crate::{
    args::SourceArgs,
    sensor::{Location, Sensor, SensorError},
};

/// What a command is to ask.
pub(super) enum Source<'a> {
    /// A directory of packet files and indexes.
    Store(&'a Path),
    /// A sensor, connected.
    Sensor(Box<Sensor>),
}

/// Finds out which, and connects. Says on standard error what should be known of the sensor.
pub(super) fn source<'a>(args: &'a SourceArgs, interrupted: &Arc<AtomicBool>) -> Result<Source<'a>, CommandError> {
    match &args.store {
        Some(dir) => Ok(Source::Store(dir)),
        None => Ok(Source::Sensor(Box::new(connect(&Location::find(args)?, interrupted)?))),
    }
}

/// Connects, and says on standard error what should be known of the sensor.
pub(super) fn connect(location: &Location, interrupted: &Arc<AtomicBool>) -> Result<Sensor, SensorError> {
    let sensor = Sensor::connect(location, interrupted)?;
    if let Some(warning) = sensor.warning() {
        eprintln!("{warning}");
    }
    Ok(sensor)
}
