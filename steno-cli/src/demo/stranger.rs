//! Somebody who has no certificate, and calls the sensor nevertheless.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use super::DemoError;
use crate::sensor::Location;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: sensor\r\nConnection: close\r\n\r\n";

/// Calls the sensor without showing a certificate, and returns the words that it is refused with.
///
/// # Errors
/// [`DemoError::LetIn`], where it is not refused for that; what keeps it from calling.
pub(super) fn call(location: &Location) -> Result<String, DemoError> {
    let what = "call the sensor without a certificate";
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(location.certs.ca_cert()).map_err(DemoError::at(what))?;
    roots.add(ca).map_err(DemoError::at(what))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .map_err(DemoError::at(what))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(location.host.clone()).map_err(DemoError::at(what))?;
    let tls = ClientConnection::new(Arc::new(config), name).map_err(DemoError::at(what))?;
    let tcp = TcpStream::connect((location.host.as_str(), location.port)).map_err(DemoError::at(what))?;
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&tcp, Some(PATIENCE)).map_err(DemoError::at(what))?;
    }
    let mut stream = StreamOwned::new(tls, tcp);
    let mut answer = [0; 64];
    match stream.write_all(REQUEST).and_then(|()| stream.read(&mut answer)) {
        Err(error) if refused_for_lack_of_certificate(&error) => Ok(error.to_string()),
        Err(error) => Err(DemoError::LetIn { got: error.to_string() }),
        Ok(bytes) => Err(DemoError::LetIn { got: format!("it gave an answer of {bytes} bytes") }),
    }
}

fn refused_for_lack_of_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)))
}
