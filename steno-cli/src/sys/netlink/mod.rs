//! Network interfaces by rtnetlink: makes a veth pair, gives it addresses, sets it up.
//!
//! It speaks to the kernel through rustix's safe socket calls, so that no `ip` program is needed.
//! It acts in the network namespace in which the socket was opened.

mod message;
mod route;

pub(crate) use route::{LinkEnd, Netlink, NetlinkError};
