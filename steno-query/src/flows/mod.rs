//! The conversations that match a query, from the index alone.
//!
//! `gather` merges what the segments say of a conversation, [`Flow`] is what a caller sees of it, [`CommunityId`] its name in
//! other tools. No packet file is read.
//!
//! # What is exact, and what is not
//! Without a time in the query, flows and their counts are exact: they are the conversations that the packets which match
//! belong to, with all their packets, both ways. An index knows the first and the last time of each side of a conversation
//! *in each segment*, not the time of each packet. With a time in the query, the share that a segment has in a conversation
//! is therefore counted whole if the time from its first to its last packet overlaps the time asked; a flow with a share
//! that reaches beyond is marked [`Flow::partial`]. So no flow with a packet in the time asked is left out, and one that was
//! silent just then may be listed.

mod community_id;
mod flow;
mod gather;

pub use community_id::{CommunityId, NotACommunityId, Ports};
pub use flow::{Flow, Flows, Traffic};
pub(crate) use gather::gather;
