//! The certificates that ports are listened on with: read, shown, and read again when they change.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use steno_core::TimestampNs;
use steno_proto::certs::{CertError, Crl, Leaf, ServerFiles, ServerTls, Use, server_tls};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use crate::{answer, config::Config, metrics::Metrics};

/// What one port shows and trusts.
#[derive(Debug)]
struct Identity {
    /// What its two certificates and its revocation list are called in metrics.
    names: [&'static str; 3],
    files: ServerFiles,
    tls: watch::Sender<ServerTls>,
}

/// What the ports of a [`Server`](super::Server) show and trust. Clones are the same.
#[derive(Clone, Debug)]
pub struct Certificates {
    main: Arc<Identity>,
    rpc: Option<Arc<Identity>>,
    last: Arc<Mutex<Last>>,
    metrics: Metrics,
}

/// The last time that the files were read. Held while they are.
#[derive(Clone, Debug)]
struct Last {
    /// As they were then.
    seen: Vec<Seen>,
    /// What did not hold.
    problem: Option<String>,
}

/// Looks at files that did not hold after which they are read again, though nothing has changed: it may have been the disk.
const LOOKS_UNTIL_AGAIN: u32 = 30;

/// What tells a file from another in its place, and from itself when it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen(Option<([u64; 3], [i64; 4])>);

impl Certificates {
    /// Reads what `config` names.
    pub(super) fn read(config: &Config, metrics: Metrics) -> Result<Self, CertError> {
        let (main, rpc) = (config.server_files(), config.rpc_server_files());
        let last = Last { seen: look([Some(&main), rpc.as_ref()]), problem: None };
        let main = Identity::read(["server", "ca", "crl"], main)?;
        let rpc = rpc.map(|files| Identity::read(["rpc_server", "rpc_ca", "rpc_crl"], files)).transpose()?;
        let all = Self { main: Arc::new(main), rpc: rpc.map(Arc::new), last: Arc::new(Mutex::new(last)), metrics };
        all.show();
        Ok(all)
    }

    /// Reads certificates, keys and revocation lists again; new connections are held against them. Connections that are open
    /// go on, but for those of clients whose certificates do not hold any more. A port whose files do not hold keeps what it
    /// has, but for the list of what was taken back, where that and the CA's certificate do hold.
    ///
    /// # Errors
    /// The first of the files that do not hold.
    pub fn reload(&self) -> Result<(), CertError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // What is written from here on is another change.
        last.seen = self.look();
        let main = self.main.reload();
        let rpc = self.rpc.as_ref().map_or(Ok(()), |identity| identity.reload());
        self.show();
        let read = main.and(rpc);
        self.metrics.certificates_read(read.is_ok());
        last.problem = read.as_ref().err().map(ToString::to_string);
        read
    }

    /// Looks at the files each time that `every` has passed, and reads them again when they have changed, for as long as it is
    /// polled. A change is waited out until it has been the same for two looks, so that one who exchanges several files is
    /// seldom met halfway. What did not hold is tried again after some time.
    pub async fn follow(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut changed, mut looks): (Option<Vec<Seen>>, u32) = (None, 0);
        loop {
            let _ = ticks.tick().await;
            let looking = self.clone();
            // A disk that does not answer is not to stand in anyone's way.
            let Ok((now, last)) = spawn_blocking(move || (looking.look(), looking.last())).await else { return };
            looks = if last.problem.is_some() { looks + 1 } else { 0 };
            let settled = now != last.seen && changed.as_ref() == Some(&now);
            changed = (now != last.seen && !settled).then_some(now);
            if !settled && looks < LOOKS_UNTIL_AGAIN {
                continue;
            }
            looks = 0;
            match self.reload() {
                Ok(()) => info!("certificates have changed on the disk, and are in use now"),
                // It was told.
                Err(e) if !settled && last.problem.is_some_and(|problem| problem == e.to_string()) => {}
                Err(e) => error!("certificates have changed on the disk, and what does not hold stays as it was: {e}"),
            }
        }
    }

    fn look(&self) -> Vec<Seen> {
        look([Some(&self.main.files), self.rpc.as_ref().map(|rpc| &rpc.files)])
    }

    fn last(&self) -> Last {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            let ends = [Some(tls.leaf.not_after_secs()), Some(tls.ca.not_after_secs()), tls.crl_until_secs];
            for (name, at_secs) in identity.names.into_iter().zip(ends) {
                if let Some(at_secs) = at_secs {
                    self.metrics.certificate_expires(name, seconds(at_secs));
                }
            }
        }
    }
}

impl Identity {
    fn read(names: [&'static str; 3], files: ServerFiles) -> Result<Self, CertError> {
        let tls = watch::Sender::new(server_tls(&files)?);
        Ok(Self { names, files, tls })
    }

    fn reload(&self) -> Result<(), CertError> {
        let mut files = self.files.clone();
        // A list that was there and is gone does not give back what it took.
        if let (Some(Crl::IfThere(path)), Some(_)) = (&files.crl, self.tls.borrow().crl_until_secs) {
            files.crl = Some(Crl::Named(path.clone()));
        }
        let now = match server_tls(&files) {
            Ok(now) => now,
            Err(e) => {
                let before = self.tls.borrow().clone();
                // It may be that which does not hold, and is what was told then.
                if let Ok(Some(now)) = before.with_list(&files) {
                    let _before = self.tls.send_replace(now);
                }
                return Err(e);
            }
        };
        let before = self.tls.send_replace(now.clone());
        if let Some(weak) = now.list_is_weak() {
            warn!("{weak}");
        }
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

/// Seconds since 1970; of what outlives the year 2106, that year.
fn seconds(at_secs: i64) -> f64 {
    u32::try_from(at_secs.clamp(0, i64::from(u32::MAX))).map(f64::from).unwrap_or_default()
}

fn look(files: [Option<&ServerFiles>; 2]) -> Vec<Seen> {
    files.into_iter().flatten().flat_map(ServerFiles::paths).map(Seen::now).collect()
}

impl Seen {
    /// How the file is now, or that there is none; through links, as it is read.
    fn now(path: &Path) -> Self {
        let of =
            |m: fs::Metadata| ([m.dev(), m.ino(), m.len()], [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]);
        Self(fs::metadata(path).ok().map(of))
    }
}

#[cfg(test)]
mod tests {
    use steno_proto::certs::CertDir;

    use super::*;

    #[tokio::test]
    async fn what_did_not_hold_is_read_again_though_nothing_has_changed() {
        let root = tempfile::tempdir().unwrap();
        let dir = CertDir::new(root.path());
        let _made = dir.init(&["127.0.0.1"]).unwrap();
        let main = Identity::read(["server", "ca", "crl"], ServerFiles::from(&dir)).unwrap();
        // As where the disk failed at that moment.
        let last = Last { seen: look([Some(&main.files), None]), problem: Some("an input/output error".to_owned()) };
        let all =
            Certificates { main: Arc::new(main), rpc: None, last: Arc::new(Mutex::new(last)), metrics: Metrics::new() };
        let mut shown = all.main();
        let following = tokio::spawn(all.clone().follow(Duration::from_millis(1)));
        tokio::time::timeout(Duration::from_secs(60), shown.changed()).await.unwrap().unwrap();
        while all.last().problem.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        following.abort();
    }
}
