//! What is made, with which modes, and what is never made anew.

use std::{os::unix::fs::PermissionsExt, process::Command};

use steno_core::testkit::need;

use super::*;
use crate::certs::{CertError, Leaf};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn keys_are_for_their_owner_and_the_client_s_for_a_group() {
    let (_root, dir) = made();
    assert_eq!(mode(&dir.ca_key()), 0o600);
    assert_eq!(mode(&dir.server_key()), 0o600);
    assert_eq!(mode(&dir.client_key()), 0o640);
    for cert in [dir.ca_cert(), dir.server_cert(), dir.client_cert()] {
        assert_eq!(mode(&cert), 0o644, "{}", cert.display());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8, "nothing hidden is left");
}

#[test]
fn what_is_there_is_not_made_again() {
    let (_root, dir) = made();
    let before: Vec<String> = [dir.ca_cert(), dir.ca_key(), dir.server_cert()].iter().map(|p| read(p)).collect();
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap(), Vec::<std::path::PathBuf>::new());
    fs::remove_file(dir.client_cert()).unwrap();
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap(), [dir.client_cert()]);
    let after: Vec<String> = [dir.ca_cert(), dir.ca_key(), dir.server_cert()].iter().map(|p| read(p)).collect();
    assert_eq!(before, after);
    assert!(matches!(shake(client(&dir), server(&dir), "127.0.0.1"), End::Agreed(_)));
}

#[test]
fn a_key_is_never_replaced() {
    let (_root, dir) = made();
    let keys = [dir.server_key(), dir.client_key()];
    let before: Vec<String> = keys.iter().map(|p| read(p)).collect();
    for cert in [dir.server_cert(), dir.client_cert()] {
        fs::remove_file(cert).unwrap();
    }
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap(), [dir.server_cert(), dir.client_cert()]);
    assert_eq!(before, keys.iter().map(|p| read(p)).collect::<Vec<_>>());
    assert!(matches!(shake(client(&dir), server(&dir), "127.0.0.1"), End::Agreed(_)), "the certificates are for them");

    let alice = dir.issue_client("alice").unwrap();
    let key = read(&alice.client_key());
    fs::remove_file(alice.client_cert()).unwrap();
    let again = dir.issue_client("alice").unwrap();
    assert_eq!(read(&again.client_key()), key);
    assert!(matches!(shake(client(&again), server(&dir), "127.0.0.1"), End::Agreed(_)));
    // Another CA's certificate in its place.
    fs::remove_file(alice.client_cert()).unwrap();
    fs::write(alice.ca_cert(), "another").unwrap();
    assert!(matches!(dir.issue_client("alice").unwrap_err(), CertError::Exists { .. }));
    assert_eq!(read(&alice.ca_cert()), "another");
}

#[test]
fn a_ca_that_cannot_sign_makes_nothing() {
    let (_root, dir) = made();
    let key = read(&dir.ca_key());
    fs::write(dir.ca_key(), read(&dir.server_key())).unwrap();
    let error = dir.issue_client("alice").unwrap_err();
    assert!(matches!(&error, CertError::Mismatch { key, .. } if *key == dir.ca_key()), "{error}");
    fs::remove_file(dir.ca_key()).unwrap();
    assert!(matches!(dir.issue_client("alice").unwrap_err(), CertError::HalfThere { .. }));
    write_key(&dir.ca_key(), &key);

    let ca = |not_after: OffsetDateTime| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "old");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (not_after - Duration::DAY, not_after);
        params.self_signed(&KeyPair::from_pem(&key).unwrap()).unwrap().pem()
    };
    let now = OffsetDateTime::now_utc();
    fs::write(dir.ca_cert(), ca(now - Duration::HOUR)).unwrap();
    let error = dir.issue_client("alice").unwrap_err();
    assert!(error.to_string().contains("ca_cert.pem ended on 20"), "{error}");
    assert!(!dir.path().join("clients").exists(), "nothing half made");

    // What it signs ends with it.
    fs::write(dir.ca_cert(), ca(now + Duration::HOUR)).unwrap();
    let alice = dir.issue_client("alice").unwrap();
    let leaf = Leaf::read(&alice.client_cert()).unwrap();
    assert_eq!(leaf.not_after_secs(), (now + Duration::HOUR).unix_timestamp());
}

