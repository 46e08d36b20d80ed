//! What a certificate says.

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    prelude::{FromDer, GeneralName, X509Certificate, X509Version},
    public_key::PublicKey,
};

use super::{CertError, Subject, subject::address};

/// What is in a certificate. Its signature is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    common_name: String,
    subject: Subject,
    alternative_names: usize,
    hosts: Vec<String>,
    sha256: String,
    serial: String,
    not_before_secs: i64,
    not_after_secs: i64,
    is_version_1: bool,
    public_key_info: Vec<u8>,
    rsa_bits: Option<usize>,
    weak_hash: Option<&'static str>,
}

impl Leaf {
    /// Reads `der`, one certificate.
    ///
    /// # Errors
    /// It is not a certificate (RFC 5280).
    pub fn of(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|e| LeafError(e.to_string()))?;
        let common_name = parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok());
        let alternative = parsed.subject_alternative_name().ok().flatten();
        Ok(Self {
            common_name: common_name.unwrap_or_default().to_owned(),
            subject: Subject::of(&parsed),
            alternative_names: alternative.as_ref().map_or(0, |names| names.value.general_names.len()),
            hosts: alternative
                .map_or_else(Vec::new, |names| names.value.general_names.iter().filter_map(host).collect()),
            sha256: fingerprint(der),
            serial: parsed.raw_serial_as_string(),
            not_before_secs: parsed.validity().not_before.timestamp(),
            not_after_secs: parsed.validity().not_after.timestamp(),
            is_version_1: parsed.version() == X509Version::V1,
            public_key_info: parsed.public_key().raw.to_vec(),
            rsa_bits: match parsed.public_key().parsed() {
                Ok(PublicKey::RSA(key)) => Some(key.key_size()),
                _ => None,
            },
            weak_hash: weak_hash(&parsed.signature_algorithm.algorithm.to_id_string()),
        })
    }

    /// Reads the first certificate in a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub fn read(path: &std::path::Path) -> Result<Self, CertError> {
        let all = super::read::certificates(path)?;
        let first = all.first().map(Self::of).unwrap_or(Err(LeafError("the file is empty".into())));
        first.map_err(|e| super::read::content(path, "certificate", &e))
    }

    /// The common name of its subject; empty where it has none.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Whom it is for, by all of its names.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The host names and addresses that its extension says it is for, in its order.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Its fingerprint: the SHA-256 of its DER encoding, as hexadecimal digits with colons, as `openssl x509 -fingerprint
    /// -sha256` shows it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Its serial number, as hexadecimal digits with colons.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// From when on it is good, in seconds since the UNIX epoch.
    pub fn not_before_secs(&self) -> i64 {
        self.not_before_secs
    }

    /// Until when it is good, in seconds since the UNIX epoch.
    pub fn not_after_secs(&self) -> i64 {
        self.not_after_secs
    }

    /// Whether it names the hosts that it is for in an extension, rather than in its subject or nowhere.
    pub(super) fn has_alternative_names(&self) -> bool {
        self.alternative_names > 0
    }

    /// Whether it is an X.509 certificate of version 1.
    pub(super) fn is_version_1(&self) -> bool {
        self.is_version_1
    }

    /// The DER encoding of its SubjectPublicKeyInfo.
    pub(super) fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// Bits of its key, where that is one of RSA.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        self.rsa_bits
    }

    /// The hash function that it is signed with, where that is broken.
    pub(super) fn weak_hash(&self) -> Option<&'static str> {
        self.weak_hash
    }

    /// Whether `now` lies within its validity.
    pub(super) fn holds_at(&self, now: UnixTime) -> Result<(), rustls::CertificateError> {
        let secs = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let time = |secs: i64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs.try_into().unwrap_or(0)));
        if secs < self.not_before_secs {
            let not_before = time(self.not_before_secs);
            return Err(rustls::CertificateError::NotValidYetContext { time: now, not_before });
        }
        if secs > self.not_after_secs {
            let not_after = time(self.not_after_secs);
            return Err(rustls::CertificateError::ExpiredContext { time: now, not_after });
        }
        Ok(())
    }
}

/// The hash of a signature algorithm, where collisions are known (RFC 3279, section 2.2).
fn weak_hash(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => Some("SHA-1"),
        _ => None,
    }
}

/// A name that a host can be called by.
fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn fingerprint(der: &[u8]) -> String {
    // rustls lends its hash: no other is linked for this one line.
    let Some(suite) = TLS13_AES_128_GCM_SHA256.tls13() else { return String::new() };
    let digest = suite.common.hash_provider.hash(der);
    let digits: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(":")
}

/// Bytes that are no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LeafError(String);
