//! Questions and their whole answers.

use std::fs;

use prost::Message;
use steno_core::pcap::Format;
use steno_proto::v1::{
    CaptureFormat, ExplainRequest, Flow, FlowsRequest, QueryDiagnostic, QueryRequest, Receipt, Segment, SegmentState,
    SegmentsRequest, StatusRequest, Truncation, flows_response::Part,
};
use steno_query::Options;
use tonic::Code;
use tonic_types::{StatusExt, pb};

use super::{
    request,
    support::{EPOCH_S, Served, TestStore, within},
    take,
};
use crate::answer::Bounds;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_that_of_the_store_and_ends_with_its_receipt() {
    let mut served = Served::new(TestStore::new(2, 2, 3_000, 300), Bounds::default()).await;
    let formats = [
        (CaptureFormat::Unspecified, Format::PcapNs),
        (CaptureFormat::Pcap, Format::Pcap),
        (CaptureFormat::PcapNs, Format::PcapNs),
        (CaptureFormat::Pcapng, Format::PcapNg),
    ];
    for query in ["udp", "port 53", "host 10.0.0.7 and after 2023-11-14T22:13:21Z", "vlan 5"] {
        for (asked, format) in formats {
            let asked = QueryRequest { format: asked.into(), ..request(query) };
            let mut stream = served.client.query(asked).await.unwrap().into_inner();
            let taken = take(&mut stream).await;
            taken.check();
            assert_eq!(taken.code(), Code::Ok, "{:?}", taken.status);
            let expected = served.store.bytes(query, Options { format, ..Options::default() });
            assert!(taken.bytes == expected, "{query} {format:?}: {} and {}", taken.bytes.len(), expected.len());
            let receipt = taken.receipt();
            assert!(receipt.complete && receipt.truncated_by() == Truncation::Unspecified, "{receipt:?}");
        }
    }
    let mut stream = served.client.query(request("vlan 5")).await.unwrap().into_inner();
    let taken = take(&mut stream).await;
    assert_eq!((taken.bytes.len(), taken.receipt().packets), (24, 0), "an empty capture file");
    served.idle().await;
    assert_eq!(served.value(r#"steno_queries_total{method="Query",outcome="complete"}"#), 17.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_as_large_as_asked_for_and_not_larger() {
    let mut served = Served::new(TestStore::new(1, 1, 4_000, 300), Bounds::default()).await;
    for (asked, most, least_chunks) in [(0, 262_144, 5), (1, 4_096, 300), (10_000, 10_000, 130), (u32::MAX, 1 << 20, 5)]
    {
        let asked = QueryRequest { chunk_bytes: asked, ..request("udp") };
        let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
        taken.check();
        assert!(taken.bytes.len() > 1_400_000);
        assert!(taken.chunks.iter().all(|len| *len <= most && *len > 0), "{most}: {:?}", taken.chunks);
        assert!(taken.chunks.len() >= least_chunks, "{most}: {}", taken.chunks.len());
    }
}

#[tokio::test]
async fn a_query_that_does_not_hold_is_refused_with_its_diagnostic() {
    let mut served = Served::new(TestStore::new(1, 1, 10, 10), Bounds::default()).await;
    let text = "host 10.0.0.1 and prt 53";
    let status = served.client.query(request(text)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("unknown primitive `prt`"), "{status:?}");
    assert!(status.message().contains("^^^"), "the place is shown: {status:?}");
    let details = pb::Status::decode(status.details()).unwrap();
    let diagnostic = details.details.iter().find(|any| any.type_url.ends_with("QueryDiagnostic")).unwrap();
    let diagnostic = QueryDiagnostic::decode(&diagnostic.value[..]).unwrap();
    assert_eq!((diagnostic.faults[0].start, diagnostic.faults[0].end), (18, 21));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "query");

    let flows = FlowsRequest { query: String::new(), ..FlowsRequest::default() };
    assert_eq!(served.client.flows(flows).await.unwrap_err().code(), Code::InvalidArgument);
    let explain = ExplainRequest { query: "(".into(), ..ExplainRequest::default() };
    assert_eq!(served.client.explain(explain).await.unwrap_err().code(), Code::InvalidArgument);
    let many = "prt 1 or ".repeat(100);
    assert_eq!(served.client.query(request(&many)).await.unwrap_err().code(), Code::InvalidArgument);

    let format = QueryRequest { format: 9, ..request("tcp") };
    assert_eq!(served.client.query(format).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(served.answers.queries().refused, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_come_in_order_with_a_receipt() {
    let mut served = Served::new(TestStore::new(2, 2, 2_000, 20), Bounds::default()).await;
    let asked = FlowsRequest { query: "udp".into(), ..FlowsRequest::default() };
    let mut stream = served.client.flows(asked).await.unwrap().into_inner();
    let (mut flows, mut receipt): (Vec<Flow>, Option<Receipt>) = (Vec::new(), None);
    while let Some(message) = within("a message", stream.message()).await.unwrap() {
        assert!(receipt.is_none(), "the receipt is the last message");
        match message.part.unwrap() {
            Part::Flows(batch) => flows.extend(batch.flows),
            Part::Progress(_) => {}
            Part::Receipt(last) => receipt = Some(last),
        }
    }
    // 200 hosts to port 443, of which five are those that send to port 53 too, once a second.
    assert!(flows.len() > 200 && flows.is_sorted_by_key(|flow| flow.first_ns), "{}", flows.len());
    let packets: u64 = flows.iter().map(|f| f.a_to_b.unwrap().packets + f.b_to_a.unwrap().packets).sum();
    let receipt = receipt.unwrap();
    assert_eq!((packets, receipt.packets, receipt.complete), (8_000, 8_000, true));
    let first = &flows[0];
    assert_eq!((first.a_address.as_str(), first.b_address.as_str()), ("10.0.0.0", "10.0.1.1"));
    assert_eq!((first.a_port, first.b_port, first.protocol), (Some(40_000), Some(53), Some(17)));
    assert!(first.community_id.starts_with("1:"), "{first:?}");
    assert_eq!(first.layers, "ip udp");
}

#[tokio::test]
async fn an_explanation_says_what_would_be_delivered() {
    let mut served = Served::new(TestStore::new(1, 3, 2_000, 20), Bounds::default()).await;
    let asked = ExplainRequest { query: "port 53".into(), ..ExplainRequest::default() };
    let explained = served.client.explain(asked).await.unwrap().into_inner();
    let estimate = explained.estimate.unwrap();
    assert_eq!((estimate.packets_at_least, estimate.packets_at_most), (6, 6));
    assert_eq!((explained.segments.len(), explained.segments_omitted), (3, 0));
    assert_eq!(explained.segments[0].file, format!("PKT0/{}", TestStore::id(0)));
    assert_eq!(explained.query, "port 53");
    assert!(explained.text.contains("packets:       6"), "{}", explained.text);
    assert_eq!(explained.receipt.unwrap().segments.unwrap().considered, 3);
}

#[tokio::test]
async fn status_and_segments_tell_what_is_there() {
    let store = TestStore::new(2, 2, 1_000, 20);
    fs::write(store.directories(1).index.join(TestStore::id(1).to_string()), "no index").unwrap();
    fs::write(store.directories(0).packets.join(format!(".{}", TestStore::id(7))), "open").unwrap();
    let mut served = Served::new(store, Bounds::default()).await;
    let status = served.client.status(StatusRequest {}).await.unwrap().into_inner();
    let held = status.holdings.unwrap();
    let second = 1_000_000_000;
    assert_eq!(held.oldest_ns, Some(u64::from(EPOCH_S) * second));
    assert_eq!(held.newest_ns, Some((u64::from(EPOCH_S) + 1_000) * second + 999_000_000));
    assert_eq!((held.segments, held.unreadable.len(), held.unsealed.len()), (4, 1, 1));
    assert!(held.packet_bytes > 0 && held.index_bytes > 0);
    assert!(!status.healthy && status.problems[0].contains("cannot be searched"), "{:?}", status.problems);
    assert_eq!((status.version.as_str(), status.started_ns), (env!("CARGO_PKG_VERSION"), 5));
    assert_eq!(status.threads.len(), 2);
    assert_eq!(status.threads[1].packets_directory, served.store.directories(1).packets.display().to_string());
    assert_eq!((status.queries.unwrap().most_running, status.now_ns), (64, u64::from(EPOCH_S) * second));

    let mut list = async |wanted: SegmentsRequest| {
        let mut stream = served.client.segments(wanted).await.unwrap().into_inner();
        let mut segments: Vec<Segment> = Vec::new();
        while let Some(message) = within("a message", stream.message()).await.unwrap() {
            segments.extend(message.segments);
        }
        segments
    };
    let all = list(SegmentsRequest::default()).await;
    let places: Vec<_> = all.iter().map(|s| (s.thread, s.id, s.state())).collect();
    let sealed = SegmentState::Sealed;
    let id = TestStore::id;
    let expected = [
        (0, id(0), sealed),
        (0, id(1), sealed),
        (0, id(7), SegmentState::Unsealed),
        (1, id(0), sealed),
        (1, id(1), SegmentState::Unreadable),
    ];
    assert_eq!(places, expected);
    assert_eq!((all[0].packets, all[0].interface.as_str()), (1_000, "eth7"));
    assert!(all[0].conversations > 200 && all[0].packet_bytes >= 65_536 && all[0].index_bytes > 0, "{:?}", all[0]);
    assert!(all[4].reason.contains("index"), "{:?}", all[4]);
    let early =
        SegmentsRequest { until_ns: Some(u64::from(EPOCH_S) * second + 1), thread: Some(0), ..Default::default() };
    let early = list(early).await;
    assert_eq!(early.iter().map(|s| (s.thread, s.id)).collect::<Vec<_>>(), [(0, id(0))]);
}
