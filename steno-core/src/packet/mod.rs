//! From the bytes of a frame to the fields that the index and the query language know (step 2 of the data flow).
//!
//! [`decode`] reads the outermost headers: Ethernet, VLAN tags, MPLS labels and pseudowires, ARP's type, IPv4, IPv6 and
//! the ports behind them. It decodes what is whole and stops where a header is cut; it never fails.

mod frame;
mod ip;
pub mod ip_protocol;
mod walk;

pub use frame::{Frame, VlanTag};
pub use walk::{Decoded, Fragment, Network, Tag, decode, decode_as_indexed, ether_type};
