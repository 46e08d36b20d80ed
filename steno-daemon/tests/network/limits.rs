//! Clients that are let in and then hold what others need: connections without requests, requests that do not come to an end,
//! answers that nobody takes, more at once than one client may.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::{Request, StatusCode, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use steno_daemon::{config::Limits, serve::Tuning};
use steno_proto::v1::{QueryRequest, StatusRequest, sensor_client::SensorClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};
use tokio_stream::StreamExt;
use tonic::Code;

use super::{
    http_client::Client,
    support::{Running, Wanted, connect, start, within},
};

async fn until_gone(running: &Running, there: f64) {
    within("the end of a connection", async {
        while running.metric("steno_connections_active") > there {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let tuning = Tuning {
        header_within: Duration::from_millis(300),
        idle_after: Duration::from_millis(300),
        pong_within: Duration::from_millis(300),
        ..Tuning::default()
    };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    // Never a word after the handshake; as much as the preface; nothing more after a request.
    let mut silent = connect(running.address, speaking(&running, b"h2")).await.unwrap();
    let mut preface = connect(running.address, speaking(&running, b"h2")).await.unwrap();
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut sensor = SensorClient::new(running.channel().await);
    let _status = sensor.status(StatusRequest {}).await.unwrap();
    for stream in [&mut silent, &mut preface] {
        let _closed = within("the end", stream.read_to_end(&mut Vec::new())).await;
    }
    until_gone(&running, 0.0).await;
    // Whoever has something to ask comes again.
    let _status = within("the status", sensor.status(StatusRequest {})).await.unwrap();
    let _took = running.stop().await;
}

fn speaking(running: &Running, protocol: &[u8]) -> rustls::ClientConfig {
    let mut client = running.client();
    client.alpn_protocols = vec![protocol.to_vec()];
    client
}

/// A request of gRPC with this body.
fn grpc(running: &Running, body: Body) -> Request<Body> {
    Request::post(format!("https://{}/steno.v1.Sensor/Query", running.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// What a request of gRPC came to.
async fn grpc_status(response: http::Response<hyper::body::Incoming>) -> Code {
    let status = response.headers().get("grpc-status").cloned();
    let status = match status {
        Some(status) => status,
        None => {
            use hyper::body::Body as _;
            let mut body = response.into_body();
            within("the trailers", async {
                loop {
                    let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
                    if let Ok(trailers) = frame.unwrap().unwrap().into_trailers() {
                        return trailers["grpc-status"].clone();
                    }
                }
            })
            .await
        }
    };
    Code::from_bytes(status.as_bytes())
}

async fn http2_client(running: &Running) -> http2::SendRequest<Body> {
    let io = TokioIo::new(connect(running.address, speaking(running, b"h2")).await.unwrap());
    let (send, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    drop(tokio::spawn(connection));
    send
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_come_to_its_end_is_over() {
    let tuning = Tuning { request_within: Duration::from_millis(300), ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let mut client = http2_client(&running).await;
    // Nothing of the message; a part of it, and then a byte now and then.
    let nothing = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
    let slowly = tokio_stream::iter(0..).then(|i: u32| async move {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, std::io::Error>(Bytes::from(if i == 0 { vec![0, 0, 0, 0x40, 0] } else { vec![10] }))
    });
    for body in [nothing, Body::from_stream(slowly)] {
        let response = within("an answer", client.send_request(grpc(&running, body))).await.unwrap();
        assert_eq!(grpc_status(response).await, Code::DeadlineExceeded);
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_requests_hold_that_are_still_coming_is_bounded() {
    let running = start(Wanted::default()).await;
    let mut client = http2_client(&running).await;
    // Of each message all but a byte, 200 KiB: five fit.
    let message = || {
        let size = 200u32 << 10;
        let mut bytes = vec![0];
        bytes.extend(size.to_be_bytes());
        bytes.extend(vec![b'x'; size as usize - 1]);
        let rest = tokio_stream::pending::<Result<Bytes, std::io::Error>>();
        Body::from_stream(tokio_stream::once(Ok::<_, std::io::Error>(Bytes::from(bytes))).chain(rest))
    };
    let mut answers = Vec::new();
    for _ in 0..20 {
        client.ready().await.unwrap();
        answers.push(tokio::spawn(client.send_request(grpc(&running, message()))));
    }
    let mut refused = 0;
    for answer in answers.iter_mut() {
        if let Ok(response) = tokio::time::timeout(Duration::from_secs(2), answer).await {
            assert_eq!(grpc_status(response.unwrap().unwrap()).await, Code::ResourceExhausted);
            refused += 1;
        }
    }
    assert!((14..20).contains(&refused), "{refused} of 20");
    // Others notice nothing.
    let mut sensor = SensorClient::new(running.channel().await);
    let _status = sensor.status(StatusRequest {}).await.unwrap();
    drop((client, answers));
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_querys_and_that_nobody_takes_costs_the_connection() {
    let tuning = Tuning { stall_after: Duration::from_millis(200), ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    // Room for the beginning of the answer only.
    let mut http = Client::with_window(&running, Version::HTTP_2, 100).await;
    let coming = http.begin(http::Method::GET, "/metrics", &[], "").await;
    assert_eq!((coming.status, running.metric("steno_connections_active")), (StatusCode::OK, 1.0));
    until_gone(&running, 0.0).await;
    // Of HTTP/1.1, one who asks on and on and takes nothing.
    // The system keeps little for it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let tcp = socket.connect(running.address).await.unwrap();
    let name = rustls_pki_types::ServerName::IpAddress(running.address.ip().into());
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(speaking(&running, b"http/1.1")));
    let mut stream = tls.connect(name, tcp).await.unwrap();
    let asking = async {
        let request = b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n".repeat(100);
        while stream.write_all(&request).await.is_ok() {}
    };
    within("the end of the connection", asking).await;
    until_gone(&running, 0.0).await;
    drop(coming);
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_does_not_have_all_places() {
    let limits = Limits { max_concurrent_queries: 4, ..Limits::default() };
    let running = start(Wanted { limits, packets: true, ..Wanted::default() }).await;
    let follow = || QueryRequest { query: "udp".into(), follow: true, ..QueryRequest::default() };
    let mut sensor = SensorClient::new(running.channel().await);
    let mut following = Vec::new();
    for _ in 0..3 {
        following.push(sensor.query(follow()).await.unwrap());
    }
    let refused = sensor.query(follow()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().starts_with("too many queries: 3 of this client run already"), "{refused:?}");
    let other = running.certs.issue_client("other").unwrap();
    let client = steno_proto::certs::client_tls(&other).unwrap().config;
    let mut other = SensorClient::new(super::support::channel(running.address, client).await.unwrap());
    let _answer = other.query(follow()).await.unwrap();
    drop(following);
    let _took = running.stop().await;
}
