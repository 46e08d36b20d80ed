//! What the host itself uses an interface for, over rtnetlink (rtnetlink(7)): whoever takes its packets away has to know.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Message types, flags and attributes (linux/rtnetlink.h, linux/netlink.h, linux/if_addr.h, linux/if_link.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Addresses that every interface has for itself, and that no route leads to.
const RT_SCOPE_LINK: u8 = 253;
const HEADER_BYTES: usize = 16;
const ANSWER_BYTES: usize = 1 << 16;

/// A use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostUse {
    /// The host has this address there.
    Address(IpAddr),
    /// It is a part of the interface with this index: a bridge, a bond.
    PartOf(u32),
}

/// The first use of the interface with this index, in the network namespace of the caller; `None` for a port that the host
/// does not use.
pub(crate) fn host_use(interface: u32) -> io::Result<Option<HostUse>> {
    let address = |message: &[u8]| address_of(message, interface).map(HostUse::Address);
    let found = look(&request(RTM_GETADDR, NLM_F_DUMP, &[0; 8]), RTM_NEWADDR, address)?;
    if found.is_some() {
        return Ok(found);
    }
    let master = |message: &[u8]| {
        let master = attribute(message.get(16..)?, IFLA_MASTER)?;
        Some(HostUse::PartOf(u32::from_ne_bytes(*master.first_chunk()?)))
    };
    look(&link_request(interface), RTM_NEWLINK, master)
}

/// What kind of a virtual interface this is (`bridge`, `vlan`, `veth`); `None` for one of a driver's.
pub(crate) fn virtual_kind(interface: u32) -> io::Result<Option<String>> {
    let kind = |message: &[u8]| {
        let info = attribute(message.get(16..)?, IFLA_LINKINFO)?;
        let name = attribute(info, IFLA_INFO_KIND)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    look(&link_request(interface), RTM_NEWLINK, kind)
}

/// Asks for one interface.
fn link_request(interface: u32) -> Vec<u8> {
    // Family, padding and type; the index; flags and a mask of them.
    request(RTM_GETLINK, 0, &[&[0; 4][..], &interface.to_ne_bytes(), &[0; 8]].concat())
}

fn request(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
    let flags = flags | NLM_F_REQUEST;
    [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 8], body].concat()
}

/// Asks, and gives what `find` finds in the first message of the kind that it finds something in.
fn look<T>(request: &[u8], kind: u16, find: impl Fn(&[u8]) -> Option<T>) -> io::Result<Option<T>> {
    // Protocol 0 is NETLINK_ROUTE (linux/netlink.h).
    let socket: OwnedFd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let _sent = send(&socket, request, SendFlags::empty())?;
    let is_dump = request.get(6..8) != Some(&NLM_F_REQUEST.to_ne_bytes());
    let mut answer = vec![0; ANSWER_BYTES];
    loop {
        let (len, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        let mut messages = answer.get(..len).unwrap_or_default();
        while let Some((of_kind, message, rest)) = split_message(messages) {
            match of_kind {
                NLMSG_ERROR | NLMSG_DONE => return Ok(None),
                _ if of_kind == kind => {
                    let found = find(message);
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                _ => {}
            }
            messages = rest;
        }
        if !is_dump {
            return Ok(None);
        }
    }
}

/// The type of the first message, what is in it, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER_BYTES..len)?;
    Some((kind, body, bytes.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let of_kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..len)?;
        if of_kind == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// The address of `struct ifaddrmsg` (family, prefix, flags, scope, interface), if it is one that others call the host by.
fn address_of(message: &[u8], interface: u32) -> Option<IpAddr> {
    let scope = *message.get(3)?;
    let of_interface = u32::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    if of_interface != interface || scope == RT_SCOPE_LINK {
        return None;
    }
    let address = attribute(message.get(8..)?, IFA_ADDRESS)?;
    let v4 = <[u8; 4]>::try_from(address).map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
    v4.or_else(|_| <[u8; 16]>::try_from(address).map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(scope: u8, interface: u32, address: &[u8]) -> Vec<u8> {
        let label = [7, 0, 3, 0, b'v', b'1', 0, 0];
        let len = u16::try_from(4 + address.len()).unwrap();
        let attribute = [&len.to_ne_bytes()[..], &IFA_ADDRESS.to_ne_bytes(), address].concat();
        [&[2, 24, 0, scope][..], &interface.to_ne_bytes(), &label, &attribute].concat()
    }

    #[test]
    fn addresses_are_those_of_the_interface_that_others_may_call() {
        let host: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(address_of(&message(0, 5, &[192, 0, 2, 7]), 5), Some(host));
        assert_eq!(address_of(&message(0, 4, &[192, 0, 2, 7]), 5), None, "another interface's");
        let link: IpAddr = "fe80::1".parse().unwrap();
        let IpAddr::V6(v6) = link else { unreachable!("it is one") };
        assert_eq!(address_of(&message(0, 5, &v6.octets()), 5), Some(link));
        assert_eq!(address_of(&message(RT_SCOPE_LINK, 5, &v6.octets()), 5), None);
        assert_eq!(address_of(&message(0, 5, &[1, 2, 3]), 5), None);
        let whole = message(0, 5, &[192, 0, 2, 7]);
        for len in 0..whole.len() {
            assert_eq!(address_of(&whole[..len], 5), None, "{len} bytes");
        }
    }

    #[test]
    fn messages_that_are_cut_are_none() {
        let whole = request(RTM_GETADDR, NLM_F_DUMP, &[7; 6]);
        let two = [whole.clone(), vec![0; 2], whole.clone()].concat();
        let (kind, body, rest) = split_message(&two).unwrap();
        assert_eq!((kind, body, rest), (RTM_GETADDR, &[7; 6][..], whole.as_slice()));
        for len in 0..whole.len() {
            assert_eq!(split_message(&whole[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn the_host_uses_its_loopback_interface_where_it_is_up() {
        let up = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| text.contains(" lo\n"));
        if up {
            assert!(matches!(host_use(1).unwrap(), Some(HostUse::Address(address)) if address.is_loopback()));
        }
        assert_eq!(virtual_kind(1).unwrap(), None);
        assert_eq!(host_use(i32::MAX.unsigned_abs()).unwrap(), None);
    }
}
