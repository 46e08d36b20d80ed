//! Makes certificates: a private CA, the sensor's, and clients'. X.509 version 3; keys of ECDSA on P-256, or of Ed25519.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use super::{
    AlternativeName, CertDir, CertError, Leaf, Serial, Wanted,
    read::{Pair, content, key_bytes},
    write,
};

/// How long the CA's certificate is good. 1.0.1's is for 9,999 days.
const CA_DAYS: i64 = 20 * 365;
/// How long those are that stay where the CA is, the sensor's and the first client's. Nothing renews them by itself;
/// `certificate_until_ns` of a sensor's status says when they end.
const LEAF_DAYS: u16 = 10 * 365;
/// How long the certificate of a client is that is handed out: a key that got lost is not found for ever.
const CLIENT_DAYS: u16 = 90;
/// How far back they begin, for clocks that are behind.
const SKEW: Duration = Duration::DAY;
/// Characters of a common name (RFC 5280, ub-common-name).
const NAME_CHARS: usize = 64;

impl CertDir {
    /// [`Self::init_as`] with what is usual.
    ///
    /// # Errors
    /// As there.
    pub fn init(&self, servers: &[&str]) -> Result<Vec<PathBuf>, CertError> {
        self.init_as(servers, &Wanted::default())
    }

    /// Makes what is missing: the CA, the certificate of a server that is called by `servers` (addresses or host names, the
    /// first of them its common name), the one of a first client, and for a new CA a list that takes nothing back. What is
    /// there is left as it is: a key without its certificate gets one; the list of a CA from before gets another name. Returns what was made, in that order; nothing, if all was there.
    ///
    /// Keys have mode 0600, the client's 0640: whose group can read it may query the sensor.
    ///
    /// # Errors
    /// Something cannot be read or written, or the CA's key is missing where it is needed, or a name is none.
    pub fn init_as(&self, servers: &[&str], wanted: &Wanted) -> Result<Vec<PathBuf>, CertError> {
        let alternative = servers.iter().map(|name| server_name(name)).collect::<Result<Vec<_>, _>>()?;
        write::directory(self.path())?;
        let _held = write::lock(self.path())?;
        let mut made = Vec::new();
        let is_new = self.make_ca(wanted)?;
        if is_new {
            made.push(self.ca_cert());
        }
        if needed(&self.server_cert(), &self.server_key())? {
            let common_name = servers.iter().find(|name| name.len() <= NAME_CHARS).copied().unwrap_or("sensor");
            let mut params = leaf(common_name, ExtendedKeyUsagePurpose::ServerAuth, LEAF_DAYS, wanted)?;
            params.subject_alt_names = alternative;
            let signed = self.sign(params, Some(&self.server_key()), wanted)?;
            signed.write(self, &self.server_cert(), &self.server_key(), write::SECRET)?;
            made.push(self.server_cert());
        }
        if needed(&self.client_cert(), &self.client_key())? {
            let params = leaf("client", ExtendedKeyUsagePurpose::ClientAuth, LEAF_DAYS, wanted)?;
            let signed = self.sign(params, Some(&self.client_key()), wanted)?;
            signed.write(self, &self.client_cert(), &self.client_key(), write::GROUP)?;
            made.push(self.client_cert());
        }
        // Of another CA, nobody here knows what it has taken back.
        if is_new {
            write::set_aside(&self.crl())?;
            let _list = self.renew_list_held(None)?;
            made.push(self.crl());
        }
        Ok(made)
    }

    /// [`Self::issue_client_as`] with what is usual.
    ///
    /// # Errors
    /// As there.
    pub fn issue_client(&self, name: &str) -> Result<CertDir, CertError> {
        self.issue_client_as(name, &Wanted::default())
    }

    /// Makes a certificate for one more client, `name`, in [`Self::client_dir`], with a copy of the CA's: a directory that can
    /// be handed to it as it is. A name that is an e-mail address is its alternative name, too.
    ///
    /// # Errors
    /// The name is none, it has one already, the CA's key is missing, or something cannot be read or written. Unless it is
    /// the writing, nothing is left.
    pub fn issue_client_as(&self, name: &str, wanted: &Wanted) -> Result<CertDir, CertError> {
        check_client_name(name)?;
        let _held = write::lock(self.path())?;
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
        let signed = self.sign(named_client(name, wanted)?, Some(&dir.client_key()), wanted)?;
        write::directory(dir.path())?;
        if !has_ca {
            write::file(&dir.ca_cert(), &ca, write::PUBLIC)?;
        }
        signed.write(self, &dir.client_cert(), &dir.client_key(), write::GROUP)?;
        Ok(dir)
    }

    /// Makes a new certificate and a new key for the client `name`, in the place of those that are there. The certificate of
    /// before stays good until it ends or is taken back.
    ///
    /// # Errors
    /// As of [`Self::issue_client_as`], but that it has one.
    pub fn renew_client(&self, name: &str, wanted: &Wanted) -> Result<CertDir, CertError> {
        check_client_name(name)?;
        let dir = self.client_dir(name);
        if !dir.client_cert().exists() {
            return self.issue_client_as(name, wanted);
        }
        let _held = write::lock(self.path())?;
        let signed = self.sign(named_client(name, wanted)?, None, wanted)?;
        write::replace(&dir.ca_cert(), &read_text(&self.ca_cert())?, write::PUBLIC)?;
        signed.replace(self, &dir.client_cert(), &dir.client_key(), write::GROUP)?;
        Ok(dir)
    }

