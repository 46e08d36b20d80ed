//! How it ends: in order, and in bounded time.

use std::time::Duration;

use steno_daemon::serve::Tuning;
use steno_proto::v1::{StatusRequest, sensor_client::SensorClient};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::support::{Wanted, channel, connect, start, within};

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_it_up() {
    let running = start(Wanted::default()).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let _status = sensor.status(StatusRequest {}).await.unwrap();
    let mut http1 = running.client();
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut idle = connect(running.address, http1).await.unwrap();
    let mut half = TcpStream::connect(running.address).await.unwrap();
    let (address, client) = (running.address, running.client());
    // Seen, so that it is not the accept queue that is being waited for.
    within("two connections", async {
        while running.metric("steno_connections_active") < 2.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let took = running.stop().await;
    assert!(took < Tuning::default().drain_within, "{took:?}");
    let mut rest = Vec::new();
    let _closed = within("the end of an idle connection", idle.read_to_end(&mut rest)).await;
    let _closed = within("the end of half a handshake", half.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    assert!(channel(address, client).await.is_err());
    assert!(sensor.status(StatusRequest {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_end_is_ended() {
    let tuning = Tuning {
        drain_within: Duration::from_millis(300),
        finish_within: Duration::from_millis(300),
        ..Tuning::default()
    };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let mut health = HealthClient::new(running.channel().await);
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = within("the health", watched.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let stopping = tokio::spawn(running.stop());
    let last = within("the news", watched.message()).await.unwrap().unwrap();
    assert_eq!(last.status(), ServingStatus::NotServing, "who watches hears of the stop");
    let end = within("the end of the stream", watched.message()).await.unwrap_err();
    assert!(matches!(end.code(), Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled), "{end:?}");
    let took = stopping.await.unwrap();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_age_takes_no_more_requests_and_a_new_one_does() {
    let tuning = Tuning { connection_age: Duration::from_millis(200), ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let _status = sensor.status(StatusRequest {}).await.unwrap();
    within("the end of the connection", async {
        while running.metric("steno_connections_active") > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // The client of gRPC connects anew by itself.
    let _status = within("the status", sensor.status(StatusRequest {})).await.unwrap();
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http_1_is_closed_in_time() {
    let tuning = Tuning { header_within: Duration::from_millis(200), ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let mut client = running.client();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut idle = connect(running.address, client).await.unwrap();
    let mut rest = Vec::new();
    let _closed = within("the end of the connection", idle.read_to_end(&mut rest)).await;
    let _took = running.stop().await;
}
