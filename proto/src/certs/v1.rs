//! Certificates of version 1, as Debian's `stenokeys` makes them: webpki refuses them, and with them every handshake of a
//! sensor that was set up for stenographer 1.0.1.
//!
//! Such a certificate is good where one of the trusted CA's certificates itself has signed it, and while it is valid. There
//! are no intermediates, and, for lack of extensions, no bounds to its use.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
};
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::Leaf;

/// The CA's certificates, and what they have taken back.
#[derive(Clone, Debug)]
pub(super) struct Issuers {
    roots: Vec<CertificateDer<'static>>,
    /// The names of those of which there is a list, and until when (seconds since the UNIX epoch) it is good.
    lists: BTreeMap<Vec<u8>, i64>,
    /// The issuer's name and the serial number of what was taken back.
    revoked: BTreeSet<(Vec<u8>, Vec<u8>)>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Issuers {
    pub(super) fn new(roots: Vec<CertificateDer<'static>>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { roots, lists: BTreeMap::new(), revoked: BTreeSet::new(), algorithms }
    }

    /// Notes what `list` has taken back. `false`, and nothing is noted, if none of the CA's certificates has signed it.
    ///
    /// # Errors
    /// It is none, its signature is forged, or there is one of its CA already: of two, webpki looks at the first alone.
    pub(super) fn revoke(&mut self, list: &CertificateRevocationListDer<'_>) -> Result<bool, ListError> {
        let (_, parsed) = CertificateRevocationList::from_der(list).map_err(|_| CertificateError::BadEncoding)?;
        let signed = Signed {
            message: parsed.tbs_cert_list.as_ref(),
            algorithm: parsed.signature_algorithm.algorithm.as_bytes(),
            signature: &parsed.signature_value.data,
        };
        if !self.issued(parsed.tbs_cert_list.issuer.as_raw(), &signed)? {
            return Ok(false);
        }
        let issuer = parsed.tbs_cert_list.issuer.as_raw();
        let until = parsed.next_update().ok_or(CertificateError::BadEncoding)?.timestamp();
        if self.lists.insert(issuer.to_vec(), until).is_some() {
            return Err(ListError::Twice);
        }
        for each in parsed.iter_revoked_certificates() {
            let _new = self.revoked.insert((issuer.to_vec(), each.raw_serial().to_vec()));
        }
        Ok(true)
    }

    /// Whether `certificate`, of version 1, is good at `now`.
    pub(super) fn verify(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
        let leaf = Leaf::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let signed = Signed {
            message: parsed.tbs_certificate.as_ref(),
            algorithm: parsed.signature_algorithm.algorithm.as_bytes(),
            signature: &parsed.signature_value.data,
        };
        if !self.issued(parsed.issuer().as_raw(), &signed)? {
            return Err(CertificateError::UnknownIssuer);
        }
        leaf.holds_at(now)?;
        let until = self.lists.get(parsed.issuer().as_raw()).map(|secs| u64::try_from(*secs).unwrap_or(0));
        if let Some(until) = until.filter(|until| *until < now.as_secs()) {
            let next_update = UnixTime::since_unix_epoch(Duration::from_secs(until));
            return Err(CertificateError::ExpiredRevocationListContext { time: now, next_update });
        }
        if self.revoked.contains(&(parsed.issuer().as_raw().to_vec(), parsed.raw_serial().to_vec())) {
            return Err(CertificateError::Revoked);
        }
        Ok(())
    }

    /// Until when the lists are good: that of them which ends first, in seconds since the UNIX epoch.
    pub(super) fn lists_until_secs(&self) -> Option<i64> {
        self.lists.values().min().copied()
    }

    /// Whether a CA of the name `issuer` (DER) has signed it.
    fn issued(&self, issuer: &[u8], signed: &Signed<'_>) -> Result<bool, CertificateError> {
        let mut named = false;
        for root in &self.roots {
            let Ok((_, root)) = X509Certificate::from_der(root) else { continue };
            if root.subject().as_raw() != issuer {
                continue;
            }
            named = true;
            let key = root.public_key();
            if signed.is_by(key.algorithm.algorithm.as_bytes(), &key.subject_public_key.data, &self.algorithms) {
                return Ok(true);
            }
        }
        if named { Err(CertificateError::BadSignature) } else { Ok(false) }
    }

    /// [`rustls::crypto::verify_tls12_signature`] for a certificate of version 1.
    pub(super) fn verify_tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let key = parsed.public_key();
        let mapped = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
        let (_, candidates) = mapped.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let good = candidates
            .iter()
            .filter(|c| begins_with(&c.public_key_alg_id(), key.algorithm.algorithm.as_bytes()))
            .any(|c| c.verify_signature(&key.subject_public_key.data, message, signed.signature()).is_ok());
        if good { Ok(HandshakeSignatureValid::assertion()) } else { Err(CertificateError::BadSignature.into()) }
    }

    /// [`rustls::crypto::verify_tls13_signature`] for a certificate of version 1.
    pub(super) fn verify_tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let leaf = Leaf::of(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(leaf.public_key_info());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }

    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    pub(super) fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a list does not do.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("{0}")]
    Bad(CertificateError),
    #[error("there are two lists of the same CA; keep the newer one")]
    Twice,
}

impl From<CertificateError> for ListError {
    fn from(error: CertificateError) -> Self {
        Self::Bad(error)
    }
}

/// Something with a signature under it.
struct Signed<'a> {
    message: &'a [u8],
    /// The object identifier of the algorithm, without its tag and length.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl Signed<'_> {
    /// Whether the key, of the algorithm with that object identifier, has signed it.
    ///
    /// Algorithms are told by their object identifier alone. Where several have the same (curves, lengths of a digest), the
    /// others do not verify.
    fn is_by(&self, key_algorithm: &[u8], key: &[u8], algorithms: &WebPkiSupportedAlgorithms) -> bool {
        algorithms
            .all
            .iter()
            .filter(|a| begins_with(&a.signature_alg_id(), self.algorithm))
            .filter(|a| begins_with(&a.public_key_alg_id(), key_algorithm))
            .any(|a| a.verify_signature(key, self.message, self.signature).is_ok())
    }
}

/// Whether the object identifier is that of the algorithm, which is an `OBJECT IDENTIFIER` in DER and its parameters.
fn begins_with(algorithm: &AlgorithmIdentifier, identifier: &[u8]) -> bool {
    const OBJECT_IDENTIFIER: u8 = 6;
    match algorithm.as_ref() {
        [OBJECT_IDENTIFIER, len, rest @ ..] => rest.get(..usize::from(*len)) == Some(identifier),
        _ => false,
    }
}
