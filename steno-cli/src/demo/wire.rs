//! The cable: a veth pair, one end in this process's network namespace, one in the peer's. And this namespace's loopback.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::DemoError;
use super::peer::Peer;
use super::watch::Watch;
use crate::sys::{LinkEnd, Netlink, NetlinkError, current_network, turn_off_offloads};

/// How long one end may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What one end of the cable is called and where it is found. Addresses are those that RFC 5737 and
/// RFC 3849 set aside for documentation.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) interface: &'static str,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    mac: [u8; 6],
}

/// The end with the servers and the sensor.
pub(super) const SERVER: End = End {
    interface: "demo0",
    v4: Ipv4Addr::new(192, 0, 2, 1),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    mac: [0x02, 0, 0, 0, 0, 0x01],
};

/// The end with the clients.
pub(super) const CLIENT: End = End {
    interface: "client0",
    v4: Ipv4Addr::new(192, 0, 2, 10),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10),
    mac: [0x02, 0, 0, 0, 0, 0x10],
};

const V4_PREFIX_BITS: u8 = 24;
const V6_PREFIX_BITS: u8 = 64;

/// What the cable can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// Whether both ends have an IPv6 address: not where the machine has IPv6 switched off.
    pub(super) ipv6: bool,
    /// Whether frames are cut and checksummed as for a real cable.
    pub(super) like_a_cable: bool,
}

/// Lays the cable and waits until it carries.
///
/// # Errors
/// Any refusal of the kernel but those of IPv6 and of the offload switches, which show in [`Wire`].
pub(super) fn lay(peer: &Peer, watch: &Watch) -> Result<Wire, DemoError> {
    let what = "lay the virtual cable";
    let far_network = peer.call(watch, what, LIMIT, current_network)?.map_err(DemoError::at(what))?;
    let mut netlink = Netlink::open().map_err(DemoError::at(what))?;
    let link = |end: End| LinkEnd { name: end.interface, mac: end.mac };
    netlink.create_veth(link(SERVER), link(CLIENT), far_network.as_fd()).map_err(DemoError::at(what))?;
    // The daemon listens there, on this side alone.
    let (loopback, _) = netlink.find("lo").map_err(DemoError::at(what))?;
    netlink.set_up(loopback).map_err(DemoError::at(what))?;
    let near = set_up(SERVER).map_err(DemoError::at(what))?;
    let far = peer.call(watch, what, LIMIT, || set_up(CLIENT))?.map_err(DemoError::at(what))?;
    watch.until("see the virtual cable carry", LIMIT, || {
        let (_, near) = netlink.find(SERVER.interface).map_err(DemoError::at(what))?;
        let far = peer.call(watch, what, LIMIT, || Netlink::open()?.find(CLIENT.interface))?;
        let (_, far) = far.map_err(DemoError::at(what))?;
        Ok((near && far).then_some(()))
    })?;
    Ok(Wire { ipv6: near.ipv6 && far.ipv6, like_a_cable: near.like_a_cable && far.like_a_cable })
}

/// Sets one end up, in the namespace of the calling thread.
fn set_up(end: End) -> Result<Wire, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let (index, _) = netlink.find(end.interface)?;
    let like_a_cable = turn_off_offloads(netlink.as_fd(), end.interface).is_ok();
    // Some machines switch IPv6 off for every new interface; this one is ours to switch on. Where
    // that is refused, the address below is refused too, and that is what is reported.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", end.interface), "0");
    netlink.set_up(index)?;
    netlink.add_address(index, IpAddr::V4(end.v4), V4_PREFIX_BITS)?;
    let ipv6 = match netlink.add_address(index, IpAddr::V6(end.v6), V6_PREFIX_BITS) {
        Ok(()) => true,
        Err(error) if error.is_unsupported() => false,
        Err(error) => return Err(error),
    };
    Ok(Wire { ipv6, like_a_cable })
}
