//! Serial numbers of certificates.

use std::{fmt, str::FromStr};

use super::{CertError, provider};

/// The most bytes of one (RFC 5280, section 4.1.2.2).
const MOST_BYTES: usize = 20;
/// Bytes of those that are made here.
const MADE_BYTES: usize = 16;

/// The serial number of a certificate. Shown as hexadecimal digits with colons, as [`Leaf::serial`](super::Leaf::serial) and
/// the daemon's log have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Of the bytes in a certificate, most significant first; a zero before the others is there for the sign.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes.get(zeros.min(bytes.len().saturating_sub(1))..).unwrap_or_default().to_vec())
    }

    /// One that nobody has: from the system's source of chance, so that not even two certificates for one key have the same.
    pub(super) fn made() -> Result<Self, CertError> {
        let mut bytes = [0; MADE_BYTES];
        provider().secure_random.fill(&mut bytes).map_err(|_| rustls::Error::FailedToGetRandomBytes)?;
        // Positive, and of full length.
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x40;
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Its bytes, most significant first, without zeros before them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a file is called after it.
    pub(super) fn file_name(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02X}")).collect::<String>() + ".pem"
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&digits.join(":"))
    }
}

impl FromStr for Serial {
    type Err = CertError;

    fn from_str(text: &str) -> Result<Self, CertError> {
        let bad = || CertError::BadSerial { text: text.to_owned() };
        let mut digits: Vec<u32> =
            text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or_else(bad)?;
        if digits.len() % 2 == 1 {
            digits.insert(0, 0);
        }
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| u8::try_from(pair.iter().fold(0, |n, digit| n << 4 | digit)).ok())
            .collect();
        let serial = Self::of(&bytes);
        if serial.0.is_empty() || serial.0.len() > MOST_BYTES { Err(bad()) } else { Ok(serial) }
    }
}
