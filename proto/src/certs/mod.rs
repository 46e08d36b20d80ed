//! The certificates that sensor and clients know each other by: the directory that stenographer 1.0.1 has them in, made,
//! read, and turned into configurations of TLS.
//!
//! - [`CertDir`] is the directory: `ca_cert.pem`, `server_cert.pem`, `client_cert.pem` and their keys, under 1.0.1's names;
//!   it makes what is missing (`init`), certificates for more clients (`issue_client`), and takes them back (`revoke`).
//! - [`server_tls`] is what the sensor listens with, [`client_tls`] what its clients call with. Either side must show a
//!   certificate that the CA has signed.
//! - [`Leaf`] says what is in a certificate: whose it is ([`Subject`]), until when, and what is weak about it.
//!
//! # Certificates of 1.0.1
//! Debian's `stenokeys` makes X.509 certificates of version 1: without extensions, so that they say neither what they may be
//! used for nor, but for the common name, whose they are. webpki refuses them. Here they are accepted, where the CA itself
//! has signed them (`v1`); a client then compares the common name with the host it called, and says so
//! ([`ClientTls::matched_by_common_name`]); a sensor does not take its own certificate from a client.
//!
//! Nothing here opens a socket.

mod client;
mod directory;
mod error;
mod generate;
mod issued;
mod leaf;
mod read;
mod revoke;
mod serial;
mod server;
mod subject;
mod v1;
mod wanted;
mod weakness;
mod write;

pub use client::{ClientTls, client_tls};
pub use directory::CertDir;
pub use error::CertError;
pub use leaf::{Leaf, LeafError};
pub use revoke::Revocation;
pub use serial::Serial;
pub use server::{Crl, ServerFiles, ServerTls, server_tls};
pub use subject::{NameKind, Subject};
pub use wanted::{AlternativeName, KeyKind, Wanted};
pub use weakness::Use;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// The one provider of cryptography, named wherever one is needed, so that none has to be installed for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