#[test]
fn another_ca_s_clients_are_not_let_in() {
    let ((_root, dir), (_other_root, other)) = (made(), made());
    let eve = other.issue_client("alice").unwrap();
    // She trusts the sensor; it does not trust her.
    let _bytes = fs::copy(dir.ca_cert(), eve.ca_cert()).unwrap();
    let end = shake(client(&eve), server(&dir), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("UnknownIssuer")), "{end:?}");
}

#[test]
fn a_certificate_tells_its_hosts_and_its_fingerprint() {
    let root = tempfile::tempdir().unwrap();
    let dir = CertDir::new(root.path().join("certs"));
    let long = format!("{0}.{0}.example", "x".repeat(40));
    let hosts = [&long, "127.0.0.1", "::1", "sensor.example"];
    let _made = dir.init(&hosts).unwrap();
    let leaf = Leaf::read(&dir.server_cert()).unwrap();
    assert_eq!(leaf.hosts(), hosts);
    assert_eq!(leaf.common_name(), "127.0.0.1", "the first that fits into one");
    assert_eq!(Leaf::read(&dir.client_cert()).unwrap().hosts(), [""; 0]);

    let command = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let openssl = Command::new("openssl").args(command).arg(dir.server_cert()).output();
    if !need(openssl.is_ok(), "openssl") {
        return;
    }
    let said = String::from_utf8(openssl.unwrap().stdout).unwrap();
    assert_eq!(said.trim_end().rsplit('=').next(), Some(leaf.sha256()), "{said}");
}

#[test]
fn half_of_a_pair_is_left_alone() {
    let (_root, dir) = made();
    let key = read(&dir.ca_key());
    fs::remove_file(dir.ca_key()).unwrap();
    fs::remove_file(dir.client_cert()).unwrap();
    let error = dir.init(&["127.0.0.1"]).unwrap_err();
    assert!(matches!(&error, CertError::HalfThere { missing, .. } if *missing == dir.ca_key()), "{error}");
    write_key(&dir.ca_key(), &key);
    fs::remove_file(dir.ca_cert()).unwrap();
    let error = dir.init(&["127.0.0.1"]).unwrap_err();
    assert!(matches!(&error, CertError::HalfThere { missing, .. } if *missing == dir.ca_cert()), "{error}");
}

#[test]
fn a_client_s_directory_is_all_that_it_needs() {
    let (_root, dir) = made();
    let alice = dir.issue_client("alice").unwrap();
    assert_eq!(alice.path(), dir.path().join("clients/alice"));
    assert_eq!(mode(&alice.client_key()), 0o640);
    assert_eq!(client_tls(&alice).unwrap().leaf.common_name(), "alice");
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::Agreed(_)));
    assert!(matches!(dir.issue_client("alice").unwrap_err(), CertError::Exists { .. }));
}

#[test]
fn names_that_are_none_are_refused() {
    let (_root, dir) = made();
    let long = "x".repeat(65);
    for name in ["", ".", "..", "../eve", "a/b", "-x", "a b", "a\0", "ä", &long] {
        assert!(matches!(dir.issue_client(name).unwrap_err(), CertError::ClientName { .. }), "{name:?}");
    }
    assert!(!dir.path().join("clients").exists());
    let root = tempfile::tempdir().unwrap();
    let other = CertDir::new(root.path().join("certs"));
    for name in ["", "a b", "not_ok!", "a..b"] {
        assert!(matches!(other.init(&[name]).unwrap_err(), CertError::ServerName { .. }), "{name:?}");
    }
    assert!(!other.path().exists(), "nothing half made");
}

#[test]
fn files_that_do_not_go_together_are_named() {
    let (_root, dir) = made();
    let message = |dir: &CertDir| server_tls(&ServerFiles::from(dir)).unwrap_err().to_string();
    fs::write(dir.server_key(), read(&dir.client_key())).unwrap();
    assert!(message(&dir).contains("server_key.pem does not belong to the certificate"), "{}", message(&dir));
    fs::write(dir.server_key(), "nothing").unwrap();
    assert!(message(&dir).contains("server_key.pem holds no private key"), "{}", message(&dir));
    fs::remove_file(dir.server_cert()).unwrap();
    assert!(message(&dir).contains("server_cert.pem: No such file"), "{}", message(&dir));
    let (_root, dir) = made();
    fs::write(dir.ca_cert(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(message(&dir).contains("ca_cert.pem holds no certificate of a CA"), "{}", message(&dir));
    fs::write(dir.ca_cert(), "").unwrap();
    assert!(message(&dir).contains("ca_cert.pem holds no certificate: no items found"), "{}", message(&dir));
}
