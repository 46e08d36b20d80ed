//! The labels that tell the series of one metric apart. Their values are few, and none comes from a client but those of
//! principals, which the CA has signed and of which no more than so many are told apart.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `steno.v1.Sensor/Query`.
    Query,
    /// `steno.v1.Sensor/Flows`.
    Flows,
    /// `steno.v1.Sensor/Explain`.
    Explain,
    /// `steno.v1.Sensor/Status`.
    Status,
    /// `steno.v1.Sensor/Segments`.
    Segments,
    /// `steno.Stenographer/RetrievePcap`.
    RetrievePcap,
    /// `POST /query`.
    HttpQuery,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Query, Self::Flows, Self::Explain, Self::Status, Self::Segments, Self::RetrievePcap, Self::HttpQuery];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "Query",
            Self::Flows => "Flows",
            Self::Explain => "Explain",
            Self::Status => "Status",
            Self::Segments => "Segments",
            Self::RetrievePcap => "RetrievePcap",
            Self::HttpQuery => "POST /query",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// All of the answer was delivered.
    Complete,
    /// The answer was delivered up to a limit that was set.
    Truncated,
    /// An answer was delivered that lacks something, and says so.
    Incomplete,
    /// The request was not carried out: it does not hold, or there was no room for it.
    Refused,
    /// It failed.
    Failed,
    /// The client went away, or was too slow.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Complete, Self::Truncated, Self::Incomplete, Self::Refused, Self::Failed, Self::Cancelled];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Truncated => "truncated",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfBuild {
    pub(super) version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfInterface {
    pub(super) interface: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCaptureThread {
    pub(super) interface: String,
    pub(super) thread: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCause {
    pub(super) interface: String,
    pub(super) thread: u32,
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfInterfaceCause {
    pub(super) interface: String,
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfThread {
    pub(super) thread: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfKind {
    pub(super) thread: u32,
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReason {
    pub(super) thread: u32,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfMethod {
    pub(super) method: Method,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfOutcome {
    pub(super) method: Method,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPrincipal {
    pub(super) principal: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfRule {
    pub(super) rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfCertificate {
    pub(super) certificate: String,
}
