//! What the fuzz targets reach of the port ([`crate::fuzzing`]).

use std::net::SocketAddr;

use axum::Router;
use rustls_pki_types::CertificateDer;

use super::{Health, Peer, ServeError, peer::Known, router::everything};
use crate::{
    access::Access,
    answer::{Answers, Services},
    metrics::Metrics,
};

/// How the holder of a certificate is named in the log.
pub fn peer(certificate: &[u8]) -> String {
    let chain = [CertificateDer::from(certificate)];
    let address = SocketAddr::from(([192, 0, 2, 1], 1));
    Peer::new(address, Some(&chain), &Known::default(), &Access::new(None, Metrics::new())).to_string()
}

/// What the port serves to who has come through the handshake.
///
/// # Errors
/// The descriptions of the services do not hold.
pub(crate) async fn router(answers: &Answers, services: Services) -> Result<Router, ServeError> {
    everything(answers, services, &Health::new().await)
}
