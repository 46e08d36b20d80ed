//! Why somebody is not answered.

use super::Action;

/// Why somebody is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The request did not come over a connection whose client is known.
    #[error("nobody is known to have asked this")]
    Unknown,
    /// There are rules, and none is for the client.
    #[error("no rule of this sensor is for {principal}")]
    NoRule {
        /// Who asked.
        principal: String,
    },
    /// The rule that is for the client does not let them ask this.
    #[error("the rule {rule:?} does not let {principal} ask for {action}")]
    NotGranted {
        /// Who asked.
        principal: String,
        /// The rule that is for them.
        rule: String,
        /// What they asked for.
        action: Action,
    },
}
