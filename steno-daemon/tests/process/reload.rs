//! Certificates, keys and revocation lists that change while the daemon runs and answers: nobody has to tell it, and nobody
//! loses an answer but those whose certificates do not hold any more.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use serde_json::json;
use steno_core::pcap::Format;
use steno_proto::{
    certs::{CertDir, client_tls},
    v1::{QueryResponse, sensor_client::SensorClient},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Streaming;

use super::{
    certificates::{Pair, issuer, revoking_until},
    daemon::{Daemon, Plan},
    store,
    wire::{Taken, channel, get_metrics, request, shake_hands, sum, within},
};

const TAKEN: &str = "certificates have changed on the disk, and are in use now";
const NOT_TAKEN: &str = "certificates have changed on the disk, and what does not hold stays as it was: ";

/// A daemon over a store of some size, with the list of its CA where `steno keys` puts it, and nothing said of it.
fn start() -> (Daemon, Vec<u8>) {
    let plan = Plan::new();
    store::fill(plan.root.path(), 3);
    let expected = store::answer(plan.root.path(), "tcp", Format::PcapNs);
    assert!(expected.len() > 15_000_000, "{}", expected.len());
    (plan.start(), expected)
}

/// An answer that is under way: its client takes no more of it until [`Taken::next`] is called.
async fn begun(daemon: &Daemon, certs: &CertDir) -> (Streaming<QueryResponse>, Taken) {
    let channel = channel(daemon.address, client_tls(certs).unwrap().config).await.unwrap();
    let mut stream = SensorClient::new(channel).query(request("tcp")).await.unwrap().into_inner();
    let mut taken = Taken::default();
    assert!(taken.next(&mut stream).await);
    (stream, taken)
}

async fn rest((mut stream, mut taken): (Streaming<QueryResponse>, Taken)) -> Taken {
    while taken.next(&mut stream).await {}
    taken
}

/// What a new connection with the certificate of `certs` comes to.
async fn call(daemon: &Daemon, certs: &CertDir) -> Result<String, String> {
    let tcp = TcpStream::connect(daemon.address).await.unwrap();
    get_metrics(tcp, client_tls(certs).unwrap().config).await.map_err(|e| e.to_string())
}

fn count(daemon: &Daemon, text: &str) -> usize {
    daemon.log().matches(text).count()
}

fn until_said(daemon: &Daemon, text: &str, times: usize) {
    daemon.until(text, || count(daemon, text) >= times);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_revoked_is_put_out_and_no_other() {
    let (daemon, expected) = start();
    let [alice, bob] = ["alice", "bob"].map(|name| daemon.certs.issue_client(name).unwrap());
    let (of_alice, of_bob) = (begun(&daemon, &alice).await, begun(&daemon, &bob).await);
    let _done = daemon.certs.revoke("alice", &[], None).unwrap();
    until_said(&daemon, "put CN=alice,O=Stenographer at 127.0.0.1:", 1);
    assert!(daemon.log().contains(": its certificate was revoked"), "{}", daemon.log());
    assert!(call(&daemon, &alice).await.is_err());
    let metrics = call(&daemon, &bob).await.unwrap();
    assert_eq!(sum(&metrics, "steno_connections_put_out_total"), 1.0);

    let taken = rest(of_alice).await;
    assert!(taken.status.is_some() && taken.receipt.is_none(), "cut off, and told so: {:?}", taken.status);
    assert!(taken.bytes.len() < expected.len());
    assert!(rest(of_bob).await.whole() == expected, "a whole answer");
    // Taken back for ever: the list may be lost, and the client is not let in by that.
    fs::remove_file(daemon.certs.crl()).unwrap();
    until_said(&daemon, NOT_TAKEN, 1);
    assert!(call(&daemon, &alice).await.is_err() && call(&daemon, &bob).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_certificates_are_taken_and_no_stream_is_lost() {
    let (daemon, expected) = start();
    let certs = &daemon.certs;
    let under_way = begun(&daemon, certs).await;
    let mut before = client_tls(certs).unwrap();
    before.config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let idle = shake_hands(TcpStream::connect(daemon.address).await.unwrap(), before.config.clone()).await;
    let mut idle = idle.unwrap();
    // The sensor's certificate and key, and then another CA with all that it signs.
    for file in [certs.server_cert(), certs.server_key()] {
        fs::remove_file(file).unwrap();
    }
    let _made = certs.init(&["127.0.0.1"]).unwrap();
    until_said(&daemon, TAKEN, 1);
    assert!(call(&daemon, certs).await.is_ok());
    fs::remove_dir_all(certs.path()).unwrap();
    let _made = certs.init(&["127.0.0.1"]).unwrap();
    until_said(&daemon, TAKEN, 2);
    let metrics = call(&daemon, certs).await.unwrap();
    assert!(sum(&metrics, "steno_certificate_reloads_total") >= 2.0);
    let tcp = TcpStream::connect(daemon.address).await.unwrap();
    assert!(
        get_metrics(tcp, before.config).await.is_err(),
        "the client of the old CA does not know the sensor any more"
    );
    // Who is connected by the old CA may ask for nothing more; what was asked for before comes to its end.
    let asked = idle.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n").await;
    let answer = within("the end of the connection", idle.read(&mut [0; 16])).await;
    assert!(asked.is_err() || matches!(answer, Ok(0) | Err(_)), "{answer:?}");
    assert!(rest(under_way).await.whole() == expected, "a whole answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_hold_leave_what_was() {
    let daemon = Plan::new().start();
    let certs = &daemon.certs;
    let good = fs::read(certs.server_cert()).unwrap();
    fs::write(certs.server_cert(), "half of a certif").unwrap();
    until_said(&daemon, NOT_TAKEN, 1);
    let metrics = call(&daemon, certs).await.unwrap();
    assert_eq!(sum(&metrics, "steno_certificate_files_bad"), 1.0);
    assert!(sum(&metrics, "steno_certificate_reload_failures_total") >= 1.0);
    let said = count(&daemon, NOT_TAKEN);
    fs::write(certs.server_cert(), good).unwrap();
    until_said(&daemon, TAKEN, 1);
    assert_eq!(sum(&call(&daemon, certs).await.unwrap(), "steno_certificate_files_bad"), 0.0);
    assert_eq!(count(&daemon, NOT_TAKEN), said, "told of once");

    // A key that became everyone's.
    fs::set_permissions(certs.server_key(), fs::Permissions::from_mode(0o644)).unwrap();
    until_said(&daemon, "server_key.pem is open to every user of this machine (mode 0644)", 1);
    assert_eq!(sum(&call(&daemon, certs).await.unwrap(), "steno_certificate_files_bad"), 1.0);

    // That keeps nobody in whom the CA takes back meanwhile.
    let alice = certs.issue_client("alice").unwrap();
    assert!(call(&daemon, &alice).await.is_ok());
    let said = count(&daemon, NOT_TAKEN);
    let _done = certs.revoke("alice", &[], None).unwrap();
    until_said(&daemon, NOT_TAKEN, said + 1);
    assert!(call(&daemon, &alice).await.is_err());
    assert_eq!(sum(&call(&daemon, certs).await.unwrap(), "steno_certificate_files_bad"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_has_ended_lets_nobody_in_until_there_is_a_newer_one() {
    let daemon = Plan::new().start();
    let certs = &daemon.certs;
    let signs = issuer(&certs.ca_cert(), &certs.ca_key());
    let ended = OffsetDateTime::now_utc() - time::Duration::HOUR;
    fs::write(certs.crl(), revoking_until(&signs, &[7], ended)).unwrap();
    until_said(&daemon, "the revocation list ended on 20", 1);
    assert!(call(&daemon, certs).await.is_err());
    until_said(&daemon, ": the revocation list has expired, so that no certificate can be checked", 1);
    let renewed = certs.renew_list(Some(30)).unwrap();
    until_said(&daemon, TAKEN, 2);
    let metrics = call(&daemon, certs).await.unwrap();
    let expiry = sum(&metrics, "steno_certificate_expiry_timestamp_seconds{certificate=\"crl\"");
    assert!((expiry - renewed.until_secs as f64).abs() < 1.0, "{expiry}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_takes_its_connection_with_it() {
    let (daemon, expected) = start();
    let certs = &daemon.certs;
    let signs = issuer(&certs.ca_cert(), &certs.ca_key());
    let ends = OffsetDateTime::now_utc() + time::Duration::seconds(8);
    let client = Pair::signed(&signs, |p| p.not_after = ends).client(certs);
    let connected = channel(daemon.address, client).await.unwrap();
    let mut stream = SensorClient::new(connected).query(request("tcp")).await.unwrap().into_inner();
    let mut taken = Taken::default();
    assert!(taken.next(&mut stream).await);
    until_said(&daemon, "put CN=test at 127.0.0.1:", 1);
    assert!(OffsetDateTime::now_utc() > ends);
    assert!(daemon.log().contains(": its certificate has expired"));
    let taken = within("the end", rest((stream, taken))).await;
    assert!(taken.status.is_some() && taken.bytes.len() < expected.len());
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_list_must_be_there_and_keys_must_not_be_everyone_s() {
    let mut plan = Plan::new();
    plan.config["Crl"] = json!(plan.path("none.pem"));
    let certs = CertDir::new(plan.path("certs"));
    let alice = certs.issue_client("alice").unwrap();
    for key in [certs.ca_key(), alice.client_key()] {
        fs::set_permissions(key, fs::Permissions::from_mode(0o604)).unwrap();
    }
    let said = plan.refused();
    for part in [
        "CertPath: cannot read ",
        "none.pem: No such file or directory",
        "ca_key.pem is open to every user of this machine (mode 0604); `chmod o= ",
        "clients/alice/client_key.pem is open to every user of this machine (mode 0604)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
