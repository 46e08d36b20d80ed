//! All metrics, by name, and their text.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry},
};

use super::{
    Method, Outcome, QueryMeter,
    labels::{
        OfBuild, OfCaptureThread, OfCause, OfCertificate, OfInterface, OfInterfaceCause, OfKind, OfMethod, OfOutcome,
        OfPrincipal, OfReason, OfRule, OfThread,
    },
};
use crate::{
    capture::{CaptureStatus, Counters},
    retention::ThreadStatus,
    scrub::ScrubCounts,
};

/// What `GET /metrics` answers with: OpenMetrics 1.0 text, which Prometheus reads.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Seconds, from a look-up in memory to a scan of a full disk.
const LATENCY_BUCKETS_S: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];

/// Principals that are told apart; a CA may sign for any number.
const PRINCIPALS_MOST: usize = 100;
/// What the others are called together. No subject is written so.
const OTHER_PRINCIPALS: &str = "(others)";

/// Called before the text is made, to copy in what others count.
type Refresh = Box<dyn Fn(&Metrics) + Send + Sync>;

/// The sensor's metrics. Clones are the same ones.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    families: Families,
    refresh: Mutex<Option<Refresh>>,
    /// Those that are told apart.
    principals: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

type Latency = Family<OfMethod, Histogram, fn() -> Histogram>;

