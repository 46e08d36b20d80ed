//! What the log is told of once, and no more often: weak certificates, and files that cannot be read.

use std::{fs, process::Command, sync::Arc};

use rustls_pki_types::ServerName;
use serde_json::json;
use steno_core::testkit::need;
use steno_proto::certs::{CertDir, client_tls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    daemon::{Daemon, Plan},
    store::{self, EPOCH_S},
    wire::{Taken, request, within},
};

/// The lines of the log with `mark`.
fn lines(daemon: &Daemon, mark: &str) -> Vec<String> {
    daemon.log().lines().filter(|line| line.contains(mark)).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_stenokeys_work_and_each_is_told_of_once() {
    if !need(Command::new("stenokeys").output().is_ok(), "stenokeys (Debian package stenographer-client)") {
        return;
    }
    let mut plan = Plan::new();
    let debian = plan.path("debian");
    plan.config["CertPath"] = json!(debian);
    let config = plan.path("config");
    fs::write(&config, plan.config.to_string()).unwrap();
    let made = Command::new("stenokeys").args(["root", "root"]).env("STENOGRAPHER_CONFIG", &config).output().unwrap();
    if !need(made.status.success(), "a stenokeys that works as this user") {
        return;
    }
    let daemon = plan.start();
    let client = client_tls(&CertDir::new(&debian)).unwrap();
    for _ in 0..3 {
        let tcp = TcpStream::connect(daemon.address).await.unwrap();
        let mut config = client.config.clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        tls.write_all(b"GET /debug/stats HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _end = within("the counters", tls.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
    }
    let long = "it is good for 9999 days. It is taken as it is; `steno keys` makes better ones";
    let version_1 = "it does not say what it may be used for (X.509 version 1)";
    for (whose, what) in [
        (
            "CertPath: the server's certificate",
            vec!["it names its host as the common name \"127.0.0.1\" alone", version_1, long],
        ),
        ("CertPath: the CA's certificate", vec![long]),
        ("the certificate of the client CN=127.0.0.1_client", vec![version_1, long]),
    ] {
        let told = lines(&daemon, whose);
        assert!(told.len() == 1 && told[0].contains("WARN"), "{whose}: {told:?}");
        assert!(what.iter().all(|phrase| told[0].contains(phrase)), "{what:?}: {told:?}");
    }
    assert_eq!(lines(&daemon, " is weak: ").len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_is_told_of_once_with_its_reason() {
    let plan = Plan::new();
    store::fill(plan.root.path(), 3);
    let name = |segment: u32| format!("{}000000", EPOCH_S + segment * 1_000);
    // One index is none; one packet file ends early, which only a query finds out.
    fs::write(plan.path("IDX0").join(name(0)), "no index").unwrap();
    let packets = plan.path("PKT0").join(name(1));
    fs::OpenOptions::new().write(true).open(&packets).unwrap().set_len(3 << 20).unwrap();
    let daemon = plan.start();
    let index = format!("cannot read IDX0/{}: damaged index: ", name(0));
    daemon.until("the index is told of", || lines(&daemon, &index).len() == 1);
    let cut = format!("cannot read PKT0/{}: ", name(1));
    assert!(lines(&daemon, &cut).is_empty());
    for _ in 0..3 {
        let mut stream = daemon.sensor().await.query(request("udp")).await.unwrap().into_inner();
        let mut taken = Taken::default();
        while taken.next(&mut stream).await {}
    }
    let told = lines(&daemon, "cannot read ");
    assert_eq!((lines(&daemon, &index).len(), lines(&daemon, &cut).len(), told.len()), (1, 1, 2), "{told:?}");
    // Damaged in another way, that is another line.
    fs::OpenOptions::new().write(true).open(&packets).unwrap().set_len(1 << 20).unwrap();
    for _ in 0..2 {
        let mut stream = daemon.sensor().await.query(request("udp")).await.unwrap().into_inner();
        let mut taken = Taken::default();
        while taken.next(&mut stream).await {}
    }
    let told = lines(&daemon, &cut);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_files_may_be_open_as_the_configuration_says() {
    let mut plan = Plan::new();
    // Low where it begins, so that it is the daemon that raises it.
    plan.before = ["prlimit", "--nofile=256:4096"].map(str::to_owned).to_vec();
    plan.config["MaxOpenFiles"] = json!(1_234);
    let daemon = plan.start();
    let limits = daemon.limits();
    let files: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["1234", "4096"], "{limits}");
}
