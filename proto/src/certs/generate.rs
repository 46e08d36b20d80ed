//! Makes certificates: a private CA, the sensor's, and clients'. ECDSA on P-256 with SHA-256, X.509 version 3.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::{Duration, OffsetDateTime};

use super::{
    CertDir, CertError,
    read::{Pair, content},
    write,
};

/// How long the CA's certificate is good. 1.0.1's is for 9,999 days.
const CA_DAYS: i64 = 20 * 365;
/// How long the others are. Nothing renews them by itself; `certificate_until_ns` of a sensor's status says when they end.
const LEAF_DAYS: i64 = 10 * 365;
/// How far back they begin, for clocks that are behind.
const SKEW: Duration = Duration::DAY;
/// Characters of a common name (RFC 5280, ub-common-name).
const NAME_CHARS: usize = 64;

impl CertDir {
    /// Makes what is missing: the CA, the certificate of a server that is called by `servers` (addresses or host names, the
    /// first of them its common name), and the one of a first client. What is there is left as it is: a key without its
    /// certificate gets one. Returns the certificates made, in that order; none, if all were there.
    ///
    /// Keys have mode 0600, the client's 0640: whose group can read it may query the sensor.
    ///
    /// # Errors
    /// Something cannot be read or written, or the CA's key is missing where it is needed, or a name is none.
    pub fn init(&self, servers: &[&str]) -> Result<Vec<PathBuf>, CertError> {
        let alternative = servers.iter().map(|name| server_name(name)).collect::<Result<Vec<_>, _>>()?;
        write::directory(self.path())?;
        let mut made = Vec::new();
        if self.make_ca()? {
            made.push(self.ca_cert());
        }
        if needed(&self.server_cert(), &self.server_key())? {
            let common_name = servers.iter().find(|name| name.len() <= NAME_CHARS).copied().unwrap_or("sensor");
            let mut params = leaf(common_name, ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names = alternative;
            self.sign(params, &self.server_key())?.write(&self.server_cert(), &self.server_key(), write::SECRET)?;
            made.push(self.server_cert());
        }
        if needed(&self.client_cert(), &self.client_key())? {
            let params = leaf("client", ExtendedKeyUsagePurpose::ClientAuth);
            self.sign(params, &self.client_key())?.write(&self.client_cert(), &self.client_key(), write::GROUP)?;
            made.push(self.client_cert());
        }
        Ok(made)
    }

    /// Makes a certificate for one more client, `name`, in [`Self::client_dir`], with a copy of the CA's: a directory that can
    /// be handed to it as it is.
    ///
    /// # Errors
    /// The name is none, it has one already, the CA's key is missing, or something cannot be read or written. Unless it is
    /// the writing, nothing is left.
    pub fn issue_client(&self, name: &str) -> Result<CertDir, CertError> {
        check_client_name(name)?;
        let dir = self.client_dir(name);
        if dir.client_cert().exists() {
            return Err(CertError::Exists { path: dir.client_cert() });
        }
        let ca = read_text(&self.ca_cert())?;
        // What an attempt before this one has left may stay, if it is the same.
        let has_ca = dir.ca_cert().exists();
        if has_ca && read_text(&dir.ca_cert())? != ca {
            return Err(CertError::Exists { path: dir.ca_cert() });
        }
        let signed = self.sign(leaf(name, ExtendedKeyUsagePurpose::ClientAuth), &dir.client_key())?;
        write::directory(dir.path())?;
        if !has_ca {
            write::file(&dir.ca_cert(), &ca, write::PUBLIC)?;
        }
        signed.write(&dir.client_cert(), &dir.client_key(), write::GROUP)?;
        Ok(dir)
    }

    /// Makes the CA unless it is there.
    fn make_ca(&self) -> Result<bool, CertError> {
        match (self.ca_cert().exists(), self.ca_key().exists()) {
            // The key may be kept elsewhere.
            (true, _) => return Ok(false),
            // All that it has signed would be void.
            (false, true) => return Err(CertError::HalfThere { there: self.ca_key(), missing: self.ca_cert() }),
            (false, false) => {}
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A name of its own, so that a certificate of another CA is not taken for a forged one.
        let id: String = params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        name(&mut params, &format!("Steno CA {id}"));
        valid_for(&mut params, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key)?.pem();
        Signed { cert, key: Some(key.serialize_pem()) }.write(&self.ca_cert(), &self.ca_key(), write::SECRET)?;
        Ok(true)
    }

    /// The CA's certificate for the key at `key_path`, or for a new one, if there is none.
    fn sign(&self, mut params: CertificateParams, key_path: &Path) -> Result<Signed, CertError> {
        let (ca_cert, ca_key) = (self.ca_cert(), self.ca_key());
        if !ca_key.exists() {
            return Err(CertError::HalfThere { there: ca_cert, missing: ca_key });
        }
        // One that does not hold together signs nothing that anyone would take.
        let ca = Pair::read(&ca_cert, &ca_key)?.leaf;
        let ca_end = OffsetDateTime::from_unix_timestamp(ca.not_after_secs()).unwrap_or(params.not_after);
        if ca_end < OffsetDateTime::now_utc() {
            return Err(CertError::CaEnded { ca: ca_cert, not_after: ca_end });
        }
        params.not_after = params.not_after.min(ca_end);
        let issuer = Issuer::from_ca_cert_pem(&read_text(&ca_cert)?, read_key(&ca_key)?)
            .map_err(|e| content(&ca_cert, "certificate of a CA", &e))?;
        if key_path.exists() {
            let cert = params.signed_by(&read_key(key_path)?, &issuer)?.pem();
            return Ok(Signed { cert, key: None });
        }
        let key = KeyPair::generate()?;
        Ok(Signed { cert: params.signed_by(&key, &issuer)?.pem(), key: Some(key.serialize_pem()) })
    }
}

/// A certificate, and its key, unless that was there before; both PEM.
struct Signed {
    cert: String,
    key: Option<String>,
}

impl Signed {
    /// The certificate comes last, so that one that is there has its key.
    fn write(&self, cert_path: &Path, key_path: &Path, key_mode: u32) -> Result<(), CertError> {
        if let Some(key) = &self.key {
            write::file(key_path, key, key_mode)?;
        }
        write::file(cert_path, &self.cert, write::PUBLIC)
    }
}

/// Whether a certificate is to be made: neither it nor its key is there, or a key that nothing was signed for yet.
fn needed(cert: &Path, key: &Path) -> Result<bool, CertError> {
    match (cert.exists(), key.exists()) {
        (true, true) => Ok(false),
        (true, false) => Err(CertError::HalfThere { there: cert.to_owned(), missing: key.to_owned() }),
        (false, _) => Ok(true),
    }
}

/// What the certificates of servers and clients have in common.
fn leaf(common_name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    name(&mut params, common_name);
    valid_for(&mut params, LEAF_DAYS);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

/// The subject, with 1.0.1's organization.
fn name(params: &mut CertificateParams, common_name: &str) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Stenographer");
    params.distinguished_name.push(DnType::CommonName, common_name);
}

fn valid_for(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - SKEW;
    params.not_after = now + Duration::days(days);
}

fn server_name(name: &str) -> Result<SanType, CertError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad = || CertError::ServerName { name: name.to_owned() };
    let host = rustls_pki_types::DnsName::try_from(name).map_err(|_| bad())?;
    host.as_ref().try_into().map(SanType::DnsName).map_err(|_| bad())
}

fn check_client_name(name: &str) -> Result<(), CertError> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_@".contains(c);
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.len() <= NAME_CHARS && name.chars().all(good) {
        return Ok(());
    }
    Err(CertError::ClientName { name: name.to_owned() })
}

fn read_text(path: &Path) -> Result<String, CertError> {
    fs::read_to_string(path).map_err(|source| CertError::Read { path: path.to_owned(), source })
}

fn read_key(path: &Path) -> Result<KeyPair, CertError> {
    KeyPair::from_pem(&read_text(path)?).map_err(|e| content(path, "private key that is known", &e))
}
