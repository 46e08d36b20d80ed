//! The status of a sensor, from its message.

use steno_core::TimestampNs;
use steno_proto::v1::{self, CaptureState};

use super::model::{Capture, Holdings, Moment, Queries, Report, Thread};
use crate::sensor::{gap, losses, unreadable, unsealed};

pub(super) fn report(message: v1::StatusResponse) -> Report {
    Report {
        healthy: message.healthy,
        problems: message.problems,
        now: moment(message.now_ns),
        version: Some(message.version),
        host: Some(message.host),
        started: Some(moment(message.started_ns)),
        holdings: message.holdings.map(holdings).unwrap_or_default(),
        captures: Some(message.captures.into_iter().map(capture).collect()),
        threads: message.threads.into_iter().map(thread).collect(),
        queries: message.queries.map(queries),
        // A sensor without TLS has none, and 1970 is no time at which one ends.
        certificate_until: Some(message.certificate_until_ns).filter(|ns| *ns > 0).map(moment),
        ca_until: Some(message.ca_until_ns).filter(|ns| *ns > 0).map(moment),
    }
}

fn moment(ns: u64) -> Moment {
    Moment(TimestampNs::new(ns))
}

fn holdings(message: v1::Holdings) -> Holdings {
    Holdings {
        oldest: message.oldest_ns.map(moment),
        newest: message.newest_ns.map(moment),
        segments: message.segments,
        packet_bytes: message.packet_bytes,
        index_bytes: message.index_bytes,
        gaps: message.gaps.into_iter().map(gap).collect(),
        unreadable: message.unreadable.into_iter().map(unreadable).collect(),
        unsealed: message.unsealed.into_iter().map(unsealed).collect(),
    }
}

fn capture(message: v1::Capture) -> Capture {
    Capture {
        state: match message.state() {
            CaptureState::Unspecified => "unknown",
            CaptureState::Starting => "starting",
            CaptureState::Running => "running",
            CaptureState::Backoff => "backoff",
            CaptureState::Stopping => "stopping",
            CaptureState::Stopped => "stopped",
        },
        source: message.source,
        threads: message.threads,
        state_at: message.state_ns.map(moment),
        pid: Some(message.pid).filter(|pid| *pid > 0),
        restarts: message.restarts,
        last_exit: Some(message.last_exit).filter(|exit| !exit.is_empty()),
        last_exit_at: message.last_exit_ns.map(moment),
    }
}

fn thread(message: v1::Thread) -> Thread {
    Thread {
        thread: message.thread,
        packets_directory: message.packets_directory,
        index_directory: message.index_directory,
        packets: message.packets,
        segments_uncounted: 0,
        bytes: Some(message.bytes),
        kernel_drops: message.kernel_drops,
        lost: Some(message.lost),
        write_errors: Some(message.write_errors),
        losses: message.losses.map(losses).unwrap_or_default(),
        segments: message.segments,
        segments_removed: Some(message.segments_removed),
        packet_bytes: message.packet_bytes,
        index_bytes: message.index_bytes,
        disk_bytes: message.disk_bytes,
        disk_free_bytes: message.disk_free_bytes,
        error: Some(message.error).filter(|error| !error.is_empty()),
    }
}

fn queries(message: v1::Queries) -> Queries {
    Queries {
        running: message.running,
        most_running: message.most_running,
        finished: message.finished,
        truncated: message.truncated,
        refused: message.refused,
        packets: message.packets,
        bytes: message.bytes,
    }
}
