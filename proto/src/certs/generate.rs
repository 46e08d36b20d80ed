//! Makes certificates: a private CA, the sensor's, and clients'. ECDSA on P-256 with SHA-256, X.509 version 3.

use std::{fs, net::IpAddr, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use time::{Duration, OffsetDateTime};

use super::{CertDir, CertError, read::content, write};

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
    /// first of them its common name), and the one of a first client. What is there is left as it is. Returns the
    /// certificates made, in that order; none, if all were there.
    ///
    /// Keys have mode 0600, the client's 0640: whose group can read it may query the sensor.
    ///
    /// # Errors
    /// Something cannot be read or written, or the CA's key is missing where it is needed, or a name is none.
    pub fn init(&self, servers: &[&str]) -> Result<Vec<std::path::PathBuf>, CertError> {
        let alternative = servers.iter().map(|name| server_name(name)).collect::<Result<Vec<_>, _>>()?;
        write::directory(self.path())?;
        let mut made = Vec::new();
        if self.make_ca()? {
            made.push(self.ca_cert());
        }
        if needed(&self.server_cert(), &self.server_key())? {
            let mut params = leaf(servers.first().copied().unwrap_or("sensor"), ExtendedKeyUsagePurpose::ServerAuth);
            params.subject_alt_names = alternative;
            self.sign(&params, &self.server_cert(), (&self.server_key(), write::SECRET))?;
            made.push(self.server_cert());
        }
        if needed(&self.client_cert(), &self.client_key())? {
            let params = leaf("client", ExtendedKeyUsagePurpose::ClientAuth);
            self.sign(&params, &self.client_cert(), (&self.client_key(), write::GROUP))?;
            made.push(self.client_cert());
        }
        Ok(made)
    }

    /// Makes a certificate for one more client, `name`, in [`Self::client_dir`], with a copy of the CA's: a directory that can
    /// be handed to it as it is.
    ///
    /// # Errors
    /// The name is none, it has one already, the CA's key is missing, or something cannot be read or written.
    pub fn issue_client(&self, name: &str) -> Result<CertDir, CertError> {
        check_client_name(name)?;
        let dir = self.client_dir(name);
        if dir.client_cert().exists() {
            return Err(CertError::Exists { path: dir.client_cert() });
        }
        let ca = read_text(&self.ca_cert())?;
        write::directory(dir.path())?;
        write::file(&dir.ca_cert(), &ca, write::PUBLIC)?;
        let params = leaf(name, ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(&params, &dir.client_cert(), (&dir.client_key(), write::GROUP))?;
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
        let cert = params.self_signed(&key)?;
        write::file(&self.ca_key(), &key.serialize_pem(), write::SECRET)?;
        write::file(&self.ca_cert(), &cert.pem(), write::PUBLIC)?;
        Ok(true)
    }

    /// Makes a key, and the CA's certificate for it. The certificate comes last, so that one that is there has its key.
    fn sign(&self, params: &CertificateParams, cert: &Path, key: (&Path, u32)) -> Result<(), CertError> {
        let (ca_cert, ca_key) = (self.ca_cert(), self.ca_key());
        if !ca_key.exists() {
            return Err(CertError::HalfThere { there: ca_cert, missing: ca_key });
        }
        let signing =
            KeyPair::from_pem(&read_text(&ca_key)?).map_err(|e| content(&ca_key, "private key that is known", &e))?;
        let issuer = Issuer::from_ca_cert_pem(&read_text(&ca_cert)?, signing)
            .map_err(|e| content(&ca_cert, "certificate of a CA", &e))?;
        let (key_path, mode) = key;
        let key = KeyPair::generate()?;
        let signed = params.signed_by(&key, &issuer)?;
        write::file(key_path, &key.serialize_pem(), mode)?;
        write::file(cert, &signed.pem(), write::PUBLIC)
    }
}

/// Whether a pair is to be made: neither is there, or a key that nothing was made for yet.
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
