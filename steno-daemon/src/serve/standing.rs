//! Whether a client that is connected would still be let in. Certificates end, and are taken back, while connections stand.

use std::time::Duration;

use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;
use steno_proto::certs::ServerTls;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tokio_rustls::server::TlsStream;

use super::refusal::reason;

/// How often it is looked whether a certificate has ended. When certificates or lists change, it is at once.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The same of everything else that the time of day may change.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(60);

/// What a client has shown, and what the port trusts.
#[derive(Clone)]
pub(super) struct Standing {
    tls: watch::Receiver<ServerTls>,
    chain: Vec<CertificateDer<'static>>,
}

impl Standing {
    /// Of the client at the other end of `stream`, on a port that listens with `tls`.
    pub(super) fn new(tls: watch::Receiver<ServerTls>, stream: &TlsStream<TcpStream>) -> Self {
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        Self { tls, chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect() }
    }

    /// Waits until its certificate has ended or was taken back; why, in words. Whoever has the key now may not be who it was
    /// made for: nothing more is for it.
    pub(super) async fn over(self) -> String {
        self.lost(is_over, LOOK_EVERY).await
    }

    /// Waits until it would not be let in for whatever reason, as when its CA is not trusted any more.
    pub(super) async fn stale(self) -> String {
        self.lost(|_| true, LOOK_AT_ALL_EVERY).await
    }

    async fn lost(mut self, counts: impl Fn(&Error) -> bool, every: Duration) -> String {
        loop {
            let tls = self.tls.borrow_and_update().clone();
            if let Err(e) = tls.verify_client(&self.chain)
                && counts(&e)
            {
                return reason(&e);
            }
            // The daemon that keeps the other end ends with its connections.
            if let Ok(Err(_)) = timeout(every, self.tls.changed()).await {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn is_over(error: &Error) -> bool {
    use CertificateError as Certificate;
    let Error::InvalidCertificate(why) = error else { return false };
    matches!(why, Certificate::Revoked | Certificate::Expired | Certificate::ExpiredContext { .. })
}
