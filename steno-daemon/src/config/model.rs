//! A configuration that holds.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use steno_proto::certs::{CertDir, Crl, ServerFiles};

use crate::{access::Rule, audit::OnFailure, scrub::ScrubSettings};

/// The port, where none is given.
pub const DEFAULT_PORT: u16 = 1234;

/// What `stenographer` is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The capture threads, at least one.
    pub threads: Vec<ThreadConfig>,
    /// The capture program.
    pub stenotype_path: PathBuf,
    /// What it is given besides what the daemon gives it.
    pub flags: Vec<String>,
    /// In what format it writes indexes; `None` leaves that to it.
    pub index_format: Option<IndexFormat>,
    /// The address to listen on.
    pub host: IpAddr,
    /// The port to listen on.
    pub port: u16,
    /// The directory of certificates.
    pub cert_path: PathBuf,
    /// What the CA has taken back; `None`: `crl.pem` beside its certificate, if that is there.
    pub crl: Option<PathBuf>,
    /// Files that may be open at once.
    pub max_open_files: u64,
    /// 1.0.1's service on a port of its own.
    pub rpc: Option<RpcConfig>,
    /// Who may ask what; `None`: whoever has a certificate may ask everything.
    pub access: Option<Vec<Rule>>,
    /// The log of who asked what.
    pub audit: Option<PathBuf>,
    /// What becomes of requests that cannot be written there.
    pub audit_failure: OnFailure,
    /// Bounds of queries.
    pub limits: Limits,
    /// How what is stored is read again; `None`: it is not.
    pub scrub: Option<ScrubSettings>,
}

impl Config {
    /// Where to listen.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Where [`RpcConfig`]'s service listens: on all addresses, as 1.0.1 does.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.rpc.as_ref().map(|rpc| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), rpc.port))
    }

    /// The certificates to listen with.
    pub fn server_files(&self) -> ServerFiles {
        let found = ServerFiles::from(&CertDir::new(&self.cert_path));
        ServerFiles { crl: self.crl.clone().map(Crl::Named).or(found.crl), ..found }
    }

    /// The certificates to listen with for [`RpcConfig`].
    pub fn rpc_server_files(&self) -> Option<ServerFiles> {
        let rpc = self.rpc.as_ref()?;
        let (ca_cert, cert, key) = (rpc.ca_cert.clone(), rpc.server_cert.clone(), rpc.server_key.clone());
        // A revocation list is one CA's, and this section may name another than the main one.
        let beside = ca_cert.parent().filter(|directory| *directory != self.cert_path);
        let crl = match beside {
            Some(directory) => Some(Crl::IfThere(CertDir::new(directory).crl())),
            None => self.server_files().crl.filter(|_| ca_cert == CertDir::new(&self.cert_path).ca_cert()),
        };
        Some(ServerFiles { ca_cert, cert, key, crl })
    }

    /// The interfaces, each once, in the order of the threads.
    pub fn interfaces(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for thread in &self.threads {
            if !names.contains(&thread.interface.as_str()) {
                names.push(&thread.interface);
            }
        }
        names
    }
}

/// A capture thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadConfig {
    /// Where packet files go.
    pub packets_directory: PathBuf,
    /// Where indexes go.
    pub index_directory: PathBuf,
    /// The interface.
    pub interface: String,
    /// Of the disk, that are to stay free.
    pub disk_free_percentage: u8,
    /// The most packet files; `None`: any number.
    pub max_directory_files: Option<u64>,
    /// The age at which a segment goes; `None`: at none.
    pub max_age: Option<Duration>,
    /// The most bytes, packets and indexes together; `None`: any number.
    pub max_bytes: Option<u64>,
}

impl ThreadConfig {
    /// Of the disk, that are to stay free unless told otherwise.
    pub const DISK_FREE_PERCENTAGE: u8 = 10;
}

/// 1.0.1's service on a port of its own, with a CA of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcConfig {
    /// The CA that signs for clients.
    pub ca_cert: PathBuf,
    /// The certificate to show.
    pub server_cert: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// The port.
    pub port: u16,
    /// The most bytes of an answer, whatever is asked for; `None`: any number.
    pub server_max_bytes: Option<u64>,
    /// Bytes of a message, where nothing is asked for.
    pub client_chunk_bytes: u64,
    /// The most bytes of an answer, where nothing is asked for; `None`: any number.
    pub client_max_bytes: Option<u64>,
}

impl RpcConfig {
    /// Bytes of a message, where neither the client nor the configuration says.
    pub const CHUNK_BYTES: u64 = 64 << 10;
}

/// The format of index files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexFormat {
    /// Steno's own.
    Native,
    /// 1.0.1's version 2.
    Leveldb,
}

impl IndexFormat {
    /// Its name in configurations and on stenotype's command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Leveldb => "leveldb",
        }
    }

    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Native, Self::Leveldb].into_iter().find(|format| format.name() == name)
    }
}

/// Bounds of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Queries that are answered at once; no more than there is memory for.
    pub max_concurrent_queries: u32,
    /// Those of one client; `None`: three quarters of all.
    pub max_queries_per_client: Option<u32>,
    /// The most bytes of an answer; `None`: any number.
    pub max_query_bytes: Option<u64>,
    /// The most time that an answer may take; `None`: any.
    pub query_deadline: Option<Duration>,
    /// Bytes of memory that all queries together may use.
    pub max_memory_bytes: u64,
}

impl Limits {
    /// The least memory that queries can work with.
    pub const LEAST_MEMORY_BYTES: u64 = 16 << 20;
    /// Memory that there must be for each query that is answered at once.
    pub const MEMORY_BYTES_A_QUERY: u64 = 8 << 20;

    /// Queries that are answered at once: as many as are allowed, and as there is memory for.
    pub fn most_at_once(&self) -> u32 {
        let affordable = u32::try_from(self.max_memory_bytes / Self::MEMORY_BYTES_A_QUERY).unwrap_or(u32::MAX);
        self.max_concurrent_queries.min(affordable).max(1)
    }

    /// Those of one client. A quarter is kept from any one of them, unless that is asked for.
    pub fn most_of_one(&self) -> u32 {
        let most = self.most_at_once();
        self.max_queries_per_client.unwrap_or_else(|| most - most / 4).min(most)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_concurrent_queries: 32,
            max_queries_per_client: None,
            max_query_bytes: None,
            query_deadline: None,
            max_memory_bytes: 256 << 20,
        }
    }
}
