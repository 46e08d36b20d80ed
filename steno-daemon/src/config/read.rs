//! From the text of a configuration to a [`Config`], or to all that is wrong with it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use steno_proto::{json::Node, places::places};

use super::{
    Config, ConfigError, DEFAULT_PORT, IndexFormat, Limits, Problem, RpcConfig, ThreadConfig,
    access::access,
    fields::{Fields, Findings},
};
use crate::{audit::OnFailure, scrub::ScrubSettings};

/// A configuration, and what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Keys that are not known, or given twice, and the like. 1.0.1 says nothing of these.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is not JSON, or does not hold: then with everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        parse(&text)
    }
}

const KEYS: &[&str] = &[
    "Threads",
    "StenotypePath",
    "Interface",
    "Interfaces",
    "TestimonySocket",
    "Flags",
    "Port",
    "Host",
    "CertPath",
    "MaxOpenFiles",
    "Rpc",
    "IndexFormat",
    "Access",
    "Audit",
    "AuditFailure",
    "Crl",
    "Limits",
    "Scrub",
];
const THREAD_KEYS: &[&str] = &[
    "PacketsDirectory",
    "IndexDirectory",
    "DiskFreePercentage",
    "MaxDirectoryFiles",
    "Interface",
    "MaxAge",
    "MaxBytes",
];
const RPC_KEYS: &[&str] = &[
    "CaCert",
    "ServerKey",
    "ServerCert",
    "ServerPort",
    "ServerPcapPath",
    "ServerPcapMaxSize",
    "ClientPcapChunkSize",
    "ClientPcapMaxSize",
];
const SCRUB_KEYS: &[&str] = &["BytesPerSecond", "Every"];
const LIMIT_KEYS: &[&str] =
    &["MaxConcurrentQueries", "MaxQueriesPerClient", "MaxQueryBytes", "QueryDeadline", "MaxMemory"];

/// Where 1.0.1's packages put the certificates.
const CERT_PATH: &str = "/etc/stenographer/certs";
/// 1.0.1's default.
const MAX_OPEN_FILES: u64 = 100_000;
/// A number that an `int64` of Go's holds.
const ANY: std::ops::RangeInclusive<u64> = 0..=i64::MAX as u64;

/// Reads `text`, 1.0.1's JSON with the keys of Steno.
///
/// # Errors
/// It is not JSON, or does not hold: then with everything that is wrong with it. The machine is not looked at; see
/// [`Config::check`].
pub fn parse(text: &str) -> Result<Loaded, ConfigError> {
    let (node, more) = Node::parse(text).map_err(|e| ConfigError::Syntax(e.to_string()))?;
    let mut findings = Findings::default();
    if more {
        findings.warn("", "more text follows the configuration; it is ignored");
    }
    let config = config(&node, &mut findings);
    let Findings { errors, warnings } = findings;
    let places = if errors.is_empty() && warnings.is_empty() { Vec::new() } else { places(text, &node) };
    let placed = |problems: Vec<Problem>, are_spelled: bool| {
        problems.into_iter().map(|problem| problem.placed(&places, are_spelled)).collect()
    };
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, warnings: placed(warnings, true) }),
        _ => Err(ConfigError::Bad(placed(errors, false))),
    }
}

