//! `steno keys`: makes certificates and takes them back, and says what was done. No key is ever printed.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use steno_core::TimestampNs;
use steno_proto::certs::{
    CertDir, CertError, KeyKind, Leaf, Revocation, Serial, ServerFiles, Wanted, client_tls, server_tls,
};
use steno_query::rfc3339;

use super::CommandError;
use crate::{
    args::{self, KeysClientArgs, KeysInitArgs, KeysRevokeArgs},
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
    let wanted = Wanted { key: kind(args.wanted.key), days: args.days, ..Wanted::default() };
    let made = dir.init_as(if asked.is_empty() { &HERE } else { &asked }, &wanted)?;
    // What was there before may not go with the rest.
    let _server = server_tls(&ServerFiles::from(&dir))?;
    let _client = client_tls(&dir)?;
    let pairs =
        [(dir.ca_cert(), dir.ca_key()), (dir.server_cert(), dir.server_key()), (dir.client_cert(), dir.client_key())];
    let mut text = report(&pairs, &made)?;
    if made.contains(&dir.crl()) {
        let _ = writeln!(text, "{}: made; it takes nothing back", dir.crl().display());
    }
    super::to_stdout(text.as_bytes())
}

/// Makes a certificate for one more client.
pub(super) fn client(args: &KeysClientArgs) -> Result<Exit, CommandError> {
    let ca = CertDir::new(&args.certs);
    if !args.name.is_empty() {
        has_ca(&ca)?;
    }
    let wanted = Wanted {
        key: kind(args.wanted.key),
        days: Some(args.days),
        names: args.names.clone(),
        unit: args.unit.clone(),
    };
    let there = ca.client_dir(&args.name).client_cert();
    let before = if args.renew && there.exists() { Some(Leaf::read(&there)?) } else { None };
    let dir = if args.renew { ca.renew_client(&args.name, &wanted)? } else { ca.issue_client_as(&args.name, &wanted)? };
    let _client = client_tls(&dir)?;
    let mut text = report(&[(dir.client_cert(), dir.client_key())], &[dir.client_cert()])?;
    if let Some(before) = before {
        let (serial, until) = (before.serial(), until(before.not_after_secs()));
        let _ = writeln!(text, "  before   {serial}, good until {until} unless it is revoked");
    }
    super::to_stdout(text.as_bytes())
}

/// Takes certificates of a client back, or signs the list anew.
pub(super) fn revoke(args: &KeysRevokeArgs) -> Result<Exit, CommandError> {
    let ca = CertDir::new(&args.certs);
    has_ca(&ca)?;
    let done = match &args.name {
        Some(name) => ca.revoke(name, &args.serials, args.list_days)?,
        None => ca.renew_list(args.list_days)?,
    };
    // The sensor reads it with the rest.
    let files = ServerFiles::from(&ca);
    if files.cert.exists() {
        let _server = server_tls(&files)?;
    }
    super::to_stdout(told(args.name.as_deref().unwrap_or_default(), &done).as_bytes())
}

/// What was taken back now, and what was before.
fn told(name: &str, done: &Revocation) -> String {
    let mut text = String::new();
    let name = name.escape_debug();
    for serial in &done.revoked {
        let _ = writeln!(text, "{name} {serial}: revoked");
    }
    for (serial, since) in &done.before {
        let _ = writeln!(text, "{name} {serial}: already revoked, since {}", until(*since));
    }
    let is_new = if done.is_new { "; there was none before" } else { "" };
    let _ = writeln!(text, "{}: good until {}{is_new}", done.list.display(), until(done.until_secs));
    text
}

fn has_ca(ca: &CertDir) -> Result<(), CommandError> {
    if ca.ca_cert().exists() {
        return Ok(());
    }
    let (path, certs) = (ca.ca_cert(), ca.path().display());
    let text = format!("{} is not there; `steno keys init --certs {certs}` makes a CA", path.display());
    Err(CommandError::Program(text))
}

fn kind(asked: args::KeyKind) -> KeyKind {
    match asked {
        args::KeyKind::P256 => KeyKind::P256,
        args::KeyKind::Ed25519 => KeyKind::Ed25519,
    }
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
fn report(pairs: &[(PathBuf, PathBuf)], made: &[PathBuf]) -> Result<String, CommandError> {
    let mut text = String::new();
    for (cert, key) in pairs {
        let leaf = Leaf::read(cert)?;
        let is_new = made.contains(cert);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {}", cert.display(), if is_new { "made" } else { "there already, left as it is" });
        let _ = writeln!(text, "  for      {}", names(&leaf));
        let _ = writeln!(text, "  until    {}", until(leaf.not_after_secs()));
        let _ = writeln!(text, "  serial   {}", leaf.serial().parse::<Serial>()?);
        let _ = writeln!(text, "  SHA-256  {}", leaf.sha256());
        if is_new {
            let _ = writeln!(text, "  key      {}, mode {:04o}", key.display(), mode(key)?);
        }
    }
    Ok(text)
}

/// Whom a certificate is for. Texts from a file may hold anything: what would steer a terminal is escaped.
fn names(leaf: &Leaf) -> String {
    let text = match (leaf.hosts(), leaf.common_name()) {
        ([], name) => name.to_owned(),
        // A sensor's: its common name is one of them.
        (hosts, name) if hosts.iter().any(|host| host == name) => hosts.join(", "),
        (hosts, name) => format!("{name} ({})", hosts.join(", ")),
    };
    text.escape_debug().to_string()
}

fn until(secs: i64) -> String {
    let secs = u64::try_from(secs).unwrap_or(0);
    let text = rfc3339(TimestampNs(secs.saturating_mul(NS_PER_S)));
    // Certificates know no parts of a second.
    text.replace(".000000000", "")
}

fn mode(path: &Path) -> Result<u32, CertError> {
    let metadata = fs::metadata(path).map_err(|source| CertError::Read { path: path.to_owned(), source })?;
    Ok(metadata.permissions().mode() & 0o7777)
}
