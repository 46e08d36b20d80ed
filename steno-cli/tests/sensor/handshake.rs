//! Sensors that cannot be reached or must not be believed, and those that refuse us: a sentence each.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use steno_proto::certs::{CertDir, ServerFiles};
use time::{Duration, OffsetDateTime};

use crate::{
    fake::{Fake, Play, put, signed},
    run::{Run, Running, command, steno},
};

fn certs(root: &Path, name: &str) -> CertDir {
    let dir = CertDir::new(root.join(name));
    let _made = dir.init(&["127.0.0.1"]).unwrap();
    dir
}

/// A sensor that shows another certificate than its own.
fn showing(alter: impl FnOnce(&mut rcgen::CertificateParams)) -> Fake {
    let root = tempfile::tempdir().unwrap();
    let dir = certs(root.path(), "certs");
    put(&dir.server_cert(), &dir.server_key(), &signed(&dir, alter));
    let files = ServerFiles::from(&dir);
    Fake::with(root, dir, &files, healthy())
}

fn healthy() -> Play {
    Play { status: steno_proto::v1::StatusResponse { healthy: true, ..Default::default() }, ..Play::default() }
}

/// A refusal: a sentence that says this, and nothing else.
fn refused(run: &Run, told: &[&str]) {
    assert_eq!((run.status, run.out()), (Some(1), String::new()), "{run:?}");
    assert!(run.err.starts_with("error: ") && run.err.lines().count() == 1, "{run:?}");
    for part in told {
        assert!(run.err.contains(part), "{part:?}: {run:?}");
    }
}

#[test]
fn a_sensor_that_must_not_be_believed_is_told_by_what_is_wrong() {
    let now = OffsetDateTime::now_utc();
    let expired = showing(|params| params.not_after = now - Duration::HOUR);
    refused(
        &expired.steno(&["status"]),
        &["the certificate of 127.0.0.1:", " has ended (20", "make the sensor another"],
    );
    let early = showing(|params| params.not_before = now + Duration::HOUR);
    refused(&early.steno(&["status"]), &["is not good yet (20", "set the clock"]);
    let other = showing(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("sensor.example".try_into().unwrap())];
    });
    refused(&other.steno(&["status"]), &["is not for that name", "sensor.example", "call it by a name"]);

    // Our CA is another one's.
    let fake = Fake::start(healthy());
    let foreign = certs(fake.root.path(), "foreign");
    let server = fake.address.to_string();
    let run = steno(fake.root.path(), &["status", "--server", &server, "--certs", foreign.path().to_str().unwrap()]);
    refused(&run, &["is not signed by", "foreign/ca_cert.pem", "name the right directory with --certs"]);
}

