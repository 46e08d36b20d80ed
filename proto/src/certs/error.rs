//! Why certificates cannot be made or used.

use std::{io, path::PathBuf};

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
