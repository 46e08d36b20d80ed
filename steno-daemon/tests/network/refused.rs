//! Clients that are not let in for what the server is at the time. (What they are themselves: `tests/process/clients.rs`.)

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::ClientConfig;
use steno_daemon::serve::Tuning;
use steno_proto::certs::{CertDir, client_tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::support::{Caller, Wanted, connect, get_metrics, log, start, within};

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
        // With its mode: a key is not for everyone.
        let _bytes = std::fs::copy(running.root.path().join("old-client_key.pem"), dir.client_key()).unwrap();
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
    let tuning = Tuning { most_handshakes: 3, ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let (first, of_first) = log().call(running.address).await;
    let mut silent = vec![first];
    for _ in 0..10 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
        let (_, seen) = tls(running.address, running.client()).await;
        assert!(seen.is_ok(), "who means it is let in: {seen:?}");
    }
    assert_eq!(log().refusal(&of_first).await, "too many handshakes at once, and this one has taken longest");
    drop(silent);
    let _took = running.stop().await;
}

/// A connection that goes on after its first answer: in TLS 1.3 one that is turned away has been made, as far as the client knows.
async fn let_in(address: SocketAddr, mut client: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(address, client).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: sensor\r\n\r\n").await?;
    let _first = within("an answer", stream.read_u8()).await?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_there_may_be_is_turned_away() {
    let tuning = Tuning { most_connections: 2, ..Tuning::default() };
    let running = start(Wanted { tuning, ..Wanted::default() }).await;
    let held = within("room for two", async {
        let mut held = Vec::new();
        while held.len() < 2 {
            match let_in(running.address, running.client()).await {
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
