//! An AF_PACKET socket and its options (packet(7), linux/if_packet.h).

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with, sockopt};

use super::check;

/// Any protocol, in network order as `sll_protocol` wants it (linux/if_ether.h).
const ETH_P_ALL_BE: u16 = narrow(libc::ETH_P_ALL).to_be();
/// PACKET_FANOUT_FLAG_UNIQUEID: the kernel picks a group number that is free (linux/if_packet.h).
const FANOUT_FLAG_UNIQUEID: u16 = 0x2000;
/// Of linux/if_packet.h, since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// `tp_frame_size`. Only that blocks divide by it matters to TPACKET_V3, which packs packets of any size.
const FRAME_BYTES: u32 = 1 << 11;

/// How large a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    /// Bytes of a block: a multiple of the page size.
    pub(crate) block_bytes: u32,
    /// Blocks.
    pub(crate) blocks: u32,
    /// A block that has packets is handed over after this time, full or not.
    pub(crate) retire_after: Duration,
}

impl RingShape {
    /// Bytes of all blocks.
    ///
    /// # Errors
    /// More than there are addresses for.
    pub(crate) fn bytes(self) -> io::Result<usize> {
        let bytes = (self.block_bytes as usize).checked_mul(self.blocks as usize);
        bytes.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
    }
}

/// Counts since they were last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingStatistics {
    /// Packets that were for the socket, those among them that were dropped.
    pub(crate) received: u64,
    /// Packets dropped because the ring was full.
    pub(crate) drops: u64,
    /// Times that the ring was full.
    pub(crate) freezes: u64,
}

/// An instruction of a classic BPF program (linux/filter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilterInstruction {
    pub(crate) code: u16,
    pub(crate) jump_true: u8,
    pub(crate) jump_false: u8,
    pub(crate) k: u32,
}

