//! Why a sensor gave no answer, or not a whole one: a sentence each, and what to do.

use std::{io, path::PathBuf};

use rustls::{AlertDescription, CertificateError};
use steno_core::TimestampNs;
use steno_proto::certs::{CertDir, CertError};
use steno_query::rfc3339;
use tonic::Code;

use super::SoFar;
use crate::{exit::Exit, print::count};

/// Why a sensor gave no answer, or not a whole one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SensorError {
    /// Nothing says where a sensor is.
    #[error(
        "no sensor is named: STENOGRAPHER_CONFIG is not set, and there is neither ./steno-data/config nor \
         /etc/stenographer/config; name one with --server HOST:PORT --certs DIR or with --config FILE, start one here with \
         `stenographer -interface IFACE`, or read files with --store DIR"
    )]
    NotTold,
    /// No name of a server.
    #[error("{text:?} is no HOST:PORT; write sensor.example:1234, 192.0.2.1:1234 or [2001:db8::1]:1234")]
    BadServer {
        /// What was given.
        text: String,
    },
    /// The configuration cannot be read.
    #[error("cannot read the configuration of the sensor, {}", path.display())]
    ConfigRead {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration is none.
    #[error("cannot use the configuration {}: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        why: String,
    },
    /// Our own certificates cannot be used.
    #[error("{0}{advice}", advice = advice(.0))]
    Certificates(#[from] CertError),
    /// No address for a name.
    #[error("cannot find the host {host}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing listens there.
    #[error(
        "nothing listens on {sensor}: the sensor is not running, or listens elsewhere (Host and Port of its configuration)"
    )]
    Refused {
        /// The address.
        sensor: String,
    },
    /// Nothing answers there.
    #[error("{sensor} does not answer: the host is down, or something on the way drops what is sent to it")]
    Silent {
        /// The address.
        sensor: String,
    },
    /// No connection for another reason.
    #[error("cannot connect to {sensor}")]
    Connect {
        /// The address.
        sensor: String,
        /// What the system says.
        source: io::Error,
    },
    /// No agreement on TLS.
    #[error("{}", why.sentence(sensor, certs))]
    Handshake {
        /// The address.
        sensor: String,
        /// What we called with.
        certs: CertDir,
        /// What was the matter.
        why: Handshake,
    },
    /// gRPC cannot be set up.
    #[error("cannot speak gRPC with the sensor")]
    Channel(#[source] tonic::transport::Error),
    /// The runtime cannot be started.
    #[error("cannot start what talks to the sensor")]
    Runtime(#[source] io::Error),
    /// A query that does not parse, as the sensor reports it.
    #[error("{0}")]
    Query(String),
    /// The sensor would not do it.
    #[error("the sensor {}: {message}", verb(*code))]
    Said {
        /// The code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The connection was lost before an answer began.
    #[error("the connection to {sensor} was lost: {why}")]
    Lost {
        /// The address.
        sensor: String,
        /// How.
        why: String,
    },
    /// The answer broke off.
    #[error("NOT COMPLETE: the answer broke off after {so_far}, without a receipt; more may match: {why}")]
    Cut {
        /// What had come.
        so_far: SoFar,
        /// How.
        why: String,
    },
    /// What came is not what the sensor says that it sent.
    #[error("the answer arrived damaged, do not use it: {0}")]
    Damaged(String),
    /// A message that makes no sense.
    #[error("the sensor sent what cannot be understood: {0}; it may be of a newer version than this program")]
    Nonsense(String),
    /// A signal.
    #[error("interrupted{}", .0.so_far())]
    Interrupted(SoFar),
}

impl SensorError {
    /// The exit status.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotTold | Self::BadServer { .. } | Self::Query(_) => Exit::Usage,
            Self::Cut { .. } => Exit::Incomplete,
            Self::Interrupted(_) => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }
}

/// What was the matter with a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum Handshake {
    /// The sensor's certificate is signed by someone else than our CA.
    UnknownCa,
    /// It is for another host.
    OtherName(Vec<String>),
    /// It ended, or is yet to begin.
    Time {
        /// Whether it is yet to begin.
        early: bool,
        /// When it ended or begins, in seconds since the UNIX epoch; 0 where that is not told.
        bound_secs: u64,
    },
    /// Something else is wrong with it.
    Certificate(CertificateError),
    /// Ours was refused.
    OurCertificate(AlertDescription),
    /// The connection was closed where the sensor would have said what it holds of our certificate.
    ClosedAtOnce,
    /// Nothing came.
    Silent,
    /// What came is not TLS.
    NotTls,
    /// Anything else.
    Other(io::Error),
}

