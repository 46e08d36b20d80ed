//! The certificates that ports are listened on with: read, shown, and read again.

use std::sync::Arc;

use steno_core::TimestampNs;
use steno_proto::certs::{CertError, Leaf, ServerFiles, ServerTls, Use, server_tls};
use tokio::sync::watch;
use tracing::warn;

use crate::{answer, config::Config, metrics::Metrics};

/// What one port shows and trusts.
#[derive(Debug)]
struct Identity {
    /// What its two certificates are called in metrics.
    names: [&'static str; 2],
    files: ServerFiles,
    tls: watch::Sender<ServerTls>,
}

/// What the ports of a [`Server`](super::Server) show and trust. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificates {
    main: Arc<Identity>,
    rpc: Option<Arc<Identity>>,
    metrics: Metrics,
}

impl Certificates {
    /// Reads what `config` names.
    pub(super) fn read(config: &Config, metrics: Metrics) -> Result<Self, CertError> {
        let main = Identity::read(["server", "ca"], config.server_files())?;
        let rpc = config.rpc_server_files().map(|files| Identity::read(["rpc_server", "rpc_ca"], files)).transpose()?;
        let all = Self { main: Arc::new(main), rpc: rpc.map(Arc::new), metrics };
        all.show();
        Ok(all)
    }

    /// Reads certificates, keys and revocation lists again; new connections are held against them. Connections that are open
    /// go on until they are of age. A port whose files do not hold keeps what it has.
    ///
    /// # Errors
    /// The first of the files that do not hold.
    pub fn reload(&self) -> Result<(), CertError> {
        let main = self.main.reload();
        let rpc = self.rpc.as_ref().map_or(Ok(()), |identity| identity.reload());
        self.show();
        main.and(rpc)
    }

    /// What the port that serves everything is listened on with, now and later.
    pub(super) fn main(&self) -> watch::Receiver<ServerTls> {
        self.main.tls.subscribe()
    }

    /// The same of `Rpc.ServerPort`.
    pub(super) fn rpc(&self) -> Option<watch::Receiver<ServerTls>> {
        self.rpc.as_ref().map(|identity| identity.tls.subscribe())
    }

    /// When those of the port that serves everything end.
    pub(super) fn until(&self) -> answer::Certificates {
        let tls = self.main.tls.borrow();
        answer::Certificates { server_until: until(&tls.leaf), ca_until: until(&tls.ca) }
    }

    fn show(&self) {
        for identity in [Some(&self.main), self.rpc.as_ref()].into_iter().flatten() {
            let tls = identity.tls.borrow();
            for (name, leaf) in identity.names.into_iter().zip([&tls.leaf, &tls.ca]) {
                self.metrics.certificate_expires(name, seconds(leaf));
            }
        }
    }
}

impl Identity {
    fn read(names: [&'static str; 2], files: ServerFiles) -> Result<Self, CertError> {
        let tls = watch::Sender::new(server_tls(&files)?);
        Ok(Self { names, files, tls })
    }

    fn reload(&self) -> Result<(), CertError> {
        let now = server_tls(&self.files)?;
        let before = self.tls.send_replace(now.clone());
        // Of those that it began with, the configuration's check has said it.
        let all = [
            ("the server's certificate", before.leaf, now.leaf, Use::Server),
            ("the CA's certificate", before.ca, now.ca, Use::Ca),
        ];
        for (whose, before, now, used_as) in all {
            if let Some(weak) = now.is_weak(whose, used_as).filter(|_| before.sha256() != now.sha256()) {
                warn!("{weak}");
            }
        }
        Ok(())
    }
}

fn until(leaf: &Leaf) -> TimestampNs {
    let secs = u64::try_from(leaf.not_after_secs()).unwrap_or_default();
    TimestampNs(secs.saturating_mul(1_000_000_000))
}

/// Seconds since 1970; of a certificate that outlives the year 2106, that year.
fn seconds(leaf: &Leaf) -> f64 {
    let secs = leaf.not_after_secs().clamp(0, i64::from(u32::MAX));
    u32::try_from(secs).map(f64::from).unwrap_or_default()
}
