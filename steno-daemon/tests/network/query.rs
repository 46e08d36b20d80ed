//! `POST /query` and `GET /debug/stats`: what comes back, over HTTP/1.1 and HTTP/2, and what is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Method, StatusCode, Version};
use steno_daemon::config::Limits;
use steno_proto::v1::{StatusRequest, sensor_client::SensorClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    http_client::Client,
    support::{PACKETS, Running, Wanted, connect, start, within},
};

const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];
/// Bytes of a packet without payload: headers of Ethernet, IPv4 and UDP.
const CAPTURED: usize = 42;

/// A request (method, path, headers, body), and its answer: status, and how the text begins.
type Refused<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, &'a str);

/// Sends the bytes of a request over HTTP/1.1 and gives all that comes back.
async fn raw(running: &Running, request: &[u8]) -> Vec<u8> {
    let mut client = running.client();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(running.address, client).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _end = within("the answer", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_a_pcap_with_its_receipt_as_a_trailer() {
    let running = start(Wanted { packets: true, ..Wanted::default() }).await;
    for version in BOTH {
        let mut client = Client::new(&running, version).await;
        let answer = client.post("port 53", &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{version:?}");
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        assert_eq!(answer.headers["trailer"], "Steno-Receipt");
        assert_eq!(answer.packets(), PACKETS as usize);
        assert_eq!(answer.body.len(), 24 + PACKETS as usize * (16 + CAPTURED));
        let receipt = answer.receipt();
        assert_eq!((&receipt["complete"], &receipt["packets"]), (&true.into(), &PACKETS.into()));
        assert_eq!(receipt["query"], "port 53");
        // On the same connection: nothing, which is a file without packets.
        let nothing = client.post("port 9 and port 10", &[]).await;
        assert_eq!((nothing.status, nothing.packets()), (StatusCode::OK, 0));
        assert_eq!(nothing.receipt()["complete"], true);
    }
    let metrics = running.metrics.encode().unwrap();
    assert!(metrics.contains("steno_queries_total{method=\"POST /query\",outcome=\"complete\"} 4\n"), "{metrics}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_1_has_a_trailer_for_those_who_take_one() {
    let running = start(Wanted { packets: true, ..Wanted::default() }).await;
    let post = |te: &str| {
        format!("POST /query HTTP/1.1\r\nHost: s\r\nConnection: close\r\n{te}Content-Length: 7\r\n\r\nport 53")
            .into_bytes()
    };
    let with = raw(&running, &post("TE: trailers\r\n")).await;
    let tail = String::from_utf8_lossy(&with[with.len() - 1_000..]).into_owned();
    let (_, trailer) = tail.rsplit_once("\r\n0\r\nsteno-receipt: {").unwrap();
    assert!(trailer.ends_with("}\r\n\r\n"), "{tail}");
    let without = raw(&running, &post("")).await;
    let head = String::from_utf8_lossy(&without[..300]).to_lowercase();
    assert!(head.contains("transfer-encoding: chunked\r\n") && !head.contains("trailer:"), "{head}");
    assert!(without.ends_with(b"\r\n0\r\n\r\n"), "it ends all the same");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_exact_to_the_packet() {
    let running = start(Wanted { packets: true, ..Wanted::default() }).await;
    let (packets, bytes) = ("Steno-Limit-Packets", "Steno-Limit-Bytes");
    // 16 for the file, and 58 a packet.
    let cases: [(&[(&str, &str)], usize); 16] = [
        (&[(packets, "1")], 1),
        (&[(packets, "7")], 7),
        (&[(packets, "0x10")], 16),
        (&[(packets, "0")], 1_000),
        (&[(packets, "999")], 999),
        (&[(packets, "1000")], 1_000),
        (&[(packets, "9223372036854775807")], 1_000),
        (&[(bytes, "0")], 1_000),
        (&[(bytes, "")], 1_000),
        (&[(bytes, "16")], 0),
        (&[(bytes, "17")], 1),
        (&[(bytes, "74")], 1),
        (&[(bytes, "75")], 2),
        (&[(bytes, "58015")], 1_000),
        (&[(bytes, "57958")], 999),
        (&[(packets, "3"), (bytes, "75")], 2),
    ];
    for version in BOTH {
        let mut client = Client::new(&running, version).await;
        for (headers, expected) in cases {
            let answer = client.post("port 53", headers).await;
            assert_eq!((answer.status, answer.packets()), (StatusCode::OK, expected), "{version:?} {headers:?}");
            let receipt = answer.receipt();
            assert_eq!(receipt["complete"], expected == 1_000, "{receipt}");
            let by = match headers {
                _ if expected == 1_000 => serde_json::Value::Null,
                [(name, _)] if *name == packets => "limit-packets".into(),
                _ => "limit-bytes".into(),
            };
            assert_eq!(receipt["truncated_by"], by, "{headers:?}");
        }
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_has_a_status_and_a_sentence() {
    let running = start(Wanted { packets: true, ..Wanted::default() }).await;
    let long = "x".repeat((64 << 10) + 1);
    let longest = "x".repeat(64 << 10);
    let cases: [Refused<'_>; 15] = [
        (Method::POST, "/query", &[], b"prt 53", 400, "error: unknown primitive `prt`\n  | prt 53\n  | ^^^"),
        (Method::POST, "/query", &[], b"", 400, "error: "),
        (Method::POST, "/query", &[], b" \n", 400, "error: "),
        (Method::POST, "/query", &[], b"port 53\xff", 400, "the query is not text: byte 7 is not of UTF-8\n"),
        (Method::POST, "/query", &[], long.as_bytes(), 413, "the query is too long: 65536 bytes are the most\n"),
        (Method::POST, "/query", &[], longest.as_bytes(), 400, "error: "),
        (
            Method::POST,
            "/query",
            &[("Steno-Limit-Bytes", "abc")],
            b"tcp",
            400,
            "bad Steno-Limit-Bytes \"abc\": it takes",
        ),
        (
            Method::POST,
            "/query",
            &[("Steno-Limit-Packets", "-1")],
            b"tcp",
            400,
            "bad Steno-Limit-Packets \"-1\": it takes",
        ),
        (Method::PUT, "/query", &[], b"tcp", 405, "/query takes POST with the query as the body, not PUT\n"),
        (Method::GET, "/query", &[], b"", 405, "/query takes POST with the query as the body, not GET\n"),
        (Method::DELETE, "/debug/stats", &[], b"", 405, ""),
        (Method::POST, "/nothing", &[], b"tcp", 404, "there is nothing at /nothing\n"),
        (Method::POST, "/query/", &[], b"tcp", 404, "there is nothing at /query/\n"),
        (Method::GET, "/debug", &[], b"", 404, "there is nothing at /debug\n"),
        (Method::GET, "/", &[], b"", 404, "there is nothing at /\n"),
    ];
    for version in BOTH {
        for (method, path, headers, body, status, beginning) in &cases {
            let mut client = Client::new(&running, version).await;
            let asked = client.begin(method.clone(), path, headers, body.to_vec()).await;
            let answer = asked.end().await;
            let seen = (answer.status.as_u16(), answer.text());
            assert!(seen.0 == *status && seen.1.starts_with(beginning), "{version:?} {method} {path}: {seen:?}");
            assert!(answer.trailers.is_none());
            if *status == 405 && *path == "/query" {
                assert_eq!(answer.headers["allow"], "POST");
            }
        }
        // Without a length, in pieces.
        let pieces = tokio_stream::iter((0..20).map(|_| Ok::<_, std::io::Error>("tcp or ".repeat(1_000))));
        let mut client = Client::new(&running, version).await;
        let asked = client.begin(Method::POST, "/query", &[], Body::from_stream(pieces)).await;
        assert_eq!(asked.status, StatusCode::PAYLOAD_TOO_LARGE, "{version:?}");
    }
    let old = raw(&running, b"POST /query HTTP/1.0\r\nContent-Length: 7\r\n\r\nport 53").await;
    let old = String::from_utf8(old).unwrap();
    assert!(old.starts_with("HTTP/1.0 505 ") && old.contains("a query takes HTTP/1.1 or HTTP/2"), "{old}");
    let metrics = running.metrics.encode().unwrap();
    // Eight, and the one in pieces, in both versions; and the one of HTTP/1.0.
    assert!(metrics.contains("steno_queries_total{method=\"POST /query\",outcome=\"refused\"} 19\n"), "{metrics}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_for_the_end_of_the_request() {
    let running = start(Wanted::default()).await;
    let cases: [Refused<'_>; 3] = [
        (Method::POST, "/query", &[("Steno-Limit-Bytes", "x")], b"tcp or udp", 400, "bad Steno-Limit-Bytes"),
        (Method::PUT, "/query", &[], b"tcp or udp", 405, "/query takes POST"),
        (Method::POST, "/nothing", &[], b"tcp or udp", 404, "there is nothing"),
    ];
    for version in BOTH {
        for (method, path, headers, body, status, beginning) in cases.clone() {
            let ended = Arc::new(AtomicBool::new(false));
            let end = Arc::clone(&ended);
            let (send, pieces) = mpsc::channel(2);
            let sending = tokio::spawn(async move {
                send.send(Ok::<_, std::io::Error>(&body[..7])).await.unwrap();
                tokio::time::sleep(Duration::from_millis(300)).await;
                end.store(true, Ordering::SeqCst);
                send.send(Ok(&body[7..])).await
            });
            let mut client = Client::new(&running, version).await;
            let asked = client.begin(method, path, headers, Body::from_stream(ReceiverStream::new(pieces))).await;
            assert_eq!((asked.status.as_u16(), ended.load(Ordering::SeqCst)), (status, true), "{version:?} {path}");
            let answer = asked.end().await;
            assert!(answer.broken.is_none() && answer.text().starts_with(beginning), "{version:?} {path}: {answer:?}");
            sending.await.unwrap().unwrap();
        }
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_than_may_run_is_told_to_come_again() {
    let limits = Limits { max_concurrent_queries: 1, ..Limits::default() };
    let running = start(Wanted { packets: true, bulk: 4, limits, ..Wanted::default() }).await;
    // This one is not taken further than its beginning.
    let mut slow = Client::with_window(&running, Version::HTTP_2, 65_535).await;
    let mut coming = slow.begin(Method::POST, "/query", &[], "udp").await;
    coming.take_one().await;
    let mut other = Client::new(&running, Version::HTTP_11).await;
    let refused = other.post("port 53", &[]).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.text().starts_with("too many queries: 1 run already"), "{}", refused.text());
    let answer = coming.end().await;
    assert_eq!(answer.receipt()["complete"], true);
    assert_eq!(other.post("port 53", &[]).await.packets(), 5 * PACKETS as usize, "the same connection, a moment later");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_ends_its_query() {
    let running = start(Wanted { bulk: 4, ..Wanted::default() }).await;
    for version in BOTH {
        let mut client = Client::with_window(&running, version, 65_535).await;
        let mut coming = client.begin(Method::POST, "/query", &[], "udp").await;
        coming.take_one().await;
        drop(coming);
        if version == Version::HTTP_11 {
            drop(client);
        }
        let mut sensor = SensorClient::new(running.channel().await);
        within("the end of the query", async {
            while sensor.status(StatusRequest {}).await.unwrap().into_inner().queries.unwrap().running > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await;
    }
    let metrics = running.metrics.encode().unwrap();
    assert!(metrics.contains("steno_queries_total{method=\"POST /query\",outcome=\"cancelled\"} 2\n"), "{metrics}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_are_lines_under_the_names_of_1_0_1() {
    let running = start(Wanted { packets: true, bulk: 2, ..Wanted::default() }).await;
    for version in BOTH {
        let mut client = Client::new(&running, version).await;
        let answer = client.post("port 53", &[("Steno-Limit-Packets", "5")]).await;
        assert_eq!(answer.packets(), 5);
        let _bad = client.post("prt 53", &[]).await;
        let answer = client.begin(Method::GET, "/debug/stats", &[], "").await.end().await;
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (200, &"text/plain; charset=utf-8".parse().unwrap())
        );
        let lines: Vec<(&str, u64)> = answer
            .text()
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        assert!(lines.is_sorted(), "{lines:?}");
        let value = |name: &str| lines.iter().find(|line| line.0 == name).unwrap().1;
        let n = if version == Version::HTTP_2 { 2 } else { 1 };
        assert_eq!(value("packets_read"), 5 * n);
        assert_eq!(value("http_request_query_POST_completed"), 2 * n);
        assert_eq!(value("http_request_query_POST_bytes"), n * (24 + 5 * 58));
        assert_eq!((value("queries_truncated"), value("queries_refused"), value("queries_running")), (n, n, 0));
        assert_eq!((value("aged_files"), value("unreadable_files")), (0, 0));
    }
    let _took = running.stop().await;
}