    /// Makes the CA unless it is there.
    fn make_ca(&self, wanted: &Wanted) -> Result<bool, CertError> {
        match (self.ca_cert().exists(), self.ca_key().exists()) {
            // The key may be kept elsewhere.
            (true, _) => return Ok(false),
            // All that it has signed would be void.
            (false, true) => return Err(CertError::HalfThere { there: self.ca_key(), missing: self.ca_cert() }),
            (false, false) => {}
        }
        let key = wanted.key.generate()?;
        let mut params = CertificateParams::default();
        // A name of its own, so that a certificate of another CA is not taken for a forged one.
        let id: String = params.key_identifier(&key).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        name(&mut params, &format!("Steno CA {id}"), None);
        valid_for(&mut params, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key)?.pem();
        write::file(&self.ca_key(), &key.serialize_pem(), write::SECRET)?;
        write::file(&self.ca_cert(), &cert, write::PUBLIC)?;
        Ok(true)
    }

    /// The CA's certificate, and what signs in its name.
    pub(super) fn issuer(&self) -> Result<(Leaf, Issuer<'static, KeyPair>), CertError> {
        let (ca_cert, ca_key) = (self.ca_cert(), self.ca_key());
        if !ca_key.exists() {
            return Err(CertError::HalfThere { there: ca_cert, missing: ca_key });
        }
        // One that does not hold together signs nothing that anyone would take.
        let ca = Pair::read(&ca_cert, &ca_key)?.leaf;
        let issuer = Issuer::from_ca_cert_pem(&read_text(&ca_cert)?, read_key(&ca_key)?)
            .map_err(|e| content(&ca_cert, "certificate of a CA", &e))?;
        Ok((ca, issuer))
    }

    /// A certificate of the CA for the key at `key_path`, or for a new one, if there is none.
    fn sign(
        &self,
        mut params: CertificateParams,
        key_path: Option<&Path>,
        wanted: &Wanted,
    ) -> Result<Signed, CertError> {
        let (ca, issuer) = self.issuer()?;
        let ca_end = OffsetDateTime::from_unix_timestamp(ca.not_after_secs()).unwrap_or(params.not_after);
        if ca_end < OffsetDateTime::now_utc() {
            return Err(CertError::CaEnded { ca: self.ca_cert(), not_after: ca_end });
        }
        params.not_after = params.not_after.min(ca_end);
        let serial = Serial::made()?;
        params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
        if let Some(path) = key_path.filter(|path| path.exists()) {
            let cert = params.signed_by(&read_key(path)?, &issuer)?.pem();
            return Ok(Signed { cert, key: None, serial });
        }
        let key = wanted.key.generate()?;
        Ok(Signed { cert: params.signed_by(&key, &issuer)?.pem(), key: Some(key.serialize_pem()), serial })
    }
}

/// A certificate, and its key, unless that was there before; both PEM.
struct Signed {
    cert: String,
    key: Option<String>,
    serial: Serial,
}

impl Signed {
    /// The certificate comes last, so that one that is there has its key, and is on record.
    fn write(&self, ca: &CertDir, cert_path: &Path, key_path: &Path, key_mode: u32) -> Result<(), CertError> {
        if let Some(key) = &self.key {
            write::file(key_path, key, key_mode)?;
        }
        ca.record(&self.cert, &self.serial)?;
        write::file(cert_path, &self.cert, write::PUBLIC)
    }

    /// The same over what is there.
    fn replace(&self, ca: &CertDir, cert_path: &Path, key_path: &Path, key_mode: u32) -> Result<(), CertError> {
        ca.record(&self.cert, &self.serial)?;
        if let Some(key) = &self.key {
            write::replace(key_path, key, key_mode)?;
        }
        write::replace(cert_path, &self.cert, write::PUBLIC)
    }
}

/// What is to be signed for the client `name`.
fn named_client(name: &str, wanted: &Wanted) -> Result<CertificateParams, CertError> {
    let mut params = leaf(name, ExtendedKeyUsagePurpose::ClientAuth, CLIENT_DAYS, wanted)?;
    let own = AlternativeName::email(name).filter(|own| !wanted.names.contains(own));
    params.subject_alt_names = own.iter().chain(&wanted.names).map(|name| name.0.clone()).collect();
    Ok(params)
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
fn leaf(
    common_name: &str,
    usage: ExtendedKeyUsagePurpose,
    usual_days: u16,
    wanted: &Wanted,
) -> Result<CertificateParams, CertError> {
    if let Some(bad) = wanted.unit.iter().find(|unit| !is_unit(unit)) {
        return Err(CertError::Unit { text: bad.clone() });
    }
    let mut params = CertificateParams::default();
    name(&mut params, common_name, wanted.unit.as_deref());
    valid_for(&mut params, wanted.days.unwrap_or(usual_days).into());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Whether a text can be an organizational unit: short, and nothing that a log would have to escape.
fn is_unit(text: &str) -> bool {
    let chars = text.chars().count();
    (1..=NAME_CHARS).contains(&chars) && text.trim() == text && !text.chars().any(char::is_control)
}

/// The subject, with 1.0.1's organization.
fn name(params: &mut CertificateParams, common_name: &str, unit: Option<&str>) {
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Stenographer");
    if let Some(unit) = unit {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
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
    let bad = |e: &dyn ToString| content(path, "private key that is known", e);
    let text = String::from_utf8(key_bytes(path)?).map_err(|e| bad(&e))?;
    KeyPair::from_pem(&text).map_err(|e| bad(&e))
}
