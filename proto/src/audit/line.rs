//! A line: sealed by its own hash, and tied to the line before by that one's (`docs/format/audit.md`, section 2).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

use super::{Event, Fragment, Lost, Missing, OpenedAs};
use crate::json::ascii;

/// Bytes of a line that is looked at, at most. Those that are written are far below.
pub const MOST_LINE_BYTES: usize = 1 << 20;

/// What stands before the hash of a line in it.
const SEAL: &[u8] = b",\"sha256\":\"";
/// And after it.
const END: &[u8] = b"\"}";
/// Digits of a hash.
const DIGITS: usize = 64;

/// A SHA-256 (FIPS 180-4). As text: 64 hexadecimal digits, lower case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, ParseHeadError> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != DIGITS || !text.bytes().all(is_digit) {
            return Err(ParseHeadError);
        }
        let mut bytes = [0; 32];
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or(ParseHeadError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseHeadError)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where a log has got to: a line, and all before it. The default is a log without lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of the line; the first one has 1.
    pub line: u64,
    /// Its hash.
    pub sha256: Digest,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.sha256)
    }
}

impl FromStr for Head {
    type Err = ParseHeadError;

    fn from_str(text: &str) -> Result<Self, ParseHeadError> {
        let (line, sha256) = text.trim_ascii().split_once(':').ok_or(ParseHeadError)?;
        let is_number = line.bytes().all(|byte| byte.is_ascii_digit());
        let line = line.parse().ok().filter(|_| is_number).ok_or(ParseHeadError)?;
        Ok(Self { line, sha256: sha256.parse()? })
    }
}

/// A text that is no [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes the number of a line, a colon, and the 64 digits of its hash, as the sensor logs them")]
pub struct ParseHeadError;

#[derive(Serialize)]
struct Body<'a> {
    line: u64,
    before: Digest,
    time: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// Adds the line that tells of `event` after `head` to `out`, its end included. Gives where the log has got to with it. `time`
/// is RFC 3339.
pub fn seal(head: Head, time: &str, event: &Event, out: &mut Vec<u8>) -> Head {
    let line = head.line.saturating_add(1);
    let body = Body { line, before: head.sha256, time, event };
    // Printing values that are no floats does not fail.
    let text = ascii(&serde_json::to_string(&body).unwrap_or_default());
    let sealed = text.strip_suffix('}').unwrap_or(&text).as_bytes();
    let sha256 = Digest::of(sealed);
    out.extend_from_slice(sealed);
    out.extend_from_slice(SEAL);
    out.extend_from_slice(sha256.to_string().as_bytes());
    out.extend_from_slice(END);
    out.push(b'\n');
    Head { line, sha256 }
}

/// What a line says that others are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where the log has got to with it.
    pub head: Head,
    /// The hash that it has of the line before.
    pub before: Digest,
    pub(super) said: Said,
}

/// The fields that are looked at; of a later version there may be others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Said {
    line: u64,
    before: Digest,
    pub(super) event: String,
    pub(super) of: Option<u64>,
    pub(super) file: Option<OpenedAs>,
    #[serde(default)]
    pub(super) torn: Vec<Fragment>,
    #[serde(default)]
    pub(super) damaged: Vec<Fragment>,
    pub(super) missing: Option<Missing>,
    pub(super) lost: Option<Lost>,
}

/// Why bytes are no line of an audit log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineFault {
    /// It does not end as a line does.
    #[error("it does not end with its hash")]
    NotSealed,
    /// It is another than the one that was hashed.
    #[error("its text is not the one that its hash is of")]
    Altered,
    /// It has its hash, and is not a line nevertheless.
    #[error("it is not a line of an audit log: {0}")]
    Unknown(String),
}

/// Reads a line, without its end, and holds it against its hash.
///
/// # Errors
/// [`LineFault`].
pub fn read(bytes: &[u8]) -> Result<Read, LineFault> {
    let sealed = bytes.strip_suffix(END).ok_or(LineFault::NotSealed)?;
    let (text, digits) = sealed.split_at_checked(sealed.len().saturating_sub(DIGITS)).ok_or(LineFault::NotSealed)?;
    let text = text.strip_suffix(SEAL).ok_or(LineFault::NotSealed)?;
    let digits = std::str::from_utf8(digits).map_err(|_| LineFault::NotSealed)?;
    let sha256: Digest = digits.parse().map_err(|_| LineFault::NotSealed)?;
    if Digest::of(text) != sha256 {
        return Err(LineFault::Altered);
    }
    let said: Said = serde_json::from_slice(bytes).map_err(|e| LineFault::Unknown(e.to_string()))?;
    Ok(Read { head: Head { line: said.line, sha256 }, before: said.before, said })
}
