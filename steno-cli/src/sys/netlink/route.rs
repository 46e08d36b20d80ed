//! The requests that the demo's network needs: rtnetlink(7), `linux/if_link.h`, `linux/if_addr.h`.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with};

use super::message::{Reply, Request, replies, u32_at};

// linux/rtnetlink.h
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
// linux/netlink.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
// linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
// linux/veth.h
const VETH_INFO_PEER: u16 = 1;
// linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: an IPv6 address is usable at once, not after a second.
const IFA_F_NODAD: u8 = 0x02;
// linux/if.h
const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;

/// How long the kernel may take for one answer; it answers from within the request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NetlinkError {
    /// The socket failed.
    #[error("speak to the kernel by netlink: {0}")]
    Socket(Errno),
    /// The request was refused.
    #[error("{request}: {errno}")]
    Refused {
        /// What was asked for.
        request: String,
        /// What the kernel said.
        errno: Errno,
    },
    /// The kernel answered something else.
    #[error("{request}: the kernel's answer is not understood")]
    Answer {
        /// What was asked for.
        request: String,
    },
}

impl NetlinkError {
    /// Whether the kernel refused because it has no such kind of device or address: a kernel without
    /// veth, or with IPv6 switched off.
    pub(crate) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { errno: Errno::OPNOTSUPP | Errno::ACCESS | Errno::AFNOSUPPORT, .. })
    }
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkEnd<'a> {
    /// Interface name, at most 15 bytes.
    pub(crate) name: &'a str,
    /// Ethernet address.
    pub(crate) mac: [u8; 6],
}

/// An rtnetlink socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        // Protocol `None` is 0, which is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(NetlinkError::Socket)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT)).map_err(NetlinkError::Socket)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The socket, for requests of another kind in the same namespace.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Makes a veth pair: `near` here, `far` in the network namespace that `far_namespace` is a handle of.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`]: a name is taken, or the kernel has no veth.
    pub(crate) fn create_veth(
        &mut self,
        near: LinkEnd<'_>,
        far: LinkEnd<'_>,
        far_namespace: BorrowedFd<'_>,
    ) -> Result<(), NetlinkError> {
        let namespace = far_namespace.as_raw_fd().to_ne_bytes();
        let mut request = self.request(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &interface_part(0, 0, 0));
        let _ = request.attribute(IFLA_IFNAME, &text(near.name)).attribute(IFLA_ADDRESS, &near.mac).nest(
            IFLA_LINKINFO,
            |info| {
                let _ = info.attribute(IFLA_INFO_KIND, &text("veth")).nest(IFLA_INFO_DATA, |data| {
                    let _ = data.nest(VETH_INFO_PEER, |peer| {
                        let _ = peer
                            .raw(&interface_part(0, 0, 0))
                            .attribute(IFLA_IFNAME, &text(far.name))
                            .attribute(IFLA_ADDRESS, &far.mac)
                            .attribute(IFLA_NET_NS_FD, &namespace);
                    });
                });
            },
        );
        self.perform(request, || format!("create the veth pair {} and {}", near.name, far.name))
    }

    /// Gives the interface `index` an address.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub(crate) fn add_address(&mut self, index: u32, address: IpAddr, prefix_bits: u8) -> Result<(), NetlinkError> {
        let (family, flags, bytes) = match address {
            IpAddr::V4(address) => (AddressFamily::INET, 0, address.octets().to_vec()),
            IpAddr::V6(address) => (AddressFamily::INET6, IFA_F_NODAD, address.octets().to_vec()),
        };
        // struct ifaddrmsg: family (as u8), prefix length, flags, scope, index.
        let [family, ..] = family.as_raw().to_le_bytes();
        let mut fixed = vec![family, prefix_bits, flags, 0];
        fixed.extend_from_slice(&index.to_ne_bytes());
        let mut request = self.request(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &fixed);
        let _ = request.attribute(IFA_LOCAL, &bytes).attribute(IFA_ADDRESS, &bytes);
        self.perform(request, || format!("give the interface the address {address}/{prefix_bits}"))
    }

    /// Sets the interface `index` up.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub(crate) fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let request = self.request(RTM_NEWLINK, NLM_F_ACK, &interface_part(index, IFF_UP, IFF_UP));
        self.perform(request, || "set the interface up".to_owned())
    }

    /// The index of the interface `name`, and whether it can send (both ends are up).
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with `NODEV` where it does not exist.
    pub(crate) fn find(&mut self, name: &str) -> Result<(u32, bool), NetlinkError> {
        let mut request = self.request(RTM_GETLINK, 0, &interface_part(0, 0, 0));
        let _ = request.attribute(IFLA_IFNAME, &text(name));
        let what = || format!("find the interface {name}");
        let mut found = None;
        self.exchange(request, what, |kind, body| {
            // struct ifinfomsg: index at 4, flags at 8.
            if let (RTM_NEWLINK, Some(index), Some(flags)) = (kind, u32_at(body, 4), u32_at(body, 8)) {
                found = Some((index, flags & IFF_RUNNING != 0));
            }
        })?;
        found.ok_or_else(|| NetlinkError::Answer { request: what() })
    }

    fn request(&mut self, kind: u16, flags: u16, fixed: &[u8]) -> Request {
        self.sequence = self.sequence.wrapping_add(1);
        Request::new(kind, NLM_F_REQUEST | flags, self.sequence, fixed)
    }

    fn perform(&mut self, request: Request, what: impl Fn() -> String) -> Result<(), NetlinkError> {
        self.exchange(request, what, |_, _| ())
    }

    /// Sends a request and reads until it is acknowledged, refused, or answered.
    fn exchange(
        &mut self,
        request: Request,
        what: impl Fn() -> String,
        mut data: impl FnMut(u16, &[u8]),
    ) -> Result<(), NetlinkError> {
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        let bytes = request.finish();
        let _ = sendto(&self.socket, &bytes, SendFlags::empty(), &kernel).map_err(NetlinkError::Socket)?;
        // Larger than any one answer: the kernel's own limit for a link is 16 KiB.
        let mut datagram = vec![0; 32 << 10];
        loop {
            let (_, length) = match recv(&self.socket, &mut datagram[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other.map_err(NetlinkError::Socket)?,
            };
            // Answers to earlier requests, had any been given up, are passed over.
            match replies(datagram.get(..length).unwrap_or_default(), self.sequence).next() {
                None => {}
                Some(Reply::Done) => return Ok(()),
                Some(Reply::Failed(errno)) => {
                    let errno = Errno::from_raw_os_error(errno);
                    return Err(NetlinkError::Refused { request: what(), errno });
                }
                Some(Reply::Data(kind, body)) => {
                    data(kind, body);
                    return Ok(());
                }
            }
        }
    }
}

/// `struct ifinfomsg`: family u8, padding, type u16, index, flags, mask of the flags to change.
fn interface_part(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (slot, word) in bytes.chunks_exact_mut(4).zip([0, index, flags, change]) {
        slot.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// A name as the kernel takes it: with a zero byte at its end.
fn text(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Netlink, NetlinkError};
    use rustix::io::Errno;

    #[test]
    fn the_loopback_interface_is_found_and_another_is_not() {
        let mut netlink = Netlink::open().unwrap();
        assert_eq!(netlink.find("lo").unwrap().0, 1);
        let error = netlink.find("no-such-iface0").unwrap_err();
        assert!(matches!(error, NetlinkError::Refused { errno: Errno::NODEV, .. }), "{error}");
        assert!(error.to_string().starts_with("find the interface no-such-iface0: "), "{error}");
    }
}
