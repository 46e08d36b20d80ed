//! Answers that end early, and how they say so.

use std::{fs, time::Duration};

use steno_proto::v1::{FlowsRequest, QueryRequest, Truncation};
use tokio::time::sleep;
use tonic::{Code, Streaming};

use super::{
    request,
    support::{Served, TestStore, within},
    take,
};
use crate::answer::Bounds;

/// More than lies between the thread of a query and a client that does not read, many times over.
fn big() -> TestStore {
    TestStore::new(1, 4, 3_000, 1_300)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_that_were_asked_for_end_an_answer_well() {
    let mut served = Served::new(TestStore::new(1, 2, 1_000, 100), Bounds::default()).await;
    let asked = QueryRequest { max_packets: Some(7), ..request("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    taken.check();
    let receipt = taken.receipt();
    assert_eq!((taken.code(), receipt.packets, receipt.complete), (Code::Ok, 7, false));
    assert_eq!(receipt.truncated_by(), Truncation::LimitPackets);
    // 16, and 16 + 142 for each packet: the packet that reaches the limit is the last one.
    let asked = QueryRequest { max_bytes: Some(16 + 2 * 158), ..request("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    taken.check();
    assert_eq!((taken.code(), taken.receipt().packets), (Code::Ok, 2));
    assert_eq!(taken.receipt().truncated_by(), Truncation::LimitBytes);
    let asked = QueryRequest { max_packets: Some(2_000), ..request("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    assert!(taken.receipt().complete, "nothing was left out: {:?}", taken.receipt());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sensors_own_limit_of_bytes_is_an_error_after_the_receipt() {
    let bounds = Bounds { most_bytes: Some(16 + 3 * 158), ..Bounds::default() };
    let mut served = Served::new(TestStore::new(1, 2, 1_000, 100), bounds).await;
    for max_bytes in [None, Some(1 << 30)] {
        let asked = QueryRequest { max_bytes, ..request("udp") };
        let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
        taken.check();
        assert_eq!((taken.code(), taken.receipt().packets), (Code::ResourceExhausted, 3));
        assert_eq!(taken.receipt().truncated_by(), Truncation::SensorLimitBytes);
    }
    let asked = QueryRequest { max_bytes: Some(20), ..request("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::Ok, Truncation::LimitBytes));
}

/// Takes nothing until the deadline is long over, then all.
async fn late(mut stream: Streaming<steno_proto::v1::QueryResponse>) -> super::Taken {
    sleep(Duration::from_millis(400)).await;
    take(&mut stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_an_answer_with_what_was_found() {
    let mut served = Served::new(big(), Bounds::default()).await;
    let asked = QueryRequest { deadline_ms: 100, ..request("udp") };
    let taken = late(served.client.query(asked).await.unwrap().into_inner()).await;
    taken.check();
    assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::Ok, Truncation::Deadline));
    assert!(taken.receipt().packets > 0 && !taken.receipt().complete);

    let bounds = Bounds { deadline: Some(Duration::from_millis(100)), ..Bounds::default() };
    let mut served = Served::new(big(), bounds).await;
    for deadline_ms in [0, 3_600_000] {
        let asked = QueryRequest { deadline_ms, ..request("udp") };
        let taken = late(served.client.query(asked).await.unwrap().into_inner()).await;
        taken.check();
        assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::DeadlineExceeded, Truncation::Deadline));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_given_up_and_can_tell() {
    let bounds = Bounds { stall: Duration::from_millis(100), ..Bounds::default() };
    let mut served = Served::new(big(), bounds).await;
    let mut stream = served.client.query(request("udp")).await.unwrap().into_inner();
    served.idle().await;
    assert_eq!(served.value(r#"steno_queries_total{method="Query",outcome="cancelled"}"#), 1.0);
    let taken = take(&mut stream).await;
    taken.check();
    assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::DeadlineExceeded, Truncation::Stalled));
    // What was found when it was given up: the chunks that were under way, of all 16 MiB.
    assert!(taken.bytes.len() < 4 << 20, "{}", taken.bytes.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_ends_its_query_at_once() {
    let mut served = Served::new(big(), Bounds::default()).await;
    let mut stream = served.client.query(request("udp")).await.unwrap().into_inner();
    let _first = within("the first chunk", stream.message()).await.unwrap().unwrap();
    assert_eq!(served.answers.queries().running, 1);
    drop(stream);
    served.idle().await;
    assert_eq!(served.value(r#"steno_queries_total{method="Query",outcome="cancelled"}"#), 1.0);
    let queries = served.answers.queries();
    assert_eq!((queries.truncated, queries.finished), (1, 0));
    assert!(queries.packets < 12_000, "{queries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_query_too_many_is_turned_away() {
    let bounds = Bounds { most_running: 2, ..Bounds::default() };
    let mut served = Served::new(big(), bounds).await;
    let first = served.client.query(request("udp")).await.unwrap();
    let _second = served.client.query(request("udp")).await.unwrap();
    let status = served.client.query(request("udp")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("2 run already"), "{status:?}");
    let flows = FlowsRequest { query: "udp".into(), ..FlowsRequest::default() };
    assert_eq!(served.client.flows(flows).await.unwrap_err().code(), Code::ResourceExhausted);
    drop(first);
    within("room again", async {
        while served.answers.queries().running == 2 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let asked = QueryRequest { max_packets: Some(1), ..request("udp") };
    let taken = take(&mut served.client.query(asked).await.unwrap().into_inner()).await;
    assert_eq!(taken.receipt().packets, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sensor_that_stops_says_so() {
    let mut served = Served::new(big(), Bounds::default()).await;
    let mut running = served.client.query(request("udp")).await.unwrap().into_inner();
    served.answers.close();
    let status = served.client.query(request("udp")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(served.answers.queries().running, 1, "those that run go on");
    // Until its thread waits for the client, with a chunk that the channel has no room for.
    sleep(Duration::from_millis(300)).await;
    served.answers.stop();
    served.idle().await;
    let taken = take(&mut running).await;
    taken.check();
    assert_eq!((taken.code(), taken.receipt().truncated_by()), (Code::Unavailable, Truncation::Stopping));
    assert!(!taken.receipt().complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_data_loss_after_what_can() {
    let mut served = Served::new(TestStore::new(1, 2, 1_000, 100), Bounds::default()).await;
    let file = fs::OpenOptions::new().write(true).open(served.store.packet_file(0, 0)).unwrap();
    file.set_len(1 << 16).unwrap();
    let taken = take(&mut served.client.query(request("udp")).await.unwrap().into_inner()).await;
    taken.check();
    assert_eq!(taken.code(), Code::DataLoss);
    let receipt = taken.receipt();
    assert!(receipt.packets > 1_000 && receipt.packets < 2_000 && !receipt.complete, "{receipt:?}");
    assert_eq!(receipt.unreadable.len(), 1);
    let message = taken.status.as_ref().unwrap().message();
    assert!(message.contains(&receipt.unreadable[0].file), "{message}");
    // One that asks for other times is whole.
    let query = "udp and after 2023-11-14T22:25:00Z";
    let taken = take(&mut served.client.query(request(query)).await.unwrap().into_inner()).await;
    assert_eq!((taken.code(), taken.receipt().packets), (Code::Ok, 1_000));
}
