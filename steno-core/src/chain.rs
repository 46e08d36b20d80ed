//! Errors for people: what went wrong, and what caused it.

use std::error::Error;

/// An error and its causes, outermost first, in one line.
///
/// ```
/// let cause = std::io::Error::other("no room");
/// #[derive(Debug, thiserror::Error)]
/// #[error("write the index")]
/// struct Write(#[source] std::io::Error);
/// assert_eq!(steno_core::chain(&Write(cause)), "write the index: no room");
/// ```
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