#[test]
fn a_name_in_the_old_place_is_good_and_told_once() {
    let fake = showing(|params| params.subject_alt_names.clear());
    let run = fake.steno(&["status"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(run.err.matches("warning: ").count(), 1, "{run:?}");
    assert!(run.err.contains("in its common name"), "{run:?}");
}

#[test]
fn a_sensor_that_refuses_us_is_told_by_its_reason() {
    let now = OffsetDateTime::now_utc();
    let fake = Fake::start(healthy());
    let as_client = |name: &str, pair: &(String, String)| {
        let dir = CertDir::new(fake.root.path().join(name));
        fs::create_dir(dir.path()).unwrap();
        let _bytes = fs::copy(fake.certs.ca_cert(), dir.ca_cert()).unwrap();
        put(&dir.client_cert(), &dir.client_key(), pair);
        let server = fake.address.to_string();
        steno(fake.root.path(), &["status", "--server", &server, "--certs", dir.path().to_str().unwrap()])
    };
    let run = as_client("good", &signed(&fake.certs, |_| ()));
    assert_eq!(run.status, Some(0), "{run:?}");
    let run = as_client("expired", &signed(&fake.certs, |params| params.not_after = now - Duration::HOUR));
    refused(
        &run,
        &["refuses the certificate", "expired/client_cert.pem", "it has ended", "get one from whoever keeps"],
    );
    let run = as_client(
        "server",
        &signed(&fake.certs, |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }),
    );
    refused(&run, &["server/client_cert.pem", "not one for clients"]);
    let foreign = certs(fake.root.path(), "foreign");
    let run = as_client("stranger", &signed(&foreign, |_| ()));
    refused(&run, &["stranger/client_cert.pem", "CA"]);
}

/// A server that is none.
fn listening(serve: impl FnOnce(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _serving = thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

#[test]
fn what_is_no_sensor_is_told_to_be_none() {
    let root = tempfile::tempdir().unwrap();
    let dir = certs(root.path(), "certs");
    let status =
        |server: &str| steno(root.path(), &["status", "--server", server, "--certs", dir.path().to_str().unwrap()]);
    let plain = listening(|mut tcp| {
        tcp.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        thread::sleep(std::time::Duration::from_secs(2));
    });
    refused(&status(&plain), &["does not speak TLS", "it is no sensor"]);
    let closing = listening(drop);
    refused(&status(&closing), &["no agreement on TLS with 127.0.0.1:"]);
    let silent = listening(|tcp| {
        thread::sleep(std::time::Duration::from_secs(60));
        drop(tcp);
    });
    refused(&status(&silent), &["takes connections and says nothing"]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    refused(&status(&nobody), &["nothing listens on 127.0.0.1:", "the sensor is not running, or listens elsewhere"]);
    refused(&status("sensor.invalid:1234"), &["cannot find the host sensor.invalid: "]);
}

#[test]
fn ctrl_c_ends_a_handshake_that_does_not_end() {
    let root = tempfile::tempdir().unwrap();
    let dir = certs(root.path(), "certs");
    let silent = listening(|tcp| {
        thread::sleep(std::time::Duration::from_secs(60));
        drop(tcp);
    });
    let mut status = command(env!("CARGO_BIN_EXE_steno"), root.path());
    let running = Running::start(status.args(["status", "--server", &silent, "--certs", dir.path().to_str().unwrap()]));
    thread::sleep(std::time::Duration::from_millis(500));
    let began = std::time::Instant::now();
    running.interrupt();
    let run = running.end();
    assert_eq!(run.status, Some(130), "{run:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn certificates_that_are_not_there_are_told_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let status =
        |dir: PathBuf| steno(root.path(), &["status", "--server", "127.0.0.1:1", "--certs", dir.to_str().unwrap()]);
    refused(&status(root.path().join("none")), &["cannot read", "none/client_cert.pem", "name the directory"]);
    let dir = certs(root.path(), "certs");
    fs::write(dir.client_key(), "no key").unwrap();
    refused(&status(dir.path().to_owned()), &["client_key.pem holds no private key"]);
    fs::set_permissions(dir.client_key(), fs::Permissions::from_mode(0o0)).unwrap();
    // For root there is nothing that it may not read.
    if fs::read(dir.client_key()).is_err() {
        refused(&status(dir.path().to_owned()), &["who may read it may query the sensor"]);
    }
}

#[test]
fn a_sensor_is_found_as_it_is_told() {
    let fake = Fake::start(healthy());
    let config = fake.config();
    let steno = |args: &[&str], variable: Option<&Path>, here: &Path| {
        let mut command = command(env!("CARGO_BIN_EXE_steno"), here);
        let _ = command.arg("status").args(args);
        let _ = variable.map(|path| command.env("STENOGRAPHER_CONFIG", path));
        Running::start(&mut command).end()
    };
    let nowhere = tempfile::tempdir().unwrap();
    assert_eq!(
        steno(&["--config", config.to_str().unwrap()], Some(Path::new("/nonexistent")), nowhere.path()).status,
        Some(0)
    );
    assert_eq!(steno(&[], Some(&config), nowhere.path()).status, Some(0));
    fs::create_dir(fake.path("steno-data")).unwrap();
    fs::rename(&config, fake.path("steno-data/config")).unwrap();
    assert_eq!(steno(&[], None, fake.root.path()).status, Some(0));
    let run = steno(&[], Some(&config), fake.root.path());
    refused(&run, &["cannot read the configuration of the sensor", "/config: "]);
    fs::write(fake.path("steno-data/config"), r#"{"Port": "x"}"#).unwrap();
    refused(&steno(&[], None, fake.root.path()), &["./steno-data/config", r#"Port is "x"; it takes a number"#]);
}
