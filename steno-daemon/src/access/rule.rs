//! A rule of the configuration: for whom it is, and what it lets them have.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use steno_core::TimestampNs;
use steno_proto::certs::NameKind;
use steno_query::{AddrRange, Scope, ScopeParts};

use super::{Action, Principal};

/// What some principals may ask, and of which packets they are answered. What is `None` does not restrict it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called, in receipts and logs.
    pub name: String,
    /// Whom it is for: who has a name that one of these means.
    pub principals: Vec<Pattern>,
    /// The networks whose packets are in reach.
    pub networks: Option<Vec<AddrRange>>,
    /// The VLANs whose packets are in reach.
    pub vlans: Option<Vec<u16>>,
    /// How far back packets are in reach.
    pub depth: Option<Duration>,
    /// The most bytes of an answer.
    pub max_query_bytes: Option<u64>,
    /// What may be asked.
    pub actions: BTreeSet<Action>,
}

impl Rule {
    /// Whether it is for `principal`.
    pub(super) fn is_for(&self, principal: &Principal) -> bool {
        self.principals.iter().any(|pattern| pattern.means(principal))
    }

    /// What is in reach of a request that comes `now`; `None`: everything is.
    pub(super) fn scope(&self, now: TimestampNs) -> Option<Arc<Scope>> {
        let depth_ns = |depth: Duration| u64::try_from(depth.as_nanos()).unwrap_or(u64::MAX);
        let parts = ScopeParts {
            networks: self.networks.clone(),
            vlans: self.vlans.clone(),
            from: self.depth.map(|depth| now.saturating_sub_ns(depth_ns(depth))),
        };
        Scope::new(&self.name, parts).map(Arc::new)
    }
}

/// Which names are meant: `CN=alice`, `OU=SOC*`, `DNS=probe.example`, or `*` for any certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Which kind of name; `None`: whoever it is.
    kind: Option<NameKind>,
    text: String,
    /// Whether names that only begin so are meant too.
    is_prefix: bool,
}

impl Pattern {
    /// What [`Self::parse`] takes.
    pub const TAKES: &str =
        "CN=, OU=, DNS=, IP=, URI= or EMAIL= and a name, which may end with a *, or a * alone for any certificate";

    /// Reads a pattern. `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::anyone());
        }
        let (label, name) = text.split_once('=')?;
        let kind = NameKind::ALL.into_iter().find(|kind| kind.label() == label)?;
        let (name, is_prefix) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        let is_plain = !name.contains('*') && !name.chars().any(char::is_control);
        (is_plain && (is_prefix || !name.is_empty())).then(|| Self {
            kind: Some(kind),
            text: name.to_owned(),
            is_prefix,
        })
    }

    /// Whoever it is.
    pub fn anyone() -> Self {
        Self { kind: None, text: String::new(), is_prefix: true }
    }

    /// Whether it means any certificate whatever.
    pub fn is_anyone(&self) -> bool {
        self.kind.is_none()
    }

    /// Whether one of the names of `principal` is meant, byte by byte; in host names, case does not count (RFC 4343).
    fn means(&self, principal: &Principal) -> bool {
        let Some(wanted) = self.kind else { return true };
        principal.names().iter().any(|(kind, name)| {
            let begin = name.get(..self.text.len());
            let is_same = match wanted {
                NameKind::Dns => begin.is_some_and(|begin| begin.eq_ignore_ascii_case(&self.text)),
                _ => begin == Some(&self.text),
            };
            *kind == wanted && is_same && (self.is_prefix || name.len() == self.text.len())
        })
    }
}
