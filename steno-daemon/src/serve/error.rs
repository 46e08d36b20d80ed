//! Why the network cannot be answered.

use std::{io, net::SocketAddr};

use steno_proto::certs::CertError;

/// Why the network cannot be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", hint(.source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates do not hold.
    #[error(transparent)]
    Certificates(#[from] CertError),
    /// The services cannot be described.
    #[error("cannot describe the services: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// A socket that was bound cannot be used.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another program has it: stop that one, or give another Port",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address: give another Host",
        io::ErrorKind::PermissionDenied => "; ports below 1024 are for root: give another Port",
        _ => "",
    }
}
