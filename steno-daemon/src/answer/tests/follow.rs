//! Answers that go on with what arrives.

use std::time::Duration;

use steno_proto::v1::{QueryRequest, QueryResponse, Truncation, query_response::Part};
use tonic::{Code, Streaming};

use super::{
    request,
    support::{Served, TestStore, within},
    take,
};
use crate::answer::Bounds;

/// Takes messages until so many bytes have come.
async fn take_bytes(stream: &mut Streaming<QueryResponse>, bytes: &mut Vec<u8>, least: usize) {
    while bytes.len() < least {
        match within("more bytes", stream.message()).await.unwrap().unwrap().part.unwrap() {
            Part::Chunk(chunk) => bytes.extend_from_slice(&chunk),
            Part::Progress(_) => {}
            Part::Receipt(receipt) => panic!("it goes on: {receipt:?}"),
        }
    }
}

fn follow(query: &str) -> QueryRequest {
    QueryRequest { follow: true, ..request(query) }
}

/// A capture file of so many packets of a test store with a payload of 100 bytes.
const fn file_bytes(packets: usize) -> usize {
    24 + packets * (16 + 142)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_comes_and_then_what_arrives_until_the_client_goes() {
    // The sensor's deadline is not for these.
    let bounds = Bounds { deadline: Some(Duration::from_millis(50)), ..Bounds::default() };
    let mut served = Served::new(TestStore::new(2, 1, 1_000, 100), bounds).await;
    let mut stream = served.client.query(follow("udp")).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    take_bytes(&mut stream, &mut bytes, file_bytes(2_000)).await;
    for segment in 1..4 {
        served.store.add(segment % 2, segment, 500, 100);
        take_bytes(&mut stream, &mut bytes, file_bytes(2_000 + 500 * segment as usize)).await;
        assert_eq!(bytes.len(), file_bytes(2_000 + 500 * segment as usize));
    }
    assert!(bytes == served.store.bytes("udp", steno_query::Options::default()));
    drop(stream);
    served.idle().await;
    assert_eq!(served.value(r#"steno_queries_total{method="Query",outcome="cancelled"}"#), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_the_end_of_the_sensor_end_it_with_a_receipt() {
    let mut served = Served::new(TestStore::new(1, 1, 1_000, 100), Bounds::default()).await;
    let asked = QueryRequest { max_packets: Some(1_200), ..follow("udp") };
    let mut stream = served.client.query(asked).await.unwrap().into_inner();
    served.store.add(0, 1, 500, 100);
    let taken = take(&mut stream).await;
    taken.check();
    assert_eq!((taken.code(), taken.receipt().packets, taken.receipt().complete), (Code::Ok, 1_200, false));
    assert_eq!(taken.receipt().truncated_by(), Truncation::LimitPackets);

    let asked = QueryRequest { deadline_ms: 200, ..follow("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    taken.check();
    assert_eq!((taken.receipt().packets, taken.receipt().truncated_by()), (1_500, Truncation::Deadline));

    let mut stream = served.client.query(follow("udp")).await.unwrap().into_inner();
    take_bytes(&mut stream, &mut Vec::new(), file_bytes(1_500)).await;
    served.answers.stop();
    let taken = take(&mut stream).await;
    assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::Unavailable, Truncation::Stopping));
    assert_eq!(taken.receipt().packets, 1_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_too_slow_is_told_what_it_missed() {
    let mut served = Served::new(TestStore::new(1, 4, 3_000, 1_300), Bounds::default()).await;
    let mut stream = served.client.query(follow("udp")).await.unwrap().into_inner();
    let _first = within("the first message", stream.message()).await.unwrap().unwrap();
    // It holds what it came to find, and what comes meanwhile is not its own yet.
    for segment in [10, 11] {
        served.store.add(0, segment, 10, 100);
    }
    let pins = served.answers.view().store().pins().clone();
    served.store.remove(&pins, 0, 10);
    let taken = take(&mut stream).await;
    assert_eq!(taken.code(), Code::DataLoss, "{:?}", taken.status);
    let receipt = taken.receipt();
    let missed: Vec<_> = receipt.unreadable.iter().map(|file| (&file.file[..], file.may_hold_matches)).collect();
    assert_eq!(missed, [(&format!("PKT0/{}", TestStore::id(10))[..], true)]);
    assert!(receipt.unreadable[0].reason.contains("too slowly"), "{receipt:?}");
    assert_eq!((receipt.packets, receipt.complete), (12_010, false), "what is there comes before the end");
}
