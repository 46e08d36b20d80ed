//! Takes certificates back: writes the list (RFC 5280, section 5) that sensors hold their clients against.

use std::path::PathBuf;

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::CertificateRevocationListDer;
use time::{Duration, OffsetDateTime};
use x509_parser::{
    extensions::ParsedExtension,
    prelude::{CertificateRevocationList, FromDer, RevokedCertificate, X509Certificate},
    time::ASN1Time,
};

use super::{
    CertDir, CertError, Serial, provider,
    read::{self, content},
    v1::Issuers,
    write,
};

/// What a list is called in messages.
const LIST: &str = "certificate revocation list";
/// How long a list of a CA that has ended, or is about to, is good for: its clients are known all the same.
const LEAST_DAYS: i64 = 365;

/// What became of a request to take certificates back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The list.
    pub list: PathBuf,
    /// Whether there was none before.
    pub is_new: bool,
    /// Those that are on it now and were not before.
    pub revoked: Vec<Serial>,
    /// Those that were on it before, and since when: seconds since the UNIX epoch.
    pub before: Vec<(Serial, i64)>,
    /// Until when the list is good: seconds since the UNIX epoch.
    pub until_secs: i64,
}

impl CertDir {
    /// Takes the certificates of the client `name` back: all that are known, or those in `serials`. A number that is on no
    /// record is taken to be the client's. The list is good for `days`, or for as long as its CA; where all are on it
    /// already, and no days are asked for, it stays as it is.
    ///
    /// # Errors
    /// Nobody of that name has a certificate, a number is another's, the CA's key is missing, or something cannot be read or
    /// written; the list is as it was then.
    pub fn revoke(&self, name: &str, serials: &[Serial], days: Option<u16>) -> Result<Revocation, CertError> {
        let _held = write::lock(self.path())?;
        let ca = Ca::read(self)?;
        let named = ca.named(self, name, serials)?;
        ca.rewrite(self, named, days, days.is_some())
    }

    /// Signs the list anew, for `days` or for as long as its CA is good.
    ///
    /// # Errors
    /// The CA's key is missing, or something cannot be read or written; the list is as it was then.
    pub fn renew_list(&self, days: Option<u16>) -> Result<Revocation, CertError> {
        let _held = write::lock(self.path())?;
        self.renew_list_held(days)
    }

    /// The same, by who holds the directory.
    pub(super) fn renew_list_held(&self, days: Option<u16>) -> Result<Revocation, CertError> {
        let ca = Ca::read(self)?;
        ca.rewrite(self, Vec::new(), days, true)
    }
}

/// Who signs the list.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its name, DER.
    subject: Vec<u8>,
    key_id: KeyIdMethod,
    not_after_secs: i64,
    issuers: Issuers,
}

impl Ca {
    fn read(dir: &CertDir) -> Result<Self, CertError> {
        let path = dir.ca_cert();
        let (ca, issuer) = dir.issuer()?;
        let certificates = read::certificates(&path)?;
        let der = certificates.first().ok_or_else(|| content(&path, "certificate", &"the file is empty"))?;
        let (_, parsed) = X509Certificate::from_der(der).map_err(|e| content(&path, "certificate", &e))?;
        // As others find the CA by it.
        let key_id = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(KeyIdMethod::PreSpecified(id.0.to_vec())),
            _ => None,
        });
        Ok(Self {
            issuer,
            subject: parsed.subject().as_raw().to_vec(),
            key_id: key_id.unwrap_or(KeyIdMethod::Sha256),
            not_after_secs: ca.not_after_secs(),
            issuers: Issuers::new(vec![der.clone()], provider().signature_verification_algorithms),
        })
    }

    /// The certificates that are to be taken back.
    fn named(&self, dir: &CertDir, name: &str, serials: &[Serial]) -> Result<Vec<Serial>, CertError> {
        let known = dir.issued_to_clients(&self.subject)?;
        for serial in serials {
            if let Some(other) = known.iter().find(|one| one.serial == *serial && one.common_name != name) {
                let (serial, name, owner) = (serial.clone(), name.to_owned(), other.common_name.clone());
                return Err(CertError::OthersSerial { serial, name, owner });
            }
        }
        if !serials.is_empty() {
            return Ok(serials.to_vec());
        }
        let all: Vec<Serial> =
            known.iter().filter(|one| one.common_name == name).map(|one| one.serial.clone()).collect();
        if all.is_empty() {
            let mut names: Vec<String> = known.into_iter().map(|one| one.common_name).collect();
            names.sort();
            names.dedup();
            return Err(CertError::UnknownClient { name: name.to_owned(), dir: dir.path().to_owned(), known: names });
        }
        Ok(all)
    }

    /// Puts `named` on the list, unless they are; `anew`, it is signed even so.
    fn rewrite(
        &self,
        dir: &CertDir,
        named: Vec<Serial>,
        days: Option<u16>,
        anew: bool,
    ) -> Result<Revocation, CertError> {
        let there = List::read(dir, self)?;
        let is_new = there.is_none();
        let mut list = there.unwrap_or_default();
        let (mut revoked, mut before) = (Vec::new(), Vec::new());
        for serial in named {
            match list.since(&serial) {
                Some(since) => before.push((serial, since)),
                None if revoked.contains(&serial) => {}
                None => revoked.push(serial),
            }
        }
        if revoked.is_empty() && !anew && !is_new {
            return Ok(Revocation { list: dir.crl(), is_new, revoked, before, until_secs: list.until_secs });
        }
        let now = OffsetDateTime::now_utc();
        list.entries.extend(revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.bytes()),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        }));
        let until_secs = list.write(dir, self, days)?;
        Ok(Revocation { list: dir.crl(), is_new, revoked, before, until_secs })
    }
}

