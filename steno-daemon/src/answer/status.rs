//! How the sensor fares, as `Status` gives it.

use std::{path::PathBuf, sync::Arc};

use steno_core::TimestampNs;
use steno_proto::v1::{self, CaptureState, StatusResponse};
use steno_query::TimeSpan;

use super::{Answers, convert};
use crate::{
    capture::{CaptureStatus, ChildState, Kind, ThreadDirectories},
    retention::ThreadStatus,
};

/// A certificate that ends within this time is a problem: two weeks, in nanoseconds.
const CERTIFICATE_ENDS_SOON_NS: u64 = 14 * 86_400 * 1_000_000_000;

/// When the certificates that the daemon listens with end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The server's own.
    pub server_until: TimestampNs,
    /// The one of the CA that signs for clients.
    pub ca_until: TimestampNs,
}

/// The daemon itself, as `Status` tells of it.
#[derive(Clone)]
pub struct Host {
    /// When the daemon started.
    pub started: TimestampNs,
    /// Where the capture threads keep their files.
    pub directories: Vec<ThreadDirectories>,
    /// Says when the certificates in use end; none, without TLS.
    pub certificates: Arc<dyn Fn() -> Option<Certificates> + Send + Sync>,
}

/// How the sensor fares now. Lists the store, which may block.
pub(super) fn status(answers: &Answers, host: &Host) -> StatusResponse {
    let view = answers.view();
    let now = answers.clock().now();
    let (captures, storage, certificates) = (view.captures(), view.storage(), (host.certificates)());
    let holdings = holdings(answers, &storage);
    let mut problems = problems(&captures, &storage, certificates, &holdings, now);
    problems.extend(answers.audit().problem().map(|why| format!("the audit log cannot be written: {why}")));
    StatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        now_ns: now.as_ns(),
        started_ns: host.started.as_ns(),
        healthy: problems.is_empty(),
        problems,
        holdings: Some(holdings),
        threads: storage.iter().map(|thread| self::thread(thread, &captures, &host.directories)).collect(),
        captures: captures.iter().map(capture).collect(),
        queries: Some(answers.queries()),
        certificate_until_ns: certificates.map_or(0, |c| c.server_until.as_ns()),
        ca_until_ns: certificates.map_or(0, |c| c.ca_until.as_ns()),
    }
}

/// What the store holds, and what was never captured, as segments tell and this daemon has seen.
fn holdings(answers: &Answers, storage: &[ThreadStatus]) -> v1::Holdings {
    let view = answers.view();
    let _pin = view.store().pin(TimeSpan::new(None, None));
    let always = TimeSpan::new(None, None);
    let mut receipt = view.store().store().survey(always);
    receipt.gaps.extend(view.gaps(always));
    receipt.settle();
    let sum = |bytes: fn(&ThreadStatus) -> u64| storage.iter().map(bytes).fold(0, u64::saturating_add);
    v1::Holdings {
        oldest_ns: receipt.held.map(|held| held.oldest.as_ns()),
        newest_ns: receipt.held.map(|held| held.newest.as_ns()),
        segments: view.store().store().catalogue().segments().len() as u64,
        packet_bytes: sum(|thread| thread.packet_bytes),
        index_bytes: sum(|thread| thread.index_bytes),
        gaps: receipt.gaps.into_iter().map(convert::gap).collect(),
        unreadable: receipt
            .unreadable
            .into_iter()
            .map(|file| v1::Unreadable { may_hold_matches: true, ..convert::unreadable(file) })
            .collect(),
        unsealed: receipt
            .unsealed
            .into_iter()
            .map(|file| v1::Unsealed { may_hold_matches: file.bytes > 0, ..convert::unsealed(file) })
            .collect(),
    }
}

