//! Clients that stop reading: their answers end, their connections are closed, and the others notice nothing.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use steno_daemon::serve::Tuning;
use steno_proto::v1::{QueryRequest, query_response::Part, sensor_client::SensorClient};
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

use super::support::{PACKETS, Running, Wanted, connect, start, within};

/// A client whose window is too small for more than a part of an answer, so that the rest waits with the sensor.
async fn narrow(running: &Running) -> Channel {
    let (address, client) = (running.address, running.client());
    let connector = tower::service_fn(move |_| {
        let client = client.clone();
        async move { connect(address, client).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    within("connecting", endpoint.connect_with_connector(connector)).await.unwrap()
}

fn everything() -> QueryRequest {
    QueryRequest { query: "udp".to_owned(), ..QueryRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_disconnected_and_its_place_given_back() {
    let tuning = Tuning { stall_after: Duration::from_millis(300), ..Tuning::default() };
    let running = start(Wanted { tuning, bulk: 4, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(narrow(&running).await);
    let mut stream = sensor.query(everything()).await.unwrap().into_inner();
    let _first = within("the first message", stream.message()).await.unwrap().unwrap();
    assert_eq!(running.metric("steno_streams_active"), 1.0);
    // Nothing more is taken.
    within("the end of the connection", async {
        while running.metric("steno_connections_active") > 0.0 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(running.metric("steno_streams_active"), 0.0);
    // What the client finds when it looks again is no whole answer: it ends with an error, and without a receipt.
    let end = loop {
        match within("the next message", stream.message()).await {
            Ok(Some(response)) => assert!(matches!(response.part.unwrap(), Part::Chunk(_) | Part::Progress(_))),
            Ok(None) => panic!("it ends as if it were whole"),
            Err(end) => break end,
        }
    };
    assert!(!end.message().is_empty(), "{end:?}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_gets_all_of_it() {
    let tuning = Tuning { stall_after: Duration::from_millis(1_500), ..Tuning::default() };
    let running = start(Wanted { tuning, bulk: 4, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(narrow(&running).await);
    let mut stream = sensor.query(everything()).await.unwrap().into_inner();
    let mut receipt = None;
    while let Some(response) = within("the next message", stream.message()).await.unwrap() {
        if let Part::Receipt(r) = response.part.unwrap() {
            receipt = Some(r);
        }
        // All of it takes longer than a stall may.
        sleep(Duration::from_millis(150)).await;
    }
    let receipt = receipt.unwrap();
    assert!(receipt.complete && receipt.packets == u64::from(4 * PACKETS), "{receipt:?}");
    let _took = running.stop().await;
}
