//! `POST /query` that goes wrong after its first byte: no client takes what came for a whole answer.

use std::{fs, time::Duration};

use http::{Method, StatusCode, Version};
use steno_daemon::{config::Limits, serve::Tuning};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    http_client::{Answer, Client, packets},
    support::{PACKETS, Wanted, connect, start, within},
};

const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// That the client saw the answer break off, after bytes that were good.
fn is_cut_off(answer: &Answer, version: Version) {
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.trailers.is_none(), "{:?}", answer.trailers);
    let broken = answer.broken.as_ref().unwrap_or_else(|| panic!("it looks whole: {} bytes", answer.body.len()));
    let said = format!("{broken:?}");
    if version == Version::HTTP_2 {
        assert!(said.contains("Reset(") && said.contains("INTERNAL_ERROR"), "{said}");
    } else {
        assert!(said.contains("UnexpectedEof") || said.contains("unexpected EOF") || said.contains("Io"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sensors_own_bound_of_bytes_breaks_the_answer_off() {
    // A little more than a segment.
    let limits = Limits { max_query_bytes: Some(1_100_000), ..Limits::default() };
    let running = start(Wanted { bulk: 4, limits, ..Wanted::default() }).await;
    for version in BOTH {
        let mut client = Client::new(&running, version).await;
        is_cut_off(&client.post("udp", &[]).await, version);
        // The same number as the client's own limit is an end.
        let mut client = Client::new(&running, version).await;
        let answer = client.post("udp", &[("Steno-Limit-Bytes", "1100000")]).await;
        assert_eq!(answer.receipt()["truncated_by"], "limit-bytes");
        assert!(answer.packets() > PACKETS as usize);
    }
    let metrics = running.metrics.encode().unwrap();
    assert!(metrics.contains("steno_queries_total{method=\"POST /query\",outcome=\"truncated\"} 4\n"), "{metrics}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_lacks_the_last_chunk_then() {
    let limits = Limits { max_query_bytes: Some(1_100_000), ..Limits::default() };
    let running = start(Wanted { bulk: 4, limits, ..Wanted::default() }).await;
    let mut client = running.client();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(running.address, client).await.unwrap();
    stream.write_all(b"POST /query HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\n\r\nudp").await.unwrap();
    let mut answer = Vec::new();
    let _end = within("the end", stream.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "the connection was not to be closed by itself");
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n") && !answer.ends_with(b"}\r\n\r\n"));
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_of_the_sensors_breaks_it_off_and_is_a_status_before_the_first_packet() {
    let limits = Limits { query_deadline: Some(Duration::from_millis(300)), ..Limits::default() };
    let running = start(Wanted { bulk: 6, limits, ..Wanted::default() }).await;
    for version in BOTH {
        let mut client = Client::with_window(&running, version, 65_535).await;
        let mut coming = client.begin(Method::POST, "/query", &[("te", "trailers")], "udp").await;
        coming.take_one().await;
        if version == Version::HTTP_2 {
            // Nothing is taken until the deadline has passed.
            tokio::time::sleep(Duration::from_millis(500)).await;
            is_cut_off(&coming.end().await, version);
        }
    }
    let none = Limits { query_deadline: Some(Duration::from_nanos(1)), ..Limits::default() };
    let hasty = start(Wanted { packets: true, limits: none, ..Wanted::default() }).await;
    for version in BOTH {
        let answer = Client::new(&hasty, version).await.post("port 53", &[]).await;
        assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT, "no packet came before it");
        assert!(answer.text().contains("no more time"), "{}", answer.text());
    }
    let _took = running.stop().await;
    let _took = hasty.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_the_sensor_breaks_it_off() {
    let tuning =
        Tuning { drain_within: Duration::from_millis(200), finish_within: Duration::from_secs(2), ..Tuning::default() };
    let running = start(Wanted { bulk: 6, tuning, ..Wanted::default() }).await;
    let mut client = Client::with_window(&running, Version::HTTP_2, 65_535).await;
    let mut coming = client.begin(Method::POST, "/query", &[], "udp").await;
    coming.take_one().await;
    let stopping = tokio::spawn(running.stop());
    tokio::time::sleep(Duration::from_millis(400)).await;
    is_cut_off(&coming.end().await, Version::HTTP_2);
    let took = stopping.await.unwrap();
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_loses_its_place_and_its_connection() {
    let tuning = Tuning { stall_after: Duration::from_millis(300), ..Tuning::default() };
    let running = start(Wanted { tuning, bulk: 4, ..Wanted::default() }).await;
    let mut client = Client::with_window(&running, Version::HTTP_2, 65_535).await;
    let mut coming = client.begin(Method::POST, "/query", &[], "udp").await;
    coming.take_one().await;
    within("the end of the connection", async {
        while running.metric("steno_connections_active") > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let answer = coming.end().await;
    assert!(answer.broken.is_some() && answer.trailers.is_none());
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_are_named_in_the_receipt_of_an_answer_that_ends() {
    let running = start(Wanted { packets: true, bulk: 2, ..Wanted::default() }).await;
    fs::OpenOptions::new().write(true).open(running.packet_file()).unwrap().set_len(10_000).unwrap();
    for version in BOTH {
        let answer = Client::new(&running, version).await.post("port 53", &[]).await;
        let receipt = answer.receipt();
        assert_eq!(receipt["complete"], false);
        assert_eq!(receipt["truncated_by"], serde_json::Value::Null);
        assert!(receipt["unreadable"][0]["file"].as_str().unwrap().starts_with("PKT0/17000"), "{receipt}");
        let (found, rest) = packets(&answer.body);
        assert!(found >= 2 * PACKETS as usize && rest == 0, "{found}");
    }
    let metrics = running.metrics.encode().unwrap();
    assert!(metrics.contains("steno_queries_total{method=\"POST /query\",outcome=\"incomplete\"} 2\n"), "{metrics}");
    let _took = running.stop().await;
}
