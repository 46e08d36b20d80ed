//! Why a client did not come through the handshake, in words, and no more often than a log bears.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use tracing::warn;

/// Why a client did not come through the handshake. Reads after "refused 192.0.2.1:1234: ".
pub(super) fn handshake_reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(error) => reason(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it hung up during the handshake".to_owned(),
        None => error.to_string(),
    }
}

/// The same of TLS alone.
pub(super) fn reason(error: &Error) -> String {
    use CertificateError as Certificate;
    let text = match error {
        Error::NoCertificatesPresented => "it showed no certificate",
        Error::InvalidCertificate(Certificate::UnknownIssuer) => "its certificate is signed by another CA",
        Error::InvalidCertificate(Certificate::BadSignature) => "its certificate or its key is forged",
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet"
        }
        Error::InvalidCertificate(Certificate::Revoked) => "its certificate was revoked",
        Error::InvalidCertificate(
            Certificate::ExpiredRevocationList | Certificate::ExpiredRevocationListContext { .. },
        ) => "the revocation list has expired, so that no certificate can be checked",
        Error::InvalidCertificate(Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. }) => {
            "its certificate is not one for clients"
        }
        // What the library below rustls found: it has no message but a name.
        Error::InvalidCertificate(Certificate::Other(other)) => {
            return format!("its certificate will not do: {}", other.0);
        }
        Error::InvalidCertificate(other) => return format!("its certificate will not do: {other}"),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "what it sent is not TLS"
        }
        Error::InvalidMessage(other) => return format!("what it sent does not hold as TLS: {other:?}"),
        Error::NoApplicationProtocol => "it speaks neither HTTP/2 nor HTTP/1.1",
        Error::PeerIncompatible(why) => return format!("it speaks no TLS that is spoken here: {why:?}"),
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "it does not trust the sensor's certificate"
        }
        Error::AlertReceived(alert) => return format!("it broke the handshake off: {alert:?}"),
        other => return other.to_string(),
    };
    text.to_owned()
}

/// Logs that a client was refused, and that `unsaid` others were before it. Anyone who reaches the port can cause that: a
/// [`RefusalLog`] says how often.
pub(super) fn log_refusal(address: SocketAddr, why: &str, unsaid: u32) {
    if unsaid > 0 {
        warn!("refused {unsaid} more connections");
    }
    warn!(peer = %address, "refused {address}: {why}");
}

/// Lines that a second may have; more are counted only.
const LINES_A_SECOND: u32 = 20;

/// How often refusals are told of. Anyone can cause them.
#[derive(Debug)]
pub(crate) struct RefusalLog {
    a_second: u32,
    second: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    lines: u32,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self::new(LINES_A_SECOND)
    }
}

impl RefusalLog {
    pub(super) fn new(a_second: u32) -> Self {
        Self { a_second, second: Mutex::default() }
    }

    /// Whether there is room for a line, and then how many were left out before it.
    pub(crate) fn may_say(&self, now: Instant) -> Option<u32> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            let unsaid = second.lines.saturating_sub(self.a_second);
            *second = Second { began: Some(now), lines: 1 };
            return Some(unsaid);
        }
        second.lines += 1;
        (second.lines <= self.a_second).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let said = (0..100).filter(|_| log.may_say(start).is_some()).count();
        assert_eq!(said, 20);
        assert_eq!(log.may_say(start + Duration::from_millis(999)), None);
        assert_eq!(log.may_say(start + Duration::from_secs(1)), Some(81));
        assert_eq!(log.may_say(start + Duration::from_secs(1)), Some(0));
        assert_eq!(log.may_say(start + Duration::from_secs(9)), Some(0));
    }
}
