//! What the fuzz targets of `fuzz/` reach of this crate's readers. It is there with `--cfg fuzzing` alone, and no interface.

use std::sync::Arc;

use axum::{Extension, Router};
use steno_core::{Clock, FixedClock, TimestampNs};

use crate::{
    access::{Access, Principal},
    answer::{Answers, Bounds, Host, LegacyLimits, capture_counts, services},
    audit::AuditLog,
    capture::{CaptureStatus, ThreadDirectories},
    metrics::Metrics,
    retention::{self, ThreadRetention},
    sensor::{Sensor, SensorSettings},
    serve::{ServeError, fuzzing::router},
};
pub use crate::{
    capture::fuzzing::{LINE_BYTES_MOST, Line, output, told},
    serve::fuzzing::peer,
};

/// What is counted of a capture, wherever it is shown.
pub fn counted(status: &CaptureStatus) -> String {
    let metrics = Metrics::new();
    metrics.observe_capture(status);
    format!("{:?} {:?}", capture_counts(std::slice::from_ref(status)), metrics.encode())
}

/// A sensor over directories that are there, with no capture and a clock that stands still, and what it serves.
///
/// # Errors
/// The directories cannot be used.
pub async fn sensor(
    directories: ThreadDirectories,
    now: TimestampNs,
) -> Result<(Sensor, Router), Box<dyn std::error::Error>> {
    let clock: Arc<dyn Clock> = Arc::new(FixedClock(now));
    let metrics = Metrics::new();
    let threads = vec![ThreadRetention { directories: directories.clone(), bounds: retention::Bounds::default() }];
    let settings = SensorSettings { threads, ..SensorSettings::default() };
    let sensor = Sensor::open(settings, Arc::clone(&clock), &metrics)?;
    let answers = Answers::new(sensor.view(), Bounds::default(), clock, metrics, AuditLog::none());
    let host = Host { started: now, directories: vec![directories], certificates: Arc::new(|| None) };
    let served: Result<Router, ServeError> = router(&answers, services(&answers, host, LegacyLimits::default())).await;
    // Whoever has a certificate may ask everything.
    let asker = Access::new(None, Metrics::new()).asker(Principal::unknown(), ([192, 0, 2, 1], 1).into());
    Ok((sensor, served?.layer(Extension(asker))))
}