/// A packet socket. It receives nothing until it is bound.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// A socket of no interface yet. Needs CAP_NET_RAW.
    pub(crate) fn open() -> io::Result<Self> {
        // Without a protocol: a socket with one receives from every interface before it is bound.
        let fd = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { fd })
    }

    /// Another socket, for what is done to sockets of any kind.
    #[cfg(fuzzing)]
    pub(crate) fn of(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The index of the interface that has this name now, in the network namespace of the socket.
    pub(crate) fn interface_index(&self, name: &str) -> io::Result<u32> {
        Ok(netdevice::name_to_index(&self.fd, name)?)
    }

    /// Asks for a TPACKET_V3 ring of this shape.
    pub(crate) fn make_ring(&self, shape: RingShape) -> io::Result<()> {
        self.set(libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as libc::c_int))?;
        let request = libc::tpacket_req3 {
            tp_block_size: shape.block_bytes,
            tp_block_nr: shape.blocks,
            tp_frame_size: FRAME_BYTES,
            tp_frame_nr: (shape.block_bytes / FRAME_BYTES).saturating_mul(shape.blocks),
            // 0 would have the kernel pick a time by the speed of the link.
            tp_retire_blk_tov: u32::try_from(shape.retire_after.as_millis()).unwrap_or(u32::MAX).max(1),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::PACKET_RX_RING, &request)
    }

    /// Starts to receive from the interface of this index.
    pub(crate) fn bind(&self, interface: u32) -> io::Result<()> {
        let mut address = link_address();
        address.sll_protocol = ETH_P_ALL_BE;
        address.sll_ifindex = signed(interface)?;
        let len = socklen::<libc::sockaddr_ll>();
        // SAFETY: bind(2) reads `len` bytes of an address that has as many.
        let _ = check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(())
    }

    /// What kind of link the socket is bound to: an ARPHRD_ value (linux/if_arp.h).
    pub(crate) fn hardware_type(&self) -> io::Result<u16> {
        Ok(self.bound_to()?.sll_hatype)
    }

    fn bound_to(&self) -> io::Result<libc::sockaddr_ll> {
        let mut address = link_address();
        let mut len = socklen::<libc::sockaddr_ll>();
        let place = (&raw mut address).cast();
        // SAFETY: getsockname(2) writes at most `len` bytes to `place`, which has as many and is ours alone.
        let _ = check(unsafe { libc::getsockname(self.fd.as_raw_fd(), place, &raw mut len) })?;
        Ok(address)
    }

    /// The address of the station that the socket is bound to, as long as an Ethernet's is.
    pub(crate) fn station(&self) -> io::Result<[u8; 6]> {
        let [a, b, c, d, e, f, _, _] = self.bound_to()?.sll_addr;
        Ok([a, b, c, d, e, f])
    }

    /// Packets that the interface sends are not received.
    pub(crate) fn ignore_outgoing(&self) -> io::Result<()> {
        self.set(PACKET_IGNORE_OUTGOING, &(1 as libc::c_int))
    }

    /// Has the interface take in packets for any station, as long as the socket is open.
    pub(crate) fn be_promiscuous(&self, interface: u32) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: signed(interface)?,
            mr_type: narrow(libc::PACKET_MR_PROMISC),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Only packets that `program` accepts are received from now on.
    pub(crate) fn attach_filter(&self, program: &[FilterInstruction]) -> io::Result<()> {
        let instruction =
            |i: &FilterInstruction| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.k };
        let mut code: Vec<libc::sock_filter> = program.iter().map(instruction).collect();
        let len = u16::try_from(code.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
        let (fd, size) = (self.fd.as_raw_fd(), socklen::<libc::sock_fprog>());
        let value = (&raw const program).cast();
        // SAFETY: setsockopt(2) reads `size` bytes at `value`, which has as many, and `len` instructions at the address in
        // it: those of `code`, which lives until the end of this function. The kernel copies them.
        let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, size) };
        check(set).map(|_| ())
    }

    /// All packets are received from now on.
    pub(crate) fn detach_filter(&self) -> io::Result<()> {
        self.set_at(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &(0 as libc::c_int))
    }

    /// The filter can't be replaced any more, not even by us.
    pub(crate) fn lock_filter(&self) -> io::Result<()> {
        self.set_at(libc::SOL_SOCKET, libc::SO_LOCK_FILTER, &(1 as libc::c_int))
    }

    /// Shares the interface's packets among the sockets of `group`, by `kind` (PACKET_FANOUT_). The socket must be bound.
    pub(crate) fn join_fanout(&self, group: u16, kind: u16) -> io::Result<()> {
        self.set(libc::PACKET_FANOUT, &(u32::from(group) | u32::from(kind) << 16))
    }

    /// Founds a group that nobody else in the network namespace has, and says its number.
    pub(crate) fn found_fanout(&self, kind: u16) -> io::Result<u16> {
        self.join_fanout(0, kind | FANOUT_FLAG_UNIQUEID)?;
        let group: u32 = self.get(libc::PACKET_FANOUT)?;
        // The lower half is the group, the upper one its kind.
        let [low, high, ..] = group.to_le_bytes();
        Ok(u16::from_le_bytes([low, high]))
    }

    /// Counts since the last call (PACKET_STATISTICS resets them).
    pub(crate) fn statistics(&self) -> io::Result<RingStatistics> {
        // struct tpacket_stats_v3: packets, drops, freezes.
        let [received, drops, freezes]: [u32; 3] = self.get(libc::PACKET_STATISTICS)?;
        Ok(RingStatistics { received: received.into(), drops: drops.into(), freezes: freezes.into() })
    }

    /// The error that waits at the socket, which is taken from it: ENETDOWN when its interface went down.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        Ok(sockopt::socket_error(&self.fd)??)
    }

    fn set<T: Copy>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        self.set_at(libc::SOL_PACKET, option, value)
    }

    /// `value` is a number, or a structure of numbers: nothing in it leads to other memory.
    fn set_at<T: Copy>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let (len, value) = (socklen::<T>(), (&raw const *value).cast());
        // SAFETY: setsockopt(2) reads `len` bytes at `value`, a live reference to as many.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, value, len) }).map(|_| ())
    }

    /// `T` is a number or an array of numbers: any bytes are a value of it.
    fn get<T: Copy + Default>(&self, option: libc::c_int) -> io::Result<T> {
        let mut value = T::default();
        let mut len = socklen::<T>();
        let (fd, place) = (self.fd.as_raw_fd(), (&raw mut value).cast());
        // SAFETY: getsockopt(2) writes at most `len` bytes to `place`, which has as many and is ours alone.
        let _ = check(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, option, place, &raw mut len) })?;
        Ok(value)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An address of the packet family that names nothing yet.
fn link_address() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: narrow(libc::AF_PACKET),
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// An interface index as the kernel's structures hold it.
fn signed(interface: u32) -> io::Result<libc::c_int> {
    libc::c_int::try_from(interface).map_err(io::Error::other)
}

/// A constant of the kernel's that its structures hold in 16 bits.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "only called with constants below 2^16")]
pub(super) const fn narrow(value: libc::c_int) -> u16 {
    value as u16
}

/// The size of an option or address.
#[expect(clippy::cast_possible_truncation, reason = "structures of the kernel are small")]
pub(super) const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}
