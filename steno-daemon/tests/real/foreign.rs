//! stenotype of stenographer 1.0.1 in the place of ours.

use std::path::Path;

use steno_core::testkit::need;
use tonic::Code;

use super::support::{Bench, Client, Traffic, until};

const PROGRAM: &str = "/usr/sbin/stenotype";

#[test]
fn stenotype_1_0_1_captures_and_its_segments_are_named_with_the_reason_why_they_are_not_searched() {
    let Some(bench) = Bench::enter() else { return };
    if !need(Path::new(PROGRAM).exists(), "stenographer 1.0.1") {
        return;
    }
    let flags = ["-v", "--no_watchdogs", "--fileage_sec=1", "--blockage_sec=1", "--blocks=128", "--seccomp=none"];
    bench.configure(&[&flags[..], &["--uid=root", "--gid=root", "--stats_sec=1"]].concat(), Some(PROGRAM));
    let mut daemon = bench.start();
    let mut client = Client::connect(&bench.data());
    let traffic = Traffic::start(500);
    daemon.wait_for("does not speak over the control socket");
    until("its log is counted", || client.status().unwrap().threads[0].packets > 0);
    until("its segments are seen", || client.segments().unwrap().iter().any(|segment| !segment.reason.is_empty()));
    let status = client.status().unwrap();
    let capture = &status.captures[0];
    assert!(!capture.speaks && capture.restarts == 0 && capture.pid == daemon.stenotype().unwrap(), "{capture:?}");
    assert!(!status.healthy && status.problems.iter().any(|p| p.contains("cannot be searched")), "{status:?}");
    assert!(client.metric("steno_segments_unreadable") >= 1.0);
    // Whether they hold matches is not known: an answer says so, and its status too.
    let (answer, end) = client.query_with_its_end("udp");
    let receipt = answer.unwrap().receipt;
    assert_eq!(end.unwrap_err().code(), Code::DataLoss);
    assert!(!receipt.complete && !receipt.unreadable.is_empty(), "{receipt:?}");
    assert!(receipt.unreadable.iter().all(|file| file.may_hold_matches && !file.reason.is_empty()), "{receipt:?}");
    // 1.0.1 ends only while packets come.
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let _ = traffic.stop();
}
