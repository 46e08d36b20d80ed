//! Who sent a request.

use std::{fmt, net::SocketAddr};

use http::Extensions;

use super::{Denied, Principal};

/// Who sent a request, and from where. Whoever serves connections puts one among the extensions of each request; clones are
/// cheap.
#[derive(Clone, Debug)]
pub struct Asker {
    principal: Principal,
    address: SocketAddr,
}

impl Asker {
    /// The holder of a certificate, who calls from `address`.
    pub fn new(principal: Principal, address: SocketAddr) -> Self {
        Self { principal, address }
    }

    /// Of a request with these extensions.
    ///
    /// # Errors
    /// [`Denied::Unknown`].
    pub fn of(extensions: &Extensions) -> Result<&Self, Denied> {
        extensions.get().ok_or(Denied::Unknown)
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// From where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.principal, self.address)
    }
}
