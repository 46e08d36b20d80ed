//! What `steno status` says, whoever it comes from; with `--json`, as it stands here.

use serde::{Serialize, Serializer};
use steno_core::TimestampNs;
use steno_query::{
    receipt::{Gap, Losses, Unreadable, Unsealed},
    rfc3339,
};

/// A time, as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) TimestampNs);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// All of it. What only a sensor can tell is `None` of files.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) healthy: bool,
    pub(super) problems: Vec<String>,
    pub(super) now: Moment,
    pub(super) version: Option<String>,
    pub(super) host: Option<String>,
    pub(super) started: Option<Moment>,
    pub(super) holdings: Holdings,
    pub(super) captures: Option<Vec<Capture>>,
    pub(super) threads: Vec<Thread>,
    pub(super) queries: Option<Queries>,
    pub(super) certificate_until: Option<Moment>,
    pub(super) ca_until: Option<Moment>,
}

/// What is held.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Holdings {
    pub(super) oldest: Option<Moment>,
    pub(super) newest: Option<Moment>,
    pub(super) segments: u64,
    pub(super) packet_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) gaps: Vec<Gap>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) unsealed: Vec<Unsealed>,
}

/// A capture process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Capture {
    pub(super) source: String,
    pub(super) threads: Vec<u32>,
    pub(super) state: &'static str,
    pub(super) state_at: Option<Moment>,
    pub(super) pid: Option<u32>,
    pub(super) restarts: u64,
    pub(super) last_exit: Option<String>,
    pub(super) last_exit_at: Option<Moment>,
}

/// A capture thread. Of a sensor, what was counted since it started; of files, what they hold.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Thread {
    pub(super) thread: u32,
    pub(super) packets_directory: String,
    pub(super) index_directory: String,
    pub(super) packets: u64,
    pub(super) bytes: Option<u64>,
    pub(super) kernel_drops: u64,
    pub(super) lost: Option<u64>,
    pub(super) write_errors: Option<u64>,
    pub(super) losses: Losses,
    pub(super) segments: u64,
    /// Segments whose packets are not counted: stenographer 1.0.1 indexed them, and does not say.
    pub(super) segments_uncounted: u64,
    pub(super) segments_removed: Option<u64>,
    pub(super) packet_bytes: u64,
    pub(super) index_bytes: u64,
    pub(super) disk_bytes: u64,
    pub(super) disk_free_bytes: u64,
    pub(super) error: Option<String>,
}

/// The queries since the sensor started.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Queries {
    pub(super) running: u64,
    pub(super) most_running: u64,
    pub(super) finished: u64,
    pub(super) truncated: u64,
    pub(super) refused: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}
