//! What may be asked.

use std::fmt;

use crate::metrics::Method;

/// Something that a client may ask, by the name that a rule lists it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `steno.v1.Sensor/Query`.
    Query,
    /// The same, to go on with what is captured later: besides [`Self::Query`].
    Follow,
    /// `steno.v1.Sensor/Flows`.
    Flows,
    /// `steno.v1.Sensor/Explain`.
    Explain,
    /// `steno.Stenographer/RetrievePcap`.
    RetrievePcap,
    /// `POST /query`.
    HttpQuery,
    /// `steno.v1.Sensor/Status`.
    Status,
    /// `steno.v1.Sensor/Segments`.
    Segments,
    /// `GET /debug/stats`.
    Stats,
    /// `GET /metrics`.
    Metrics,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Query,
        Self::Follow,
        Self::Flows,
        Self::Explain,
        Self::RetrievePcap,
        Self::HttpQuery,
        Self::Status,
        Self::Segments,
        Self::Stats,
        Self::Metrics,
    ];
    /// Those that are answered with packets or from what is known of packets, and so can be held to a scope. The others tell of
    /// the sensor as a whole.
    pub const OF_PACKETS: [Self; 6] =
        [Self::Query, Self::Follow, Self::Flows, Self::Explain, Self::RetrievePcap, Self::HttpQuery];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "Query",
            Self::Follow => "Follow",
            Self::Flows => "Flows",
            Self::Explain => "Explain",
            Self::RetrievePcap => "RetrievePcap",
            Self::HttpQuery => "POST /query",
            Self::Status => "Status",
            Self::Segments => "Segments",
            Self::Stats => "GET /debug/stats",
            Self::Metrics => "GET /metrics",
        }
    }
}

impl From<Method> for Action {
    fn from(method: Method) -> Self {
        match method {
            Method::Query => Self::Query,
            Method::Flows => Self::Flows,
            Method::Explain => Self::Explain,
            Method::Status => Self::Status,
            Method::Segments => Self::Segments,
            Method::RetrievePcap => Self::RetrievePcap,
            Method::HttpQuery => Self::HttpQuery,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