impl Handshake {
    pub(super) fn of_certificate(why: &CertificateError) -> Self {
        match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownCa,
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => Self::OtherName(presented.clone()),
            CertificateError::Expired => Self::Time { early: false, bound_secs: 0 },
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Time { early: false, bound_secs: not_after.as_secs() }
            }
            CertificateError::NotValidYet => Self::Time { early: true, bound_secs: 0 },
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::Time { early: true, bound_secs: not_before.as_secs() }
            }
            other => Self::Certificate(other.clone()),
        }
    }

    fn sentence(&self, sensor: &str, certs: &CertDir) -> String {
        let (ca, ours) = (certs.ca_cert(), certs.client_cert());
        let (ca, ours) = (ca.display(), ours.display());
        match self {
            Self::UnknownCa => format!(
                "the certificate of {sensor} is not signed by {ca}: it is another sensor, or these are another sensor's \
                 certificates; name the right directory with --certs"
            ),
            Self::OtherName(names) => {
                let names = if names.is_empty() { String::new() } else { format!(", but for {}", names.join(", ")) };
                format!(
                    "the certificate of {sensor} is not for that name{names}; call it by a name that its certificate has, \
                     or make it one for this name"
                )
            }
            Self::Time { early, bound_secs } => {
                let (verb, advice) = if *early {
                    ("is not good yet", "set the clock of one of the two")
                } else {
                    ("has ended", "make the sensor another, or set the clock here")
                };
                let bound = if *bound_secs == 0 {
                    String::new()
                } else {
                    format!(" ({})", rfc3339(TimestampNs::new(bound_secs.saturating_mul(1_000_000_000))))
                };
                format!("the certificate of {sensor} {verb}{bound}; {advice}")
            }
            Self::Certificate(why) => {
                format!("the certificate of {sensor} will not do: {}", rustls::Error::from(why.clone()))
            }
            Self::OurCertificate(alert) => {
                let (why, advice) = refusal(*alert);
                format!("{sensor} refuses the certificate {ours}: {why}; {advice}")
            }
            Self::ClosedAtOnce => format!(
                "{sensor} closed the connection at once: it may refuse the certificate {ours}, or be stopping; its log says \
                 which"
            ),
            Self::Silent => format!("{sensor} takes connections and says nothing: it is busy, or no sensor"),
            Self::NotTls => format!("what answers on {sensor} does not speak TLS: it is no sensor"),
            Self::Other(error) => format!("no agreement on TLS with {sensor}: {error}"),
        }
    }
}

/// What an alert says of our certificate, and what to do.
fn refusal(alert: AlertDescription) -> (String, &'static str) {
    const ANOTHER: &str = "get one from whoever keeps the sensor's CA (`steno keys client NAME`)";
    let why = match alert {
        AlertDescription::UnknownCA => "its CA is not the one that the sensor trusts",
        AlertDescription::CertificateExpired => "it has ended, or is not good yet, by the sensor's clock",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::CertificateRequired => "the sensor saw none",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => "it is not one for clients of this sensor",
        AlertDescription::DecryptError => "its CA has not signed it, or the key is another one's",
        AlertDescription::ProtocolVersion => {
            return ("they have no version of TLS in common".to_owned(), "bring the older side up to date");
        }
        other => return (format!("{other:?}"), "its log says more"),
    };
    (why.to_owned(), ANOTHER)
}

/// What to do about certificates of ours that cannot be used.
fn advice(error: &CertError) -> &'static str {
    match error {
        CertError::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            "; who may read it may query the sensor: ask for that, as a member of its group"
        }
        CertError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "; name the directory of certificates with --certs, or make them with `steno keys`"
        }
        _ => "",
    }
}

/// What a status says that the sensor does.
fn verb(code: Code) -> &'static str {
    match code {
        Code::ResourceExhausted => "has too much to do",
        Code::Unavailable => "is not available",
        Code::Unimplemented => "cannot do that",
        Code::InvalidArgument | Code::OutOfRange => "refuses the request",
        Code::PermissionDenied | Code::Unauthenticated => "does not let you",
        Code::DeadlineExceeded => "took too long",
        Code::DataLoss => "cannot read its files",
        _ => "failed",
    }
}

impl SoFar {
    /// What to say of it where a signal ended an answer.
    fn so_far(self) -> String {
        match self {
            Self::Nothing => String::new(),
            some => format!(" after {some}, without a receipt; more may match"),
        }
    }
}

impl std::fmt::Display for SoFar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Packets { packets, bytes } => write!(f, "{} and {}", count(packets, "packet"), count(bytes, "byte")),
            Self::Flows(flows) => f.write_str(&count(flows, "flow")),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}
