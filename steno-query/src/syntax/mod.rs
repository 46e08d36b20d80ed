//! The query language: from text to [`Query`] and back (step 7 of the data flow).
//!
//! `lexer` cuts the text into words with their places, `parser` builds the tree of `ast` out of them and goes on after
//! an error, `display` writes a tree so that it parses back to itself, `render` shows errors under the text. Nothing
//! here knows packets or files; what a tree is true of is [`crate::predicate`]. The language itself is described once,
//! in `docs/QUERY.md` ([`REFERENCE`]).

#[cfg(test)]
pub(crate) mod arbitrary;
mod ast;
mod cursor;
mod display;
mod error;
mod glued;
mod lexer;
mod parser;
mod primitive;
mod render;
mod services;
#[cfg(test)]
mod tests;
mod time;
mod value;
mod vocabulary;

pub use ast::{AddrRange, Expr, NetworkKind, PortRange, Primitive, Query, Side, TimeSpan, Transport};
pub use error::{Fault, QueryError, QueryErrors};
pub use parser::parse;
pub(crate) use render::is_acted_upon;

/// The reference of the language, which `steno help query` prints.
pub const REFERENCE: &str = include_str!("../../../docs/QUERY.md");
/// The most bytes of text that a query may have.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most primitives that a query may have, each item of a list counted as one.
pub const MAX_PRIMITIVES: usize = 1_000;
/// The most levels of parentheses and `not` that a query may nest.
pub const MAX_NESTING: usize = 200;
/// The most errors that are reported at once; the rest are counted.
pub const MAX_ERRORS: usize = 20;
