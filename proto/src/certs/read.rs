//! Reads PEM files (RFC 7468).

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::{CertError, Leaf, provider};

/// The certificates in `path`, at least one, in the order of the file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let text = bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|e| content(path, "certificate", &e))?;
    if found.is_empty() {
        return Err(content(path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// The revocation lists in `path`.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, CertError> {
    let text = bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|e| content(path, "certificate revocation list", &e))?;
    if found.is_empty() {
        return Err(content(path, "certificate revocation list", &pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) leaf: Leaf,
    pub(super) certified: Arc<CertifiedKey>,
}

impl Pair {
    /// Reads both, and holds one against the other.
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, CertError> {
        let chain = certificates(cert)?;
        let first = chain.first().ok_or_else(|| content(cert, "certificate", &pem::Error::NoItemsFound))?;
        let leaf = Leaf::of(first).map_err(|e| content(cert, "certificate", &e))?;
        let der = PrivateKeyDer::from_pem_slice(&key_bytes(key)?).map_err(|e| content(key, "private key", &e))?;
        let signing =
            provider().key_provider.load_private_key(der).map_err(|e| content(key, "private key that is known", &e))?;
        if signing.public_key().is_none_or(|public| public.as_ref() != leaf.public_key_info()) {
            return Err(CertError::Mismatch { cert: cert.to_owned(), key: key.to_owned() });
        }
        Ok(Self { leaf, certified: Arc::new(CertifiedKey::new(chain, signing)) })
    }

    /// For rustls, of either side. It is not asked to check the pair again, which it refuses for version 1.
    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.certified)))
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source| CertError::Read { path: path.to_owned(), source })
}

/// Bits of a mode for those who are neither the owner nor of the group.
const OTHERS: u32 = 0o007;

/// A key's file, which must not be everyone's: of what was open to all nobody can tell who has it.
pub(super) fn key_bytes(path: &Path) -> Result<Vec<u8>, CertError> {
    let read = || {
        // The mode of what is read, whatever is put in its place meanwhile.
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        let mut bytes = Vec::new();
        let _len = file.read_to_end(&mut bytes)?;
        Ok((mode, bytes))
    };
    let (mode, bytes) = read().map_err(|source| CertError::Read { path: path.to_owned(), source })?;
    if mode & OTHERS != 0 {
        return Err(CertError::Exposed { path: path.to_owned(), mode });
    }
    Ok(bytes)
}

/// Says so if the key `path` is there and everyone's. One that this user cannot look at, others cannot either.
pub(super) fn is_exposed(path: &Path) -> Option<CertError> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    (mode & OTHERS != 0).then(|| CertError::Exposed { path: path.to_owned(), mode })
}

pub(super) fn content(path: &Path, expected: &'static str, got: &dyn ToString) -> CertError {
    CertError::Content { path: path.to_owned(), expected, got: got.to_string() }
}
