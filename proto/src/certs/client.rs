//! What a client calls a sensor with: it shows its certificate, and takes none but a sensor that the CA knows.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{
    CertDir, CertError, Leaf, provider,
    read::{Pair, certificates, content},
    server::is_version_1,
    v1::Issuers,
};

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// For the handshakes: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1. What the caller talks is for it to narrow.
    pub config: ClientConfig,
    /// The client's own certificate.
    pub leaf: Leaf,
    by_common_name: Arc<AtomicBool>,
}

impl ClientTls {
    /// Whether a sensor so far was known by its common name alone: its certificate names no host where it should (RFC 9110,
    /// section 4.3.4). People should be told, and to make another with `steno keys`.
    pub fn matched_by_common_name(&self) -> bool {
        self.by_common_name.load(Ordering::Relaxed)
    }
}

/// Reads the CA's certificate and the client's from `dir`, and its key.
///
/// # Errors
/// A file cannot be read or does not hold what it must, or the key is another certificate's.
pub fn client_tls(dir: &CertDir) -> Result<ClientTls, CertError> {
    let pair = Pair::read(&dir.client_cert(), &dir.client_key())?;
    let verifier = Verifier::read(dir)?;
    let by_common_name = Arc::clone(&verifier.by_common_name);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(pair.resolver());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(ClientTls { config, leaf: pair.leaf, by_common_name })
}

/// Decides about sensors. As rustls' own, but for certificates that name no host in an extension.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    issuers: Issuers,
    by_common_name: Arc<AtomicBool>,
}

impl Verifier {
    /// Trusts the CA of `dir`.
    fn read(dir: &CertDir) -> Result<Self, CertError> {
        let path = dir.ca_cert();
        let trusted = certificates(&path)?;
        let mut roots = RootCertStore::empty();
        for root in &trusted {
            roots.add(root.clone()).map_err(|e| content(&path, "certificate of a CA", &e))?;
        }
        let issuers = Issuers::new(trusted, provider().signature_verification_algorithms);
        Ok(Self { roots, issuers, by_common_name: Arc::default() })
    }

    /// Whether a certificate without names of hosts is that of `name` by its common name.
    fn verify_common_name(&self, leaf: &Leaf, name: &ServerName<'_>) -> Result<(), Error> {
        let common = leaf.common_name();
        let same = match name {
            ServerName::DnsName(host) => host.as_ref().eq_ignore_ascii_case(common),
            ServerName::IpAddress(address) => {
                common.parse::<IpAddr>().is_ok_and(|common| common == IpAddr::from(*address))
            }
            _ => false,
        };
        if !same {
            let presented = vec![format!("the common name {common:?}")];
            return Err(CertificateError::NotValidForNameContext { expected: name.to_owned(), presented }.into());
        }
        self.by_common_name.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = Leaf::of(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        if leaf.is_version_1() {
            self.issuers.verify(end_entity, now)?;
            self.verify_common_name(&leaf, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.issuers.algorithms().all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        if leaf.has_alternative_names() {
            verify_server_name(&parsed, server_name)?;
        } else {
            self.verify_common_name(&leaf, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_version_1(cert) {
            return self.issuers.verify_tls12(message, cert, dss);
        }
        verify_tls12_signature(message, cert, dss, self.issuers.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if is_version_1(cert) {
            return self.issuers.verify_tls13(message, cert, dss);
        }
        verify_tls13_signature(message, cert, dss, self.issuers.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issuers.schemes()
    }
}

/// What [`client_tls`] decides with, for a test that builds a configuration of its own.
#[cfg(test)]
pub(super) fn tests_verifier(dir: &CertDir) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Verifier::read(dir).unwrap())
}
