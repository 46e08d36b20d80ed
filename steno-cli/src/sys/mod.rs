//! The few operating-system calls that no safe wrapper covers: namespaces, rtnetlink, offload
//! switches, and children that do not outlive the program. `steno demo` stands on it.
//!
//! All `unsafe` of steno-cli is in this folder, one operation a block. Nothing here prints, decides
//! what to do next, or knows about packets.
#![expect(unsafe_code, reason = "unshare(2), pre_exec and SIOCETHTOOL have no safe wrapper")]

mod child;
mod namespace;
mod netlink;
mod offload;

pub(crate) use child::spawn_tied;
pub(crate) use namespace::{Isolation, current_network, enter_network, isolate};
pub(crate) use netlink::{LinkEnd, Netlink, NetlinkError};
pub(crate) use offload::turn_off_offloads;
