//! Clients that are let in, by whatever they speak.

use std::sync::Arc;

use rustls::ClientConfig;
use steno_proto::v1::{StatusRequest, sensor_client::SensorClient};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::support::{Running, Wanted, channel, connect, get_metrics, start, within};

fn of_version(running: &Running, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let client = running.client();
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(running.certs.ca_cert()).unwrap()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(client.client_auth_cert_resolver)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_and_2_over_tls_1_2_and_1_3_with_and_without_alpn() {
    let running = start(Wanted::default()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for protocols in [vec![b"http/1.1".to_vec()], Vec::new()] {
            let mut client = of_version(&running, version);
            client.alpn_protocols.clone_from(&protocols);
            let mut stream = connect(running.address, client).await.unwrap();
            let line = get_metrics(&mut stream).await.unwrap();
            assert_eq!(line, "HTTP/1.1 200 OK", "{version:?} {protocols:?}");
        }
        for protocols in [vec![b"h2".to_vec()], Vec::new()] {
            let mut client = of_version(&running, version);
            client.alpn_protocols.clone_from(&protocols);
            let mut sensor = SensorClient::new(channel(running.address, client).await.unwrap());
            let status = within("the status", sensor.status(StatusRequest {})).await.unwrap().into_inner();
            assert_eq!(status.version, env!("CARGO_PKG_VERSION"), "{version:?} {protocols:?}");
        }
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_when_the_certificates_end() {
    let running = start(Wanted::default()).await;
    let mut sensor = SensorClient::new(running.channel().await);
    let status = within("the status", sensor.status(StatusRequest {})).await.unwrap().into_inner();
    let leaf = steno_proto::certs::Leaf::read(&running.certs.server_cert()).unwrap();
    let until_ns = u64::try_from(leaf.not_after_secs()).unwrap() * 1_000_000_000;
    assert_eq!(status.certificate_until_ns, until_ns);
    assert!(status.ca_until_ns > until_ns);
    assert_eq!(status.threads[0].packets_directory, running.root.path().join("PKT0").display().to_string());
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_capture_from_queries() {
    let running = start(Wanted::default()).await;
    let health = HealthClient::new(running.channel().await);
    let of = |service: &str| {
        let (mut health, service) = (health.clone(), service.to_owned());
        async move {
            let asked = health.check(HealthCheckRequest { service });
            within("the health", asked).await.map(|answer| answer.into_inner().status())
        }
    };
    for service in ["", "steno.v1.Sensor", "steno.Stenographer"] {
        assert_eq!(of(service).await.unwrap(), ServingStatus::Serving, "{service:?}");
    }
    assert_eq!(of("capture").await.unwrap(), ServingStatus::NotServing);
    running.health.set_capturing(true).await;
    assert_eq!(of("capture").await.unwrap(), ServingStatus::Serving);
    running.health.set_capturing(false).await;
    assert_eq!(of("capture").await.unwrap(), ServingStatus::NotServing);
    assert_eq!(of("nothing").await.unwrap_err().code(), tonic::Code::NotFound);
    let _took = running.stop().await;
}
