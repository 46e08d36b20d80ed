//! stenotype of stenographer 1.0.1 in the place of ours.

use std::path::Path;

use steno_core::testkit::need;

use super::support::{Bench, Client, Traffic, until};

const PROGRAM: &str = "/usr/sbin/stenotype";

#[test]
fn stenotype_1_0_1_captures_and_its_segments_are_answered_from() {
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
    // Those of a quiet moment hold nothing.
    let udp = |client: &mut Client| client.query("udp").unwrap().receipt;
    until("its segments are answered from", || udp(&mut client).packets > 0);
    let status = client.status().unwrap();
    let capture = &status.captures[0];
    assert!(!capture.speaks && capture.restarts == 0 && capture.pid == daemon.stenotype().unwrap(), "{capture:?}");
    assert!(status.healthy, "{status:?}");
    assert_eq!(client.metric("steno_segments_unreadable"), 0.0);
    let (answer, end) = client.query_with_its_end("udp");
    let receipt = answer.unwrap().receipt;
    end.unwrap();
    assert!(receipt.unreadable.is_empty() && receipt.packets > 0, "{receipt:?}");
    let segments = receipt.segments.unwrap();
    assert!(segments.of_1_0_1 > 0 && segments.of_1_0_1 == segments.considered, "{segments:?}");
    assert!(client.segments().unwrap().iter().all(|segment| segment.reason.is_empty()));
    // 1.0.1 ends only while packets come.
    assert_eq!(daemon.stop().code(), Some(0), "{}", bench.log());
    let _ = traffic.stop();
}
