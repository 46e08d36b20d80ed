//! Certificates of version 1, put together byte by byte, for nothing makes them any more.

use rcgen::{PublicKeyData, SigningKey};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::*;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OBJECT_IDENTIFIER: u8 = 6;
const UTF8_STRING: u8 = 12;
const SET: u8 = 0x31;
const GENERALIZED_TIME: u8 = 24;

/// A value in DER (X.690).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(u8::try_from(len).unwrap()),
        0x80..0x100 => out.extend([0x81, u8::try_from(len).unwrap()]),
        _ => out.extend([0x82, u8::try_from(len >> 8).unwrap(), u8::try_from(len & 0xff).unwrap()]),
    }
    out.extend_from_slice(content);
    out
}

fn common_name(name: &str) -> Vec<u8> {
    let attribute = [der(OBJECT_IDENTIFIER, &[0x55, 4, 3]), der(UTF8_STRING, name.as_bytes())].concat();
    der(SEQUENCE, &der(SET, &der(SEQUENCE, &attribute)))
}

struct Wanted<'a> {
    common_name: &'a str,
    serial: u8,
    /// GeneralizedTime texts.
    valid: (&'a str, &'a str),
    /// Flips a bit of the signature.
    forged: bool,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { common_name: "client", serial: 1, valid: ("20200101000000Z", "20500101000000Z"), forged: false }
    }
}

/// PEM of a certificate of version 1 that the CA of `dir` has signed, and of its key.
fn version_1(dir: &CertDir, wanted: &Wanted<'_>) -> (String, String) {
    let ca = crate::certs::read::certificates(&dir.ca_cert()).unwrap().remove(0);
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    let ca_key = KeyPair::from_pem(&read(&dir.ca_key())).unwrap();
    let key = KeyPair::generate().unwrap();
    // ecdsa-with-SHA256 (RFC 5758).
    let algorithm = der(SEQUENCE, &der(OBJECT_IDENTIFIER, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let validity = [wanted.valid.0, wanted.valid.1].map(|t| der(GENERALIZED_TIME, t.as_bytes())).concat();
    let to_sign = [
        der(INTEGER, &[wanted.serial]),
        algorithm.clone(),
        ca.subject().as_raw().to_vec(),
        der(SEQUENCE, &validity),
        common_name(wanted.common_name),
        key.subject_public_key_info(),
    ]
    .concat();
    let to_sign = der(SEQUENCE, &to_sign);
    let mut signature = ca_key.sign(&to_sign).unwrap();
    if wanted.forged {
        *signature.last_mut().unwrap() ^= 1;
    }
    let whole = [to_sign, algorithm, der(BIT_STRING, &[&[0], signature.as_slice()].concat())].concat();
    (pem(&der(SEQUENCE, &whole)), key.serialize_pem())
}

fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for i in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize] as char;
                text.push(if i <= group.len() { digit } else { '=' });
            }
        }
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// A client of version 1 in place of the client.
pub(super) fn write_client(dir: &CertDir, serial: u8) {
    put_client(dir, &Wanted { serial, ..Wanted::default() });
}

fn put_client(dir: &CertDir, wanted: &Wanted<'_>) {
    let (cert, key) = version_1(dir, wanted);
    fs::write(dir.client_cert(), cert).unwrap();
    fs::write(dir.client_key(), key).unwrap();
}

fn put_server(dir: &CertDir, wanted: &Wanted<'_>) {
    let (cert, key) = version_1(dir, wanted);
    fs::write(dir.server_cert(), cert).unwrap();
    fs::write(dir.server_key(), key).unwrap();
}

/// Only TLS `version`.
fn only(mut tls: ClientConfig, version: &'static rustls::SupportedProtocolVersion, dir: &CertDir) -> ClientConfig {
    let narrowed = ClientConfig::builder_with_provider(crate::certs::provider()).with_protocol_versions(&[version]);
    let resolver = Arc::clone(&tls.client_auth_cert_resolver);
    let verifier = crate::certs::client::tests_verifier(dir);
    let alpn = std::mem::take(&mut tls.alpn_protocols);
    let mut made =
        narrowed.unwrap().dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(resolver);
    made.alpn_protocols = alpn;
    made
}

#[test]
fn both_ends_of_version_1_shake_hands() {
    let (_root, dir) = made();
    write_client(&dir, 5);
    put_server(&dir, &Wanted { common_name: "127.0.0.1", ..Wanted::default() });
    let tls = client_tls(&dir).unwrap();
    assert!(tls.leaf.is_version_1());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let end = shake(only(tls.config.clone(), version, &dir), server(&dir), "127.0.0.1");
        assert_eq!(end, End::Agreed(Some(b"h2".to_vec())), "{version:?}");
    }
    assert_eq!(shake(tls.config.clone(), server(&dir), "127.0.0.1"), End::Agreed(Some(b"h2".to_vec())));
    assert!(tls.matched_by_common_name());
    let elsewhere = shake(tls.config, server(&dir), "127.0.0.2");
    assert!(matches!(&elsewhere, End::ClientRefused(why) if why.contains("127.0.0.1")), "{elsewhere:?}");
}

#[test]
fn a_client_of_version_1_must_hold() {
    let (_root, dir) = made();
    let (_other_root, other) = made();
    let server = server(&dir);
    let expired = Wanted { valid: ("20200101000000Z", "20210101000000Z"), ..Wanted::default() };
    let early = Wanted { valid: ("20490101000000Z", "20500101000000Z"), ..Wanted::default() };
    let forged = Wanted { forged: true, ..Wanted::default() };
    let cases = [("certificate expired", &expired), ("certificate not valid yet", &early), ("BadSignature", &forged)];
    for (expected, wanted) in cases {
        put_client(&dir, wanted);
        let end = shake(client(&dir), Arc::clone(&server), "127.0.0.1");
        assert!(matches!(&end, End::ServerRefused(why) if why.contains(expected)), "{expected}: {end:?}");
    }
    write_client(&other, 1);
    let _bytes = fs::copy(dir.ca_cert(), other.ca_cert()).unwrap();
    let end = shake(client(&other), server, "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("UnknownIssuer")), "{end:?}");
}

#[test]
fn a_client_of_version_1_must_have_its_key() {
    let (_root, dir) = made();
    write_client(&dir, 1);
    let (cert, _) = version_1(&dir, &Wanted::default());
    // Another's certificate, shown with one's own key: not even loaded here, so that it is put together by hand.
    let chain = vec![CertificateDer::from(pem_der(&cert))];
    let own = crate::certs::read::Pair::read(&dir.client_cert(), &dir.client_key()).unwrap();
    let lying = rustls::sign::CertifiedKey::new(chain, Arc::clone(&own.certified.key));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut tls = only(client(&dir), version, &dir);
        tls.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(lying.clone()));
        let end = shake(tls, server(&dir), "127.0.0.1");
        assert!(matches!(&end, End::ServerRefused(why) if why.contains("BadSignature")), "{version:?}: {end:?}");
    }
}

#[test]
fn a_sensor_of_version_1_is_not_its_own_client() {
    let (_root, dir) = made();
    put_server(&dir, &Wanted { common_name: "127.0.0.1", ..Wanted::default() });
    let _bytes = fs::copy(dir.server_cert(), dir.client_cert()).unwrap();
    let _bytes = fs::copy(dir.server_key(), dir.client_key()).unwrap();
    let end = shake(client(&dir), server(&dir), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("InvalidPurpose")), "{end:?}");
}

fn pem_der(pem: &str) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
