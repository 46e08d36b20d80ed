//! The states of a client, and what becomes of each. Each one that is refused is refused in the handshake, with a line in the
//! log that says why and who; and after each of them a new client is served, and one that is connected still is.
//!
//! The test prints the table:
//! `cargo test -p steno-daemon --test process the_states_of_a_client -- --nocapture`.

mod matrix;

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustix::process::Signal;
use rustls::{
    ClientConfig,
    client::{ResolvesClientCert, Resumption},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde_json::json;
use steno_proto::{
    certs::{CertDir, client_tls},
    v1::{StatusRequest, sensor_client::SensorClient},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Channel;

use super::{
    certificates::{Pair, issuer, issuer_with, of_version_1, revoking},
    daemon::{Daemon, Plan},
    wire::{get_metrics, sum, within},
};

const REFUSED: &str = "steno_connections_refused_total";
/// The daemon's patience with a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who was refused so far, and those who bear witness that the daemon serves.
struct Table<'a> {
    daemon: &'a Daemon,
    /// Connected since before the first one.
    guest: SensorClient<Channel>,
    refused: f64,
    rows: Vec<[String; 3]>,
}

/// A call of the daemon: from where, and where the log ended before it.
struct Call {
    from: SocketAddr,
    since: usize,
}

impl Table<'_> {
    async fn call(&self) -> (TcpStream, Call) {
        let since = self.daemon.log().len();
        let tcp = TcpStream::connect(self.daemon.address).await.unwrap();
        let from = tcp.local_addr().unwrap();
        (tcp, Call { from, since })
    }

    /// What is logged of `call` after `mark` in a line that names its address, once it is there.
    async fn said(&self, call: &Call, mark: &str) -> String {
        let from = format!(" {}", call.from);
        let look = async {
            loop {
                let log = self.daemon.log();
                let mut lines = log[call.since..].lines().filter(|line| line.contains(&from));
                if let Some((_, rest)) = lines.find_map(|line| line.split_once(mark)) {
                    return rest.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(&format!("{mark:?} in the log"), look).await
    }

    /// `call` was refused for `reason`: that is in the log, with the peer, and counted; and others are served.
    async fn refused(&mut self, state: &str, call: &Call, saw: String, reason: &str) {
        let said = self.said(call, &format!("WARN steno_daemon::serve::refusal: refused {}: ", call.from)).await;
        assert_eq!(said, format!("{reason} peer={}", call.from), "{state}");
        self.refused += 1.0;
        let metrics = self.daemon.metrics().await;
        assert_eq!(sum(&metrics, REFUSED), self.refused, "{state}");
        let status = within("the status", self.guest.status(StatusRequest {})).await;
        assert!(status.is_ok(), "{state}: {status:?}");
        self.rows.push([state.to_owned(), format!("refused: {reason}"), saw]);
    }

    /// A client of TLS that is refused. In TLS 1.3 its own part of the handshake is over by the time that the daemon has
    /// looked at its certificate; it learns of it with the first bytes that it reads.
    async fn tls(&mut self, state: &str, client: ClientConfig, reason: &str) {
        let (tcp, call) = self.call().await;
        let saw = match get_metrics(tcp, client).await {
            Ok(answer) => panic!("{state}: {answer}"),
            Err(e) => e.to_string(),
        };
        self.refused(state, &call, saw, reason).await;
    }

    /// Bytes that are refused: nothing comes back but an alert.
    async fn bytes(&mut self, state: &str, bytes: &[u8], reason: &str) {
        let (mut tcp, call) = self.call().await;
        tcp.write_all(bytes).await.unwrap();
        let answer = rest(&mut tcp).await;
        self.refused(state, &call, alert(state, &answer), reason).await;
    }

    /// A client that is let in, by the name of its certificate, or by its fingerprint where it has none.
    async fn accepted(&mut self, state: &str, client: ClientConfig, name: &str) {
        let (tcp, call) = self.call().await;
        let answer = get_metrics(tcp, client).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{state}: {answer}");
        let said = self.said(&call, "DEBUG steno_daemon::serve::connection: ").await;
        let shown = if name.is_empty() { "SHA256=".to_owned() } else { format!("CN={name}") };
        let is_of = said.starts_with(&shown) && said.ends_with(&format!(" at {} is connected", call.from));
        assert!(is_of, "{state}: {said}");
        assert_eq!(sum(&answer, REFUSED), self.refused, "{state}");
        self.rows.push([state.to_owned(), format!("accepted as {name:?}"), "200 OK".to_owned()]);
    }

    fn print(&self) {
        println!("| client | outcome, as logged | what it sees |\n|---|---|---|");
        for [state, outcome, saw] in &self.rows {
            println!("| {state} | {outcome} | {saw} |");
        }
    }
}

/// What comes until the connection ends; a reset is as good an end as any.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _end = within("the end of the connection", tcp.read_to_end(&mut answer)).await;
    answer
}

/// The answer to bytes that are no handshake, in words: nothing, or one record of type alert (RFC 8446, section 6).
fn alert(state: &str, answer: &[u8]) -> String {
    match answer {
        [] => "the connection is closed".to_owned(),
        [21, 3, _, 0, 2, 2, alert] => format!("fatal alert {alert}"),
        _ => panic!("{state}: neither an alert nor nothing, but {answer:?}"),
    }
}

/// A ClientHello (RFC 5246, section 7.4.1.2) of `version` with `suites`, and with the extensions that a server with an ECDSA
/// certificate wants.
fn hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    body.extend(suites.iter().flat_map(|suite| suite.to_be_bytes()));
    body.extend([1, 0]);
    // Groups x25519 and secp256r1; points uncompressed; signatures of ECDSA and RSA with SHA-256; extended master secret.
    let extensions = [
        &[0, 10, 0, 6, 0, 4, 0, 0x1d, 0, 0x17][..],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1],
        &[0, 23, 0, 0],
    ]
    .concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let len = u16::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1];
    record.extend((len + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(len.to_be_bytes());
    record.extend(body);
    record
}

/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, which TLS 1.2 has, and TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA of older versions.
const SUITES: [u16; 2] = [0xc02b, 0xc009];

/// Shows nothing.
#[derive(Debug)]
struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Those who show no certificate, or one that will not do.
async fn with_wrong_certificates(table: &mut Table<'_>) {
    let ca = &table.daemon.certs;
    let signs = issuer(&ca.ca_cert(), &ca.ca_key());
    let other = CertDir::new(table.daemon.path("other"));
    let _made = other.init(&["127.0.0.1"]).unwrap();
    let own = Pair::read(&ca.client_cert(), &ca.client_key());
    let (hour, now) = (time::Duration::HOUR, time::OffsetDateTime::now_utc());
    let by_another = "its certificate is signed by another CA";
    let not_for_clients = "its certificate is not one for clients";
    let forged = "its certificate or its key is forged";

    let mut nothing = table.daemon.client();
    nothing.client_auth_cert_resolver = Arc::new(Nothing);
    table.tls("no certificate", nothing, "it showed no certificate").await;
    let pair = Pair::read(&other.client_cert(), &other.client_key());
    table.tls("a certificate of another CA", pair.client(ca), by_another).await;
    let pair = Pair::self_signed();
    table.tls("a certificate that it signed itself", pair.client(ca), by_another).await;
    let pair = Pair::signed(&issuer_with(&ca.ca_cert(), KeyPair::generate().unwrap()), |_| {});
    table.tls("a certificate signed in the CA's name with another key", pair.client(ca), forged).await;
    let leaf = Pair::signed(&issuer(&ca.client_cert(), &ca.client_key()), |_| {});
    let pair = Pair { cert: leaf.cert + &own.cert, ..leaf };
    let no_ca = "its certificate will not do: EndEntityUsedAsCa";
    table.tls("a certificate signed by another client", pair.client(ca), no_ca).await;
    let pair = Pair::read(&ca.ca_cert(), &ca.ca_key());
    let is_ca = "its certificate will not do: CaUsedAsEndEntity";
    table.tls("the CA's own certificate", pair.client(ca), is_ca).await;
    let pair = Pair::signed(&signs, |p| p.not_after = now - hour);
    table.tls("an expired certificate", pair.client(ca), "its certificate has expired").await;
    let pair = Pair::signed(&signs, |p| p.not_before = now + hour);
    table.tls("a certificate that is not valid yet", pair.client(ca), "its certificate is not valid yet").await;
    let pair = Pair::read(&ca.server_cert(), &ca.server_key());
    table.tls("the sensor's own certificate", pair.client(ca), not_for_clients).await;
    let pair = Pair::signed(&signs, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    table.tls("another certificate for servers", pair.client(ca), not_for_clients).await;
    let pair = Pair::signed(&signs, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]);
    table.tls("a certificate for anything", pair.client(ca), not_for_clients).await;
    let pair = Pair::signed(&signs, |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]);
    table.tls("a certificate for programs", pair.client(ca), not_for_clients).await;
    let pair = Pair::signed(&signs, |p| p.serial_number = Some(REVOKED.into()));
    table.tls("a certificate on the revocation list", pair.client(ca), "its certificate was revoked").await;

    // Stolen without its key.
    let stolen = Pair::signed(&signs, |_| {}).client(ca);
    let mut lying = table.daemon.client();
    let [own, stolen] = [&lying, &stolen].map(|c| c.client_auth_cert_resolver.resolve(&[], &[]).unwrap());
    let pair = CertifiedKey::new(stolen.cert.clone(), Arc::clone(&own.key));
    lying.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair));
    table.tls("a good certificate without its key", lying, forged).await;

    let pair = Pair::signed(&signs, |_| {});
    let distrusts = "it does not trust the sensor's certificate";
    table.tls("a good certificate, but it trusts another CA only", pair.client(&other), distrusts).await;
}