/// A list, as it is or is to be.
#[derive(Default)]
struct List {
    entries: Vec<RevokedCertParams>,
    /// Its number, most significant byte first; 0 before the first.
    number: Vec<u8>,
    until_secs: i64,
}

impl List {
    /// The one that is there, which must be this CA's alone.
    fn read(dir: &CertDir, ca: &Ca) -> Result<Option<Self>, CertError> {
        let path = dir.crl();
        if !path.exists() {
            return Ok(None);
        }
        let all = read::revocation_lists(&path)?;
        let [der] = all.as_slice() else {
            return Err(content(&path, "list of this CA alone", &"there are several, which this would not keep"));
        };
        let mut issuers = ca.issuers.clone();
        if !issuers.revoke(der).map_err(|e| content(&path, LIST, &e))? {
            return Err(CertError::Foreign { cert: path, ca: dir.ca_cert() });
        }
        Self::of(der).map(Some).map_err(|e| content(&path, LIST, &e))
    }

    fn of(der: &CertificateRevocationListDer<'_>) -> Result<Self, String> {
        let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|e| e.to_string())?;
        let entries: Result<Vec<_>, String> = parsed.iter_revoked_certificates().map(entry).collect();
        Ok(Self {
            entries: entries?,
            number: parsed.crl_number().map(|number| number.to_bytes_be()).unwrap_or_default(),
            until_secs: parsed.next_update().map_or(0, |until| until.timestamp()),
        })
    }

    /// Since when a certificate is on it.
    fn since(&self, serial: &Serial) -> Option<i64> {
        let of = |entry: &&RevokedCertParams| Serial::of(entry.serial_number.as_ref()) == *serial;
        self.entries.iter().find(of).map(|entry| entry.revocation_time.unix_timestamp())
    }

    /// Signs it, with the next number, and puts it in the place of the one before. Until when it is good.
    fn write(self, dir: &CertDir, ca: &Ca, days: Option<u16>) -> Result<i64, CertError> {
        let now = OffsetDateTime::now_utc();
        let least = now + Duration::days(LEAST_DAYS);
        let ca_end = OffsetDateTime::from_unix_timestamp(ca.not_after_secs).unwrap_or(least);
        let next_update = days.map_or(ca_end.max(least), |days| now + Duration::days(days.into()));
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update,
            crl_number: SerialNumber::from(next(self.number)),
            issuing_distribution_point: None,
            revoked_certs: self.entries,
            key_identifier_method: ca.key_id.clone(),
        };
        write::replace(&dir.crl(), &params.signed_by(&ca.issuer)?.pem()?, write::PUBLIC)?;
        Ok(next_update.unix_timestamp())
    }
}

/// An entry as it is, to be written again.
fn entry(there: &RevokedCertificate<'_>) -> Result<RevokedCertParams, String> {
    let serial = there.raw_serial();
    if serial.first().is_some_and(|first| first & 0x80 != 0) {
        return Err("a serial number is negative, and cannot be written again".to_owned());
    }
    let time = |time: ASN1Time| OffsetDateTime::from_unix_timestamp(time.timestamp()).map_err(|e| e.to_string());
    Ok(RevokedCertParams {
        serial_number: SerialNumber::from_slice(Serial::of(serial).bytes()),
        revocation_time: time(there.revocation_date)?,
        reason_code: there.reason_code().and_then(|(_, code)| reason(code.0)),
        invalidity_date: there.invalidity_date().map(|(_, at)| time(at)).transpose()?,
    })
}

/// RFC 5280, section 5.3.1.
fn reason(code: u8) -> Option<RevocationReason> {
    use RevocationReason as Reason;
    Some(match code {
        1 => Reason::KeyCompromise,
        2 => Reason::CaCompromise,
        3 => Reason::AffiliationChanged,
        4 => Reason::Superseded,
        5 => Reason::CessationOfOperation,
        6 => Reason::CertificateHold,
        8 => Reason::RemoveFromCrl,
        9 => Reason::PrivilegeWithdrawn,
        10 => Reason::AaCompromise,
        _ => return None,
    })
}

/// One more than `number`.
fn next(mut number: Vec<u8>) -> Vec<u8> {
    for byte in number.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return number;
        }
    }
    number.insert(0, 1);
    number
}
