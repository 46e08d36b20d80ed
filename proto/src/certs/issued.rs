//! What a CA has signed, as far as its directory tells: by it a client's certificates are found when they are to be taken back.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::{CertDir, CertError, Serial, read, write};

/// A certificate for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) serial: Serial,
    pub(super) common_name: String,
}

impl CertDir {
    /// Puts a copy of a certificate on record.
    pub(super) fn record(&self, cert: &str, serial: &Serial) -> Result<(), CertError> {
        write::own_directory(&self.issued())?;
        write::file(&self.issued().join(serial.file_name()), cert, write::PUBLIC)
    }

    /// The certificates for clients that the CA, of the name `issuer` (DER), has signed: on record, or still where they were
    /// made, as those of before there was a record. Those that only say of themselves that it has signed them are among them.
    pub(super) fn issued_to_clients(&self, issuer: &[u8]) -> Result<Vec<Issued>, CertError> {
        let mut places = files(&self.issued())?;
        places.push(self.client_cert());
        places.extend(files(&self.clients())?.into_iter().map(|dir| CertDir::new(dir).client_cert()));
        let mut found = BTreeMap::new();
        for path in places.iter().filter(|path| path.is_file()) {
            // 1.0.1's script keeps other files there, too.
            let Ok(certificates) = read::certificates(path) else { continue };
            let client = certificates.first().and_then(|der| client(der, issuer));
            found.extend(client.map(|client| (client.serial.clone(), client)));
        }
        Ok(found.into_values().collect())
    }

    /// The private keys of the directory that are everyone's to read or write.
    pub fn exposed_keys(&self) -> Vec<CertError> {
        let clients = files(&self.clients()).unwrap_or_default();
        let keys = [self.ca_key(), self.server_key(), self.client_key()].into_iter();
        let keys = keys.chain(clients.into_iter().map(|dir| CertDir::new(dir).client_key()));
        keys.filter_map(|key| read::is_exposed(&key)).collect()
    }
}

/// What is in `directory`, in the order of names; nothing, where there is none.
fn files(directory: &Path) -> Result<Vec<PathBuf>, CertError> {
    let failed = |source| CertError::Read { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// The certificate, if one of that name has signed it, and it may be a client's: those for servers alone are not.
fn client(der: &[u8], issuer: &[u8]) -> Option<Issued> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let usage = parsed.extended_key_usage().ok().flatten();
    let for_clients = usage.is_none_or(|usage| usage.value.client_auth || usage.value.any);
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    (for_clients && parsed.issuer().as_raw() == issuer).then(|| Issued {
        serial: Serial::of(parsed.raw_serial()),
        common_name: common_name.unwrap_or_default().to_owned(),
    })
}
