//! The query language of Steno, and the answering of queries from a store of packet files.
//!
//! A query denotes a predicate on a packet, and its answer is exactly the packets for which it holds, in order of their
//! time. [`syntax`] reads the text, [`predicate`] says what it is true of; [`store`] knows the files, [`plan`] what to look
//! up in them, [`exec`] gives the packets, [`flows`] the conversations, and [`receipt`] says what was searched and what is
//! missing. A [`Scope`] is what an answer is held to besides the query.

#![forbid(unsafe_code)]

pub mod exec;
pub mod flows;
mod plain;
pub mod plan;
pub mod predicate;
pub mod receipt;
mod scope;
pub mod store;
pub mod syntax;

pub use exec::{Answer, Cancel, Options, Packet};
pub use flows::{CommunityId, Flow, Flows};
pub use plain::{plain, plain_lines};
pub use plan::Explanation;
pub use predicate::{Fields, TimeSet};
pub use receipt::{Receipt, Truncation, rfc3339};
pub use scope::{Scope, ScopeParts};
pub use store::{Catalogue, Segment, SegmentIndex, Store, StoreError};
pub use syntax::{
    AddrRange, Expr, NetworkKind, PortRange, Primitive, Query, QueryErrors, Side, TimeSpan, Transport, parse,
};