pub(super) struct Families {
    capture_up: Family<OfInterface, Gauge>,
    capture_restarts: Family<OfInterface, Counter>,
    capture_bad_messages: Family<OfInterface, Counter>,
    capture_heard: Family<OfInterface, Gauge<f64, AtomicU64>>,
    capture_packets: Family<OfCaptureThread, Counter>,
    capture_bytes: Family<OfCaptureThread, Counter>,
    capture_dropped: Family<OfCause, Counter>,
    capture_cut: Family<OfCaptureThread, Counter>,
    capture_write_stall: Family<OfCaptureThread, Counter<f64, AtomicU64>>,
    interface_dropped: Family<OfInterfaceCause, Counter>,
    clock_steps: Family<OfInterface, Counter>,
    capture_freezes: Family<OfCaptureThread, Counter>,
    capture_blocks: Family<OfCaptureThread, Counter>,
    capture_write_errors: Family<OfCaptureThread, Counter>,
    capture_late: Family<OfCaptureThread, Counter>,
    segments: Family<OfThread, Gauge>,
    segments_unreadable: Gauge,
    scrubbed_segments: Counter,
    scrubbed_bytes: Counter,
    scrub_damaged: Counter,
    oldest_segment: Family<OfThread, Gauge<f64, AtomicU64>>,
    storage_bytes: Family<OfKind, Gauge>,
    disk_free: Family<OfKind, Gauge>,
    disk_reserve: Family<OfKind, Gauge>,
    disk_size: Family<OfKind, Gauge>,
    removed_segments: Family<OfReason, Counter>,
    removed_bytes: Family<OfThread, Counter>,
    pinned: Family<OfThread, Counter>,
    retention_errors: Family<OfThread, Counter>,
    retention_stuck: Family<OfThread, Gauge>,
    pub(super) queries: Family<OfOutcome, Counter>,
    pub(super) query_duration: Latency,
    pub(super) query_first_byte: Latency,
    pub(super) query_packets: Family<OfMethod, Counter>,
    pub(super) query_bytes: Family<OfMethod, Counter>,
    pub(super) streams_active: Family<OfMethod, Gauge>,
    audit_lines: Counter,
    audit_line: Gauge,
    audit_errors: Counter,
    audit_lost: Counter,
    audit_failing: Gauge,
    connections_active: Gauge,
    connections_refused: Counter,
    connections_put_out: Counter,
    certificate_reloads: Counter,
    certificate_reload_failures: Counter,
    certificate_files_bad: Gauge,
    certificate_expiry: Family<OfCertificate, Gauge<f64, AtomicU64>>,
    principal_answers: Family<OfPrincipal, Counter>,
    principal_bytes: Family<OfPrincipal, Counter>,
    denied: Family<OfRule, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at nothing; the start time is now.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("steno");
        let families = Families::register(&mut registry);
        Self(Arc::new(Inner { registry, families, refresh: Mutex::new(None), principals: Mutex::default() }))
    }

    /// Has `refresh` called before each [`Self::encode`].
    pub fn on_encode(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        *self.0.refresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(refresh));
    }

    /// The text for `GET /metrics`, to be sent as [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// A value cannot be written; no value of ours is such.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(refresh) = &*self.0.refresh.lock().unwrap_or_else(PoisonError::into_inner) {
            refresh(self);
        }
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry)?;
        Ok(out)
    }

    /// Measures a request that begins now.
    pub fn query(&self, method: Method) -> QueryMeter {
        QueryMeter::begin(self.clone(), method)
    }

    /// How many requests of `method` have ended, in whatever way, and the bytes that they were answered with.
    pub fn ended(&self, method: Method) -> (u64, u64) {
        let outcome = |outcome| self.families().queries.get_or_create(&OfOutcome { method, outcome }).get();
        let bytes = self.families().query_bytes.get_or_create(&OfMethod { method }).get();
        (Outcome::ALL.into_iter().map(outcome).sum(), bytes)
    }

    /// A client's connection was accepted, TLS and all; it counts until what is returned is dropped.
    pub fn connection(&self) -> ConnectionMeter {
        let _ = self.families().connections_active.inc();
        ConnectionMeter(self.clone())
    }

    /// A connection was refused: its handshake failed, or its certificate does not hold.
    pub fn connection_refused(&self) {
        let _ = self.families().connections_refused.inc();
    }

    /// A connection was ended because its client's certificate does not hold any more.
    pub fn connection_put_out(&self) {
        let _ = self.families().connections_put_out.inc();
    }

    /// Certificates were read again, and taken, or stayed as they were because the files do not hold.
    pub fn certificates_read(&self, taken: bool) {
        let f = self.families();
        let _ = if taken { f.certificate_reloads.inc() } else { f.certificate_reload_failures.inc() };
        let _ = f.certificate_files_bad.set(i64::from(!taken));
    }

    /// Bytes were answered to `principal`. The first are told apart (`PRINCIPALS_MOST`), the others are one.
    pub fn answered(&self, principal: &str, bytes: u64) {
        let mut known = self.0.principals.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = known.contains(principal) || known.len() < PRINCIPALS_MOST && known.insert(principal.to_owned());
        drop(known);
        let of = OfPrincipal { principal: if is_known { principal } else { OTHER_PRINCIPALS }.to_owned() };
        let _ = self.families().principal_answers.get_or_create(&of).inc();
        let _ = self.families().principal_bytes.get_or_create(&of).inc_by(bytes);
    }

    /// A request was denied by the rule of this name; empty: none is for who sent it.
    pub fn denied(&self, rule: &str) {
        let _ = self.families().denied.get_or_create(&OfRule { rule: rule.to_owned() }).inc();
    }

    /// The certificate that is called `name` (`server`, `ca`, ...) is valid until then: seconds since 1970.
    pub fn certificate_expires(&self, name: &str, at_s: f64) {
        let of = OfCertificate { certificate: name.to_owned() };
        let _ = self.families().certificate_expiry.get_or_create(&of).set(at_s);
    }

    /// So many lines more are in the audit log, whose last one has the number `line`.
    pub fn audit_wrote(&self, lines: u64, line: u64) {
        let _ = self.families().audit_lines.inc_by(lines);
        let _ = self.families().audit_line.set(signed(line));
    }

    /// The audit log could not be written.
    pub fn audit_failed(&self) {
        let _ = self.families().audit_errors.inc();
        self.audit_failing(true);
    }

    /// Whether the audit log cannot be written.
    pub fn audit_failing(&self, failing: bool) {
        let _ = self.families().audit_failing.set(i64::from(failing));
    }

    /// So many lines will never be in the audit log.
    pub fn audit_lost(&self, lines: u64) {
        let _ = self.families().audit_lost.inc_by(lines);
    }

    /// So many segments are there that cannot be read.
    pub fn unreadable_segments(&self, n: u64) {
        let _ = self.families().segments_unreadable.set(signed(n));
    }

    /// Copies what was scrubbed.
    pub fn observe_scrub(&self, counts: &ScrubCounts) {
        let f = self.families();
        for (counter, count) in [
            (&f.scrubbed_segments, &counts.segments),
            (&f.scrubbed_bytes, &counts.bytes),
            (&f.scrub_damaged, &counts.damaged),
        ] {
            let _ = counter.inner().fetch_max(count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Copies what is known of capture.
    pub fn observe_capture(&self, status: &CaptureStatus) {
        let f = self.families();
        let interface = status.source.clone();
        let of = OfInterface { interface: interface.clone() };
        let _ = f.capture_up.get_or_create(&of).set(i64::from(status.state.is_running()));
        let _ = f.capture_heard.get_or_create(&of).set(status.heard.map_or(0.0, |t| seconds(t.as_ns())));
        advance(&f.capture_restarts, &of, status.restarts);
        advance(&f.capture_bad_messages, &of, status.bad_messages);
        advance(&f.clock_steps, &of, status.clock_steps_total);
        let sum = |of: fn(&Counters) -> u64| status.counters.values().map(of).fold(0, u64::saturating_add);
        for (cause, packets) in [
            ("dropped", sum(|c| c.interface_dropped)),
            ("missed", sum(|c| c.interface_missed)),
            ("overrun", sum(|c| c.interface_overrun)),
        ] {
            advance(&f.interface_dropped, &OfInterfaceCause { interface: interface.clone(), cause }, packets);
        }
        for (&thread, counters) in &status.counters {
            let of = OfCaptureThread { interface: interface.clone(), thread };
            let cause = |cause| OfCause { interface: interface.clone(), thread, cause };
            advance(&f.capture_packets, &of, counters.packets);
            advance(&f.capture_bytes, &of, counters.bytes);
            advance(&f.capture_dropped, &cause("ring_full"), counters.drops);
            advance(&f.capture_dropped, &cause("not_written"), counters.lost);
            advance(&f.capture_dropped, &cause("uncaptured"), counters.uncaptured);
            advance(&f.capture_cut, &of, counters.cut);
            let stall = f.capture_write_stall.get_or_create(&of);
            // Never back: it would be taken for a counter that began anew.
            let _ = stall.inc_by((seconds(counters.write_stall_ns) - stall.get()).max(0.0));
            advance(&f.capture_freezes, &of, counters.freezes);
            advance(&f.capture_blocks, &of, counters.blocks);
            advance(&f.capture_write_errors, &of, counters.write_errors);
            advance(&f.capture_late, &of, counters.late);
        }
    }

    /// Copies what is known of a thread's disks.
    pub fn observe_storage(&self, status: &ThreadStatus) {
        let f = self.families();
        let thread = status.thread;
        let of = OfThread { thread };
        let kind = |kind| OfKind { thread, kind };
        let _ = f.segments.get_or_create(&of).set(signed(status.segments));
        let oldest = status.oldest.map_or(0.0, |id| seconds(id.opened_at().as_ns()));
        let _ = f.oldest_segment.get_or_create(&of).set(oldest);
        for (name, bytes) in
            [("packets", status.packet_bytes), ("index", status.index_bytes), ("other", status.other_bytes)]
        {
            let _ = f.storage_bytes.get_or_create(&kind(name)).set(signed(bytes));
        }
        if let Some(disk) = status.disk {
            for (name, space) in [("packets", disk.packets), ("index", disk.index)] {
                let _ = f.disk_free.get_or_create(&kind(name)).set(signed(space.available_bytes));
                let _ = f.disk_reserve.get_or_create(&kind(name)).set(signed(space.reserve_bytes));
                let _ = f.disk_size.get_or_create(&kind(name)).set(signed(space.total_bytes));
            }
        }
        for (reason, removed) in &status.removed {
            advance(&f.removed_segments, &OfReason { thread, reason: reason.name() }, *removed);
        }
        advance(&f.removed_bytes, &of, status.removed_bytes);
        advance(&f.pinned, &of, status.pinned);
        advance(&f.retention_errors, &of, status.errors);
        let _ = f.retention_stuck.get_or_create(&of).set(i64::from(status.stuck.is_some()));
    }

    pub(super) fn families(&self) -> &Families {
        &self.0.families
    }
}

/// One accepted connection.
#[derive(Debug)]
pub struct ConnectionMeter(Metrics);

impl Drop for ConnectionMeter {
    fn drop(&mut self) {
        let _ = self.0.families().connections_active.dec();
    }
}

/// Brings a counter up to a count that is kept elsewhere and never goes back.
fn advance<S>(family: &Family<S, Counter>, of: &S, to: u64)
where
    S: Clone + std::hash::Hash + Eq,
{
    let _ = family.get_or_create(of).inner().fetch_max(to, Ordering::Relaxed);
}

/// Gauges are signed; nothing that is measured here comes near their bound.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

fn latency() -> Histogram {
    Histogram::new(LATENCY_BUCKETS_S)
}

/// Puts metrics into the registry; the texts are those of `docs/METRICS.md`.
struct Registering<'a>(&'a mut Registry);

impl Registering<'_> {
    fn one<M: Metric + Clone>(&mut self, name: &str, metric: M, help: &str) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn family<S, M>(&mut self, name: &str, help: &str) -> Family<S, M>
    where
        S: EncodeLabelSet + Clone + std::hash::Hash + Eq + fmt::Debug + Send + Sync + 'static,
        M: Default + Clone + Send + Sync + fmt::Debug + 'static,
        Family<S, M>: Metric,
    {
        self.one(name, Family::default(), help)
    }

    fn latency(&mut self, name: &str, help: &str) -> Latency {
        self.one(name, Family::new_with_constructor(latency as fn() -> Histogram), help)
    }
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let mut r = Registering(registry);
        r.0.register("build", "The version that runs", Info::new(OfBuild { version: env!("CARGO_PKG_VERSION") }));
        let started = Gauge::<f64, AtomicU64>::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let _ = started.set(now.as_secs_f64());
        let _ = r.one("start_time_seconds", started, "When the daemon started, in seconds since 1970");
        Self {
            capture_up: r.family("capture_up", "1 while packets are captured, else 0"),
            capture_restarts: r.family("capture_restarts", "How often the capture process was started again"),
            capture_bad_messages: r.family("capture_bad_messages", "Messages of the capture process that do not hold"),
            capture_heard: r.family(
                "capture_heard_timestamp_seconds",
                "When the capture process last spoke, in seconds since 1970; 0 if it never did",
            ),
            capture_packets: r.family("capture_packets", "Packets taken out of the ring"),
            capture_bytes: r.family("capture_bytes", "Captured bytes of these packets"),
            capture_dropped: r.family("capture_dropped_packets", "Packets that were lost, by cause"),
            capture_cut: r.family("capture_cut_packets", "Packets of which less was kept than there was"),
            capture_write_stall: r
                .family("capture_write_stall_seconds", "Time in which writes were under way and none ended"),
            interface_dropped: r
                .family("capture_interface_dropped_packets", "Packets that the interface itself dropped, by cause"),
            clock_steps: r.family("capture_clock_steps", "How often the clock was set while packets were captured"),
            capture_freezes: r.family("capture_ring_freezes", "How often the ring was full"),
            capture_blocks: r.family("capture_blocks", "Ring blocks taken"),
            capture_write_errors: r.family("capture_write_errors", "Writes of the capture process that failed"),
            capture_late: r.family("capture_late_files", "Finished files that had to wait for their index"),
            segments: r.family("segments", "Whole segments on the disk"),
            segments_unreadable: r.one("segments_unreadable", Gauge::default(), "Segments that cannot be searched"),
            scrubbed_segments: r.one("scrub_segments", Counter::default(), "Segments that the scrub has read"),
            scrubbed_bytes: r.one("scrub_bytes", Counter::default(), "Bytes that the scrub has read"),
            scrub_damaged: r.one(
                "scrub_damaged_segments",
                Counter::default(),
                "Segments that the scrub has found damaged",
            ),
            oldest_segment: r.family(
                "oldest_segment_timestamp_seconds",
                "When the oldest segment was opened, in seconds since 1970; 0 without segments",
            ),
            storage_bytes: r.family("storage_bytes", "What files take on the disk, by kind"),
            disk_free: r.family("disk_free_bytes", "Space that is free on the disk of a kind of files"),
            disk_reserve: r.family(
                "disk_reserve_bytes",
                "Space that is kept free on the disk of a kind of files for what is written next",
            ),
            disk_size: r.family("disk_size_bytes", "Size of the disk of a kind of files"),
            removed_segments: r
                .family("retention_removed_segments", "Segments removed, by the bound that made them go"),
            removed_bytes: r.family("retention_removed_bytes", "What removed segments took on the disk"),
            pinned: r
                .family("retention_pinned_segments", "Segments that stayed longer because a query was reading them"),
            retention_errors: r.family("retention_errors", "Removals and looks at the disk that failed"),
            retention_stuck: r.family(
                "retention_stuck",
                "1 while a bound is exceeded and there is nothing that may be removed, else 0",
            ),
            queries: r.family("queries", "Requests that have ended, by outcome"),
            query_duration: r.latency("query_duration_seconds", "From a request to the end of its answer"),
            query_first_byte: r.latency("query_first_byte_seconds", "From a request to the first part of its answer"),
            query_packets: r.family("query_packets", "Packets, or conversations, handed to clients"),
            query_bytes: r.family("query_bytes", "Bytes handed to clients"),
            streams_active: r.family("streams_active", "Requests that are being answered"),
            audit_lines: r.one("audit_lines", Counter::default(), "Lines written to the audit log"),
            audit_line: r.one("audit_line", Gauge::default(), "Number of the last line of the audit log"),
            audit_errors: r.one("audit_errors", Counter::default(), "Writes to the audit log that failed"),
            audit_lost: r.one(
                "audit_lost_lines",
                Counter::default(),
                "Lines that could not be written to the audit log",
            ),
            audit_failing: r.one("audit_failing", Gauge::default(), "1 while the audit log cannot be written, else 0"),
            connections_active: r.one("connections_active", Gauge::default(), "Connections of clients that are open"),
            connections_refused: r.one(
                "connections_refused",
                Counter::default(),
                "Connections that failed in the TLS handshake, for want of a valid client certificate or otherwise",
            ),
            connections_put_out: r.one(
                "connections_put_out",
                Counter::default(),
                "Connections that were ended because the client's certificate was revoked or has expired meanwhile",
            ),
            certificate_reloads: r.one(
                "certificate_reloads",
                Counter::default(),
                "Times that certificates, keys and revocation lists were read again and taken",
            ),
            certificate_reload_failures: r.one(
                "certificate_reload_failures",
                Counter::default(),
                "Times that they did not hold, so that those from before stayed in use",
            ),
            certificate_files_bad: r.one(
                "certificate_files_bad",
                Gauge::default(),
                "1 if they did not hold the last time, so that others are in use than are on the disk",
            ),
            certificate_expiry: r.family(
                "certificate_expiry_timestamp_seconds",
                "Until when a certificate or a revocation list is valid, in seconds since 1970",
            ),
            principal_answers: r.family("principal_answers", "Queries that were answered, by who asked"),
            principal_bytes: r.family("principal_bytes", "Bytes of these answers"),
            denied: r.family("access_denied", "Requests that Access does not let their senders make, by rule"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use steno_core::{SegmentId, TimestampNs};

    use super::*;
    use crate::{
        capture::{ChildState, Kind},
        metrics::Outcome,
        retention::{Disk, Reason, Space},
    };

    fn capture(restarts: u64, packets: u64) -> CaptureStatus {
        let counters = Counters {
            packets,
            bytes: 2,
            drops: 3,
            freezes: 4,
            blocks: 5,
            write_errors: 6,
            lost: 7,
            cut: 8,
            write_stall_ns: 9_500_000_000,
            interface_dropped: 10,
            interface_missed: 11,
            interface_overrun: 12,
            uncaptured: 14,
            late: 15,
        };
        CaptureStatus {
            source: "eth\"0".into(),
            threads: vec![0],
            state: ChildState::Running { pid: 1, since: TimestampNs(0), adopted: false },
            kind: Kind::Own,
            restarts,
            last_exit: None,
            counters: BTreeMap::from([(0, counters)]),
            heard: Some(TimestampNs(1_500_000_000)),
            bad_messages: 1,
            outages: Vec::new(),
            clock_steps: Vec::new(),
            clock_steps_total: 13,
        }
    }

    fn storage() -> ThreadStatus {
        let space = |n| Space { total_bytes: n, available_bytes: n / 2, reserve_bytes: n / 4 };
        ThreadStatus {
            thread: 0,
            segments: 3,
            packet_bytes: 100,
            index_bytes: 10,
            other_bytes: 1,
            oldest: Some(SegmentId(7_000_000)),
            newest: Some(SegmentId(9_000_000)),
            disk: Some(Disk { packets: space(1000), index: space(500) }),
            removed: BTreeMap::from([(Reason::MaxBytes, 4)]),
            removed_bytes: 400,
            pinned: 2,
            errors: 1,
            error: None,
            stuck: None,
        }
    }

    /// Everything has a value.
    fn full() -> Metrics {
        let metrics = Metrics::new();
        metrics.observe_capture(&capture(2, 10));
        metrics.observe_storage(&storage());
        metrics.unreadable_segments(1);
        metrics.certificate_expires("server", 1.9e9);
        metrics.answered("CN=alice", 7);
        metrics.denied("web");
        let mut meter = metrics.query(Method::Query);
        meter.sent(3, 400);
        meter.finish(Outcome::Complete);
        metrics
    }

    fn value(text: &str, series: &str) -> String {
        let line = text.lines().find(|l| l.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).rsplit(' ').next().unwrap().to_owned()
    }

    /// Name (as it is exposed), type, labels, meaning.
    type Row = (String, String, String, String);

    fn documented() -> BTreeSet<Row> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/METRICS.md");
        let text = std::fs::read_to_string(path).unwrap();
        // A row of another shape belongs to another table, or is missed below.
        let rows = text.lines().filter(|l| l.starts_with("| `steno_")).filter_map(|line| {
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|c| c.trim().replace('`', "")).collect();
            let [name, kind, labels, meaning] = <[String; 4]>::try_from(cells).ok()?;
            Some((name, kind, labels, meaning))
        });
        rows.collect()
    }

    fn exposed(text: &str) -> BTreeSet<Row> {
        let about = |kind: &str| -> BTreeMap<String, String> {
            let lines = text.lines().filter_map(|l| l.strip_prefix("# ")?.strip_prefix(kind)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let help = about("HELP ");
        let row = |(name, kind): (String, String)| {
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                "histogram" => "_bucket",
                _ => "",
            };
            let sample = text
                .lines()
                .find(|l| l.strip_prefix(&format!("{name}{suffix}")).is_some_and(|rest| rest.starts_with(['{', ' '])));
            let sample = sample.unwrap_or_else(|| panic!("{name} has no value in this test"));
            let labels = sample.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
            let labels: Vec<&str> =
                labels.split(',').filter_map(|l| Some(l.split_once('=')?.0)).filter(|l| *l != "le").collect();
            let meaning = help[&name].trim_end_matches('.').to_owned();
            let suffix = if kind == "histogram" { "" } else { suffix };
            (format!("{name}{suffix}"), kind, labels.join(", "), meaning)
        };
        about("TYPE ").into_iter().map(row).collect()
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_one_exists() {
        let (documented, exposed) = (documented(), exposed(&full().encode().unwrap()));
        let missing: Vec<&Row> = exposed.difference(&documented).collect();
        assert!(missing.is_empty(), "not in docs/METRICS.md, or otherwise there: {missing:#?}");
        let gone: Vec<&Row> = documented.difference(&exposed).collect();
        assert!(gone.is_empty(), "in docs/METRICS.md, but not exposed so: {gone:#?}");
    }

    #[test]
    fn values_are_those_observed_and_counters_never_go_back() {
        let metrics = full();
        metrics.observe_capture(&capture(1, 4));
        let text = metrics.encode().unwrap();
        let of = r#"{interface="eth\"0",thread="0"}"#;
        for (series, expected) in [
            (format!("steno_capture_packets_total{of}"), "10"),
            (format!("steno_capture_write_errors_total{of}"), "6"),
            (format!("steno_capture_late_files_total{of}"), "15"),
            (r#"steno_capture_restarts_total{interface="eth\"0"}"#.into(), "2"),
            (r#"steno_capture_up{interface="eth\"0"}"#.into(), "1"),
            (r#"steno_capture_heard_timestamp_seconds{interface="eth\"0"}"#.into(), "1.5"),
            (r#"steno_storage_bytes{thread="0",kind="index"}"#.into(), "10"),
            (r#"steno_disk_free_bytes{thread="0",kind="packets"}"#.into(), "500"),
            (r#"steno_disk_reserve_bytes{thread="0",kind="packets"}"#.into(), "250"),
            (r#"steno_oldest_segment_timestamp_seconds{thread="0"}"#.into(), "7.0"),
            (r#"steno_retention_removed_segments_total{thread="0",reason="max_bytes"}"#.into(), "4"),
            (r#"steno_queries_total{method="Query",outcome="complete"}"#.into(), "1"),
            (r#"steno_query_bytes_total{method="Query"}"#.into(), "400"),
            (r#"steno_query_duration_seconds_count{method="Query"}"#.into(), "1"),
            (r#"steno_streams_active{method="Query"}"#.into(), "0"),
        ] {
            assert_eq!(value(&text, &series), expected, "{series}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_request_that_is_thrown_away_counts_as_cancelled() {
        let metrics = Metrics::new();
        let meter = metrics.query(Method::Flows);
        assert_eq!(value(&metrics.encode().unwrap(), r#"steno_streams_active{method="Flows"}"#), "1");
        drop(meter);
        let text = metrics.encode().unwrap();
        assert_eq!(value(&text, r#"steno_queries_total{method="Flows",outcome="cancelled"}"#), "1");
        assert!(!text.contains("steno_query_first_byte_seconds_count"), "no byte was sent");
        let connection = metrics.connection();
        assert_eq!(value(&metrics.encode().unwrap(), "steno_connections_active"), "1");
        drop(connection);
        assert_eq!(value(&metrics.encode().unwrap(), "steno_connections_active"), "0");
    }

    #[test]
    fn only_so_many_principals_are_told_apart() {
        let metrics = Metrics::new();
        (0..PRINCIPALS_MOST + 7).for_each(|i| metrics.answered(&format!("CN={i}"), 2));
        metrics.answered("CN=3", 5);
        let text = metrics.encode().unwrap();
        assert_eq!(value(&text, r#"steno_principal_bytes_total{principal="CN=3"}"#), "7");
        assert_eq!(value(&text, r#"steno_principal_answers_total{principal="(others)"}"#), "7");
        assert_eq!(text.matches("steno_principal_answers_total{").count(), PRINCIPALS_MOST + 1);
    }

    #[test]
    fn what_others_count_is_asked_for_when_someone_looks() {
        let metrics = Metrics::new();
        metrics.on_encode(|metrics| metrics.connection_refused());
        let _ = metrics.encode().unwrap();
        assert_eq!(value(&metrics.encode().unwrap(), "steno_connections_refused_total"), "2");
    }
}
