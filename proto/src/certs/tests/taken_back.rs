//! What `revoke` writes, and what becomes of those that are on it.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use steno_core::testkit::need;

use super::*;
use crate::certs::{CertError, Serial, Wanted};

fn refused(client: &CertDir, server_dir: &CertDir, because: &str) {
    let end = shake(super::client(client), server(server_dir), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains(because)), "{because}: {end:?}");
}

fn accepted(client: &CertDir, server_dir: &CertDir) {
    let end = shake(super::client(client), server(server_dir), "127.0.0.1");
    assert!(matches!(end, End::Agreed(_)), "{end:?}");
}

fn serial(dir: &CertDir) -> Serial {
    Leaf::read(&dir.client_cert()).unwrap().serial().parse().unwrap()
}

/// A copy of what a client was handed out.
fn copy(of: &CertDir, to: std::path::PathBuf) -> CertDir {
    fs::create_dir(&to).unwrap();
    let to = CertDir::new(to);
    for (from, to) in
        [(of.ca_cert(), to.ca_cert()), (of.client_cert(), to.client_cert()), (of.client_key(), to.client_key())]
    {
        let _bytes = fs::copy(from, to).unwrap();
    }
    to
}

#[test]
fn all_of_a_client_s_certificates_are_taken_back_and_no_other_s() {
    let (root, dir) = made();
    let [alice, bob] = ["alice", "bob"].map(|name| dir.issue_client(name).unwrap());
    let old = copy(&alice, root.path().join("old"));
    let renewed = dir.renew_client("alice", &Wanted::default()).unwrap();
    assert_eq!(renewed, alice);
    let serials = [serial(&old), serial(&alice)];
    assert_ne!(serials[0], serials[1]);
    // Handed out, and nowhere else.
    let alice = copy(&alice, root.path().join("alice"));
    fs::remove_dir_all(dir.client_dir("alice").path()).unwrap();
    for client in [&old, &alice, &bob, &dir] {
        accepted(client, &dir);
    }
    let done = dir.revoke("alice", &[], None).unwrap();
    let mut revoked = done.revoked.clone();
    revoked.sort();
    let mut expected = serials.to_vec();
    expected.sort();
    assert_eq!((revoked, done.before.len(), done.list), (expected, 0, dir.crl()));
    for client in [&old, &alice] {
        refused(client, &dir, "Revoked");
    }
    for client in [&bob, &dir] {
        accepted(client, &dir);
    }
    // As long as its CA.
    assert_eq!(done.until_secs, Leaf::read(&dir.ca_cert()).unwrap().not_after_secs());

    let list = read(&dir.crl());
    let again = dir.revoke("alice", &[], None).unwrap();
    assert_eq!((again.revoked.len(), again.before.len(), again.until_secs), (0, 2, done.until_secs));
    let now = OffsetDateTime::now_utc().unix_timestamp();
    assert!(again.before.iter().all(|(_, since)| (now - 60..=now).contains(since)), "{again:?}");
    assert_eq!(read(&dir.crl()), list, "nothing to do, and nothing done");
    // Of the same name, later.
    accepted(&dir.issue_client("alice").unwrap(), &dir);
}

#[test]
fn one_of_several_is_taken_back_by_its_number() {
    let (root, dir) = made();
    let old = copy(&dir.issue_client("alice").unwrap(), root.path().join("old"));
    let alice = dir.renew_client("alice", &Wanted::default()).unwrap();
    let bob = dir.issue_client("bob").unwrap();
    let list = read(&dir.crl());
    let error = dir.revoke("alice", &[serial(&bob)], None).unwrap_err();
    assert!(matches!(&error, CertError::OthersSerial { owner, .. } if owner == "bob"), "{error}");
    assert_eq!(read(&dir.crl()), list);

    let unknown: Serial = "0A:00:ff".parse().unwrap();
    let done = dir.revoke("alice", &[serial(&old), unknown.clone(), serial(&old)], None).unwrap();
    assert_eq!(done.revoked, [serial(&old), unknown.clone()]);
    refused(&old, &dir, "Revoked");
    accepted(&alice, &dir);
    accepted(&bob, &dir);
    replace_client(&dir, |p| p.serial_number = Some(SerialNumber::from(0x0a_00ff)));
    refused(&dir, &dir, "Revoked");
    // What is on no record is whose it is said to be; now there is one.
    assert!(matches!(
        dir.revoke("alice", std::slice::from_ref(&unknown), None).unwrap_err(),
        CertError::OthersSerial { .. }
    ));
    assert_eq!(dir.revoke("test", &[unknown], None).unwrap().before.len(), 1);
}