/// What is wrong, a sentence each.
fn problems(
    captures: &[CaptureStatus],
    storage: &[ThreadStatus],
    certificates: Option<Certificates>,
    holdings: &v1::Holdings,
    now: TimestampNs,
) -> Vec<String> {
    let mut problems = Vec::new();
    for capture in captures.iter().filter(|capture| !capture.state.is_running()) {
        let last = capture.last_exit.as_ref().map(|last| format!(": stenotype {}", last.exit)).unwrap_or_default();
        problems.push(format!("nothing is captured on {} now{last}", capture.source));
    }
    for thread in storage {
        let number = thread.thread;
        problems.extend(thread.error.as_ref().map(|error| format!("the disks of thread {number}: {error}")));
        problems.extend(thread.stuck.map(|reason| {
            format!("thread {number} takes more than {} allows, and nothing of it may be removed", reason.name())
        }));
    }
    if let Some(first) = holdings.unreadable.first() {
        let n = holdings.unreadable.len();
        problems.push(format!("{n} files cannot be searched; the first is {}: {}", first.file, first.reason));
    }
    let soon = now.saturating_add_ns(CERTIFICATE_ENDS_SOON_NS);
    let ends = certificates.map(|c| [("of the server", c.server_until), ("of the CA for clients", c.ca_until)]);
    for (whose, until) in ends.into_iter().flatten().filter(|(_, until)| *until < soon) {
        let verb = if until <= now { "ended" } else { "ends" };
        problems.push(format!("the certificate {whose} {verb} at {}", steno_query::rfc3339(until)));
    }
    problems
}

fn capture(status: &CaptureStatus) -> v1::Capture {
    let (state, state_at, pid) = match &status.state {
        ChildState::Starting => (CaptureState::Starting, None, None),
        ChildState::Running { pid, since, .. } => (CaptureState::Running, Some(*since), Some(*pid)),
        ChildState::Backoff { until } => (CaptureState::Backoff, Some(*until), None),
        ChildState::Stopping { pid } => (CaptureState::Stopping, None, Some(*pid)),
        ChildState::Stopped => (CaptureState::Stopped, None, None),
    };
    v1::Capture {
        source: status.source.clone(),
        threads: status.threads.clone(),
        state: state.into(),
        state_ns: state_at.map(TimestampNs::as_ns),
        pid: pid.unwrap_or_default(),
        speaks: status.kind == Kind::Own,
        restarts: status.restarts,
        last_exit: status.last_exit.as_ref().map(|last| last.exit.to_string()).unwrap_or_default(),
        last_exit_ns: status.last_exit.as_ref().map(|last| last.at.as_ns()),
    }
}

fn thread(status: &ThreadStatus, captures: &[CaptureStatus], directories: &[ThreadDirectories]) -> v1::Thread {
    let number = status.thread;
    let counted = captures.iter().find_map(|capture| capture.counters.get(&number)).copied().unwrap_or_default();
    let directories = directories.iter().find(|directories| directories.thread == number);
    let text = |path: Option<&PathBuf>| path.map(|p| p.display().to_string()).unwrap_or_default();
    v1::Thread {
        thread: number,
        packets_directory: text(directories.map(|d| &d.packets)),
        index_directory: text(directories.map(|d| &d.index)),
        packets: counted.packets,
        bytes: counted.bytes,
        kernel_drops: counted.drops,
        ring_freezes: counted.freezes,
        blocks: counted.blocks,
        write_errors: counted.write_errors,
        lost: counted.lost,
        segments: status.segments,
        packet_bytes: status.packet_bytes,
        index_bytes: status.index_bytes,
        segments_removed: status.removed.values().sum(),
        disk_bytes: status.disk.map_or(0, |disk| disk.packets.total_bytes),
        disk_free_bytes: status.disk.map_or(0, |disk| disk.packets.available_bytes),
        error: status.error.clone().unwrap_or_default(),
        losses: Some(v1::Losses {
            ring_freezes: counted.freezes,
            cut_packets: counted.cut,
            not_written_packets: counted.lost,
            write_stall_ns: counted.write_stall_ns,
            interface_dropped_packets: counted.interface_dropped,
            interface_missed_packets: counted.interface_missed,
            interface_overrun_packets: counted.interface_overrun,
            uncaptured_packets: counted.uncaptured,
        }),
    }
}
