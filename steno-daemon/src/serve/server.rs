//! The whole of it: two ports, what they answer with, and the order in which they end.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use steno_core::Clock;
use steno_proto::legacy::stenographer_server::StenographerServer;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{
    Certificates, Health, ServeError, Tuning,
    listener::{Bound, Port},
    router,
    stopping::Stopping,
};
use crate::{
    access::Access,
    answer::{Answers, Bounds, Host, LegacyLimits, LegacyService, services},
    audit::{AuditLog, AuditSettings},
    capture::ThreadDirectories,
    config::Config,
    metrics::Metrics,
    sensor::SensorView,
};

/// The ports of a server, bound. Who calls waits for the server.
#[derive(Debug)]
pub struct Ports {
    main: Bound,
    rpc: Option<Bound>,
}

impl Ports {
    /// Binds the ports that `config` names.
    ///
    /// # Errors
    /// [`ServeError::Bind`]; no port is bound then.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let main = Bound::new(config.address())?;
        let rpc = config.rpc.as_ref().map(|rpc| Bound::on_every_address(rpc.port)).transpose()?;
        Ok(Self { main, rpc })
    }
}

/// A server that is bound, and does not answer yet.
pub struct Server {
    ports: Ports,
    certificates: Certificates,
    answers: Answers,
    host: Host,
    legacy: LegacyLimits,
    health: Health,
    metrics: Metrics,
    tuning: Tuning,
    access: Access,
    audit: AuditLog,
}

impl Server {
    /// Reads the certificates and binds the ports that `config` names. Nothing is answered before [`Self::run`].
    ///
    /// # Errors
    /// [`ServeError`]; no port is bound then.
    pub async fn bind(
        config: &Config,
        view: SensorView,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Self, ServeError> {
        Self::on(Ports::bind(config)?, config, view, metrics, clock, tuning).await
    }

    /// The same on ports that are bound already.
    ///
    /// # Errors
    /// [`ServeError`]; no port is bound any more then.
    pub async fn on(
        ports: Ports,
        config: &Config,
        view: SensorView,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Self, ServeError> {
        let certificates = Certificates::read(config, metrics.clone())?;
        let shown = certificates.clone();
        let host = Host {
            started: clock.now(),
            directories: directories(config),
            certificates: Arc::new(move || Some(shown.until())),
        };
        let bounds = Bounds {
            most_running: config.limits.most_at_once(),
            most_of_one: config.limits.most_of_one(),
            most_bytes: config.limits.max_query_bytes,
            deadline: config.limits.query_deadline,
            memory_bytes: config.limits.max_memory_bytes,
            stall: tuning.stall_after,
        };
        let legacy = config.rpc.as_ref().map_or_else(LegacyLimits::default, |rpc| LegacyLimits {
            chunk_bytes: rpc.client_chunk_bytes,
            max_bytes: rpc.client_max_bytes,
            server_max_bytes: rpc.server_max_bytes,
        });
        let audit = config.audit.clone().map_or_else(AuditLog::none, |path| {
            let settings = AuditSettings { path, on_failure: config.audit_failure };
            AuditLog::start(settings, Arc::clone(&clock), metrics.clone())
        });
        let answers = Answers::new(view, bounds, clock, metrics.clone(), audit.clone());
        let health = Health::new().await;
        let access = Access::new(config.access.clone(), metrics.clone());
        Ok(Self { ports, certificates, answers, host, legacy, health, metrics, tuning, access, audit })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.ports.main.address()
    }

    /// Where it listens for clients of 1.0.1's service alone.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.ports.rpc.as_ref().map(Bound::address)
    }

    /// What the health service says.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Where requests are written down.
    pub fn audit(&self) -> AuditLog {
        self.audit.clone()
    }

    /// What it listens with.
    pub fn certificates(&self) -> Certificates {
        self.certificates.clone()
    }

    /// Answers until `stop` is done, and then ends in order: no connections and no requests more; what is being answered has
    /// [`Tuning::drain_within`] to come to its end; what is not at its end then ends with a receipt that says so.
    ///
    /// # Errors
    /// A port cannot be listened on after all.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self {
            ports: Ports { main, rpc },
            certificates,
            answers,
            host,
            legacy,
            health,
            metrics,
            tuning,
            access,
            audit,
        } = self;
        let (stopping, connections) = (Stopping::default(), TaskTracker::new());
        let everything = router::everything(&answers, services(&answers, host, legacy), &health)?;
        let (tls, router, known) = (certificates.main(), everything, Arc::default());
        let port = Port { tls, router, tuning, stopping, metrics, connections, known, access, audit };
        let mut listening = JoinSet::new();
        if let (Some(tls), Some(rpc)) = (certificates.rpc(), rpc) {
            let service = StenographerServer::new(LegacyService::new(answers.clone(), legacy));
            let port = Port { tls, router: router::legacy_alone(&answers, service), ..port.clone() };
            let _handle = listening.spawn(port.listen(rpc));
        }
        let _handle = listening.spawn(port.clone().listen(main));
        let tidying = tokio::spawn(answers.clone().give_back_memory());
        let failed = tokio::select! {
            () = stop => None,
            ended = listening.join_next() => ended,
        };
        end(&port, &answers, &health).await;
        listening.shutdown().await;
        tidying.abort();
        match failed {
            None => Ok(()),
            Some(Ok(ended)) => Ok(ended?),
            Some(Err(broken)) => Err(io::Error::other(broken).into()),
        }
    }
}

/// Ends what is under way, in order.
async fn end(port: &Port, answers: &Answers, health: &Health) {
    let Port { stopping, connections, tuning, .. } = port;
    health.set_stopping().await;
    answers.close();
    stopping.drain();
    let _closed = connections.close();
    if timeout(tuning.drain_within, connections.wait()).await.is_ok() {
        return;
    }
    let running = answers.queries().running;
    info!(
        "stopping: {running} answers have not come to their end in {:?}, and end where they are",
        tuning.drain_within
    );
    answers.stop();
    if timeout(tuning.finish_within, connections.wait()).await.is_ok() {
        return;
    }
    warn!("stopping: closing {} connections whose clients do not go", connections.len());
    stopping.close();
    tokio::select! {
        () = connections.wait() => {}
        () = sleep(tuning.finish_within) => {}
    }
}

fn directories(config: &Config) -> Vec<ThreadDirectories> {
    let place = |(thread, config): (u32, &crate::config::ThreadConfig)| ThreadDirectories {
        thread,
        packets: config.packets_directory.clone(),
        index: config.index_directory.clone(),
    };
    (0..).zip(&config.threads).map(place).collect()
}
