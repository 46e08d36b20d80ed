//! The program that turns an interface's packets to AF_XDP sockets, loaded and attached by bpf(2).
//!
//! It stays attached as long as the descriptor of its link is open, so that nothing has to be taken back by a process that
//! is killed.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Commands, types and flags of linux/bpf.h, linux/if_link.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Keys are queues, values descriptors.
const WORD_BYTES: u32 = 4;
/// No function is called that asks for a licence.
const LICENCE: &[u8] = b"Apache-2.0\0";

/// What the program writes in front of a frame: the time, in 8 bytes.
pub(crate) const STAMP_BYTES: usize = 8;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XdpMode {
    /// In the driver, before the kernel makes a packet of its own of a frame.
    Native,
    /// Behind it, where a driver knows nothing of XDP.
    Generic,
}

/// The sockets of each receive queue.
#[derive(Debug)]
pub(crate) struct SocketMap(OwnedFd);

/// A program that is loaded.
#[derive(Debug)]
pub(crate) struct Redirect(OwnedFd);

/// A program at work. Dropping it takes the program off the interface.
#[derive(Debug)]
pub(crate) struct Attached {
    _link: OwnedFd,
}

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
    flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map: RawFd,
    _padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: RawFd,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

impl SocketMap {
    /// A map with room for so many queues. Needs CAP_BPF.
    pub(crate) fn new(queues: u32) -> io::Result<Self> {
        let kind = BPF_MAP_TYPE_XSKMAP;
        let attributes = MapCreate { kind, key_bytes: WORD_BYTES, value_bytes: WORD_BYTES, entries: queues, flags: 0 };
        bpf_fd(BPF_MAP_CREATE, &attributes).map(Self)
    }

    /// Packets of a queue go to this socket from now on.
    pub(crate) fn put(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let value = socket.as_raw_fd();
        let attributes = MapUpdate {
            map: self.0.as_raw_fd(),
            _padding: 0,
            key: (&raw const queue).addr() as u64,
            value: (&raw const value).addr() as u64,
            flags: 0,
        };
        // Key and value live until the call has copied them.
        bpf(BPF_MAP_UPDATE_ELEM, &attributes).map(drop)
    }
}

impl Redirect {
    /// Loads the program. With `frags` it takes frames that are longer than a page, too (since Linux 5.18). Needs CAP_BPF and
    /// CAP_NET_ADMIN.
    pub(crate) fn load(map: &SocketMap, frags: bool) -> io::Result<Self> {
        let code = program(map.0.as_raw_fd());
        let attributes = ProgramLoad {
            kind: BPF_PROG_TYPE_XDP,
            instructions: u32::try_from(code.len()).unwrap_or(u32::MAX),
            code: code.as_ptr().addr() as u64,
            licence: LICENCE.as_ptr().addr() as u64,
            log_level: 0,
            log_bytes: 0,
            log: 0,
            kernel_version: 0,
            flags: if frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
            name: *b"steno_redirect\0\0",
            interface: 0,
            attach_type: BPF_XDP,
        };
        bpf_fd(BPF_PROG_LOAD, &attributes).map(Self)
    }

    /// Has the program see each packet that the interface receives from now on. Fails with EBUSY where another program
    /// does, and where the driver does not know the mode.
    pub(crate) fn attach(&self, interface: u32, mode: XdpMode) -> io::Result<Attached> {
        let flags = match mode {
            XdpMode::Native => XDP_FLAGS_DRV_MODE,
            XdpMode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let attributes = LinkCreate { program: self.0.as_raw_fd(), interface, attach_type: BPF_XDP, flags };
        bpf_fd(BPF_LINK_CREATE, &attributes).map(|link| Attached { _link: link })
    }
}

/// An instruction of eBPF (linux/bpf.h, `struct bpf_insn`): operation, registers, offset, number.
const fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_ne_bytes();
    let [n0, n1, n2, n3] = number.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    [code, registers, o0, o1, n0, n1, n2, n3]
}

/// Stamps each packet with the time since the start of the machine, in front of the frame, where the driver has room for it
/// there, and hands it to the socket of its queue. A queue without a socket goes on to the host.
///
/// `struct xdp_md` has `data` at 0, `data_meta` at 8, `rx_queue_index` at 16.
fn program(map: RawFd) -> [[u8; 8]; 17] {
    const R0: u8 = 0;
    const R1: u8 = 1;
    const R2: u8 = 2;
    const R3: u8 = 3;
    const R4: u8 = 4;
    const R6: u8 = 6;
    const CALL: u8 = 0x85;
    const XDP_PASS: i32 = 2;
    const STAMP: i32 = 8;
    const _: () = assert!(STAMP_BYTES == 8);
    [
        instruction(0xbf, R6, R1, 0, 0),     // r6 = r1
        instruction(0xb7, R2, 0, 0, -STAMP), // r2 = -8
        instruction(CALL, 0, 0, 0, 54),      // r0 = bpf_xdp_adjust_meta(r1, r2)
        instruction(0x55, R0, 0, 7, 0),      // if r0 != 0 go to redirect
        instruction(CALL, 0, 0, 0, 5),       // r0 = bpf_ktime_get_ns()
        instruction(0x61, R2, R6, 8, 0),     // r2 = data_meta
        instruction(0x61, R3, R6, 0, 0),     // r3 = data
        instruction(0xbf, R4, R2, 0, 0),     // r4 = r2
        instruction(0x07, R4, 0, 0, STAMP),  // r4 += 8
        instruction(0x2d, R4, R3, 1, 0),     // if r4 > r3 go to redirect
        instruction(0x7b, R2, R0, 0, 0),     // *r2 = r0
        instruction(0x61, R2, R6, 16, 0),    // redirect: r2 = rx_queue_index
        instruction(0x18, R1, 1, 0, map),    // r1 = map (BPF_PSEUDO_MAP_FD)
        instruction(0, 0, 0, 0, 0),
        instruction(0xb7, R3, 0, 0, XDP_PASS), // r3 = XDP_PASS
        instruction(CALL, 0, 0, 0, 51),        // r0 = bpf_redirect_map(r1, r2, r3)
        instruction(0x95, 0, 0, 0, 0),         // exit
    ]
}

/// bpf(2), for a command that says 0 or a number.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    let (attributes, bytes) = ((&raw const *attributes), size_of::<T>());
    // SAFETY: the kernel reads `bytes` bytes of attributes, which has as many, and what the addresses in it lead to: memory
    // of the caller's, of the lengths given beside, for the time of the call. It writes to none of it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(result).map_err(io::Error::other) }
}

/// bpf(2), for a command that gives a descriptor. The kernel opens it close-on-exec.
fn bpf_fd<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
