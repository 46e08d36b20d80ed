//! SIGTERM while answers are under way: nothing new is begun; what runs has ten seconds to come to its end, and ends then with
//! a receipt that says so; capture goes on until the last answer has ended; and the status is 0.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::Signal;
use steno_core::pcap::Format;
use steno_proto::v1::{StatusRequest, Truncation};
use tokio::{net::TcpStream, time::sleep};
use tonic::Code;

use super::{
    daemon::Plan,
    store,
    wire::{Taken, request, within},
};

/// Says that it captures, until it is asked to end.
const CAPTURES: &str = r#"
trap '' PIPE
echo "ready 1" >&0
trap 'date +%s%N > "$HERE/asked"; sleep 0.3; date +%s%N > "$HERE/sealed"; exit 0' TERM
while :; do sleep 0.02; done
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_answers_end_and_capture_last() {
    let mut plan = Plan::new();
    plan.stenotype(CAPTURES);
    store::fill(plan.root.path(), 6);
    let expected = store::answer(plan.root.path(), "tcp", Format::PcapNs);
    assert!(expected.len() > 35_000_000, "{}", expected.len());
    let daemon = plan.start();
    daemon.until("it captures", || daemon.log().contains("capturing"));
    // At 256 KiB a message: some 3 s, and some 15 s.
    let mut readers = Vec::new();
    for pause_ms in [20, 100] {
        let mut stream = daemon.sensor().await.query(request("tcp")).await.unwrap().into_inner();
        let mut taken = Taken::default();
        assert!(taken.next(&mut stream).await);
        readers.push(tokio::spawn(async move {
            while taken.next(&mut stream).await {
                sleep(Duration::from_millis(pause_ms)).await;
            }
            taken
        }));
    }
    let mut idle = daemon.sensor().await;
    let _status = idle.status(StatusRequest {}).await.unwrap();

    let (asked, told) = (Instant::now(), SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64());
    daemon.signal(Signal::TERM);
    daemon.until("it stops", || daemon.log().contains("daemon: stopping"));
    within("the end of the port", async {
        while TcpStream::connect(daemon.address).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let refused = within("an answer", idle.query(request("port 53"))).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{refused:?}");
    assert!(!daemon.path("asked").exists(), "new ones are turned away at once, and capture goes on meanwhile");

    let slow = readers.pop().unwrap();
    let fast = within("the one that is done in time", readers.pop().unwrap()).await.unwrap();
    assert!(fast.whole() == expected);
    assert!(!daemon.path("asked").exists() && !slow.is_finished());
    let slow = within("the one that is not", slow).await.unwrap();
    let receipt = slow.receipt();
    assert_eq!((receipt.truncated_by(), receipt.complete), (Truncation::Stopping, false));
    assert_eq!(slow.status.as_ref().unwrap().code(), Code::Unavailable, "{:?}", slow.status);
    assert!(expected.starts_with(&slow.bytes) && slow.bytes.len() < expected.len());

    daemon.until("capture has stopped", || daemon.log().contains("daemon: stopped"));
    let at = |name| fs::read_to_string(daemon.path(name)).unwrap().trim().parse::<f64>().unwrap() / 1e9;
    let (asked_at, sealed_at) = (at("asked") - told, at("sealed") - told);
    assert!(asked_at >= 10.0 && sealed_at > asked_at, "capture was asked to stop after {asked_at} s");
    let (status, log) = daemon.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let place = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{log}"));
    assert!(place("daemon: stopping") < place("have not come to their end"));
    assert!(place("have not come to their end") < place("query incomplete: tcp"));
    assert!(place("query incomplete: tcp") < place("capture has stopped"));
    assert!(place("capture has stopped") < place("daemon: stopped"));
    assert!(asked.elapsed() >= Duration::from_secs(10) && asked.elapsed() < Duration::from_secs(60));
    assert!(!log.contains("ERROR"), "{log}");
}
