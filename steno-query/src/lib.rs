//! The query language of Steno, and the answering of queries from a store of packet files.
//!
//! A query denotes a predicate on a packet, and its answer is exactly the packets for which it holds, in order of their
//! time. [`syntax`] reads the text, [`predicate`] says what it is true of.

#![forbid(unsafe_code)]

pub mod predicate;
pub mod syntax;

pub use predicate::{Fields, TimeSet};
pub use syntax::{AddrRange, Expr, NetworkKind, PortRange, Primitive, Query, QueryErrors, Side, TimeSpan, Transport, parse};