fn config(node: &Node, findings: &mut Findings) -> Option<Config> {
    let mut fields = Fields::of(node, "", KEYS, findings);
    if !fields.is_object() {
        return None;
    }
    let raw = fields.list("Threads", thread);
    if raw.is_empty() {
        fields.error("Threads", "none; a capture thread with its PacketsDirectory and IndexDirectory is needed");
    }
    let threads = place(&mut fields, raw);
    let host = fields.parsed("Host", "an IP address to listen on", |text| text.parse::<IpAddr>().ok());
    let port = port(&mut fields, "Port").unwrap_or(DEFAULT_PORT);
    let rpc = fields.object("Rpc", rpc).flatten();
    if rpc.as_ref().is_some_and(|rpc| rpc.port == port) {
        fields.error("Rpc.ServerPort", format!("{port} is Port already; it takes another one"));
    }
    let access = fields.object("Access", access);
    let limits = fields.object("Limits", limits).unwrap_or_default();
    let scrub = fields.object("Scrub", scrub);
    let path = |text: Option<&str>| text.map(PathBuf::from);
    Some(Config {
        threads,
        stenotype_path: path(fields.text("StenotypePath")).unwrap_or_else(stenotype_beside_this),
        flags: fields.texts("Flags"),
        index_format: fields.parsed("IndexFormat", "\"native\" or \"leveldb\"", IndexFormat::of_name),
        host: host.unwrap_or(Ipv4Addr::LOCALHOST.into()),
        port,
        cert_path: path(fields.text("CertPath")).unwrap_or_else(|| CERT_PATH.into()),
        crl: path(fields.text("Crl")),
        max_open_files: fields.number("MaxOpenFiles", ANY).filter(|n| *n > 0).unwrap_or(MAX_OPEN_FILES),
        rpc,
        access,
        audit: path(fields.text("Audit")),
        audit_failure: fields
            .parsed("AuditFailure", "\"stop\" or \"continue\"", OnFailure::of_name)
            .unwrap_or_default(),
        limits,
        scrub,
    })
}

/// A thread of which the interface is still to be found.
struct RawThread {
    config: ThreadConfig,
    path: String,
}

fn thread(node: &Node, path: &str, findings: &mut Findings) -> RawThread {
    let mut fields = Fields::of(node, path, THREAD_KEYS, findings);
    let mut directory = |name| PathBuf::from(fields.required(name, "a directory"));
    let (packets_directory, index_directory) = (directory("PacketsDirectory"), directory("IndexDirectory"));
    // Not above 0 is not given, as with 1.0.1.
    let percentage = fields.number("DiskFreePercentage", 0..=100).and_then(|n| u8::try_from(n).ok());
    let config = ThreadConfig {
        packets_directory,
        index_directory,
        interface: fields.text("Interface").unwrap_or_default().to_owned(),
        disk_free_percentage: percentage.filter(|n| *n > 0).unwrap_or(ThreadConfig::DISK_FREE_PERCENTAGE),
        max_directory_files: fields.number("MaxDirectoryFiles", ANY).filter(|n| *n > 0),
        max_age: fields.duration("MaxAge"),
        max_bytes: fields.bytes("MaxBytes"),
    };
    RawThread { config, path: path.to_owned() }
}

/// Gives each thread its interface, and holds the directories against each other.
fn place(fields: &mut Fields<'_, '_>, threads: Vec<RawThread>) -> Vec<ThreadConfig> {
    if fields.text("TestimonySocket").is_some() {
        fields.error("TestimonySocket", "testimony is not supported; use Interface, and take this key out");
    }
    let one = fields.text("Interface").map(str::to_owned);
    let several = fields.texts("Interfaces");
    if one.is_some() && !several.is_empty() {
        fields.error("Interfaces", "given beside Interface; take one of them out");
    }
    for (i, _) in several.iter().enumerate().filter(|(_, name)| name.is_empty()) {
        fields.error(&format!("Interfaces[{i}]"), "empty; name an interface there, or take it out");
    }
    let turns: Vec<String> = if several.is_empty() { one.into_iter().collect() } else { several };
    let mut turn = turns.iter().cycle();
    let mut placed: Vec<(ThreadConfig, String)> = Vec::new();
    for RawThread { mut config, path } in threads {
        if config.interface.is_empty() {
            match turn.next() {
                Some(interface) => config.interface.clone_from(interface),
                None => fields
                    .error(&format!("{path}.Interface"), "no interface; name one here, in Interface or in Interfaces"),
            }
        }
        placed.push((config, path));
    }
    let named = turns.iter().filter(|name| !name.is_empty());
    for interface in named.filter(|name| !placed.iter().any(|(thread, _)| thread.interface == **name)) {
        fields.error("Interfaces", format!("no thread is left for {interface:?}; add one to Threads"));
    }
    apart(fields, &placed);
    placed.into_iter().map(|(thread, _)| thread).collect()
}

