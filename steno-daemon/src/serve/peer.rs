//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr};

use rustls_pki_types::CertificateDer;
use steno_proto::certs::Leaf;

/// A client whose certificate holds. It is among the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    address: SocketAddr,
    name: String,
    serial: String,
}

impl Peer {
    /// The holder of `chain`, whose first certificate is its own.
    pub(super) fn new(address: SocketAddr, chain: Option<&[CertificateDer<'_>]>) -> Self {
        let leaf = chain.and_then(<[_]>::first).and_then(|leaf| Leaf::of(leaf).ok());
        let (name, serial) =
            leaf.map(|leaf| (leaf.common_name().to_owned(), leaf.serial().to_owned())).unwrap_or_default();
        Self { address, name, serial }
    }

    /// Where it calls from.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The common name of its certificate.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The serial number of its certificate.
    pub fn serial(&self) -> &str {
        &self.serial
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}", self.name, self.address)
    }
}
