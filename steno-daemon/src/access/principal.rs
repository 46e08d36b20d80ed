//! Who a client is.

use std::{fmt, sync::Arc};

use steno_proto::certs::{Leaf, NameKind, Subject};

/// Bytes of the text of a principal, at most: a subject may be as long as a handshake lets it be.
const TEXT_BYTES: usize = 512;

/// Who a client is, by its certificate: what logs, metrics and the audit log call it, and the names that rights go by. Clones
/// are cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    text: String,
    serial: String,
    sha256: String,
    subject: Subject,
}

impl Principal {
    /// The holder of a certificate.
    pub fn of(leaf: &Leaf) -> Self {
        let subject = leaf.subject().clone();
        let text = match (subject.text(), subject.names().first()) {
            ("", Some((kind, name))) => format!("{}={name}", kind.label()),
            // Nothing else tells it from another one without a name.
            ("", None) => format!("SHA256={}", leaf.sha256()),
            (text, _) => text.to_owned(),
        };
        let (serial, sha256) = (leaf.serial().to_owned(), leaf.sha256().to_owned());
        let text = cut(text, &sha256);
        Self(Arc::new(Inner { text, serial, sha256, subject }))
    }

    /// Somebody whose certificate cannot be read, which no handshake lets through: no rule is for them.
    pub fn unknown() -> Self {
        let (text, nothing) = ("unknown".to_owned(), String::new);
        Self(Arc::new(Inner { text, serial: nothing(), sha256: nothing(), subject: Subject::default() }))
    }

    /// Its name: the subject of the certificate (RFC 4514), `CN=alice,OU=Security`; of one without, its first alternative
    /// name, as `URI=spiffe://example/probe`, or, where it has no name at all, its fingerprint, `SHA256=..`. One line of
    /// printable characters, 512 bytes at the most.
    pub fn name(&self) -> &str {
        &self.0.text
    }

    /// The serial number of the certificate, as hexadecimal digits with colons.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    /// The fingerprint of the certificate: SHA-256, as hexadecimal digits with colons.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// All names in the certificate.
    pub fn names(&self) -> &[(NameKind, String)] {
        self.0.subject.names()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `text`, or its beginning and the fingerprint, which tells it from others that begin alike.
fn cut(mut text: String, sha256: &str) -> String {
    if text.len() > TEXT_BYTES {
        let mark = format!("...SHA256={sha256}");
        text.truncate(text.floor_char_boundary(TEXT_BYTES.saturating_sub(mark.len())));
        text.push_str(&mark);
    }
    text
}
