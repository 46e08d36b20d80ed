//! What is wrong with the text of a query: every fault with its place, what was expected there, and what may be meant.
//!
//! `render.rs` turns these into text; nothing here looks at the text itself.

use std::{fmt, ops::Range};

/// All the faults of a query text. Its `Display` is the report that a user reads, as `docs/QUERY.md` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryErrors {
    pub(super) text: String,
    pub(super) errors: Vec<QueryError>,
    pub(super) omitted: usize,
}

impl QueryErrors {
    /// The text that was parsed (of a text past the bound, its beginning).
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The faults in order of place, at least one, at most [`MAX_ERRORS`](super::MAX_ERRORS).
    pub fn errors(&self) -> &[QueryError] {
        &self.errors
    }

    /// How many more faults there were.
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for QueryErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::render::report(self, f)
    }
}

impl std::error::Error for QueryErrors {}

/// One fault of a query text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryError {
    /// What is wrong.
    pub fault: Fault,
    /// Where: bytes of the text, on character boundaries. Empty at the end of the text where something is missing.
    pub span: Range<usize>,
    /// What was expected there, or what to do; empty where the fault says all.
    pub expected: String,
    /// What may have been meant, nearest first.
    pub suggestions: Vec<String>,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl std::error::Error for QueryError {}

/// The kinds of faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing but blanks.
    #[error("empty query")]
    Empty,
    /// More text than [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES).
    #[error("query of {len_bytes} bytes is too long")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// More than [`MAX_PRIMITIVES`](super::MAX_PRIMITIVES) primitives and list items.
    #[error("too many primitives")]
    TooManyPrimitives,
    /// Deeper than [`MAX_NESTING`](super::MAX_NESTING).
    #[error("nested too deeply")]
    TooDeep,
    /// A word where a primitive begins, and none is called so.
    #[error("unknown primitive `{word}`")]
    UnknownPrimitive {
        /// The word.
        word: String,
    },
    /// Something of the language that this version does not know yet.
    #[error("{what} is not supported yet by this version")]
    NotSupportedYet {
        /// Its name, as the message shows it.
        what: String,
    },
    /// Something else stands where a thing was expected.
    #[error("unexpected {found}")]
    Unexpected {
        /// What stands there: a word in backquotes, or `end of query`.
        found: String,
    },
    /// A value that cannot be read as what it must be.
    #[error("bad {what} `{text}`")]
    BadValue {
        /// What it must be.
        what: &'static str,
        /// As written.
        text: String,
    },
    /// A number past its bounds.
    #[error("{what} {text} is out of range")]
    OutOfRange {
        /// What it is a number of.
        what: &'static str,
        /// As written.
        text: String,
    },
    /// Two parts that do not go together.
    #[error("{0}")]
    Conflict(String),
    /// A bracket or quote without its other half.
    #[error("unclosed `{open}`")]
    Unclosed {
        /// The opening one.
        open: char,
    },
}
