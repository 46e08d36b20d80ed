//! What an interface counts for itself, over rtnetlink (rtnetlink(7), linux/if_link.h).

use std::{io, os::fd::OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Message types (linux/rtnetlink.h, linux/netlink.h).
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
/// The attribute with `struct rtnl_link_stats64`.
const IFLA_STATS64: u16 = 23;
/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
/// Both.
const REQUEST_BYTES: u32 = 32;
/// Places of counters in `struct rtnl_link_stats64`.
const RX_PACKETS: usize = 0;
const TX_PACKETS: usize = 1;
const RX_DROPPED: usize = 6;
const RX_FIFO_ERRORS: usize = 14;
const RX_MISSED_ERRORS: usize = 15;
/// An answer takes some 2 KB.
const ANSWER_BYTES: usize = 1 << 15;

/// Packets that an interface handed on, and those that it did not, since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounts {
    /// `rx_packets` and `tx_packets`: those that a packet socket sees.
    pub(crate) passed: u64,
    /// `rx_dropped`: dropped on their way in.
    pub(crate) dropped: u64,
    /// `rx_missed_errors`: there was no room for them.
    pub(crate) missed: u64,
    /// `rx_fifo_errors`: a queue was overrun.
    pub(crate) overrun: u64,
}

/// A way to ask for the counts of an interface. Needs no privileges.
#[derive(Debug)]
pub(crate) struct LinkStatistics {
    socket: OwnedFd,
    interface: u32,
}

impl LinkStatistics {
    /// Of the interface with this index, in the network namespace of the caller.
    pub(crate) fn of(interface: u32) -> io::Result<Self> {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        // Protocol 0 is NETLINK_ROUTE (linux/netlink.h).
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, None)?;
        Ok(Self { socket, interface })
    }

    /// The counts now. May wait for who changes links.
    pub(crate) fn read(&self) -> io::Result<LinkCounts> {
        let request = request(self.interface);
        let _sent = send(&self.socket, &request, SendFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES];
        // The kernel answers before the request returns (`netlink_unicast_kernel` of net/netlink/af_netlink.c).
        let (len, _) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::DONTWAIT)?;
        let answer = answer.get(..len).unwrap_or_default();
        counts(answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel tells no counts"))
    }
}

fn request(interface: u32) -> Vec<u8> {
    let header = [&REQUEST_BYTES.to_ne_bytes()[..], &RTM_GETLINK.to_ne_bytes(), &NLM_F_REQUEST.to_ne_bytes(), &[0; 8]];
    // Family, padding and type; the index; flags and a mask of them.
    let link = [&[0; 4][..], &interface.to_ne_bytes(), &[0; 8]];
    [header.concat(), link.concat()].concat()
}

/// Finds the counts in an answer.
fn counts(answer: &[u8]) -> Option<LinkCounts> {
    let len = u32::from_ne_bytes(*answer.first_chunk()?);
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
    let message = answer.get(..usize::try_from(len).ok()?).filter(|_| kind == RTM_NEWLINK)?;
    let mut attributes = message.get(HEADER_BYTES + LINK_BYTES..)?;
    loop {
        let len = usize::from(u16::from_ne_bytes(*attributes.first_chunk()?));
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(4..len)?;
        if kind == IFLA_STATS64 {
            let (counters, _) = value.as_chunks::<8>();
            let counter = |at: usize| counters.get(at).map(|bytes| u64::from_ne_bytes(*bytes));
            let (dropped, missed) = (counter(RX_DROPPED)?, counter(RX_MISSED_ERRORS)?);
            let passed = counter(RX_PACKETS)?.wrapping_add(counter(TX_PACKETS)?);
            return Some(LinkCounts { passed, dropped, missed, overrun: counter(RX_FIFO_ERRORS)? });
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an attribute before the counters, which are 100, 101, ...
    fn answer() -> Vec<u8> {
        let name = [&[7, 0, 3, 0][..], b"lo\0", &[0]].concat();
        let counters: Vec<u8> = (100..124u64).flat_map(u64::to_ne_bytes).collect();
        let attribute = [&196u16.to_ne_bytes()[..], &IFLA_STATS64.to_ne_bytes(), &counters].concat();
        let len = u32::try_from(HEADER_BYTES + LINK_BYTES + name.len() + attribute.len()).unwrap();
        let header = [&len.to_ne_bytes()[..], &RTM_NEWLINK.to_ne_bytes(), &[0; 10]].concat();
        [header, vec![0; LINK_BYTES], name, attribute].concat()
    }

    #[test]
    fn counts_are_found_in_their_places() {
        assert_eq!(counts(&answer()), Some(LinkCounts { passed: 201, dropped: 106, missed: 115, overrun: 114 }));
    }

    #[test]
    fn an_answer_that_is_cut_or_another_has_none() {
        let whole = answer();
        for len in 0..whole.len() {
            assert_eq!(counts(&whole[..len]), None, "{len} bytes");
        }
        for (at, byte) in [(4, 2), (0, 40), (34, 4), (32, 0), (32, 3)] {
            let mut other = whole.clone();
            other[at] = byte;
            let _none_or_others = counts(&other);
        }
        let mut error = whole;
        error[4] = 2;
        assert_eq!(counts(&error), None);
    }

    #[test]
    fn the_kernel_tells_the_counts_of_the_loopback_interface_and_of_none_that_is_not_there() {
        assert!(LinkStatistics::of(1).unwrap().read().is_ok());
        let none = LinkStatistics::of(i32::MAX.unsigned_abs()).unwrap();
        assert!(none.read().is_err());
        assert!(none.read().is_err(), "no answer of before is taken for this one's");
    }
}
