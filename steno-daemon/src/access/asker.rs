//! Who sent a request, and what they may have.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::Extensions;
use steno_core::TimestampNs;
use steno_query::Scope;

use super::{Access, Action, Denied, Principal, Rule};

/// Who sent a request, from where, and what they may have. Whoever serves connections puts one among the extensions of each
/// request; clones are cheap.
#[derive(Clone, Debug)]
pub struct Asker {
    principal: Principal,
    address: SocketAddr,
    grant: Grant,
    access: Access,
}

/// Whose connections, and whose queries, count together: a certificate, by its serial number, at an address.
pub(crate) type ClientKey = (String, IpAddr);

/// What somebody may have.
#[derive(Clone, Debug)]
pub(super) enum Grant {
    /// Everything: there are no rules.
    Everything,
    /// What a rule says.
    By(Arc<Rule>),
    /// Nothing: there are rules, and none is for them.
    Nothing,
}

impl Asker {
    pub(super) fn new(principal: Principal, address: SocketAddr, grant: Grant, access: Access) -> Self {
        Self { principal, address, grant, access }
    }

    /// Of a request with these extensions.
    ///
    /// # Errors
    /// [`Denied::Unknown`].
    pub fn of(extensions: &Extensions) -> Result<&Self, Denied> {
        extensions.get().ok_or(Denied::Unknown)
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// From where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With what others of theirs this counts together.
    pub(crate) fn client_key(&self) -> ClientKey {
        (self.principal.serial().to_owned(), self.address.ip())
    }

    /// The rule that is for them; `None`: there are no rules, or none is.
    pub fn rule(&self) -> Option<&str> {
        match &self.grant {
            Grant::By(rule) => Some(&rule.name),
            Grant::Everything | Grant::Nothing => None,
        }
    }

    /// Whether they may ask anything at all. That they may not is counted and logged.
    ///
    /// # Errors
    /// [`Denied::NoRule`].
    pub fn may_enter(&self) -> Result<(), Denied> {
        self.decide(None)
    }

    /// Whether they may ask this. That they may not is counted and logged.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn may(&self, action: Action) -> Result<(), Denied> {
        self.decide(Some(action))
    }

    fn decide(&self, action: Option<Action>) -> Result<(), Denied> {
        let principal = || self.principal.name().to_owned();
        let denied = match (&self.grant, action) {
            (Grant::Everything, _) | (Grant::By(_), None) => return Ok(()),
            (Grant::By(rule), Some(action)) if rule.actions.contains(&action) => return Ok(()),
            (Grant::By(rule), Some(action)) => {
                Denied::NotGranted { principal: principal(), rule: rule.name.clone(), action }
            }
            (Grant::Nothing, _) => Denied::NoRule { principal: principal() },
        };
        self.access.denied(self, &denied);
        Err(denied)
    }

    /// The packets that are in reach of a request of theirs that comes `now`; `None`: all are.
    pub fn scope(&self, now: TimestampNs) -> Option<Arc<Scope>> {
        match &self.grant {
            Grant::Everything => None,
            Grant::By(rule) => rule.scope(now),
            // Who comes so far all the same finds nothing.
            Grant::Nothing => {
                let nothing = steno_query::ScopeParts { networks: Some(Vec::new()), ..Default::default() };
                Scope::new("", nothing).map(Arc::new)
            }
        }
    }

    /// The most bytes of an answer to them; `None`: as many as to anyone.
    pub fn max_query_bytes(&self) -> Option<u64> {
        match &self.grant {
            Grant::By(rule) => rule.max_query_bytes,
            Grant::Everything | Grant::Nothing => None,
        }
    }

    /// Counts an answer to them.
    pub(crate) fn answered(&self, bytes: u64) {
        self.access.answered(&self.principal, bytes);
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.principal, self.address)
    }
}
