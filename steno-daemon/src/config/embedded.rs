//! The default for those who have no configuration: one directory with a store, a private CA, certificates, and the
//! configuration file that says so, in which clients find the sensor (`./steno-data/config`).

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use steno_proto::certs::CertDir;

use super::{
    Config, ConfigError, DEFAULT_PORT, Limits, Loaded, Problem, ThreadConfig, interfaces, read::stenotype_beside_this,
};
use crate::audit::OnFailure;

/// MiB of the ring: 1.0.1's default of 2,048 is for a sensor, not for a try on a laptop.
const RING_BLOCKS: &str = "--blocks=128";
/// Seconds after which a file is sealed and can be searched; 1.0.1's default is 60.
const FILE_AGE: &str = "--fileage_sec=10";
/// What the store may grow to.
const MAX_BYTES: u64 = 10 << 30;

/// An embedded default, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// What to run.
    pub loaded: Loaded,
    /// The file that it is written down in.
    pub file: PathBuf,
    /// Whether it was made just now.
    pub is_new: bool,
}

/// Prepares `data` for a sensor on `interface`: what is missing is made, what is there is kept. The file may be edited; what
/// it says then counts.
///
/// # Errors
/// The directory cannot be made or written to, its certificates cannot be made, its configuration does not hold or is for
/// another interface.
pub fn prepare(interface: &str, data: &Path) -> Result<Embedded, ConfigError> {
    let failed = |source| ConfigError::Write { path: data.to_owned(), source };
    if !data.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    }
    // Whatever directory a client is started in, the file leads it here.
    let data = fs::canonicalize(data).map_err(failed)?;
    let file = data.join("config");
    if file.exists() {
        let loaded = Loaded::read(&file)?;
        is_for(&loaded.config, interface, &file)?;
        certificates(&loaded.config)?;
        return Ok(Embedded { loaded, file, is_new: false });
    }
    let config = config(interface, &data);
    certificates(&config)?;
    // Last, for where it is the rest is.
    put(&file, &config.to_json())?;
    Ok(Embedded { loaded: Loaded { config, warnings: Vec::new() }, file, is_new: true })
}

/// Whether [`prepare`] would make something that can be run now. What was made before is held against the machine later, as
/// every configuration.
///
/// # Errors
/// There is no such interface, or another program has the port.
pub fn check(interface: &str, data: &Path) -> Result<(), ConfigError> {
    if data.join("config").exists() {
        return Ok(());
    }
    let bad = |message| Err(ConfigError::Bad(vec![Problem::new("", message)]));
    // Where the interfaces cannot be listed, capture says what it finds.
    if let Ok(names) = interfaces::names()
        && !names.iter().any(|name| name == interface)
    {
        return bad(format!("there is no interface {interface:?}; {}", interfaces::instead(interface, &names)));
    }
    if let Err(e) = TcpListener::bind((Ipv4Addr::LOCALHOST, DEFAULT_PORT)) {
        return bad(format!(
            "cannot listen on {}:{DEFAULT_PORT}: {e}; stop the program that has it, or write a configuration with \
             another Port and give it with -config",
            Ipv4Addr::LOCALHOST
        ));
    }
    Ok(())
}

/// The name under which clients look for a sensor in the directory that they are started in.
const FOUND_AS: &str = "steno-data";

/// Has `steno` find the sensor in `data` from the directory `here`, too, whatever `data` is called: by a link with the name
/// that it looks for. A link from before is exchanged; anything else of that name stays. Says whether the sensor is found.
///
/// # Errors
/// The link cannot be made.
pub fn lead_from(here: &Path, data: &Path) -> io::Result<bool> {
    let (data, link) = (fs::canonicalize(data)?, here.join(FOUND_AS));
    if fs::canonicalize(&link).is_ok_and(|there| there == data) {
        return Ok(true);
    }
    if fs::symlink_metadata(&link).is_ok_and(|there| !there.is_symlink()) {
        return Ok(false);
    }
    // Exchanged in one step: who looks meanwhile finds the one or the other.
    let new = here.join(format!(".{FOUND_AS}.new"));
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    symlink(&data, &new)?;
    fs::rename(&new, &link)?;
    Ok(true)
}

fn is_for(config: &Config, interface: &str, file: &Path) -> Result<(), ConfigError> {
    let there = config.interfaces();
    if there == [interface] {
        return Ok(());
    }
    let (file, there) = (file.display(), there.join(", "));
    let message = format!(
        "{file} is for {there}, not for {interface}; give another directory with -data, or run it with -config {file}"
    );
    Err(ConfigError::Bad(vec![Problem::new("", message)]))
}

fn certificates(config: &Config) -> Result<(), ConfigError> {
    let host = config.host.to_string();
    let names: &[&str] = if config.host.is_loopback() { &[&host, "localhost"] } else { &[&host] };
    let _made = CertDir::new(&config.cert_path).init(names)?;
    Ok(())
}

fn config(interface: &str, data: &Path) -> Config {
    let thread = ThreadConfig {
        // `steno --store DATA` reads the same directory.
        packets_directory: data.join("PKT0"),
        index_directory: data.join("IDX0"),
        interface: interface.to_owned(),
        // The bound below binds, so that a disk that was fuller than 1.0.1's 10 percent allow can be used at all.
        disk_free_percentage: 1,
        max_directory_files: None,
        max_age: None,
        max_bytes: Some(MAX_BYTES),
    };
    let certs = CertDir::new(data.join("certs"));
    Config {
        threads: vec![thread],
        stenotype_path: stenotype_beside_this(),
        flags: [RING_BLOCKS.to_owned(), FILE_AGE.to_owned()].into_iter().chain(account()).collect(),
        index_format: None,
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: DEFAULT_PORT,
        cert_path: certs.path().to_owned(),
        crl: Some(certs.crl()),
        max_open_files: 100_000,
        rpc: None,
        access: None,
        audit: None,
        audit_failure: OnFailure::default(),
        limits: Limits::default(),
        scrub: None,
    }
}

fn put(file: &Path, text: &str) -> Result<(), ConfigError> {
    let hidden = file.with_file_name(".config.new");
    let written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&hidden).and_then(|mut f| {
            f.write_all(text.as_bytes())?;
            f.sync_all()?;
            fs::rename(&hidden, file)
        });
    written.map_err(|source| ConfigError::Write { path: file.to_owned(), source })
}

/// The user and group that stenotype stays, in whose directory it writes; as root it would become `nobody`.
fn account() -> [String; 2] {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    [format!("--uid={}", user.as_raw()), format!("--gid={}", group.as_raw())]
}
