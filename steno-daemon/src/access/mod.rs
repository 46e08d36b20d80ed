//! Who may ask what: the client's certificate names a principal, and the configuration has a rule for it, or none (part of
//! step 13 of the data flow).
//!
//! ```text
//!   certificate ──> Principal ──Access──> Asker (with its Rule) ──> each request's extensions
//!                                            │ may(action)?  ──no──> Denied: logged, counted
//!                                            │ scope(now)    ──────> joined to the query by steno-query
//!                                            └ max_query_bytes ────> bound of the answer
//! ```
//!
//! - [`Principal`] is who a client is.
//! - [`Access`] has the rules; without any, whoever has a certificate may ask everything, as with stenographer 1.0.1.
//! - [`Rule`] says for whom it is ([`Pattern`]), what may be asked ([`Action`]) and which packets are in reach.
//! - [`Asker`] is who sent a request, and with what rights; who is not to be answered is [`Denied`].
//!
//! Nothing here reads a store, and nothing here narrows a query: that is done in one place, behind every way to an answer
//! ([`steno_query::Options::scope`]).

mod action;
mod asker;
mod denied;
mod policy;
mod principal;
mod rule;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use asker::Asker;
pub(crate) use asker::ClientKey;
pub use denied::Denied;
pub use policy::Access;
pub use principal::Principal;
pub use rule::{Pattern, Rule};
