//! An AF_PACKET socket and its options (packet(7), linux/if_packet.h).

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    time::Duration,
};

use super::check;

/// Any protocol, in network order as `sll_protocol` wants it (linux/if_ether.h).
const ETH_P_ALL_BE: u16 = narrow(libc::ETH_P_ALL).to_be();

/// A constant of the kernel's that its structures hold in 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "only called with constants and masked values below 2^16")]
const fn narrow(value: libc::c_int) -> u16 {
    value as u16
}

/// The size of an option or address.
#[expect(clippy::cast_possible_truncation, reason = "structures of the kernel are small")]
const fn socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// BPF_RET | BPF_K (linux/filter.h): accept as many bytes as `k` says.
const RETURN_CONSTANT: u16 = 0x06;
/// PACKET_FANOUT_FLAG_UNIQUEID: the kernel picks a group number that is free (linux/if_packet.h).
const FANOUT_FLAG_UNIQUEID: u16 = 0x2000;

/// How large a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    /// Bytes of a block: a power of two, a multiple of the page size.
    pub(crate) block_bytes: u32,
    /// Blocks.
    pub(crate) blocks: u32,
    /// A block that has packets is handed over after this time, full or not.
    pub(crate) retire_after: Duration,
}

/// Counts since they were last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingStatistics {
    /// Packets that passed the filter, dropped ones included.
    pub(crate) packets: u64,
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
    interface: libc::c_int,
}

impl PacketSocket {
    /// A socket for the interface of this name. Needs CAP_NET_RAW.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: if_nametoindex(3) reads a NUL-terminated string, which `name` is for the length of the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket(2) takes three numbers. Protocol 0: nothing is received before `bind`.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: `fd` is a descriptor that was just made, and nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let interface = libc::c_int::try_from(index).map_err(io::Error::other)?;
        Ok(Self { fd, interface })
    }

    /// Asks for a TPACKET_V3 ring of this shape.
    pub(crate) fn make_ring(&self, shape: RingShape) -> io::Result<()> {
        self.set(libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as libc::c_int))?;
        // Only their product matters to TPACKET_V3, which packs packets of any size: it must agree with the blocks.
        let frame_bytes = 1 << 11;
        let request = libc::tpacket_req3 {
            tp_block_size: shape.block_bytes,
            tp_block_nr: shape.blocks,
            tp_frame_size: frame_bytes,
            tp_frame_nr: (shape.block_bytes / frame_bytes).saturating_mul(shape.blocks),
            tp_retire_blk_tov: u32::try_from(shape.retire_after.as_millis()).unwrap_or(u32::MAX),
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        self.set(libc::PACKET_RX_RING, &request)
    }

    /// Only packets that `program` accepts are received from now on.
    pub(crate) fn attach_filter(&self, program: &[FilterInstruction]) -> io::Result<()> {
        let mut code: Vec<libc::sock_filter> = program
            .iter()
            .map(|i| libc::sock_filter { code: i.code, jt: i.jump_true, jf: i.jump_false, k: i.k })
            .collect();
        let len = u16::try_from(code.len()).map_err(io::Error::other)?;
        let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
        self.set_at(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// All packets are received from now on.
    pub(crate) fn detach_filter(&self) -> io::Result<()> {
        self.set_at(libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &(0 as libc::c_int))
    }

    /// Shares the interface's packets among the sockets of `group`, by `kind` (PACKET_FANOUT_).
    pub(crate) fn join_fanout(&self, group: u16, kind: u16) -> io::Result<()> {
        self.set(libc::PACKET_FANOUT, &(u32::from(group) | u32::from(kind) << 16))
    }

    /// Founds a group that nobody else in the network namespace has, and says its number.
    pub(crate) fn found_fanout(&self, kind: u16) -> io::Result<u16> {
        self.join_fanout(0, kind | FANOUT_FLAG_UNIQUEID)?;
        let mut group: libc::c_int = 0;
        let mut len = socklen::<libc::c_int>();
        let (fd, place) = (self.fd.as_raw_fd(), (&raw mut group).cast());
        // SAFETY: getsockopt(2) writes at most `len` bytes to `place`, which has as many and is ours alone.
        let _ = check(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, place, &raw mut len) })?;
        // The lower half is the group, the upper one its kind.
        Ok(narrow(group & 0xffff))
    }

    /// Has the interface take in packets for any station, as long as the socket is open.
    pub(crate) fn be_promiscuous(&self) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: self.interface,
            mr_type: narrow(libc::PACKET_MR_PROMISC),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        self.set(libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Starts to receive.
    pub(crate) fn bind(&self) -> io::Result<()> {
        // SAFETY: a structure of numbers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = narrow(libc::AF_PACKET);
        address.sll_protocol = ETH_P_ALL_BE;
        address.sll_ifindex = self.interface;
        let len = socklen::<libc::sockaddr_ll>();
        // SAFETY: bind(2) reads `len` bytes of an address that has as many.
        let _ = check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(())
    }

    /// Lets no packet in any more. (A member of a fan-out group can't be unbound.) Receivers under way on other cores may
    /// still add packets for the instant that they take.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.attach_filter(&[FilterInstruction { code: RETURN_CONSTANT, jump_true: 0, jump_false: 0, k: 0 }])
    }

    /// Counts since the last call (PACKET_STATISTICS resets them).
    pub(crate) fn statistics(&self) -> io::Result<RingStatistics> {
        // SAFETY: a structure of three numbers, for which zero is a value.
        let mut counts: libc::tpacket_stats_v3 = unsafe { zeroed() };
        let mut len = socklen::<libc::tpacket_stats_v3>();
        let place = (&raw mut counts).cast();
        let fd = self.fd.as_raw_fd();
        // SAFETY: getsockopt(2) writes at most `len` bytes to `place`, which has as many and is ours alone.
        let _ = check(unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut len) })?;
        Ok(RingStatistics {
            packets: u64::from(counts.tp_packets),
            drops: u64::from(counts.tp_drops),
            freezes: u64::from(counts.tp_freeze_q_cnt),
        })
    }

    fn set<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        self.set_at(libc::SOL_PACKET, option, value)
    }

    /// `value` must be what the option takes: a number or a structure of the kernel's.
    fn set_at<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let len = socklen::<T>();
        let value = (&raw const *value).cast();
        // SAFETY: setsockopt(2) reads `len` bytes at `value`, which is a live reference to as many. Where it holds a
        // pointer (sock_fprog), the caller keeps what it points to alive over the call.
        let _ = check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, value, len) })?;
        Ok(())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
