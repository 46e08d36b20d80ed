//! What lines tell.

use serde::{Deserialize, Serialize};

use super::{Digest, Head};

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// The log is written from here on: a daemon started, the file was exchanged, or it can be written again.
    Open(Open),
    /// A request is answered from now on.
    Begin(Asked),
    /// How an answer ended.
    End(End),
    /// A request was not answered.
    Refused {
        /// Why, as its client was told.
        why: String,
        /// What it asked for.
        #[serde(flatten)]
        asked: Box<Asked>,
    },
    /// Connections that did not come through the handshake.
    TurnedAway(TurnedAway),
    /// The daemon ends in order.
    Close,
}

/// The log is written from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Open {
    /// Whether it is the first line of its file.
    pub file: OpenedAs,
    /// What made it so.
    pub why: Why,
    /// The version of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// What lies between this line and the one before it, and is none: a line of which a part was written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub torn: Vec<Fragment>,
    /// The same where a daemon found it that cannot have come of a write that was broken off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Fragment>,
    /// A line that had been written, and was not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// What could not be written before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

/// Where a line [`Open`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OpenedAs {
    /// At the beginning of its file.
    New,
    /// After others.
    Same,
}

/// Why a line [`Open`] was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// A daemon started.
    Start,
    /// The file before was moved away.
    Rotation,
    /// It could not be written for a while.
    Recovered,
}

/// Bytes that are no line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// How many, without the end of the line.
    pub bytes: u64,
    /// The hash of them.
    pub sha256: Digest,
}

/// A line that had been written, and was not there when a daemon started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its number.
    pub line: u64,
    /// Its hash.
    pub sha256: Digest,
}

impl From<Head> for Missing {
    fn from(head: Head) -> Self {
        Self { line: head.line, sha256: head.sha256 }
    }
}

/// Lines that could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Of requests that began.
    pub begins: u64,
    /// Of answers that ended.
    pub ends: u64,
    /// Of requests that were refused, and connections that were turned away.
    pub refusals: u64,
}

impl Lost {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.begins.saturating_add(self.ends).saturating_add(self.refusals)
    }
}

/// Who asked for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The subject of the client's certificate.
    pub principal: String,
    /// Its serial number.
    pub serial: String,
    /// Where it calls from.
    pub address: String,
    /// The method, as metrics name it.
    pub method: String,
    /// The query as it is understood: it parses back to itself. None where it does not parse, or none is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Where that is cut: the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_cut: Option<Cut>,
    /// The query as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where that is cut: the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_cut: Option<Cut>,
    /// What it may see of what it asks for; none where all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Where it wants its answer to end.
    #[serde(flatten)]
    pub limits: Limits,
}

/// What bounds an answer that its client chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packets: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// It is to go on with what is captured later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// A text of which the line has the beginning only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Bytes of the whole.
    pub bytes: u64,
    /// The hash of the whole.
    pub sha256: Digest,
}

impl Cut {
    /// `text`, or as much of its beginning as fits `most` bytes, and then what the whole of it is.
    pub fn to(text: &str, most: usize) -> (String, Option<Self>) {
        if text.len() <= most {
            return (text.to_owned(), None);
        }
        let begins = text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned();
        (begins, Some(Self { bytes: text.len() as u64, sha256: Digest::of(text.as_bytes()) }))
    }
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct End {
    /// The number of the line that tells of its beginning.
    pub of: u64,
    /// The outcome, as metrics name it.
    pub outcome: String,
    /// Packets, or conversations' packets, that were handed over.
    pub packets: u64,
    /// Bytes that were.
    pub bytes: u64,
    /// BLAKE3 of these, as in the receipt; none of what is no capture file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Whether nothing is missing, as in the receipt.
    pub complete: bool,
    /// Why something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Nanoseconds since its beginning.
    pub duration_ns: u64,
}

/// Connections that did not come through the handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TurnedAway {
    /// Where one called from.
    pub address: String,
    /// Why it was turned away.
    pub why: String,
    /// More that were since the last such line, and are told by this number alone.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
