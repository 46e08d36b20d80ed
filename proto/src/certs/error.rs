//! Why certificates cannot be made or used.

use std::{io, path::PathBuf};

use super::Serial;

/// Why certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written, or a directory not made.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file does not hold what it must.
    #[error("{} holds no {expected}: {got}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it must hold.
        expected: &'static str,
        /// What is the matter.
        got: String,
    },
    /// A key that does not belong to the certificate.
    #[error("the key {} does not belong to the certificate {}", key.display(), cert.display())]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A key that everyone can read, or write.
    #[error(
        "the key {} is open to every user of this machine (mode {mode:04o}); `chmod o= {}` shuts them out",
        path.display(), path.display()
    )]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A certificate of the directory that its CA has not signed.
    #[error("{} is not signed by {}", cert.display(), ca.display())]
    Foreign {
        /// The certificate.
        cert: PathBuf,
        /// The CA's certificate.
        ca: PathBuf,
    },
    /// One half of a pair is there, and the other cannot be made.
    #[error("{} is there, but {} is not; put it back, or move the first away to have both made", there.display(), missing.display())]
    HalfThere {
        /// What is there.
        there: PathBuf,
        /// What is not.
        missing: PathBuf,
    },
    /// The CA cannot sign any more.
    #[error("{} ended on {}: what it would sign now, nobody would take; make another CA", ca.display(), not_after.date())]
    CaEnded {
        /// The CA's certificate.
        ca: PathBuf,
        /// Until when it was good.
        not_after: time::OffsetDateTime,
    },
    /// It is there already.
    #[error("{} is there already; nothing was changed", path.display())]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A client's name that cannot be a file's.
    #[error(
        "bad client name {name:?}: a name has 1 to 64 letters, digits, `.`, `_`, `@` or `-`, and begins with a letter or digit"
    )]
    ClientName {
        /// The name.
        name: String,
    },
    /// Nobody of that name has a certificate of the CA.
    #[error("no certificate of a client {name:?} is on record in {}{}", dir.display(), and_known(.known))]
    UnknownClient {
        /// The name.
        name: String,
        /// The directory of the CA.
        dir: PathBuf,
        /// Names of whom there are certificates.
        known: Vec<String>,
    },
    /// A certificate that is somebody else's.
    #[error("the certificate {serial} is not of {name:?} but of {owner:?}; nothing was changed")]
    OthersSerial {
        /// Its serial number.
        serial: Serial,
        /// Whose it was said to be.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// A text that is no serial number.
    #[error(
        "bad serial number {text:?}: it takes 1 to 20 bytes as hexadecimal digits, with or without colons between them"
    )]
    BadSerial {
        /// The text.
        text: String,
    },
    /// A text that is no alternative name.
    #[error("bad alternative name {text:?}: it takes DNS:HOST, IP:ADDRESS, email:ADDRESS or URI:URI")]
    AlternativeName {
        /// The text.
        text: String,
    },
    /// A text that is no organizational unit.
    #[error("bad organizational unit {text:?}: it takes 1 to 64 characters, without spaces at its ends")]
    Unit {
        /// The text.
        text: String,
    },
    /// A server's name that is neither an address nor a host's.
    #[error("bad server name {name:?}: neither an IP address nor a host name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The configuration of TLS is refused.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Names are shown as far as they help.
fn and_known(names: &[String]) -> String {
    const MOST: usize = 10;
    match names {
        [] => "; `--serial` takes back one that is on none".to_owned(),
        _ => {
            let shown: Vec<String> = names.iter().take(MOST).map(|name| format!("{name:?}")).collect();
            let more = if names.len() > MOST { ", ..." } else { "" };
            format!("; there are those of {}{more}", shown.join(", "))
        }
    }
}
