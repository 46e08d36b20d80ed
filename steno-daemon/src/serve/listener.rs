//! A port: takes connections, and gives each a task of its own.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Router;
use steno_proto::certs::ServerTls;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::{
    ServeError, Tuning,
    connection::{peer, serve, shake_hands},
    peer::Known,
    refusal::{RefusalLog, log_refusal},
    room::{Handshakes, Room},
    standing::Standing,
    stopping::Stopping,
};
use crate::{access::Access, audit::AuditLog, metrics::Metrics};

/// How long to wait where the system has no room for a connection.
const BREATHER: Duration = Duration::from_millis(100);
/// Connections that are refused in a second and written into the audit log, whose disk strangers must not be able to fill.
const AUDITED_A_SECOND: u32 = 1;

/// A port that is bound, and not served yet.
#[derive(Debug)]
pub(super) struct Bound {
    socket: StdListener,
    address: SocketAddr,
}

impl Bound {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub(super) fn new(address: SocketAddr) -> Result<Self, ServeError> {
        let bind = || {
            let socket = StdListener::bind(address)?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        bind().map_err(|source: io::Error| ServeError::Bind { address, source })
    }

    /// Binds `port` on every address, of IPv6 and of IPv4, as Go does for 1.0.1.
    ///
    /// # Errors
    /// [`ServeError::Bind`].
    pub(super) fn on_every_address(port: u16) -> Result<Self, ServeError> {
        let both = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        match Self::new(both) {
            Err(ServeError::Bind { source, .. }) if source.kind() != io::ErrorKind::AddrInUse => {
                // A machine without IPv6.
                Self::new(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            bound => bound,
        }
    }

    /// Where: with the port that the system chose, where it was to choose one.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What each connection is given.
#[derive(Clone)]
pub(super) struct Port {
    /// What to shake hands with; exchanged when certificates are.
    pub(super) tls: watch::Receiver<ServerTls>,
    pub(super) router: Router,
    pub(super) tuning: Tuning,
    pub(super) stopping: Stopping,
    pub(super) metrics: Metrics,
    pub(super) connections: TaskTracker,
    pub(super) known: Arc<Known>,
    pub(super) access: Access,
    pub(super) audit: AuditLog,
}

impl Port {
    /// Takes connections until the daemon stops.
    ///
    /// # Errors
    /// The async runtime cannot take the socket over.
    pub(super) async fn listen(self, bound: Bound) -> io::Result<()> {
        let listener = TcpListener::from_std(bound.socket)?;
        info!("listening on {}", bound.address);
        let shared = Arc::new(Shared {
            refusals: RefusalLog::default(),
            audited: RefusalLog::new(AUDITED_A_SECOND),
            handshakes: Arc::new(Handshakes::new(self.tuning.most_handshakes)),
            room: Arc::new(Room::new(self.tuning.most_connections)),
        });
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stopping.draining() => return Ok(()),
            };
            match accepted {
                Ok((tcp, address)) => {
                    // As an address of IPv4 where it is one, whatever the socket.
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    let task = self.clone().connection(tcp, address, Arc::clone(&shared));
                    drop(self.connections.spawn(task));
                }
                // The client went before it was taken.
                Err(e) if is_of_the_connection(&e) => {}
                Err(e) => {
                    error!("cannot take a connection on {}: {e}", bound.address);
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    }

    async fn connection(self, tcp: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls.borrow().config));
        let shaken = {
            let handshake = shared.handshakes.enter();
            tokio::select! {
                shaken = shake_hands(tcp, acceptor, &self.tuning) => shaken,
                () = handshake.is_over() => Err("too many handshakes at once, and this one has taken longest".to_owned()),
                () = self.stopping.draining() => return,
            }
        };
        let stream = match shaken {
            Ok(stream) => stream,
            Err(why) => return self.refuse(&shared, address, &why),
        };
        let peer = peer(&stream, address, &self.known, &self.access);
        let _seat = match shared.room.enter(peer.asker().client_key()) {
            Ok(seat) => seat,
            Err(why) => return self.refuse(&shared, address, why),
        };
        let _counted = self.metrics.connection();
        let standing = Standing::new(self.tls, &stream);
        if serve(stream, peer, standing, self.router, self.tuning, self.stopping).await {
            self.metrics.connection_put_out();
        }
    }

    fn refuse(&self, shared: &Shared, address: SocketAddr, why: &str) {
        self.metrics.connection_refused();
        let now = Instant::now();
        if let Some(unsaid) = shared.refusals.may_say(now) {
            log_refusal(address, why, unsaid);
        }
        if let Some(unsaid) = shared.audited.may_say(now) {
            self.audit.turned_away(address.to_string(), why.to_owned(), unsaid);
        }
    }
}

/// What the connections of a port have in common.
struct Shared {
    refusals: RefusalLog,
    audited: RefusalLog,
    handshakes: Arc<Handshakes>,
    room: Arc<Room>,
}

/// Whether an error of accept(2) is about the one connection.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused | Kind::Interrupted
    )
}
