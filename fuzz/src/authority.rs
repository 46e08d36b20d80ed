//! A CA for the targets of certificates, and what it has signed. Its keys are made of numbers that anyone can read here, so that
//! seeds and target have the same without a key in the repository; nobody trusts it.

use std::error::Error;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, SigningKey, date_time_ymd,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// PrivateKeyInfo of an Ed25519 key (RFC 8410, section 7), up to the key itself.
const ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 3;
/// The explicit tags of a TBSCertificate (RFC 5280, section 4.1): version, extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// All of it, in DER but for the pairs.
pub struct Authority {
    /// PEM of the CA's certificate.
    pub ca: String,
    /// PEM of the server's certificate and its key.
    pub server: [String; 2],
    /// Those of clients that the CA has signed. The last is revoked.
    pub clients: Vec<Vec<u8>>,
    /// Chains that nobody may take: signed by a client, by nobody, or for another use.
    pub forged: Vec<Vec<u8>>,
    /// The CA's list.
    pub revoked: Vec<u8>,
}

impl Authority {
    /// The same each time.
    ///
    /// # Errors
    /// What the library says.
    pub fn new() -> Result<Self> {
        let mut params = params("Fuzz CA", 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_cert = params.self_signed(&key(1)?)?;
        let issuer = Issuer::new(params, key(1)?);

        let server_params = leaf("server", 2, ExtendedKeyUsagePurpose::ServerAuth);
        let server = server_params.signed_by(&key(2)?, &issuer)?;
        let mut named = leaf("client", 3, ExtendedKeyUsagePurpose::ClientAuth);
        named.distinguished_name.push(DnType::OrganizationalUnitName, "analysts");
        named.subject_alt_names =
            vec![SanType::DnsName("client.example".try_into()?), SanType::Rfc822Name("a@example".try_into()?)];
        let client = named.signed_by(&key(3)?, &issuer)?;
        let odd =
            leaf("a\u{1b}[31mb\nc \u{202e}", 4, ExtendedKeyUsagePurpose::ClientAuth).signed_by(&key(4)?, &issuer)?;
        let revoked = leaf("revoked", 5, ExtendedKeyUsagePurpose::ClientAuth).signed_by(&key(5)?, &issuer)?;
        let clients = vec![
            client.der().to_vec(),
            odd.der().to_vec(),
            version_1(client.der(), &key(1)?).ok_or("a certificate of version 1")?,
            revoked.der().to_vec(),
        ];

        let client_as_issuer = Issuer::new(named.clone(), key(3)?);
        let by_client =
            leaf("mallory", 6, ExtendedKeyUsagePurpose::ClientAuth).signed_by(&key(6)?, &client_as_issuer)?;
        let by_itself = leaf("mallory", 7, ExtendedKeyUsagePurpose::ClientAuth).self_signed(&key(6)?)?;
        let forged = vec![
            [by_client.der().to_vec(), client.der().to_vec()].concat(),
            by_itself.der().to_vec(),
            version_1(client.der(), &key(6)?).ok_or("a certificate of version 1")?,
            server.der().to_vec(),
            ca_cert.der().to_vec(),
        ];
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(5),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let revoked = list.signed_by(&issuer)?.der().to_vec();
        let server = [server.pem(), key(2)?.serialize_pem()];
        Ok(Self { ca: ca_cert.pem(), server, clients, forged, revoked })
    }
}

/// What is signed of a certificate or a revocation list: its first element, with tag and length.
pub fn signed_part(der: &[u8]) -> Option<&[u8]> {
    element(element(der)?.content).map(|element| element.whole)
}

fn key(number: u8) -> Result<KeyPair> {
    Ok(KeyPair::try_from([&ED25519[..], &[number; 32]].concat())?)
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

fn leaf(name: &str, serial: u64, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

/// The certificate without its version and extensions, which is one of version 1, signed anew.
fn version_1(certificate: &[u8], signer: &KeyPair) -> Option<Vec<u8>> {
    let parts = element(certificate)?.content;
    let signed = element(parts)?;
    let algorithm = element(parts.get(signed.whole.len()..)?)?.whole;
    let (mut left, mut rest) = (Vec::new(), signed.content);
    while let Some(each) = element(rest) {
        if each.tag != VERSION && each.tag != EXTENSIONS {
            left.extend_from_slice(each.whole);
        }
        rest = rest.get(each.whole.len()..)?;
    }
    let signed = der(SEQUENCE, &left);
    let signature = der(BIT_STRING, &[&[0], &signer.sign(&signed).ok()?[..]].concat());
    Some(der(SEQUENCE, &[&signed, algorithm, &signature].concat()))
}

/// An element in DER (X.690).
pub struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With tag and length.
    pub whole: &'a [u8],
}

/// The element at the start.
pub fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, header) = match first {
        0..=0x7f => (usize::from(first), 2),
        0x81 => (usize::from(*rest.first()?), 3),
        0x82 => (usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?)), 4),
        _ => return None,
    };
    let content = bytes.get(header..header + length)?;
    Some(Element { tag, content, whole: bytes.get(..header + length)? })
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header = match length {
        [0, short @ 0..=0x7f] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [&header, content].concat()
}
