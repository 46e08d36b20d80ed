//! Certificates as they are asked for.

use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::certs::{AlternativeName, CertError, KeyKind, Wanted};

/// What `look` finds in the first certificate of a file.
fn of<T>(path: &Path, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let der = crate::certs::read::certificates(path).unwrap().remove(0);
    look(&X509Certificate::from_der(&der).unwrap().1)
}

fn days(path: &Path) -> i64 {
    let leaf = Leaf::read(path).unwrap();
    (leaf.not_after_secs() - OffsetDateTime::now_utc().unix_timestamp() + 60) / 86_400
}

#[test]
fn clients_are_good_for_ninety_days_or_as_long_as_is_said() {
    let (_root, dir) = made();
    assert_eq!(days(&dir.issue_client("alice").unwrap().client_cert()), 90);
    assert_eq!([dir.server_cert(), dir.client_cert()].map(|path| days(&path)), [3_650; 2]);
    let wanted = Wanted { days: Some(7), ..Wanted::default() };
    assert_eq!(days(&dir.issue_client_as("bob", &wanted).unwrap().client_cert()), 7);
    let other = CertDir::new(dir.path().join("other"));
    let _made = other.init_as(&["127.0.0.1"], &wanted).unwrap();
    assert_eq!([other.server_cert(), other.client_cert()].map(|path| days(&path)), [7; 2]);
    assert!(days(&other.ca_cert()) > 7_000);
}

#[test]
fn what_a_certificate_may_be_used_for_is_in_it() {
    let (_root, dir) = made();
    for path in [dir.client_cert(), dir.issue_client("alice").unwrap().client_cert(), dir.server_cert()] {
        let (usage, extended, ca) = of(&path, |cert| {
            let extended = cert.extended_key_usage().unwrap().unwrap().value.clone();
            let usage = cert.key_usage().unwrap().unwrap();
            assert!(usage.critical, "{}", path.display());
            (usage.value.flags, (extended.client_auth, extended.server_auth), cert.is_ca())
        });
        // Bit 0: digitalSignature.
        assert_eq!((usage, ca), (1, false), "{}", path.display());
        assert_eq!(extended, if path == dir.server_cert() { (false, true) } else { (true, false) });
    }
    of(&dir.ca_cert(), |cert| {
        let usage = cert.key_usage().unwrap().unwrap();
        assert!(cert.is_ca() && usage.value.key_cert_sign() && usage.value.crl_sign());
        assert!(!usage.value.digital_signature());
    });
}

#[test]
fn keys_of_ed25519() {
    let root = tempfile::tempdir().unwrap();
    let dir = CertDir::new(root.path().join("certs"));
    let wanted = Wanted { key: KeyKind::Ed25519, ..Wanted::default() };
    let _made = dir.init_as(&["127.0.0.1"], &wanted).unwrap();
    let alice = dir.issue_client_as("alice", &wanted).unwrap();
    // One of ECDSA among them.
    let bob = dir.issue_client("bob").unwrap();
    for path in [dir.ca_cert(), dir.server_cert(), alice.client_cert()] {
        assert_eq!(of(&path, |cert| cert.public_key().algorithm.algorithm.to_id_string()), "1.3.101.112");
    }
    for who in [&dir, &alice, &bob] {
        assert!(matches!(shake(client(who), server(&dir), "127.0.0.1"), End::Agreed(_)));
    }
    let _done = dir.revoke("alice", &[], None).unwrap();
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::ServerRefused(_)));
}

#[test]
fn names_and_the_unit_are_in_it() {
    let (_root, dir) = made();
    let texts = ["DNS:a.example", "ip:192.0.2.7", "IP:2001:db8::1", "email:al@b.example", "URI:spiffe://x/y"];
    let wanted = Wanted {
        names: texts.iter().map(|text| text.parse::<AlternativeName>().unwrap()).collect(),
        unit: Some("incident response".to_owned()),
        ..Wanted::default()
    };
    let alice = dir.issue_client_as("alice@b.example", &wanted).unwrap();
    of(&alice.client_cert(), |cert| {
        let names = &cert.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(
            names[..],
            [
                GeneralName::RFC822Name("alice@b.example"),
                GeneralName::DNSName("a.example"),
                GeneralName::IPAddress(&[192, 0, 2, 7]),
                GeneralName::IPAddress(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                GeneralName::RFC822Name("al@b.example"),
                GeneralName::URI("spiffe://x/y"),
            ]
        );
        let unit = cert.subject().iter_organizational_unit().next().unwrap().as_str().unwrap().to_owned();
        assert_eq!(unit, "incident response");
    });
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::Agreed(_)));
}

#[test]
fn names_that_are_none_make_nothing() {
    let (_root, dir) = made();
    for text in
        ["", "alice", "DNS:", "DNS:a b", "IP:x", "email:x", "email:@b", "email:a@", "URI:x", "URI:a: b", "dir:x"]
    {
        let error = text.parse::<AlternativeName>().unwrap_err();
        assert!(matches!(error, CertError::AlternativeName { .. }), "{text:?}: {error}");
    }
    for unit in ["", " a", "a\nb", &"x".repeat(65)] {
        let wanted = Wanted { unit: Some(unit.to_owned()), ..Wanted::default() };
        let error = dir.issue_client_as("alice", &wanted).unwrap_err();
        assert!(matches!(error, CertError::Unit { .. }), "{unit:?}: {error}");
        assert!(matches!(dir.renew_client("alice", &wanted).unwrap_err(), CertError::Unit { .. }));
    }
    assert!(!dir.path().join("clients").exists());
}

#[test]
fn no_two_certificates_have_the_same_number_not_even_of_one_key() {
    let (_root, dir) = made();
    let alice = dir.issue_client("alice").unwrap();
    let number = || Leaf::read(&alice.client_cert()).unwrap().serial().to_owned();
    let first = number();
    fs::remove_file(alice.client_cert()).unwrap();
    let _again = dir.issue_client("alice").unwrap();
    assert_ne!(number(), first);
    assert_eq!(number().len(), 16 * 3 - 1, "sixteen bytes, positive");
}

#[test]
fn a_certificate_is_renewed_with_a_new_key() {
    let (_root, dir) = made();
    let alice = dir.renew_client("alice", &Wanted::default()).unwrap();
    let before = [read(&alice.client_cert()), read(&alice.client_key())];
    fs::write(alice.path().join("notes"), "mine").unwrap();
    let again = dir.renew_client("alice", &Wanted { key: KeyKind::Ed25519, ..Wanted::default() }).unwrap();
    assert_eq!(again, alice);
    let after = [read(&alice.client_cert()), read(&alice.client_key())];
    assert!(before[0] != after[0] && before[1] != after[1]);
    assert_eq!(
        fs::read_dir(alice.path()).unwrap().count(),
        4,
        "nothing hidden is left, and what others put there stays"
    );
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::Agreed(_)));
}
