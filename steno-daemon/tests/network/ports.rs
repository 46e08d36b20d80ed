//! What is served where.

use std::net::SocketAddr;
use steno_proto::certs::{CertDir, client_tls};

use steno_proto::{
    legacy::{PcapRequest, stenographer_client::StenographerClient},
    v1::{QueryRequest, StatusRequest, sensor_client::SensorClient},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request};
use tonic_reflection::pb::{v1, v1alpha};

use super::support::{Running, Wanted, channel, config, connect, sensor, start, within};

/// Sends `request` over HTTP/1.1 and gives the whole answer; what came of it, where the sensor hung up.
async fn http(running: &Running, request: &str) -> String {
    let mut client = running.client();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(running.address, client).await.unwrap();
    let request = format!("{request}\r\nHost: sensor\r\nConnection: close\r\n\r\n");
    let _sent = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _bytes = within("the answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_and_describes_the_services_in_both_versions() {
    let running = start(Wanted::default()).await;
    let services = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "steno.Stenographer",
        "steno.v1.Sensor",
    ];
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(running.channel().await);
    let ask = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = client.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = within("the list", answers.message()).await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("no list: {answer:?}")
    };
    let mut names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, services);

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(running.channel().await);
    let symbols = ["steno.v1.QueryRequest", "steno.PcapRequest", "google.rpc.BadRequest", "grpc.health.v1.Health"];
    let asks = symbols.map(|symbol| v1alpha::ServerReflectionRequest {
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol.into())),
        ..Default::default()
    });
    let mut answers = client.server_reflection_info(tokio_stream::iter(asks)).await.unwrap().into_inner();
    for symbol in symbols {
        let answer = within("the file", answers.message()).await.unwrap().unwrap().message_response.unwrap();
        let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(file) = answer else {
            panic!("no file for {symbol}: {answer:?}")
        };
        assert!(!file.file_descriptor_proto.is_empty());
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_text_and_the_rest_is_not_there() {
    let running = start(Wanted::default()).await;
    let metrics = http(&running, "GET /metrics HTTP/1.1").await;
    assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
    assert!(metrics.contains("steno_connections_active 1"), "{metrics}");
    assert!(metrics.contains("certificate=\"server\"") && metrics.contains("certificate=\"ca\""), "{metrics}");
    let nothing = http(&running, "GET /nothing HTTP/1.1").await;
    assert!(nothing.starts_with("HTTP/1.1 404 ") && nothing.ends_with("there is nothing at /nothing\n"), "{nothing}");
    assert!(http(&running, "POST /metrics HTTP/1.1").await.starts_with("HTTP/1.1 405 "));
    // A header without an end is not read for ever.
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(100_000));
    let answer = http(&running, &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_grpc_does_not_know_or_take_has_a_status() {
    let running = start(Wanted::default()).await;
    let mut grpc = tonic::client::Grpc::new(running.channel().await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<StatusRequest, StatusRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/steno.v2.Sensor/Query");
    let status = grpc.unary(Request::new(StatusRequest {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert!(status.message().contains("/steno.v2.Sensor/Query"), "{status:?}");

    let mut sensor = SensorClient::new(running.channel().await);
    let query = "x".repeat(300 << 10);
    let status = sensor.query(QueryRequest { query, ..QueryRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let query = "x".repeat(200 << 10);
    let status = sensor.query(QueryRequest { query, ..QueryRequest::default() }).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_port_has_its_own_ca_and_serves_one_service() {
    let running = start(Wanted { rpc: true, packets: true, ..Wanted::default() }).await;
    // It is on every address; the certificate is for one.
    let at = SocketAddr::new(running.address.ip(), running.rpc_address.unwrap().port());
    let others = client_tls(&CertDir::new(running.root.path().join("rpc"))).unwrap().config;
    assert!(channel(running.address, others.clone()).await.is_err(), "its clients are strangers at the first");
    assert!(channel(at, running.client()).await.is_err(), "and the other way round");

    let channel = channel(at, others).await.unwrap();
    let mut legacy = StenographerClient::new(channel.clone());
    for (query, messages) in [("port 53", 59), ("port 9", 0), ("prt 53", 0), ("", 0)] {
        let request = PcapRequest { uid: "../x".into(), query: query.into(), ..PcapRequest::default() };
        let mut answer = within("the answer", legacy.retrieve_pcap(request)).await.unwrap().into_inner();
        let mut sizes = Vec::new();
        while let Some(message) = within("a message", answer.message()).await.unwrap() {
            assert_eq!(message.uid, "../x");
            sizes.push(message.pcap.len());
        }
        // ClientPcapChunkSize is 1,000 here, and the file has 24 bytes and 58 for each of 1,000 packets.
        assert_eq!(
            (sizes.len(), sizes.iter().sum::<usize>()),
            (messages, if messages > 0 { 58_024 } else { 0 }),
            "{query}"
        );
        assert!(sizes.iter().rev().skip(1).all(|size| *size == 1_000));
    }
    let status = SensorClient::new(channel).status(StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_one_clear_sentence_and_nothing_is_bound() {
    use steno_daemon::{
        metrics::Metrics,
        serve::{Server, Tuning},
    };
    let running = start(Wanted { rpc: true, ..Wanted::default() }).await;
    let root = tempfile::tempdir().unwrap();
    let _made = CertDir::new(root.path().join("certs")).init(&["127.0.0.1"]).unwrap();
    let mut config = config(root.path());
    config.port = running.address.port();
    let (metrics, clock) = (Metrics::new(), std::sync::Arc::new(steno_core::SystemClock));
    let sensor = sensor(&config, &metrics);
    let bind = async |config: &steno_daemon::config::Config| {
        let server = Server::bind(config, sensor.view(), metrics.clone(), clock.clone(), Tuning::default()).await;
        server.err().map(|e| e.to_string())
    };
    let error = bind(&config).await.unwrap();
    let expected =
        format!("cannot listen on {}: Address already in use (os error 98); another program has it", running.address);
    assert!(error.starts_with(&expected), "{error}");
    config.port = 0;
    std::fs::remove_file(root.path().join("certs/server_key.pem")).unwrap();
    let error = bind(&config).await.unwrap();
    assert!(error.contains("certs/server_key.pem: No such file"), "{error}");
    let _took = running.stop().await;
}
