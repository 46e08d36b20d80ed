//! What is made, with which modes, and what is never made anew.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::certs::CertError;

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
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6, "nothing hidden is left");
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
fn half_of_a_pair_is_left_alone() {
    let (_root, dir) = made();
    let key = read(&dir.ca_key());
    fs::remove_file(dir.ca_key()).unwrap();
    fs::remove_file(dir.client_cert()).unwrap();
    let error = dir.init(&["127.0.0.1"]).unwrap_err();
    assert!(matches!(&error, CertError::HalfThere { missing, .. } if *missing == dir.ca_key()), "{error}");
    fs::write(dir.ca_key(), key).unwrap();
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