/// Two threads in one directory would take each other's files for their own.
fn apart(fields: &mut Fields<'_, '_>, threads: &[(ThreadConfig, String)]) {
    let mut seen: Vec<(&Path, String)> = Vec::new();
    for (thread, path) in threads {
        let directories =
            [("PacketsDirectory", &thread.packets_directory), ("IndexDirectory", &thread.index_directory)];
        for (name, directory) in directories.into_iter().filter(|(_, directory)| !directory.as_os_str().is_empty()) {
            let key = format!("{path}.{name}");
            if let Some((_, other)) = seen.iter().find(|(before, _)| *before == directory.as_path()) {
                let directory = directory.display();
                fields.error(&key, format!("{directory} is {other} already; each takes a directory of its own"));
            } else {
                seen.push((directory, key));
            }
        }
    }
}

fn rpc(node: &Node, path: &str, findings: &mut Findings) -> Option<RpcConfig> {
    let mut fields = Fields::of(node, path, RPC_KEYS, findings);
    if !fields.is_object() {
        return None;
    }
    let mut file = |name| PathBuf::from(fields.required(name, "a PEM file"));
    let (ca_cert, server_cert, server_key) = (file("CaCert"), file("ServerCert"), file("ServerKey"));
    let port = port(&mut fields, "ServerPort");
    if port.is_none() && !fields.has("ServerPort") {
        fields.error("ServerPort", "missing; it takes the port to listen on");
    }
    if fields.text("ServerPcapPath").is_some() {
        fields.warn("ServerPcapPath", "not used: answers are streamed, and no file is made of them");
    }
    Some(RpcConfig {
        ca_cert,
        server_cert,
        server_key,
        port: port.unwrap_or_default(),
        server_max_bytes: fields.number("ServerPcapMaxSize", ANY).filter(|n| *n > 0),
        client_chunk_bytes: fields
            .number("ClientPcapChunkSize", ANY)
            .filter(|n| *n > 0)
            .unwrap_or(RpcConfig::CHUNK_BYTES),
        client_max_bytes: fields.number("ClientPcapMaxSize", ANY).filter(|n| *n > 0),
    })
}

fn scrub(node: &Node, path: &str, findings: &mut Findings) -> ScrubSettings {
    let mut fields = Fields::of(node, path, SCRUB_KEYS, findings);
    ScrubSettings {
        bytes_a_second: fields.bytes("BytesPerSecond").unwrap_or(ScrubSettings::BYTES_A_SECOND),
        every: fields.duration("Every").unwrap_or(ScrubSettings::EVERY),
    }
}

fn limits(node: &Node, path: &str, findings: &mut Findings) -> Limits {
    let mut fields = Fields::of(node, path, LIMIT_KEYS, findings);
    let default = Limits::default();
    let most = fields.number("MaxConcurrentQueries", 1..=10_000).and_then(|n| u32::try_from(n).ok());
    let of_one = fields.number("MaxQueriesPerClient", 1..=10_000).and_then(|n| u32::try_from(n).ok());
    let memory = fields.bytes("MaxMemory");
    if memory.is_some_and(|bytes| bytes < Limits::LEAST_MEMORY_BYTES) {
        fields.error("MaxMemory", "too little to answer queries with; it takes \"16MiB\" or more");
    }
    let limits = Limits {
        max_concurrent_queries: most.unwrap_or(default.max_concurrent_queries),
        max_queries_per_client: of_one,
        max_query_bytes: fields.bytes("MaxQueryBytes"),
        query_deadline: fields.duration("QueryDeadline"),
        max_memory_bytes: memory.unwrap_or(default.max_memory_bytes),
    };
    let affordable = limits.max_memory_bytes / Limits::MEMORY_BYTES_A_QUERY;
    if most.is_some_and(|most| u64::from(most) > affordable) {
        let message = format!("MaxMemory is enough for {affordable} at once; no more are answered");
        fields.warn("MaxConcurrentQueries", message);
    }
    limits
}

fn port(fields: &mut Fields<'_, '_>, name: &str) -> Option<u16> {
    fields.number(name, 1..=u64::from(u16::MAX)).and_then(|n| u16::try_from(n).ok())
}

/// The `stenotype` beside this program, or where 1.0.1's package has it.
pub(super) fn stenotype_beside_this() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(|dir| dir.join("stenotype")));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| "/usr/sbin/stenotype".into())
}
