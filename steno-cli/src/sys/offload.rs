//! Turns an interface's segmentation and checksum offloads off: the ethtool interface,
//! `linux/ethtool.h`.
//!
//! A veth pair hands whole 64 KiB segments with unfilled checksums from end to end, because nothing
//! between the ends needs them cut. With the offloads off the kernel cuts and checksums every frame
//! as it would for a cable, and a capture shows what a cable would carry.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Commands of `linux/ethtool.h` that take a `struct ethtool_value`, in the order that the kernel
/// wants: what depends on another feature goes first.
const OFFLOADS: [u32; 5] = [
    0x0000_002c, // ETHTOOL_SGRO: joins received segments
    0x0000_001f, // ETHTOOL_STSO: TCP segmentation by the device
    0x0000_0024, // ETHTOOL_SGSO: segmentation as late as possible
    0x0000_0019, // ETHTOOL_SSG: scatter-gather, which segmentation stands on
    0x0000_0017, // ETHTOOL_STXCSUM: checksums by the device
];

/// `struct ethtool_value`: a command and its argument, host byte order.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns segmentation, receive-joining and checksum offloads of the interface `name` off, in the
/// network namespace of `socket`, which may be any socket.
///
/// # Errors
/// A name that is too long, an interface that does not exist, no privileges over it, or a device
/// that knows none of these switches.
pub(crate) fn turn_off_offloads(socket: impl AsFd, name: &str) -> io::Result<()> {
    let mut ifr_name: [libc::c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    if name.len() >= ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface name of 16 bytes or more"));
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    for command in OFFLOADS {
        let mut value = EthtoolValue { command, data: 0 };
        let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut value).cast() };
        let mut request = libc::ifreq { ifr_name, ifr_ifru };
        let socket = socket.as_fd().as_raw_fd();
        // SAFETY: SIOCETHTOOL reads a `struct ifreq` through its argument: `request` is one, alive
        // and exclusively borrowed for the call, with a name that ends in a zero byte. Through its
        // `ifru_data` the kernel reads and may write a `struct ethtool_value`, which is the argument
        // of each command in OFFLOADS: `value` has its layout and outlives the call.
        let status = unsafe { libc::ioctl(socket, libc::SIOCETHTOOL, &raw mut request) };
        if status < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::turn_off_offloads;

    #[test]
    fn a_bad_name_is_an_error() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let too_long = turn_off_offloads(&socket, "sixteen-bytes-00").unwrap_err();
        assert_eq!(too_long.kind(), std::io::ErrorKind::InvalidInput);
        let absent = turn_off_offloads(&socket, "no-such-iface0").unwrap_err();
        assert!(absent.raw_os_error().is_some(), "{absent}");
    }
}
