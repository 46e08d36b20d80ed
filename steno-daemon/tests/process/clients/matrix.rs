//! Certificate x protocol x method: what a certificate is good for does not depend on how its holder asks.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, RsaKeySize};
use rustls::{
    SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use steno_proto::{
    certs::{KeyKind, Wanted},
    legacy::{PcapRequest, stenographer_client::StenographerClient},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use super::*;
use crate::{
    certificates::revoking_as,
    wire::{channel, request, shake_hands},
};

/// What can be asked for, each over the protocol that it goes with.
const METHODS: [&str; 7] = [
    "GET /metrics, HTTP/1.1",
    "POST /query, HTTP/1.1",
    "POST /query, HTTP/2",
    "steno.v1.Sensor/Query",
    "steno.Stenographer/RetrievePcap",
    "health",
    "reflection",
];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A second CA that the sensor trusts, which may have others below it, and what it has signed.
pub(super) struct Chain {
    pub(super) root_pem: String,
    pub(super) list: String,
    good: Pair,
    without: Pair,
    revoked: Pair,
    revoked_between: Pair,
    ended_between: Pair,
}

impl Chain {
    pub(super) fn new() -> Self {
        let ca = |name: &str, alter: &dyn Fn(&mut CertificateParams)| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            alter(&mut params);
            (params, KeyPair::generate().unwrap())
        };
        let (params, key) = ca("a CA with others below it", &|_| {});
        let root = params.self_signed(&key).unwrap();
        let root = Issuer::from_ca_cert_der(root.der(), key).map(|signs| (root.pem(), signs)).unwrap();
        let between = |name: &str, alter: &dyn Fn(&mut CertificateParams)| {
            let (params, key) = ca(name, alter);
            let cert = params.signed_by(&key, &root.1).unwrap();
            (cert.pem(), Issuer::from_ca_cert_der(cert.der(), key).unwrap())
        };
        let below = |between: &(String, Issuer<'_, KeyPair>), name: &str, serial: u64| {
            let leaf = Pair::signed(&between.1, |p| {
                p.distinguished_name.push(DnType::CommonName, name);
                p.serial_number = Some(serial.into());
            });
            Pair { cert: leaf.cert + &between.0, ..leaf }
        };
        let good = between("between", &|_| {});
        let now = time::OffsetDateTime::now_utc();
        let ended = between("ended", &|p| p.not_after = now - time::Duration::HOUR);
        let taken_back = between("taken back", &|p| p.serial_number = Some(REVOKED.into()));
        Self {
            without: Pair::signed(&good.1, |_| {}),
            good: below(&good, "chained", 1),
            revoked: Pair::signed(&root.1, |p| p.serial_number = Some(REVOKED.into())),
            revoked_between: below(&taken_back, "test", 2),
            ended_between: below(&ended, "test", 3),
            list: revoking_as(&root.1, &[REVOKED]),
            root_pem: root.0,
        }
    }
}

/// Certificates, and by what name their holders are let in; or why not.
fn certificates(table: &Table<'_>, chain: Chain) -> Vec<(&'static str, Pair, Result<&'static str, &'static str>)> {
    let ca = &table.daemon.certs;
    let signs = issuer(&ca.ca_cert(), &ca.ca_key());
    let with_key = |key: KeyPair| Pair::signed_with(&signs, key, |_| {});
    let named = |name: &'static str| Pair::signed(&signs, |p| p.distinguished_name.push(DnType::CommonName, name));
    let wanted = Wanted {
        key: KeyKind::Ed25519,
        names: ["DNS:a.example", "IP:192.0.2.7", "URI:spiffe://x/y"].map(|name| name.parse().unwrap()).to_vec(),
        unit: Some("soc".to_owned()),
        ..Wanted::default()
    };
    let of_dir = |dir: CertDir| Pair::read(&dir.client_cert(), &dir.client_key());
    let (hour, now) = (time::Duration::HOUR, time::OffsetDateTime::now_utc());
    let ended = "its certificate has expired";
    let revoked = "its certificate was revoked";
    let unknown = "its certificate is signed by another CA";
    let mut all = vec![
        ("ECDSA on P-256, of `steno keys client`", of_dir(ca.issue_client("bob").unwrap()), Ok("bob")),
        (
            "Ed25519 with alternative names and a unit, of `steno keys client`",
            of_dir(ca.issue_client_as("carol@b.example", &wanted).unwrap()),
            Ok("carol@b.example"),
        ),
        ("ECDSA on P-384", with_key(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()), Ok("test")),
        (
            "RSA of 2048 bits",
            with_key(KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()),
            Ok("test"),
        ),
        ("no alternative name", Pair::signed(&signs, |_| {}), Ok("test")),
        ("a name with quotes, lines, and what steers a terminal", named(ODD), Ok(ODD_SHOWN)),
        ("no name at all", Pair::signed(&signs, |p| p.distinguished_name = rcgen::DistinguishedName::new()), Ok("")),
        ("signed by a CA below the other trusted one", chain.good, Ok("chained")),
        ("the same, without that CA's certificate", chain.without, Err(unknown)),
        ("signed by a CA below, which was revoked", chain.revoked_between, Err(revoked)),
        ("signed by a CA below, which has expired", chain.ended_between, Err(ended)),
        ("on the list of the other trusted CA", chain.revoked, Err(revoked)),
        ("on the revocation list", Pair::signed(&signs, |p| p.serial_number = Some(REVOKED.into())), Err(revoked)),
        ("expired", Pair::signed(&signs, |p| p.not_after = now - hour), Err(ended)),
        ("not valid yet", Pair::signed(&signs, |p| p.not_before = now + hour), Err("its certificate is not valid yet")),
        ("signed by itself", Pair::self_signed(), Err(unknown)),
        (
            "the sensor's own",
            Pair::read(&ca.server_cert(), &ca.server_key()),
            Err("its certificate is not one for clients"),
        ),
        (
            "the CA's own",
            Pair::read(&ca.ca_cert(), &ca.ca_key()),
            Err("its certificate will not do: CaUsedAsEndEntity"),
        ),
    ];
    if let Some(pair) = of_version_1(ca) {
        all.push(("RSA, X.509 version 1, as 1.0.1 makes them", pair, Ok("127.0.0.1_client")));
    }
    all
}

/// Each certificate in each version of TLS, for each method.
pub(super) async fn certificates_protocols_and_methods(table: &mut Table<'_>, chain: Chain) {
    let mut cells = 0;
    for (state, pair, expected) in certificates(table, chain) {
        let client = pair.client(&table.daemon.certs);
        let mut refusals = BTreeMap::new();
        for version in VERSIONS {
            for method in METHODS {
                let config = in_version(version, &client, &table.daemon.certs);
                let seen = within(method, ask(table.daemon.address, config, method)).await;
                let at = format!("{state}, {:?}, {method}", version.version);
                match (&expected, seen) {
                    (Ok(_), Ok(())) => {}
                    (Err(_), Err(why)) => *refusals.entry(why).or_insert(0) += 1,
                    (_, seen) => panic!("{at}: {seen:?}"),
                }
                cells += 1;
            }
        }
        let state = format!("{state}: {} methods in TLS 1.2 and 1.3", METHODS.len());
        match expected {
            Ok(name) => table.accepted(&state, client, name).await,
            Err(reason) => {
                // At least one for each, for a client of gRPC may call twice. All were told of, or counted, meanwhile.
                let before = table.refused;
                table.refused = sum(&table.daemon.metrics().await, REFUSED);
                assert!(table.refused >= before + (METHODS.len() * VERSIONS.len()) as f64, "{state}: {before}");
                // The log takes so many lines in a second, and leaves the others out.
                tokio::time::sleep(Duration::from_millis(1_100)).await;
                table.tls(&state, client, reason).await;
                assert!(refusals.values().sum::<i32>() >= 14, "{state}: {refusals:?}");
            }
        }
    }
    println!("{cells} cells of certificate x protocol x method");
    assert!(cells >= 18 * 14, "{cells}");
}

/// A name that a careless log would be led astray by.
const ODD: &str = "Zo\u{eb} \"x\"\nWARN {}%s \u{1b}[31m";
/// The same as subjects are shown (RFC 4514).
const ODD_SHOWN: &str = "Zo\u{eb} \\\"x\\\"\\0AWARN {}%s \\1B[31m";

fn in_version(version: &'static SupportedProtocolVersion, client: &ClientConfig, ca: &CertDir) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(client.crypto_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots(ca))
        .with_client_cert_resolver(Arc::clone(&client.client_auth_cert_resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Asks; or why there is no answer.
async fn ask(address: SocketAddr, client: ClientConfig, method: &str) -> Result<(), String> {
    let post = b"POST /query HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntcp";
    match method {
        "GET /metrics, HTTP/1.1" => {
            http1(address, client, b"GET /metrics HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n").await
        }
        "POST /query, HTTP/1.1" => http1(address, client, post).await,
        "POST /query, HTTP/2" => http2(address, client).await,
        _ => {
            let channel = channel(address, client).await.map_err(|e| e.to_string())?;
            let done = match method {
                "steno.v1.Sensor/Query" => {
                    let mut stream = SensorClient::new(channel).query(request("tcp")).await.map_err(text)?.into_inner();
                    stream.message().await.map(|message| message.is_some())
                }
                "steno.Stenographer/RetrievePcap" => {
                    let request = PcapRequest { query: "tcp".to_owned(), ..PcapRequest::default() };
                    let answer = StenographerClient::new(channel).retrieve_pcap(request).await;
                    // Nothing is stored, and nothing comes of it.
                    answer.map_err(text)?.into_inner().message().await.map(|message| message.is_none())
                }
                "health" => HealthClient::new(channel)
                    .check(HealthCheckRequest::default())
                    .await
                    .map(|answer| answer.get_ref().status > 0),
                _ => {
                    let asked = MessageRequest::ListServices(String::new());
                    let asked = ServerReflectionRequest { message_request: Some(asked), ..Default::default() };
                    let answer =
                        ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::once(asked)).await;
                    answer.map_err(text)?.into_inner().message().await.map(|message| message.is_some())
                }
            };
            done.map_err(text).and_then(|is_there| if is_there { Ok(()) } else { Err("another answer".to_owned()) })
        }
    }
}

fn text(status: tonic::Status) -> String {
    format!("{:?}", status.code())
}

async fn http1(address: SocketAddr, mut client: ClientConfig, request: &[u8]) -> Result<(), String> {
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let asked = async {
        let mut stream = shake_hands(TcpStream::connect(address).await?, client).await?;
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        let _end = stream.read_to_end(&mut answer).await;
        Ok::<_, io::Error>(answer)
    };
    let answer = asked.await.map_err(|e| e.kind().to_string())?;
    match answer.as_slice() {
        [] => Err("nothing".to_owned()),
        answer if answer.starts_with(b"HTTP/1.1 200 OK\r\n") => Ok(()),
        answer => panic!("{}", String::from_utf8_lossy(answer)),
    }
}

async fn http2(address: SocketAddr, client: ClientConfig) -> Result<(), String> {
    let tcp = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let stream = shake_hands(tcp, client).await.map_err(|e| e.kind().to_string())?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let running = tokio::spawn(connection);
    let body = axum::body::Body::from(Bytes::from_static(b"tcp"));
    let request = http::Request::post(format!("https://{address}/query")).body(body).unwrap();
    let answer = sender.send_request(request).await.map_err(|_| "no answer".to_owned());
    running.abort();
    let status = answer?.status();
    assert_eq!(status, 200);
    Ok(())
}
