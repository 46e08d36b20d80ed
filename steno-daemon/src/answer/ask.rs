//! A question, and what of it is in reach of who asks.

use std::{sync::Arc, time::Duration};

use steno_core::{TimestampNs, pcap::Format};
use steno_query::{Query, Scope, TimeSet};

use super::HangUp;
use crate::{access::Asker, metrics::Method};

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks.
    pub asker: Asker,
    /// By what way it came.
    pub method: Method,
    /// The query.
    pub query: Query,
    /// The format of the capture file.
    pub format: Format,
    /// End after so many packets.
    pub max_packets: Option<u64>,
    /// End after so many bytes, counted as 1.0.1 does.
    pub max_bytes: Option<u64>,
    /// End after so long.
    pub deadline: Option<Duration>,
    /// Go on with packets that are captured later. The sensor's own deadline does not end that; its bound of bytes does.
    pub follow: bool,
    /// Who hangs up where nothing is taken of the answer any more.
    pub hang_up: HangUp,
    /// The query as it was sent.
    pub text: String,
}

impl Ask {
    /// Everything that matches `query`.
    pub fn new(asker: Asker, method: Method, query: Query) -> Self {
        Self {
            asker,
            method,
            query,
            format: Format::default(),
            max_packets: None,
            max_bytes: None,
            deadline: None,
            follow: false,
            hang_up: HangUp::default(),
            text: String::new(),
        }
    }
}

/// A question, held to what is in reach of who asks. What is run is given one, and no other question.
pub(super) struct Held {
    pub(super) ask: Ask,
    pub(super) scope: Option<Arc<Scope>>,
    /// When a packet of the answer may have arrived.
    pub(super) times: TimeSet,
}

impl Held {
    /// A question that comes `now`.
    pub(super) fn new(ask: Ask, now: TimestampNs) -> Self {
        let scope = ask.asker.scope(now);
        let times = ask.query.expr.may_match_times();
        let times = match &scope {
            Some(scope) => times.intersection(scope.expr().may_match_times()),
            None => times,
        };
        Self { ask, scope, times }
    }
}
