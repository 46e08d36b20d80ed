//! What a certificate that is to be made should be like.

use std::{net::IpAddr, str::FromStr};

use rcgen::{KeyPair, SanType};

use super::CertError;

/// The kind of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5): known to everything that speaks TLS.
    #[default]
    P256,
    /// Ed25519 (RFC 8410): small, and known to all but old clients.
    Ed25519,
}

impl KeyKind {
    pub(super) fn generate(self) -> Result<KeyPair, CertError> {
        let algorithm = match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// What a certificate that is to be made should be like. The default: a key of ECDSA, and as long as is usual for its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The kind of its key. One that is there already stays as it is.
    pub key: KeyKind,
    /// How many days it is to be good for; no longer than its CA is.
    pub days: Option<u16>,
    /// What its holder is called besides its common name.
    pub names: Vec<AlternativeName>,
    /// Its organizational unit: a group that its holder is of.
    pub unit: Option<String>,
}

/// A subject alternative name (RFC 5280, section 4.2.1.6), read as openssl writes them: `DNS:HOST`, `IP:ADDRESS`,
/// `email:ADDRESS`, `URI:URI`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlternativeName(pub(super) SanType);

impl AlternativeName {
    /// `name` as an e-mail address, where it is one.
    pub(super) fn email(name: &str) -> Option<Self> {
        let (user, host) = name.split_once('@')?;
        let is_one = !user.is_empty() && rustls_pki_types::DnsName::try_from(host).is_ok();
        name.try_into().ok().filter(|_| is_one).map(|name| Self(SanType::Rfc822Name(name)))
    }
}

impl FromStr for AlternativeName {
    type Err = CertError;

    fn from_str(text: &str) -> Result<Self, CertError> {
        let bad = || CertError::AlternativeName { text: text.to_owned() };
        let (kind, name) = text.split_once(':').ok_or_else(bad)?;
        match kind.to_ascii_lowercase().as_str() {
            "dns" => {
                let host = rustls_pki_types::DnsName::try_from(name).map_err(|_| bad())?;
                host.as_ref().try_into().map(|host| Self(SanType::DnsName(host))).map_err(|_| bad())
            }
            "ip" => name.parse::<IpAddr>().map(|address| Self(SanType::IpAddress(address))).map_err(|_| bad()),
            "email" => Self::email(name).ok_or_else(bad),
            // A scheme, and something that it leads to; spaces and controls are in no URI (RFC 3986).
            "uri" if name.contains(':') && name.chars().all(|c| c.is_ascii_graphic()) => {
                name.try_into().map(|uri| Self(SanType::URI(uri))).map_err(|_| bad())
            }
            _ => Err(bad()),
        }
    }
}
