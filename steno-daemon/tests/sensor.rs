//! The sensor without its network: a shell script in stenotype's place publishes segments, and capture, catalogue,
//! retention and metrics see them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use steno_core::{SystemClock, testkit::until};
use steno_daemon::{
    capture::{CaptureSettings, ChildState, Source, ThreadDirectories},
    metrics::Metrics,
    retention::{Bounds, ThreadRetention},
    sensor::{Sensor, SensorSettings},
};
use steno_query::syntax::TimeSpan;

/// Publishes a segment of 64 KiB every 50 ms, says so, and goes on until it is asked to end. Its files begin with the
/// moment of its start, so that names ascend over restarts.
const PUBLISHER: &str = r#"
for flag; do case $flag in --dir=*) dir=${flag#--dir=};; esac; done
trap 'echo stopping >&0; exit 0' TERM
echo "ready 1" >&0
id=$(date +%s%6N)
n=0
while :; do
  id=$((id + 50000)); n=$((n + 1))
  head -c 65536 /dev/zero > "$dir/PKT0/.$id"
  head -c 100 /dev/zero > "$dir/IDX0/.$id"
  mv "$dir/PKT0/.$id" "$dir/PKT0/$id"
  mv "$dir/IDX0/.$id" "$dir/IDX0/$id"
  echo "sealed 0 $id" >&0
  echo "counters 0 $((n * 10)) $((n * 1000)) 1 0 $n 0 0" >&0
  sleep 0.05
done
"#;

fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.encode().unwrap();
    let line = text.lines().find(|l| l.starts_with(series));
    line.map_or(-1.0, |l| l.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn segments_are_seen_counted_and_kept_within_bounds_through_a_crash() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("script"), PUBLISHER).unwrap();
    let directories =
        ThreadDirectories { thread: 0, packets: root.path().join("packets"), index: root.path().join("index") };
    let mut capture =
        CaptureSettings::new("/bin/sh".into(), Source::Interface("fake0".into()), vec![directories.clone()]);
    capture.flags =
        vec![root.path().join("script").display().to_string(), "--uid=root".to_owned(), "--gid=root".to_owned()];
    capture.run_base = root.path().to_owned();
    capture.backoff.first = Duration::from_millis(50);
    let bounds = Bounds { max_bytes: Some(20 * 70 * 1024), ..Bounds::default() };
    let settings = SensorSettings {
        captures: vec![capture],
        threads: vec![ThreadRetention { directories: directories.clone(), bounds }],
        ..SensorSettings::default()
    };
    let metrics = Metrics::new();
    let mut sensor = Sensor::open(settings, Arc::new(SystemClock), &metrics).unwrap();
    let view = sensor.view();
    assert!(!view.is_capturing() && view.captures().is_empty());
    sensor.start_capture().unwrap();
    until("it captures", || view.is_capturing());

    until("ten segments were removed", || {
        value(&metrics, r#"steno_retention_removed_segments_total{thread="0",reason="max_bytes"}"#) >= 10.0
    });
    assert!(value(&metrics, r#"steno_storage_bytes{thread="0",kind="packets"}"#) <= 20.0 * 70.0 * 1024.0);
    let packets = r#"steno_capture_packets_total{interface="fake0",thread="0"}"#;
    assert!(value(&metrics, packets) >= 290.0, "{}", metrics.encode().unwrap());
    until("their indexes, which are none, are set aside", || value(&metrics, "steno_segments_unreadable") > 5.0);

    // What a query has pinned stays, however many come after it.
    let pin = view.store().pin(TimeSpan::new(None, None));
    let oldest = view.store().store().catalogue().segments()[0].id();
    let removed = || value(&metrics, r#"steno_retention_removed_segments_total{thread="0",reason="max_bytes"}"#);
    let before = removed();
    until("others are removed", || removed() > before + 10.0);
    assert!(directories.packets.join(oldest.to_string()).exists());
    drop(pin);
    until("it goes when the query is over", || !directories.packets.join(oldest.to_string()).exists());

    // A crash is a gap, and counters go on.
    let ChildState::Running { pid, .. } = view.captures()[0].state else { panic!("{:?}", view.captures()) };
    let counted = value(&metrics, packets);
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("it captures again", || view.captures()[0].restarts == 1 && view.is_capturing());
    until("it counts on", || value(&metrics, packets) > counted + 20.0);
    let gaps = view.gaps(TimeSpan::new(None, None));
    assert!(matches!(&gaps[..], [gap] if gap.thread == 0 && gap.until > gap.from), "{gaps:?}");
    assert!(gaps[0].reason.contains("killed by signal 9"));
    assert!(view.gaps(TimeSpan::new(Some(gaps[0].until), None)).is_empty());

    sensor.stop();
    assert_eq!(view.captures()[0].state, ChildState::Stopped);
    assert_eq!(value(&metrics, r#"steno_capture_up{interface="fake0"}"#), 0.0);
    // Whoever still asks is answered.
    let pin = view.store().pin(TimeSpan::new(None, None));
    assert!(!view.store().store().catalogue().segments().is_empty());
    drop(pin);
}

#[test]
fn what_another_daemon_keeps_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("script"), "echo 'ready 1' >&0; exec sleep 60").unwrap();
    let directories =
        ThreadDirectories { thread: 0, packets: root.path().join("packets"), index: root.path().join("index") };
    let settings = |bounds: Bounds| {
        let mut capture =
            CaptureSettings::new("/bin/sh".into(), Source::Interface("x".into()), vec![directories.clone()]);
        capture.flags =
            vec![root.path().join("script").display().to_string(), "--uid=root".to_owned(), "--gid=root".to_owned()];
        capture.run_base = root.path().to_owned();
        SensorSettings {
            captures: vec![capture],
            threads: vec![ThreadRetention { directories: directories.clone(), bounds }],
            ..SensorSettings::default()
        }
    };
    let clock = Arc::new(SystemClock);
    let mut first = Sensor::open(settings(Bounds::default()), Arc::clone(&clock) as _, &Metrics::new()).unwrap();
    first.start_capture().unwrap();
    for directory in [&directories.packets, &directories.index] {
        fs::write(directory.join("1795395475661823"), "x").unwrap();
    }
    let nothing_may_stay = Bounds { max_files: Some(0), ..Bounds::default() };
    let error = Sensor::open(settings(nothing_may_stay), clock, &Metrics::new()).err().unwrap().to_string();
    assert!(error.starts_with("another stenographer that is still running captures into"), "{error}");
    assert!(directories.packets.join("1795395475661823").exists());
    first.stop();
}

#[test]
fn a_directory_that_cannot_be_made_starts_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    fs::write(root.path().join("script"), "touch \"$(dirname \"$0\")/ran\"; sleep 60").unwrap();
    let capture = |dir: &str| {
        let directories =
            ThreadDirectories { thread: 0, packets: root.path().join(dir), index: root.path().join(dir).join("index") };
        let mut capture = CaptureSettings::new("/bin/sh".into(), Source::Interface("x".into()), vec![directories]);
        capture.flags = vec![root.path().join("script").display().to_string()];
        capture.run_base = root.path().to_owned();
        capture
    };
    let settings =
        SensorSettings { captures: vec![capture("good"), capture("file/packets")], ..SensorSettings::default() };
    let error = Sensor::open(settings, Arc::new(SystemClock), &Metrics::new()).err().unwrap().to_string();
    assert!(error.contains("file/packets"), "{error}");
    assert!(!root.path().join("ran").exists());
}
