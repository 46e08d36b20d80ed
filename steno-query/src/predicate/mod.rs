//! What a query is true of: pure evaluation on the fields of a packet or of one side of a conversation.
//!
//! It reads no file and no index; it is what the index must agree with. [`Expr::matches`](crate::Expr::matches) decides
//! one packet, [`Expr::times`](crate::Expr::times) all packets with the same fields at once,
//! [`Expr::may_match_times`](crate::Expr::may_match_times) bounds the time before any field is known.

mod eval;
mod fields;
#[cfg(test)]
mod tests;
mod time_set;

pub use fields::Fields;
pub use time_set::TimeSet;
