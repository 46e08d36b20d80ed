//! Whom a certificate is for: its subject as a text, and the names that rights may be given to.
//!
//! Every name is text that someone else chose. What is a name to be matched is taken as it stands or not at all; what is
//! shown is escaped, so that it takes one line, and two different subjects are never shown alike.

use std::{fmt::Write, net::IpAddr};

use x509_parser::prelude::{GeneralName, X509Certificate, X509Name};

/// Attributes that have a short name (RFC 4514, section 3), by their object identifier.
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", COMMON_NAME),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", UNIT),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];
const COMMON_NAME: &str = "CN";
const UNIT: &str = "OU";

/// A kind of name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A common name of the subject.
    CommonName,
    /// An organizational unit of the subject.
    Unit,
    /// A host name among the alternative names.
    Dns,
    /// An address among them.
    Ip,
    /// A URI among them.
    Uri,
    /// A mail address among them.
    Email,
}

impl NameKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::CommonName, Self::Unit, Self::Dns, Self::Ip, Self::Uri, Self::Email];

    /// How it is written before a name: `CN`, `OU`, `DNS`, `IP`, `URI` and `EMAIL`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::CommonName => COMMON_NAME,
            Self::Unit => UNIT,
            Self::Dns => "DNS",
            Self::Ip => "IP",
            Self::Uri => "URI",
            Self::Email => "EMAIL",
        }
    }
}

/// Whom a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    text: String,
    names: Vec<(NameKind, String)>,
}

impl Subject {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let subject = certificate.subject();
        let mut names = Vec::new();
        for attribute in subject.iter_attributes() {
            let kind = match short_name(&attribute.attr_type().to_id_string()) {
                Some(COMMON_NAME) => NameKind::CommonName,
                Some(UNIT) => NameKind::Unit,
                _ => continue,
            };
            names.extend(attribute.as_str().ok().map(|name| (kind, name.to_owned())));
        }
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let alternative = alternative.map_or(&[][..], |extension| &extension.value.general_names);
        names.extend(alternative.iter().filter_map(general_name));
        let text = text(subject);
        // What a terminal or a C program would read as another name is none.
        names.retain(|(_, name)| !name.is_empty() && !name.chars().any(is_hidden));
        Self { text, names }
    }

    /// The distinguished name, as RFC 4514 writes it: `CN=alice,OU=Security,O=Example`; the most particular part comes first.
    /// Of printable characters alone, others are escaped. Empty where the certificate has none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names in it: those of the subject, then the alternative ones, each kind in the certificate's order. A name with
    /// control characters, such as NUL, is none of them, nor is one in an encoding that is not that of ASCII or UTF-8.
    pub fn names(&self) -> &[(NameKind, String)] {
        &self.names
    }
}

fn general_name(name: &GeneralName<'_>) -> Option<(NameKind, String)> {
    Some(match name {
        GeneralName::DNSName(name) => (NameKind::Dns, (*name).to_owned()),
        GeneralName::RFC822Name(name) => (NameKind::Email, (*name).to_owned()),
        GeneralName::URI(name) => (NameKind::Uri, (*name).to_owned()),
        GeneralName::IPAddress(bytes) => (NameKind::Ip, address(bytes)?.to_string()),
        _ => return None,
    })
}

/// An address among the alternative names: 4 bytes or 16 (RFC 5280, section 4.2.1.6).
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn short_name(identifier: &str) -> Option<&'static str> {
    SHORT_NAMES.iter().find(|(known, _)| *known == identifier).map(|(_, name)| *name)
}

/// RFC 4514, section 2: the last part first, parts of one step joined by `+`.
fn text(name: &X509Name<'_>) -> String {
    let mut steps: Vec<String> = name
        .iter_rdn()
        .map(|step| {
            let parts = step.iter().map(|attribute| {
                let identifier = attribute.attr_type().to_id_string();
                match (short_name(&identifier), attribute.as_str()) {
                    (Some(short), Ok(value)) => format!("{short}={}", escaped(value)),
                    (short, _) => format!("{}=#{}", short.unwrap_or(&identifier), hex(attribute.attr_value().data)),
                }
            });
            parts.collect::<Vec<_>>().join("+")
        })
        .collect();
    steps.reverse();
    steps.join(",")
}

/// RFC 4514, section 2.4, and everything that does not show as it is.
fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let is_at_an_end = c == ' ' && (at == 0 || at == last) || c == '#' && at == 0;
        if is_hidden(c) {
            let mut utf8 = [0; 4];
            for byte in c.encode_utf8(&mut utf8).bytes() {
                let _ = write!(text, "\\{byte:02X}");
            }
        } else {
            if is_at_an_end || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text
}

/// Whether a character does something else than to show itself: control characters, and those that hide or turn round what
/// stands beside them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
