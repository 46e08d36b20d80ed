//! Why somebody is not answered.

/// Why somebody is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// The request did not come over a connection whose client is known.
    #[error("nobody is known to have asked this")]
    Unknown,
}
