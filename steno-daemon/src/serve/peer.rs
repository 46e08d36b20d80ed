//! Who is at the other end of a connection.

use std::{
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use rustls_pki_types::CertificateDer;
use steno_proto::certs::{Leaf, Use};
use tracing::warn;

use crate::access::{Access, Asker, Principal};

/// A client whose certificate holds. Its [`Asker`] is among the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Peer {
    asker: Asker,
}

impl Peer {
    /// The holder of `chain`, whose first certificate is its own. What is weak about that is said, unless `known` has it.
    pub(super) fn new(
        address: SocketAddr,
        chain: Option<&[CertificateDer<'_>]>,
        known: &Known,
        access: &Access,
    ) -> Self {
        let leaf = chain.and_then(<[_]>::first).and_then(|leaf| Leaf::of(leaf).ok());
        let principal = leaf.as_ref().map_or_else(Principal::unknown, Principal::of);
        let peer = Self { asker: access.asker(principal, address) };
        if let Some(leaf) = leaf {
            known.meets(&peer, &leaf);
        }
        peer
    }

    /// Who it is, and where it calls from.
    pub fn asker(&self) -> &Asker {
        &self.asker
    }
}

/// Certificates that are remembered: a CA that signs for more clients than that has said enough of them.
const KNOWN_MOST: usize = 1_000;

/// The clients whose weak certificates have been told of, by fingerprint.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<BTreeSet<String>>);

impl Known {
    fn meets(&self, peer: &Peer, leaf: &Leaf) {
        let Some(weak) = leaf.is_weak(&format!("the certificate of the client {peer}"), Use::Client) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN_MOST && known.insert(leaf.sha256().to_owned()) {
            warn!("{weak}");
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asker.fmt(f)
    }
}
