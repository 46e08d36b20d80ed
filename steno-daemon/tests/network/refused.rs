//! Clients that are not let in: what each gets, and what the log says of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::{ClientConfig, sign::SingleCertAndKey};
use steno_daemon::serve::Tuning;
use steno_proto::certs::{CertDir, client_tls};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::{Caller, Running, Table, Wanted, client_dir, connect, get_metrics, log, signed, start, within};

/// What a client of TLS sees: in TLS 1.3 its part of the handshake is over before the server has looked at its certificate.
async fn tls(address: SocketAddr, mut client: ClientConfig) -> (Caller, Result<String, String>) {
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let (tcp, caller) = log().call(address).await;
    let name = rustls_pki_types::ServerName::IpAddress(address.ip().into());
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await;
    let seen = match stream {
        Ok(mut stream) => get_metrics(&mut stream).await.map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    (caller, seen)
}

/// What one sees who sends `bytes` and waits.
async fn raw(address: SocketAddr, bytes: &[u8]) -> (Caller, Vec<u8>) {
    let (mut tcp, caller) = log().call(address).await;
    tcp.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    let _end = within("the end of the connection", tcp.read_to_end(&mut answer)).await;
    (caller, answer)
}

/// A ClientHello that offers nothing above TLS 1.1 (RFC 4346, section 7.4.1.2).
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session; TLS_RSA_WITH_AES_128_CBC_SHA and TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA; no compression.
    hello.extend([0, 0, 4, 0x00, 0x2f, 0xc0, 0x13, 1, 0]);
    let len = u8::try_from(hello.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, len + 4, 1, 0, 0, len];
    record.extend(hello);
    record
}

struct Clients<'a> {
    running: &'a Running,
}

