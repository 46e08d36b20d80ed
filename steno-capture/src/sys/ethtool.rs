//! What a driver says of its card (ethtool, linux/ethtool.h).

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use super::{PacketSocket, check};

const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
/// Ioctl that asks a driver (linux/sockios.h); libc has it as another type for each C library.
pub(crate) const SIOCETHTOOL: u16 = 0x8946;

/// Receive queues of the interface of this name, where the driver says. Needs no privileges.
pub(crate) fn receive_queues(socket: &PacketSocket, interface: &str) -> Option<u32> {
    // struct ethtool_channels: command, most of four kinds, then how many receive, send, do other things, and do both.
    let mut channels = [0u32; 9];
    ask(socket, interface, ETHTOOL_GCHANNELS, &mut channels).ok()?;
    let [_, _, _, _, _, receive, _, _, both] = channels;
    Some(receive.saturating_add(both).max(1))
}

/// Whether the card takes VLAN tags out of frames, as far as the driver says.
pub(crate) fn strips_tags(socket: &PacketSocket, interface: &str) -> bool {
    // struct ethtool_value.
    let mut value = [0u32; 2];
    ask(socket, interface, ETHTOOL_GFLAGS, &mut value).is_ok_and(|()| value[1] & ETH_FLAG_RXVLAN != 0)
}

fn ask<const N: usize>(socket: &PacketSocket, interface: &str, command: u32, answer: &mut [u32; N]) -> io::Result<()> {
    if let Some(first) = answer.first_mut() {
        *first = command;
    }
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in name.iter_mut().zip(interface.bytes()) {
        *place = byte.cast_signed();
    }
    let data = answer.as_mut_ptr().cast();
    let mut request = libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: data } };
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the request leads to the words of a structure of the command's, as long as the kernel takes it for, and ours
    // alone for the time of the call.
    check(unsafe { libc::ioctl(fd, SIOCETHTOOL.into(), &raw mut request) }).map(drop)
}
