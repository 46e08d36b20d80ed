//! What is looked for: the query, held to the scope of who asks.

use std::sync::Arc;

use steno_core::TimestampNs;

use crate::{Expr, Query, Scope, exec::Options, receipt::Within};

/// What is looked for. Every way to an answer begins with one ([`Selection::of`](super::Selection::of)), and there is no other
/// way to make one than with the scope of the options.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    query: Query,
    scope: Option<Arc<Scope>>,
    expr: Expr,
}

impl Asked {
    /// `query`, of the packets in the scope of `options` alone.
    pub(crate) fn new(query: &Query, options: &Options) -> Self {
        let scope = options.scope.clone();
        // On the right: evaluation comes to it first, and walks down the query in a loop.
        let expr = match &scope {
            Some(scope) => query.expr.clone().and(scope.expr().clone()),
            None => query.expr.clone(),
        };
        Self { query: query.clone(), scope, expr }
    }

    /// What is true of the packets of the answer.
    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The query as it was asked.
    pub(crate) fn query(&self) -> &Query {
        &self.query
    }

    /// The scope, where there is one.
    pub(crate) fn scope(&self) -> Option<&Scope> {
        self.scope.as_deref()
    }

    /// The first time of which packets are in reach.
    pub(crate) fn from(&self) -> TimestampNs {
        self.scope().and_then(Scope::from).unwrap_or(TimestampNs::MIN)
    }

    /// Whether packets that are out of reach, because they are too old, may be among those from `first` on.
    pub(crate) fn is_divided(&self, first: TimestampNs) -> bool {
        first < self.from()
    }

    /// The scope as receipts have it.
    pub(super) fn within(&self) -> Option<Within> {
        let note = |scope: &Scope| Within {
            name: scope.name().to_owned(),
            query: Query { expr: scope.expr().clone() }.to_string(),
        };
        self.scope().map(note)
    }
}