impl Clients<'_> {
    fn of(&self, name: &str, pair: (String, String)) -> ClientConfig {
        let dir = client_dir(self.running.root.path(), &self.running.certs, name, pair);
        client_tls(&dir).unwrap().config
    }

    fn signed(&self, name: &str, alter: impl FnOnce(&mut CertificateParams)) -> ClientConfig {
        self.of(name, signed(&self.running.certs, alter))
    }

    fn other_ca(&self, name: &str) -> CertDir {
        let dir = CertDir::new(self.running.root.path().join(name));
        let _made = dir.init(&["127.0.0.1"]).unwrap();
        dir
    }

    /// By name of the state: a client, and the reason that the log is to give.
    fn all(&self) -> Vec<(&'static str, ClientConfig, &'static str)> {
        let certs = &self.running.certs;
        let hour = time::Duration::HOUR;
        let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
        let mut none = client_tls(certs).unwrap().config;
        none.client_auth_cert_resolver = rustls::client::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
            .client_auth_cert_resolver;
        let other = self.other_ca("other");
        let of_other = (read(other.client_cert()), read(other.client_key()));
        let self_signed = {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "client");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let servers = (read(certs.server_cert()), read(certs.server_key()));
        let distrusting = {
            let dir = client_dir(self.running.root.path(), &other, "distrusting", signed(certs, |_| {}));
            client_tls(&dir).unwrap().config
        };
        vec![
            ("no certificate", none, "it showed no certificate"),
            ("other CA", self.of("of-other", of_other), "its certificate is signed by another CA"),
            (
                "expired",
                self.signed("expired", |p| p.not_after = OffsetDateTime::now_utc() - hour),
                "its certificate has expired",
            ),
            (
                "not yet valid",
                self.signed("early", |p| p.not_before = OffsetDateTime::now_utc() + hour),
                "its certificate is not valid yet",
            ),
            ("the server's certificate", self.of("server", servers), "its certificate is not one for clients"),
            (
                "a certificate for servers",
                self.signed("a-server", |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                "its certificate is not one for clients",
            ),
            ("self-signed", self.of("self-signed", self_signed), "its certificate is signed by another CA"),
            ("revoked", self.signed("revoked", |p| p.serial_number = Some(7.into())), "its certificate was revoked"),
            ("another's key", self.with_another_s_key(), "its certificate or its key is forged"),
            ("distrusting", distrusting, "it does not trust the sensor's certificate"),
        ]
    }

    /// It shows a certificate that was stolen without its key.
    fn with_another_s_key(&self) -> ClientConfig {
        let mut client = self.running.client();
        let stolen = self.signed("stolen", |_| {});
        let [own, stolen] = [&client, &stolen].map(|c| c.client_auth_cert_resolver.resolve(&[], &[]).unwrap());
        let lying = rustls::sign::CertifiedKey::new(stolen.cert.clone(), Arc::clone(&own.key));
        client.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(lying));
        client
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_client_and_its_outcome() {
    let tuning = Tuning { handshake_within: Duration::from_secs(2), ..Tuning::default() };
    let running = start(Wanted { tuning, crl: true, ..Wanted::default() }).await;
    let (address, clients, mut outcomes) = (running.address, Clients { running: &running }, Table::new());
    let mut expected = Table::new();
    for (state, client, reason) in clients.all() {
        let (caller, seen) = tls(address, client).await;
        assert!(seen.is_err(), "{state}: {seen:?}");
        let _new = outcomes.insert(state, log().refusal(&caller).await);
        let _new = expected.insert(state, reason.to_owned());
    }
    let tls_1_1 = hello_of_tls_1_1();
    let cases: [(&'static str, &[u8], &str); 5] = [
        ("TLS 1.1", &tls_1_1, "it speaks no TLS that is spoken here"),
        ("plain text", b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n", "what it sent is not TLS"),
        ("HTTP/2 in plain text", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "what it sent is not TLS"),
        ("garbage", &[0xa5; 2_000], "what it sent is not TLS"),
        ("silence", &[], "no handshake within 2 s"),
    ];
    for (state, bytes, reason) in cases {
        let (caller, answer) = raw(address, bytes).await;
        assert!(answer.is_empty() || answer[0] == 21, "{state}: an alert or nothing, but {answer:?}");
        let said = log().refusal(&caller).await;
        let _new = outcomes.insert(state, said.split(": ").next().unwrap().to_owned());
        let _new = expected.insert(state, reason.to_owned());
    }
    // It hangs up in the middle of its hello.
    let (mut tcp, caller) = log().call(address).await;
    tcp.write_all(&tls_1_1[..20]).await.unwrap();
    drop(tcp);
    let _new = outcomes.insert("hung up", log().refusal(&caller).await);
    let _new = expected.insert("hung up", "it hung up during the handshake".to_owned());

    assert_eq!(outcomes, expected);
    assert!(outcomes.len() >= 12);
    assert_eq!(running.metric("steno_connections_refused_total"), outcomes.len() as f64, "each is counted");
    // Whoever it was, the next good one is welcome.
    let (_, seen) = tls(address, running.client()).await;
    assert_eq!(seen.as_deref(), Ok("HTTP/1.1 200 OK"));
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_taken_out_takes_its_clients_with_it() {
    let running = start(Wanted::default()).await;
    let old = running.client();
    assert!(tls(running.address, old.clone()).await.1.is_ok());
    // Another CA in its place, and a certificate of the server from it.
    for file in ["ca_cert", "ca_key", "server_cert", "server_key", "client_cert", "client_key"] {
        std::fs::rename(
            running.certs.path().join(format!("{file}.pem")),
            running.root.path().join(format!("old-{file}.pem")),
        )
        .unwrap();
    }
    // Half of it is not taken over, and what was goes on.
    assert!(running.certificates.reload().is_err());
    assert!(tls(running.address, old.clone()).await.1.is_ok());

    let _made = running.certs.init(&["127.0.0.1"]).unwrap();
    running.certificates.reload().unwrap();
    let trusts_both = {
        let dir = CertDir::new(running.root.path().join("both"));
        std::fs::create_dir(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(running.root.path().join(name)).unwrap();
        let now = std::fs::read_to_string(running.certs.ca_cert()).unwrap();
        std::fs::write(dir.ca_cert(), read("old-ca_cert.pem") + &now).unwrap();
        std::fs::write(dir.client_cert(), read("old-client_cert.pem")).unwrap();
        std::fs::write(dir.client_key(), read("old-client_key.pem")).unwrap();
        client_tls(&dir).unwrap().config
    };
    let (caller, seen) = tls(running.address, trusts_both).await;
    assert!(seen.is_err());
    assert_eq!(log().refusal(&caller).await, "its certificate is signed by another CA");
    assert!(tls(running.address, running.client()).await.1.is_ok());
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_do_not_take_the_room_of_others() {
    let tuning = Tuning { most_handshakes: 3, most_connections: 2, ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    // They are taken up side by side, so that one of them may have been the fourth.
    let (caller, seen) = within("a refusal", async {
        loop {
            let (caller, seen) = tls(running.address, running.client()).await;
            if seen.is_err() {
                return (caller, seen);
            }
            silent.push(TcpStream::connect(running.address).await.unwrap());
        }
    })
    .await;
    assert!(seen.is_err());
    assert_eq!(log().refusal(&caller).await, "too many handshakes at once");
    drop(silent);
    let held = within("room for two", async {
        let mut held = Vec::new();
        while held.len() < 2 {
            match connect(running.address, running.client()).await {
                Ok(stream) => held.push(stream),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        held
    })
    .await;
    let (caller, seen) = tls(running.address, running.client()).await;
    assert!(seen.is_err());
    assert_eq!(log().refusal(&caller).await, "too many connections at once");
    assert_eq!(running.metric("steno_connections_active"), 2.0);
    drop(held);
    let _took = running.stop().await;
}
