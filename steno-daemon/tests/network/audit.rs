//! What is in the audit log of a sensor that is asked in every way, and what becomes of requests that cannot be written down.

use std::{fs, path::PathBuf};

use http::{Method, StatusCode, Version};
use serde_json::Value;
use steno_daemon::access::{Action, Pattern, Rule};
use steno_proto::{
    audit::{Head, Report, Verifier},
    legacy::{PcapRequest, stenographer_client::StenographerClient},
    v1::{
        ExplainRequest, FlowsRequest, QueryRequest, Receipt, SegmentsRequest, StatusRequest, query_response::Part,
        sensor_client::SensorClient,
    },
};
use steno_query::AddrRange;
use tokio::io::AsyncReadExt;
use tonic::{Code, Streaming};

use super::{
    http_client::Client,
    support::{PACKETS, Running, Wanted, connect, start, within},
};

fn path(running: &Running) -> PathBuf {
    running.root.path().join("audit.log")
}

/// Whom the certificate of the tests is for.
const CLIENT: &str = "CN=client,O=Stenographer";

/// The lines as they are now.
fn lines(running: &Running) -> Vec<Value> {
    let text = fs::read_to_string(path(running)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn verify(running: &Running) -> Report {
    let head: Head = fs::read_to_string(path(running).with_extension("log.head")).unwrap().parse().unwrap();
    let mut verifier = Verifier::new(vec![head]);
    verifier.file("audit.log", fs::read(path(running)).unwrap().as_slice()).unwrap();
    verifier.finish()
}

/// The last line that is the beginning of a request, which must be there by now.
fn begun(running: &Running) -> Value {
    lines(running).into_iter().rfind(|line| line["event"] == "begin").unwrap()
}

/// How the request of that line ended, once it is written.
async fn end(running: &Running, begin: &Value) -> Value {
    within("the end in the audit log", async {
        loop {
            if let Some(end) = lines(running).into_iter().find(|line| line["of"] == begin["line"]) {
                return end;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
}

async fn receipt(mut stream: Streaming<steno_proto::v1::QueryResponse>) -> Receipt {
    let mut receipt = None;
    while let Some(message) = within("a message", stream.message()).await.unwrap() {
        if let Part::Receipt(last) = message.part.unwrap() {
            receipt = Some(last);
        }
    }
    receipt.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_for_packets_is_there_before_its_answer_and_its_end_is_that_of_the_receipt() {
    let running = start(Wanted { packets: true, audit: true, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let request = QueryRequest { query: "udp  and\tport 53".into(), max_packets: Some(7), ..QueryRequest::default() };
    let stream = within("an answer", sensor.query(request)).await.unwrap().into_inner();
    // Nothing of it was looked at yet.
    let begin = begun(&running);
    let receipt = receipt(stream).await;
    assert_eq!(begin["principal"], CLIENT);
    assert!(begin["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{begin}");
    assert_eq!((&begin["method"], &begin["max_packets"]), (&Value::from("Query"), &Value::from(7)));
    assert_eq!((&begin["query"], &begin["text"]), (&receipt.query.as_str().into(), &"udp  and\tport 53".into()));
    let told = end(&running, &begin).await;
    assert_eq!((&told["packets"], &told["bytes"]), (&receipt.packets.into(), &receipt.bytes.into()));
    assert_eq!((&told["blake3"], &told["complete"]), (&receipt.blake3.as_str().into(), &receipt.complete.into()));
    assert_eq!((&told["outcome"], &told["why"]), (&Value::from("truncated"), &Value::from("limit-packets")));

    let flows = FlowsRequest { query: "udp".into(), ..FlowsRequest::default() };
    let mut stream = sensor.flows(flows).await.unwrap().into_inner();
    assert_eq!(begun(&running)["method"], "Flows");
    while stream.message().await.unwrap().is_some() {}
    let explain = ExplainRequest { query: "tcp".into(), ..ExplainRequest::default() };
    let _explained = sensor.explain(explain).await.unwrap();
    assert_eq!((&begun(&running)["method"], &begun(&running)["query"]), (&"Explain".into(), &"tcp".into()));
    let mut stream = sensor.segments(SegmentsRequest::default()).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    assert_eq!(begun(&running)["method"], "Segments");
    let mut legacy = StenographerClient::new(running.channel().await);
    let request = PcapRequest { query: "port 53".into(), ..PcapRequest::default() };
    let mut stream = legacy.retrieve_pcap(request).await.unwrap().into_inner();
    assert_eq!(begun(&running)["method"], "RetrievePcap");
    while stream.message().await.unwrap().is_some() {}
    let mut http = Client::new(&running, Version::HTTP_11).await;
    let answer = http.post("port 53", &[]).await;
    assert_eq!(answer.packets(), PACKETS as usize);
    let begin = begun(&running);
    assert_eq!((&begin["method"], &begin["query"]), (&"POST /query".into(), &"port 53".into()));
    let told = end(&running, &begin).await;
    assert_eq!((&told["blake3"], &told["complete"]), (&answer.receipt()["blake3"], &true.into()));

    // Counts of the sensor itself are not of whom it concerns who asked for packets.
    let before = lines(&running).len();
    let _status = sensor.status(StatusRequest {}).await.unwrap();
    let _stats = http.begin(Method::GET, "/debug/stats", &[], "").await.end().await;
    let _metrics = http.begin(Method::GET, "/metrics", &[], "").await.end().await;
    assert_eq!(lines(&running).len(), before);
    assert_eq!(running.metric("steno_audit_line"), before as f64);
    let report = verify(&running);
    assert_eq!((report.findings, report.requests, report.without_end.len()), (vec![], 6, 0));
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_there_too() {
    let running = start(Wanted { packets: true, audit: true, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let bad = QueryRequest { query: "prt 53".into(), ..QueryRequest::default() };
    assert_eq!(sensor.query(bad).await.unwrap_err().code(), Code::InvalidArgument);
    let mut http = Client::new(&running, Version::HTTP_2).await;
    assert_eq!(http.post("port", &[("steno-limit-bytes", "x")]).await.status, StatusCode::BAD_REQUEST);
    let mut stranger = running.client();
    stranger.client_auth_cert_resolver = std::sync::Arc::new(Nothing);
    if let Ok(mut stream) = connect(running.address, stranger).await {
        let _refused = stream.read_to_end(&mut Vec::new()).await;
    }
    let away = within("the line", async {
        loop {
            if let Some(away) = lines(&running).into_iter().find(|line| line["event"] == "turned-away") {
                return away;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(away["why"], "it showed no certificate");
    let refused: Vec<Value> = lines(&running).into_iter().filter(|line| line["event"] == "refused").collect();
    assert_eq!((&refused[0]["text"], &refused[0]["principal"]), (&"prt 53".into(), &CLIENT.into()));
    assert!(refused[0]["why"].as_str().unwrap().contains("prt"), "{}", refused[0]);
    assert_eq!((&refused[1]["text"], &refused[1]["method"]), (&"port".into(), &"POST /query".into()));
    assert!(refused[1]["why"].as_str().unwrap().contains("Steno-Limit-Bytes"), "{}", refused[1]);
    assert_eq!(refused.len(), 2);
    assert!(verify(&running).holds());
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_may_see_is_there_and_what_they_may_not_ask() {
    let rule = |name: &str, principal: &str, actions: &[Action]| Rule {
        name: name.into(),
        principals: vec![Pattern::parse(principal).unwrap()],
        networks: Some(vec![AddrRange::prefix("10.0.0.0".parse().unwrap(), 8).unwrap()]),
        vlans: None,
        depth: None,
        max_query_bytes: None,
        actions: actions.iter().copied().collect(),
    };
    let access = Some(vec![rule("tens", "CN=client", &[Action::Query])]);
    let running = start(Wanted { packets: true, audit: true, access, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let ask = |follow| QueryRequest { query: "udp".into(), follow, ..QueryRequest::default() };
    let receipt = receipt(sensor.query(ask(false)).await.unwrap().into_inner()).await;
    let scope = receipt.scope.unwrap();
    assert_eq!(begun(&running)["scope"], format!("{}: {}", scope.rule, scope.query));
    // A method that the rule does not list; what it lists, to be gone on with; a client that no rule is for.
    let denied = sensor.flows(FlowsRequest { query: "tcp".into(), ..FlowsRequest::default() }).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    assert_eq!(sensor.query(ask(true)).await.unwrap_err().code(), Code::PermissionDenied);
    let eve = steno_proto::certs::client_tls(&running.certs.issue_client("eve").unwrap()).unwrap().config;
    let mut eve = SensorClient::new(super::support::channel(running.address, eve).await.unwrap());
    assert_eq!(eve.query(ask(false)).await.unwrap_err().code(), Code::PermissionDenied);
    // What tells of the sensor alone is not written down, but for whom it is not.
    let mut http = Client::new(&running, Version::HTTP_2).await;
    for place in ["/metrics", "/debug/stats"] {
        assert_eq!(http.begin(Method::GET, place, &[], "").await.status, StatusCode::FORBIDDEN, "{place}");
    }
    assert_eq!(sensor.status(StatusRequest {}).await.unwrap_err().code(), Code::PermissionDenied);
    let refused: Vec<Value> = lines(&running).into_iter().filter(|line| line["event"] == "refused").collect();
    let told: Vec<_> = refused.iter().map(|line| [&line["principal"], &line["method"], &line["query"]]).collect();
    let expected = [
        [CLIENT.into(), "Flows".into(), "tcp".into()],
        [CLIENT.into(), "Query".into(), "udp".into()],
        ["CN=eve,O=Stenographer".into(), "/steno.v1.Sensor/Query".into(), Value::Null],
        [CLIENT.into(), "/metrics".into(), Value::Null],
        [CLIENT.into(), "/debug/stats".into(), Value::Null],
        [CLIENT.into(), "Status".into(), Value::Null],
    ];
    assert_eq!(told, expected.each_ref().map(|line| line.each_ref()));
    assert!(refused.iter().all(|line| line["why"].as_str().is_some_and(|why| why.contains("rule"))), "{refused:?}");
    assert!(verify(&running).holds());
    let _took = running.stop().await;
}

/// Shows nothing.
#[derive(Debug)]
struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<std::sync::Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_answered_until_it_can_be() {
    let running = start(Wanted { packets: true, audit: true, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let mut http = Client::new(&running, Version::HTTP_2).await;
    let ask = || QueryRequest { query: "udp".into(), ..QueryRequest::default() };
    let before = receipt(sensor.query(ask()).await.unwrap().into_inner()).await;
    // The next file cannot be made, for a directory has its name.
    fs::rename(path(&running), running.root.path().join("audit.log.1")).unwrap();
    fs::create_dir(path(&running)).unwrap();
    fs::remove_file(running.root.path().join("audit.log.1")).unwrap();
    let refused = sensor.query(ask()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().starts_with("the audit log cannot be written, and nothing is answered without it: "));
    let answer = http.post("udp", &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.text().contains("the audit log cannot be written"), "{}", answer.text());
    let status = sensor.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(!status.healthy && status.problems.iter().any(|problem| problem.starts_with("the audit log cannot be")));
    assert_eq!(running.metric("steno_audit_failing"), 1.0);

    fs::remove_dir(path(&running)).unwrap();
    let after = receipt(sensor.query(ask()).await.unwrap().into_inner()).await;
    assert_eq!((after.packets, &after.blake3), (before.packets, &before.blake3));
    let first = &lines(&running)[0];
    assert_eq!((&first["event"], &first["file"]), (&"open".into(), &"new".into()));
    assert!(first["lost"]["begins"].as_u64().unwrap() >= 2, "{first}");
    assert_eq!(running.metric("steno_audit_failing"), 0.0);
    let _took = running.stop().await;
}