#[test]
fn numbers_are_read_as_they_are_shown() {
    for (text, shown) in [("0", "00"), ("a", "0a"), ("00:0A:ff", "0a:ff"), ("4D2", "04:d2"), ("000", "00")] {
        assert_eq!(text.parse::<Serial>().unwrap().to_string(), shown, "{text}");
    }
    for text in ["", ":", "g", "-1", "0x10", "1 2", &"12".repeat(21)] {
        assert!(matches!(text.parse::<Serial>().unwrap_err(), CertError::BadSerial { .. }), "{text}");
    }
}

#[test]
fn who_has_no_certificate_is_told_who_has() {
    let (_root, dir) = made();
    let _alice = dir.issue_client("alice").unwrap();
    let list = read(&dir.crl());
    // The sensor's own is no client's.
    for name in ["eve", "127.0.0.1", "../alice", ""] {
        let error = dir.revoke(name, &[], None).unwrap_err().to_string();
        assert!(error.ends_with("; there are those of \"alice\", \"client\""), "{error}");
    }
    assert_eq!(read(&dir.crl()), list);
    fs::remove_file(dir.ca_key()).unwrap();
    assert!(matches!(dir.revoke("alice", &[], None).unwrap_err(), CertError::HalfThere { .. }));
}

#[test]
fn what_others_wrote_on_the_list_stays() {
    let (_root, dir) = made();
    let alice = dir.issue_client("alice").unwrap();
    let then = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
    let params = CertificateRevocationListParams {
        this_update: then,
        next_update: then + Duration::DAY,
        crl_number: SerialNumber::from_slice(&[0x01, 0xff]),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[0xf0, 7]),
            revocation_time: then,
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: Some(then - Duration::DAY),
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(dir.crl(), params.signed_by(&issuer(&dir)).unwrap().pem().unwrap()).unwrap();
    // It has ended: its CA does not say any longer who is good.
    refused(&dir, &dir, "revocation list expired");
    let done = dir.revoke("alice", &[], None).unwrap();
    assert_eq!(done.revoked, [serial(&alice)]);
    accepted(&dir, &dir);
    refused(&alice, &dir, "Revoked");

    let (command, file) = (["crl", "-noout", "-text", "-in"], dir.crl());
    let openssl = Command::new("openssl").args(command).arg(&file).arg("-CAfile").arg(dir.ca_cert()).output();
    if !need(openssl.is_ok(), "openssl") {
        return;
    }
    let openssl = openssl.unwrap();
    let said = String::from_utf8(openssl.stdout).unwrap() + &String::from_utf8(openssl.stderr).unwrap();
    for part in ["verify OK", "Serial Number: F007", "Key Compromise", "Nov 13 22:13:20 2023 GMT", "Number: \n"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("0x200") || said.contains("512"), "the next number: {said}");
    // openssl finds the CA by its key identifier, and holds the client against the list.
    let verify = Command::new("openssl")
        .args(["verify", "-crl_check", "-CAfile"])
        .arg(dir.ca_cert())
        .arg("-CRLfile")
        .arg(&file)
        .arg(alice.client_cert())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stderr).into_owned() + &String::from_utf8_lossy(&verify.stdout);
    assert!(!verify.status.success() && said.contains("certificate revoked"), "{said}");
}

