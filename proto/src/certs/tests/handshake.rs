//! Who is let in, and whom a client lets be the sensor.

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::*;
use crate::certs::provider;

#[test]
fn both_versions_and_protocols_go() {
    let (_root, dir) = made();
    for name in ["127.0.0.1", "sensor.example", "SENSOR.example"] {
        assert_eq!(shake(client(&dir), server(&dir), name), End::Agreed(Some(b"h2".to_vec())), "{name}");
    }
    let mut http1 = client(&dir);
    http1.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert_eq!(shake(http1, server(&dir), "127.0.0.1"), End::Agreed(Some(b"http/1.1".to_vec())));
    let mut none = client(&dir);
    none.alpn_protocols = Vec::new();
    assert_eq!(shake(none, server(&dir), "127.0.0.1"), End::Agreed(None));
    let tls12 = with_versions(&dir, &[&rustls::version::TLS12]);
    assert_eq!(shake(tls12, server(&dir), "127.0.0.1"), End::Agreed(None));
    assert!(!client_tls(&dir).unwrap().matched_by_common_name());
}

/// A client as others build it, that does not care whom it talks to.
fn with_versions(dir: &CertDir, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
    let ours = client_tls(dir).unwrap().config;
    let chain = crate::certs::read::certificates(&dir.client_cert()).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.client_key()).unwrap();
    let roots = crate::certs::read::certificates(&dir.ca_cert()).unwrap();
    let mut store = rustls::RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(roots);
    assert_eq!(added, 1);
    drop(ours);
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(store)
        .with_client_auth_cert(chain, key)
        .unwrap()
}

fn without_certificate(dir: &CertDir) -> ClientConfig {
    let roots = crate::certs::read::certificates(&dir.ca_cert()).unwrap();
    let mut store = rustls::RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(roots);
    assert_eq!(added, 1);
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth()
}

/// The reason for which the server refused.
fn refusal(end: End) -> String {
    match end {
        End::ServerRefused(reason) => reason,
        other => panic!("not refused by the server: {other:?}"),
    }
}

#[test]
fn a_client_s_certificate_must_hold() {
    let (_root, dir) = made();
    let server = server(&dir);
    let end = shake(without_certificate(&dir), Arc::clone(&server), "127.0.0.1");
    assert_eq!(refusal(end), "peer sent no certificates");

    type Alter = Box<dyn Fn(&mut CertificateParams)>;
    let cases: [(&str, Alter); 3] = [
        ("certificate expired", Box::new(|p| p.not_after = OffsetDateTime::now_utc() - Duration::HOUR)),
        ("certificate not valid yet", Box::new(|p| p.not_before = OffsetDateTime::now_utc() + Duration::HOUR)),
        (
            "does not allow extended key usage",
            Box::new(|p| {
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
    ];
    for (expected, alter) in cases {
        replace_client(&dir, alter);
        let reason = refusal(shake(client(&dir), Arc::clone(&server), "127.0.0.1"));
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    replace_client(&dir, |_| {});
    assert!(matches!(shake(client(&dir), server, "127.0.0.1"), End::Agreed(_)), "the recipe itself is good");
}

#[test]
fn another_ca_s_client_is_refused() {
    let (_root, dir) = made();
    let (_other_root, other) = made();
    // It trusts the sensor, but was signed by another.
    let _bytes = fs::copy(dir.ca_cert(), other.ca_cert()).unwrap();
    assert!(refusal(shake(client(&other), server(&dir), "127.0.0.1")).contains("UnknownIssuer"));
    // Signed by itself, under the CA's name.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "client");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    fs::write(dir.client_cert(), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(dir.client_key(), key.serialize_pem()).unwrap();
    assert!(refusal(shake(client(&dir), server(&dir), "127.0.0.1")).contains("UnknownIssuer"));
}

#[test]
fn the_sensor_s_own_certificate_is_no_client_s() {
    let (_root, dir) = made();
    let _bytes = fs::copy(dir.server_cert(), dir.client_cert()).unwrap();
    let _bytes = fs::copy(dir.server_key(), dir.client_key()).unwrap();
    let reason = refusal(shake(client(&dir), server(&dir), "127.0.0.1"));
    assert!(reason.contains("InvalidPurpose"), "{reason}");
}

#[test]
fn a_client_knows_its_sensor() {
    let (_root, dir) = made();
    let wrong_host = shake(client(&dir), server(&dir), "127.0.0.2");
    assert!(matches!(&wrong_host, End::ClientRefused(why) if why.contains("not valid for name")), "{wrong_host:?}");

    let (_other_root, other) = made();
    let foreign = shake(client(&dir), server(&other), "127.0.0.1");
    assert!(matches!(&foreign, End::ClientRefused(why) if why.contains("UnknownIssuer")), "{foreign:?}");

    // A client's certificate shows no sensor.
    let (cert, key) = signed(&dir, ExtendedKeyUsagePurpose::ClientAuth, |p| {
        p.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
    });
    fs::write(dir.server_cert(), cert).unwrap();
    fs::write(dir.server_key(), key).unwrap();
    let posing = shake(client(&dir), server(&dir), "127.0.0.1");
    assert!(matches!(&posing, End::ClientRefused(why) if why.contains("extended key usage")), "{posing:?}");
}

#[test]
fn the_common_name_counts_where_no_other_is_given() {
    let (_root, dir) = made();
    let (cert, key) = signed(&dir, ExtendedKeyUsagePurpose::ServerAuth, |p| {
        p.distinguished_name = rcgen::DistinguishedName::new();
        p.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    });
    fs::write(dir.server_cert(), &cert).unwrap();
    fs::write(dir.server_key(), &key).unwrap();
    let tls = client_tls(&dir).unwrap();
    assert!(matches!(shake(tls.config.clone(), server(&dir), "127.0.0.1"), End::Agreed(_)));
    assert!(tls.matched_by_common_name());
    assert!(matches!(shake(tls.config, server(&dir), "127.0.0.2"), End::ClientRefused(_)));

    // Where a name is given, the common name is no more than a comment.
    let (cert, key) = signed(&dir, ExtendedKeyUsagePurpose::ServerAuth, |p| {
        p.distinguished_name = rcgen::DistinguishedName::new();
        p.distinguished_name.push(DnType::CommonName, "127.0.0.1");
        p.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 9].into())];
    });
    fs::write(dir.server_cert(), &cert).unwrap();
    fs::write(dir.server_key(), &key).unwrap();
    assert!(matches!(shake(client(&dir), server(&dir), "127.0.0.1"), End::ClientRefused(_)));
}