/// Those who do not speak what is spoken here.
async fn with_other_languages(table: &mut Table<'_>) {
    let no_tls = "what it sent is not TLS";
    let too_old = "it speaks no TLS that is spoken here: Tls12NotOffered";
    for (name, minor) in [("SSL 3.0", 0), ("TLS 1.0", 1), ("TLS 1.1", 2)] {
        table.bytes(&format!("a hello of {name}"), &hello([3, minor], &SUITES), too_old).await;
    }
    let no_suite = "it speaks no TLS that is spoken here: NoCipherSuitesInCommon";
    table.bytes("a hello of TLS 1.2 with suites of TLS 1.1 only", &hello([3, 3], &SUITES[1..]), no_suite).await;
    let mut unknown = table.daemon.client();
    unknown.alpn_protocols = vec![b"spdy/3.1".to_vec()];
    table.tls("a good certificate for another protocol (ALPN)", unknown, "it speaks neither HTTP/2 nor HTTP/1.1").await;
    table.bytes("HTTP/1.1 in plain text", b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n", no_tls).await;
    table.bytes("HTTP/2 in plain text", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", no_tls).await;
    table.bytes("noise", &[0xa5; 2_000], no_tls).await;
    let too_long = "what it sent does not hold as TLS: MessageTooLarge";
    table.bytes("a record of 64 KiB", &[[22, 3, 1, 0xff, 0xff].as_slice(), &[1; 65_535]].concat(), too_long).await;
}

/// Those who stop in the middle of the handshake. The hello that is cut here is a good one: with it, and but for its version
/// no other than the ones above, the handshake goes on.
async fn cut_short(table: &mut Table<'_>) {
    let hung_up = "it hung up during the handshake";
    let good = hello([3, 3], &SUITES);
    for (state, bytes) in [("hangs up at once", 0), ("hangs up in its hello", good.len() / 2)] {
        let (mut tcp, call) = table.call().await;
        tcp.write_all(&good[..bytes]).await.unwrap();
        drop(tcp);
        table.refused(state, &call, "-".to_owned(), hung_up).await;
    }
    let (mut tcp, call) = table.call().await;
    tcp.write_all(&good).await.unwrap();
    let mut record = [0; 6];
    let _bytes = within("an answer", tcp.read_exact(&mut record)).await.unwrap();
    assert_eq!((record[0], record[5]), (22, 2), "a ServerHello of TLS 1.2: {record:?}");
    tcp.shutdown().await.unwrap();
    let _rest = rest(&mut tcp).await;
    table.refused("hangs up when it has the sensor's certificate", &call, "the certificate".to_owned(), hung_up).await;

    // Neither silence nor a byte now and then holds a place for longer than a handshake may take.
    let (mut silent, of_silent) = table.call().await;
    let (mut slow, of_slow) = table.call().await;
    let began = std::time::Instant::now();
    let dribble = async {
        for byte in &good {
            if slow.write_all(&[*byte]).await.is_err() || began.elapsed() > 2 * HANDSHAKE {
                break;
            }
            let mut nothing = [0];
            match tokio::time::timeout(Duration::from_millis(500), slow.read(&mut nothing)).await {
                Err(_) => {}
                Ok(_) => break,
            }
        }
        began.elapsed()
    };
    let (silence, took) = tokio::join!(rest(&mut silent), dribble);
    assert!(silence.is_empty(), "{silence:?}");
    assert!(took >= HANDSHAKE - Duration::from_secs(1) && took < 2 * HANDSHAKE, "{took:?}");
    table.refused += 1.0;
    let too_slow = format!("no handshake within {} s", HANDSHAKE.as_secs());
    table.refused("says nothing", &of_silent, "the connection is closed".to_owned(), &too_slow).await;
    table.refused -= 1.0;
    table.refused("sends a byte each half second", &of_slow, "the connection is closed".to_owned(), &too_slow).await;
}

/// Those who are let in.
async fn welcome(table: &mut Table<'_>) {
    let ca = &table.daemon.certs;
    table.accepted("a certificate of this CA, TLS 1.3", table.daemon.client(), "client").await;
    let signs = issuer(&ca.ca_cert(), &ca.ca_key());
    let pair = Pair::signed(&signs, |_| {});
    let mut old = pair.client(ca);
    old = ClientConfig::builder_with_provider(Arc::clone(old.crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots(ca))
        .with_client_cert_resolver(old.client_auth_cert_resolver);
    table.accepted("the same, TLS 1.2, no ALPN", old, "test").await;
    let alice = client_tls(&ca.issue_client("alice").unwrap()).unwrap().config;
    table.accepted("a certificate of `steno keys client alice`", alice, "alice").await;
    let pair = Pair::signed(&signs, |p| p.extended_key_usages.clear());
    table.accepted("a certificate that does not say what it is for", pair.client(ca), "test").await;
    if let Some(pair) = of_version_1(ca) {
        table.accepted("RSA, X.509 version 1, as 1.0.1 makes them", pair.client(ca), "127.0.0.1_client").await;
    }
}

fn roots(ca: &CertDir) -> rustls::RootCertStore {
    use rustls_pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls_pki_types::CertificateDer::from_pem_file(ca.ca_cert()).unwrap()).unwrap();
    roots
}

/// Those who were let in until what the daemon trusts was changed, and SIGHUP said so.
async fn no_longer_welcome(table: &mut Table<'_>) {
    let ca = &table.daemon.certs;
    let signs = issuer(&ca.ca_cert(), &ca.ca_key());
    let mut returning = Pair::signed(&signs, |p| p.serial_number = Some(REVOKED_LATER.into())).client(ca);
    returning.resumption = Resumption::in_memory_sessions(8);
    let name = "a certificate that is revoked later";
    table.accepted(name, returning.clone(), "test").await;
    // It has kept what the daemon gave it to take its session up again with, if anything, and would show no certificate then.
    fs::write(table.daemon.path("crl.pem"), revoking(ca, &[REVOKED, REVOKED_LATER])).unwrap();
    reload(table.daemon, 1);
    table.tls("the same, after SIGHUP", returning, "its certificate was revoked").await;

    // Another CA in the place of the old one. Its clients still trust the sensor; it does not trust them.
    let old = Pair::read(&ca.client_cert(), &ca.client_key());
    let old_ca = fs::read_to_string(ca.ca_cert()).unwrap();
    for file in [ca.ca_cert(), ca.ca_key(), ca.server_cert(), ca.server_key(), ca.client_cert(), ca.client_key()] {
        fs::remove_file(file).unwrap();
    }
    let _made = ca.init(&["127.0.0.1"]).unwrap();
    fs::write(table.daemon.path("crl.pem"), revoking(ca, &[])).unwrap();
    reload(table.daemon, 2);
    // The guest has a certificate of the old one, and may ask for nothing more.
    table.guest = table.daemon.sensor().await;
    let both = CertDir::new(table.daemon.path("both"));
    fs::create_dir(both.path()).unwrap();
    fs::write(both.ca_cert(), old_ca + &fs::read_to_string(ca.ca_cert()).unwrap()).unwrap();
    let by_another = "its certificate is signed by another CA";
    table.tls("a certificate of the CA that was taken out, after SIGHUP", old.client(&both), by_another).await;
    table.accepted("a certificate of the CA that took its place", table.daemon.client(), "client").await;
}

fn reload(daemon: &Daemon, times: usize) {
    daemon.signal(Signal::HUP);
    daemon.until("certificates are read again", || daemon.log().matches("certificates read again").count() >= times);
}

/// Serial numbers.
const REVOKED: u64 = 7;
const REVOKED_LATER: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_client() {
    let mut plan = Plan::new();
    let (crl, chain, certs) = (plan.path("crl.pem"), matrix::Chain::new(), CertDir::new(plan.path("certs")));
    fs::write(&crl, revoking(&certs, &[REVOKED]) + &chain.list).unwrap();
    let trusted = fs::read_to_string(certs.ca_cert()).unwrap() + &chain.root_pem;
    fs::write(certs.ca_cert(), trusted).unwrap();
    plan.config["Crl"] = json!(crl);
    let daemon = plan.start();
    let guest = daemon.sensor().await;
    let mut table = Table { daemon: &daemon, guest, refused: 0.0, rows: Vec::new() };
    with_wrong_certificates(&mut table).await;
    with_other_languages(&mut table).await;
    cut_short(&mut table).await;
    welcome(&mut table).await;
    matrix::certificates_protocols_and_methods(&mut table, chain).await;
    no_longer_welcome(&mut table).await;
    table.print();
    assert!(table.rows.len() >= 55 && table.refused >= 25.0, "{} {}", table.rows.len(), table.refused);
}
