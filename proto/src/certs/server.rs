//! What the sensor listens with: it shows its certificate, and takes none but clients that the CA knows.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{verify_tls12_signature, verify_tls13_signature},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{
    CertDir, CertError, Leaf, provider,
    read::{Pair, certificates, content, revocation_lists},
    v1::Issuers,
};

/// Where a server's certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificates of the CA that signs for clients; there may be several, as while one CA gives way to another.
    pub ca_cert: PathBuf,
    /// The certificate to show, and those between it and its CA, if there are any.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// What the CA has taken back.
    pub crl: Option<Crl>,
}

/// A file with what the CA has taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crl {
    /// One that must be there.
    Named(PathBuf),
    /// One that counts if it is there: where `steno keys revoke` puts it.
    IfThere(PathBuf),
}

impl ServerFiles {
    /// Each of the files, whether it is there or not.
    pub fn paths(&self) -> Vec<&Path> {
        let crl = self.crl.as_ref().map(|(Crl::Named(path) | Crl::IfThere(path))| path);
        [&self.ca_cert, &self.cert, &self.key].into_iter().chain(crl).map(PathBuf::as_path).collect()
    }

    /// The list that is to be read.
    fn list(&self) -> Option<&Path> {
        match self.crl.as_ref()? {
            Crl::Named(path) => Some(path),
            // What cannot be looked at is said when it is read.
            Crl::IfThere(path) => path.try_exists().unwrap_or(true).then_some(path.as_path()),
        }
    }
}

impl From<&CertDir> for ServerFiles {
    fn from(dir: &CertDir) -> Self {
        let crl = Some(Crl::IfThere(dir.crl()));
        Self { ca_cert: dir.ca_cert(), cert: dir.server_cert(), key: dir.server_key(), crl }
    }
}

/// What a server needs to know.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// For the handshakes: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, a client's certificate required, and no sessions taken up
    /// again, for these would pass by what is decided about certificates since.
    pub config: Arc<ServerConfig>,
    /// The server's own certificate.
    pub leaf: Leaf,
    /// The CA's certificate; where there are several, the one that ends first.
    pub ca: Leaf,
    /// Until when the list of what was taken back is good, in seconds since the UNIX epoch, where there is one: from then on
    /// nobody is let in. Of several, the one that ends first.
    pub crl_until_secs: Option<i64>,
    pair: Pair,
    /// The certificates of the CA.
    roots: Vec<CertificateDer<'static>>,
    verifier: Arc<Verifier>,
}

impl ServerTls {
    /// Whether the client that has shown `chain`, its own certificate first, would be let in now.
    ///
    /// # Errors
    /// Why it would not.
    pub fn verify_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error> {
        let (own, others) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let _good = self.verifier.verify_client_cert(own, others, UnixTime::now())?;
        Ok(())
    }

    /// The same, with what the list among `files` says now: for when the server's certificate or its key does not hold any more, which
    /// is to keep nobody in whom the CA has taken back. `None` where the CA is another.
    ///
    /// # Errors
    /// As [`server_tls`], but for the server's own certificate and key.
    pub fn with_list(&self, files: &ServerFiles) -> Result<Option<Self>, CertError> {
        let now = Self::of(files, self.pair.clone())?;
        Ok((now.roots == self.roots).then_some(now))
    }

    fn of(files: &ServerFiles, pair: Pair) -> Result<Self, CertError> {
        let roots = certificates(&files.ca_cert)?;
        let (verifier, ca) = verifier(files, &roots, &pair)?;
        let verifier = Arc::new(verifier);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_client_cert_verifier(Arc::<Verifier>::clone(&verifier))
            .with_cert_resolver(pair.resolver());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let (leaf, crl_until_secs) = (pair.leaf.clone(), verifier.issuers.lists_until_secs());
        Ok(Self { config: Arc::new(config), leaf, ca, crl_until_secs, pair, roots, verifier })
    }
}

/// Reads `files` and holds them against each other.
///
/// # Errors
/// A file cannot be read or does not hold what it must, the key is everyone's to read or another certificate's, or the
/// revocation list another CA's. That a certificate or the list has expired is no error here: it may be replaced while the
/// server runs.
pub fn server_tls(files: &ServerFiles) -> Result<ServerTls, CertError> {
    ServerTls::of(files, Pair::read(&files.cert, &files.key)?)
}

fn verifier(files: &ServerFiles, roots: &[CertificateDer<'static>], own: &Pair) -> Result<(Verifier, Leaf), CertError> {
    let ca_path = files.ca_cert.as_path();
    let mut store = RootCertStore::empty();
    let mut ca: Option<Leaf> = None;
    for root in roots {
        store.add(root.clone()).map_err(|e| content(ca_path, "certificate of a CA", &e))?;
        let leaf = Leaf::of(root).map_err(|e| content(ca_path, "certificate", &e))?;
        if ca.as_ref().is_none_or(|first| leaf.not_after_secs() < first.not_after_secs()) {
            ca = Some(leaf);
        }
    }
    let ca = ca.ok_or_else(|| content(ca_path, "certificate", &"the file is empty"))?;
    let provider = provider();
    let mut issuers = Issuers::new(roots.to_vec(), provider.signature_verification_algorithms);
    let mut webpki = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let list = files.list();
    if let Some(path) = list {
        let lists = revocation_lists(path)?;
        for list in &lists {
            if !issuers.revoke(list).map_err(|e| content(path, "certificate revocation list", &e))? {
                return Err(CertError::Foreign { cert: path.to_owned(), ca: ca_path.to_owned() });
            }
        }
        // A CA of several that has no list has taken nothing back. Who gives a list an end does not vouch for it any longer.
        webpki = webpki.with_crls(lists).allow_unknown_revocation_status().enforce_revocation_expiration();
    }
    let webpki = webpki.build().map_err(|e| refused(list.unwrap_or(ca_path), &e))?;
    let own = own.certified.cert.first().cloned();
    Ok((Verifier { webpki, issuers, own }, ca))
}

fn refused(path: &Path, error: &dyn ToString) -> CertError {
    content(path, "CA or revocation list that can be used", error)
}

/// Decides about clients.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<dyn ClientCertVerifier>,
    issuers: Issuers,
    /// The server's own certificate: one of version 1 does not say that it is not a client's.
    own: Option<CertificateDer<'static>>,
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.own.as_deref() == Some(&**end_entity) {
            return Err(CertificateError::InvalidPurpose.into());
        }
        if is_version_1(end_entity) {
            self.issuers.verify(end_entity, now)?;
            return Ok(ClientCertVerified::assertion());
        }
        self.webpki.verify_client_cert(end_entity, intermediates, now)
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

/// Whether webpki would refuse it for its version alone.
pub(super) fn is_version_1(certificate: &CertificateDer<'_>) -> bool {
    Leaf::of(certificate).is_ok_and(|leaf| leaf.is_version_1())
}
