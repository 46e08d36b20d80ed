//! `steno keys`: makes certificates, and says what was made. No key is ever printed.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use steno_core::TimestampNs;
use steno_proto::certs::{CertDir, CertError, Leaf, ServerFiles, client_tls, server_tls};
use steno_query::rfc3339;

use super::CommandError;
use crate::{
    args::{KeysClientArgs, KeysInitArgs},
    exit::Exit,
};

/// What a sensor is called by that is asked where it runs.
const HERE: [&str; 2] = ["127.0.0.1", "localhost"];
const NS_PER_S: u64 = 1_000_000_000;

/// Makes what is missing in a directory of certificates.
pub(super) fn init(args: &KeysInitArgs) -> Result<Exit, CommandError> {
    let dir = CertDir::new(&args.certs);
    names_all(&dir, &args.hosts)?;
    let asked: Vec<&str> = args.hosts.iter().map(String::as_str).collect();
    let made = dir.init(if asked.is_empty() { &HERE } else { &asked })?;
    // What was there before may not go with the rest.
    let _server = server_tls(&ServerFiles::from(&dir))?;
    let _client = client_tls(&dir)?;
    let pairs =
        [(dir.ca_cert(), dir.ca_key()), (dir.server_cert(), dir.server_key()), (dir.client_cert(), dir.client_key())];
    report(&pairs, &made)
}

/// Makes a certificate for one more client.
pub(super) fn client(args: &KeysClientArgs) -> Result<Exit, CommandError> {
    let ca = CertDir::new(&args.certs);
    if !ca.ca_cert().exists() && !args.name.is_empty() {
        let (path, certs) = (ca.ca_cert(), args.certs.display());
        let text = format!("{} is not there; `steno keys init --certs {certs}` makes a CA", path.display());
        return Err(CommandError::Program(text));
    }
    let dir = ca.issue_client(&args.name)?;
    let _client = client_tls(&dir)?;
    report(&[(dir.client_cert(), dir.client_key())], &[dir.client_cert()])
}

/// A sensor's certificate that is there already must be for everything that it is asked to be for: it stays as it is.
fn names_all(dir: &CertDir, hosts: &[String]) -> Result<(), CommandError> {
    let cert = dir.server_cert();
    if hosts.is_empty() || !cert.exists() {
        return Ok(());
    }
    let there = Leaf::read(&cert)?;
    // The same address may be written in many ways.
    let same = |one: &str, other: &str| match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    };
    match hosts.iter().find(|host| !there.hosts().iter().any(|named| same(named, host))) {
        None => Ok(()),
        Some(host) => Err(CommandError::Program(format!(
            "{} is there already and is not for {host:?}; nothing was changed. Move it and {} away to have another made",
            cert.display(),
            dir.server_key().display(),
        ))),
    }
}

/// Says of each certificate whether it is new, whose it is, until when, and what it is known by.
fn report(pairs: &[(PathBuf, PathBuf)], made: &[PathBuf]) -> Result<Exit, CommandError> {
    let mut text = String::new();
    for (cert, key) in pairs {
        let leaf = Leaf::read(cert)?;
        let is_new = made.contains(cert);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", cert.display(), if is_new { "made" } else { "there already, left as it is" });
        let _ = writeln!(text, "  for      {}", names(&leaf));
        let _ = writeln!(text, "  until    {}", until(&leaf));
        let _ = writeln!(text, "  SHA-256  {}", leaf.sha256());
        if is_new {
            let _ = writeln!(text, "  key      {}, mode {:04o}", key.display(), mode(key)?);
        }
    }
    super::to_stdout(text.as_bytes())
}

/// Whom a certificate is for. Texts from a file may hold anything: what would steer a terminal is escaped.
fn names(leaf: &Leaf) -> String {
    let text = match leaf.hosts() {
        [] => leaf.common_name().to_owned(),
        hosts => hosts.join(", "),
    };
    text.escape_debug().to_string()
}

fn until(leaf: &Leaf) -> String {
    let secs = u64::try_from(leaf.not_after_secs()).unwrap_or(0);
    let text = rfc3339(TimestampNs(secs.saturating_mul(NS_PER_S)));
    // Certificates know no parts of a second.
    text.replace(".000000000", "")
}

fn mode(path: &Path) -> Result<u32, CertError> {
    let metadata = fs::metadata(path).map_err(|source| CertError::Read { path: path.to_owned(), source })?;
    Ok(metadata.permissions().mode() & 0o7777)
}