#[test]
fn a_new_ca_begins_with_a_list_of_its_own() {
    let (_root, dir) = made();
    let before = read(&dir.crl());
    for file in ["ca_cert", "ca_key", "server_cert", "client_cert"] {
        fs::remove_file(dir.path().join(format!("{file}.pem"))).unwrap();
    }
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap().len(), 4);
    accepted(&dir, &dir);
    assert_eq!(read(&dir.path().join("crl.pem.old")), before, "what the other has taken back is kept");
    // Where all is there, a list that is lost is not made up.
    fs::remove_file(dir.crl()).unwrap();
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap().len(), 0);
    assert!(!dir.crl().exists());
}

#[test]
fn a_list_may_be_good_for_some_days_only_and_be_signed_anew() {
    let (_root, dir) = made();
    let until = |done: &crate::certs::Revocation| done.until_secs - OffsetDateTime::now_utc().unix_timestamp();
    let short = dir.renew_list(Some(7)).unwrap();
    assert!((7 * 86_400 - 60..=7 * 86_400).contains(&until(&short)), "{short:?}");
    let tls = server_tls(&ServerFiles::from(&dir)).unwrap();
    assert_eq!(tls.crl_until_secs, Some(short.until_secs));
    // Days that are asked for are given, even if there is nobody new on it.
    let _alice = dir.issue_client("alice").unwrap();
    let _done = dir.revoke("alice", &[], Some(7)).unwrap();
    let again = dir.revoke("alice", &[], Some(30)).unwrap();
    assert_eq!((again.revoked.len(), again.before.len()), (0, 1));
    assert!(until(&again) > 29 * 86_400);
    assert!(until(&dir.renew_list(None).unwrap()) > 365 * 86_400);
}

#[test]
fn a_list_that_has_ended_lets_nobody_in_of_version_1_either() {
    let (_root, dir) = made();
    super::version_1::write_client(&dir, 8);
    accepted(&dir, &dir);
    let now = OffsetDateTime::now_utc();
    let params = CertificateRevocationListParams {
        this_update: now - Duration::DAY,
        next_update: now - Duration::HOUR,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    fs::write(dir.crl(), params.signed_by(&issuer(&dir)).unwrap().pem().unwrap()).unwrap();
    refused(&dir, &dir, "revocation list expired");
}

#[test]
fn two_lists_of_one_ca_are_refused() {
    let (_root, dir) = made();
    let empty = read(&dir.crl());
    let _alice = dir.issue_client("alice").unwrap();
    let _done = dir.revoke("alice", &[], None).unwrap();
    fs::write(dir.crl(), empty + &read(&dir.crl())).unwrap();
    let error = server_tls(&ServerFiles::from(&dir)).unwrap_err().to_string();
    assert!(error.contains("there are two lists of the same CA"), "{error}");
    let error = dir.revoke("alice", &[], None).unwrap_err().to_string();
    assert!(error.contains("crl.pem holds no list of this CA alone"), "{error}");
}

#[test]
fn a_ca_between_that_was_taken_back_takes_its_clients_with_it() {
    let (_root, dir) = made();
    // `init` makes a CA that may not have others below it.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let root_key = KeyPair::from_pem(&read(&dir.ca_key())).unwrap();
    fs::write(dir.ca_cert(), params.self_signed(&root_key).unwrap().pem()).unwrap();
    for file in [dir.server_cert(), dir.crl()] {
        fs::remove_file(file).unwrap();
    }
    let _made = dir.init(&["127.0.0.1"]).unwrap();

    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "between");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from(77));
    let key = KeyPair::generate().unwrap();
    let between = params.signed_by(&key, &issuer(&dir)).unwrap();
    let signs = Issuer::from_ca_cert_pem(&between.pem(), key).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let client = params.signed_by(&key, &signs).unwrap();
    fs::write(dir.client_cert(), client.pem() + &between.pem()).unwrap();
    write_key(&dir.client_key(), &key.serialize_pem());
    accepted(&dir, &dir);
    let _done = dir.revoke("between", &["4d".parse().unwrap()], None).unwrap();
    refused(&dir, &dir, "Revoked");
}
