//! The names of the files in a directory of certificates.

use std::path::{Path, PathBuf};

/// A directory of certificates, with the file names of stenographer 1.0.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertDir(PathBuf);

impl CertDir {
    /// The directory at `path`, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The certificate of the CA: whom both sides trust.
    pub fn ca_cert(&self) -> PathBuf {
        self.0.join("ca_cert.pem")
    }

    /// Its key. Only the making of certificates needs it; it may be kept elsewhere.
    pub fn ca_key(&self) -> PathBuf {
        self.0.join("ca_key.pem")
    }

    /// The certificate that the sensor shows.
    pub fn server_cert(&self) -> PathBuf {
        self.0.join("server_cert.pem")
    }

    /// Its key.
    pub fn server_key(&self) -> PathBuf {
        self.0.join("server_key.pem")
    }

    /// The certificate that a client shows.
    pub fn client_cert(&self) -> PathBuf {
        self.0.join("client_cert.pem")
    }

    /// Its key. Who can read it may query the sensor.
    pub fn client_key(&self) -> PathBuf {
        self.0.join("client_key.pem")
    }

    /// What the CA has taken back. stenographer 1.0.1 has no such file.
    pub fn crl(&self) -> PathBuf {
        self.0.join("crl.pem")
    }

    /// A copy of every certificate that the CA has signed, as `SERIAL.pem`: where `openssl ca`, and so 1.0.1's script, puts
    /// them. By it a client's certificates are known that were handed out and are nowhere else.
    pub(super) fn issued(&self) -> PathBuf {
        self.0.join("ca")
    }

    /// What [`Self::issue_client`] makes for the client `name`: a directory of certificates to hand out.
    pub fn client_dir(&self, name: &str) -> Self {
        Self(self.clients().join(name))
    }

    pub(super) fn clients(&self) -> PathBuf {
        self.0.join("clients")
    }
}
