//! Which rule is for whom.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tracing::warn;

use super::{Asker, Denied, Principal, Rule, asker::Grant};
use crate::{metrics::Metrics, serve::RefusalLog};

/// Who may ask what. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: anyone may ask anything.
    rules: Option<Vec<Arc<Rule>>>,
    metrics: Metrics,
    log: RefusalLog,
}

impl Access {
    /// By `rules`, of which the first that is for somebody counts, alone, and whom none is for may ask nothing; without rules,
    /// anyone may ask anything.
    pub fn new(rules: Option<Vec<Rule>>, metrics: Metrics) -> Self {
        let rules = rules.map(|rules| rules.into_iter().map(Arc::new).collect());
        Self(Arc::new(Inner { rules, metrics, log: RefusalLog::default() }))
    }

    /// Somebody who calls from `address`, with what the rules let them have.
    pub fn asker(&self, principal: Principal, address: SocketAddr) -> Asker {
        let grant = match &self.0.rules {
            None => Grant::Everything,
            Some(rules) => match rules.iter().find(|rule| rule.is_for(&principal)) {
                Some(rule) => Grant::By(Arc::clone(rule)),
                None => Grant::Nothing,
            },
        };
        Asker::new(principal, address, grant, self.clone())
    }

    /// Counts a request that is not answered, and says so in the log. Anyone with a certificate can cause these lines.
    pub(super) fn denied(&self, asker: &Asker, denied: &Denied) {
        self.0.metrics.denied(asker.rule().unwrap_or(NO_RULE));
        let Some(unsaid) = self.0.log.may_say(Instant::now()) else { return };
        if unsaid > 0 {
            warn!("denied {unsaid} more requests");
        }
        warn!(principal = %asker.principal(), peer = %asker.address(), "denied: {denied}");
    }

    /// Counts an answer.
    pub(super) fn answered(&self, principal: &Principal, bytes: u64) {
        self.0.metrics.answered(principal.name(), bytes);
    }
}

/// The rule of those whom none is for, in metrics.
const NO_RULE: &str = "";
