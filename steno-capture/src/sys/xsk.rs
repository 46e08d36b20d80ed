//! AF_XDP sockets (linux/if_xdp.h; Documentation/networking/af_xdp.rst): chunks of memory that the kernel copies frames into,
//! and the two rings by which chunks go to it and frames come from it.
//!
//! A chunk belongs to the kernel from when its address is in the fill ring until it comes back in a descriptor of the receive
//! ring. [`XdpQueue::peek`] gives the bytes of the descriptor that is next, [`XdpQueue::advance`] gives its chunk back.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::{
    bpf::STAMP_BYTES,
    check,
    mapping::{Mapping, PageKind},
    socket::{narrow, socklen},
};

/// What the kernel keeps free in front of each frame: XDP_PACKET_HEADROOM of linux/bpf.h.
pub(crate) const HEADROOM_BYTES: u32 = 256;
const DESCRIPTOR_BYTES: usize = size_of::<libc::xdp_desc>();
const ADDRESS_BYTES: usize = size_of::<u64>();
/// How long a queue that is in use is waited for. One whose socket was closed is so until a thread of the kernel's gets to it
/// (xp_put_pool of net/xdp/xsk_buff_pool.c): a capture that follows another would not have it.
const LET_GO: Duration = Duration::from_secs(2);

/// How much memory a queue has for frames that were not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkShape {
    /// Bytes of a chunk: 2048 or 4096. The kernel keeps [`HEADROOM_BYTES`] of them free.
    pub(crate) chunk_bytes: u32,
    /// Chunks: a power of two.
    pub(crate) chunks: u32,
}

/// What a socket lost since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueDrops {
    /// There was no chunk, or the frame was too long for one.
    pub(crate) no_chunk: u64,
    /// The receive ring was full.
    pub(crate) ring_full: u64,
}

/// A socket of one receive queue. It receives once a [`super::SocketMap`] leads to it.
#[derive(Debug)]
pub(crate) struct XdpSocket {
    fd: OwnedFd,
    is_zero_copy: bool,
    takes_long_frames: bool,
}

/// The frames of a socket.
#[derive(Debug)]
pub(crate) struct XdpQueue {
    /// May be open longer than the chunks are mapped: their pages stay the kernel's until it is closed.
    socket: Arc<XdpSocket>,
    receive: Ring,
    fill: Ring,
    chunks: Mapping,
    shape: ChunkShape,
}

/// A frame, or a part of one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    /// When it was received, in nanoseconds of CLOCK_MONOTONIC; 0 where that is not known. Of a frame's first part.
    pub(crate) stamp_ns: u64,
    /// Whether the frame goes on with the next part.
    pub(crate) goes_on: bool,
}

/// How much waits in the receive ring of a queue, for others than the thread that takes it.
#[derive(Debug)]
pub(crate) struct QueueBacklog {
    memory: Arc<Mapping>,
    offsets: libc::xdp_ring_offset,
    entries: u32,
}

/// Our side of a ring: the place that we have got to, and the kernel's side.
#[derive(Debug)]
struct Ring {
    memory: Arc<Mapping>,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    /// The next entry that we read or write.
    ours: u32,
    /// How far the kernel had got when we last looked.
    theirs: u32,
}

impl XdpSocket {
    /// A socket for a queue of an interface, with memory for its frames. Needs CAP_NET_RAW, and memory that may be locked.
    pub(crate) fn open(interface: u32, queue: u32, shape: ChunkShape) -> io::Result<(XdpQueue, PageKind)> {
        // PF_XDP is AF_XDP (bits/socket.h).
        let family = AddressFamily::from_raw(narrow(libc::AF_XDP));
        let fd = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let (chunks, pages) = Mapping::own(shape.chunk_bytes as usize * shape.chunks as usize)?;
        let memory = libc::xdp_umem_reg {
            addr: chunks.start().as_ptr().addr() as u64,
            len: u64::from(shape.chunk_bytes) * u64::from(shape.chunks),
            chunk_size: shape.chunk_bytes,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&fd, libc::XDP_UMEM_REG, &memory)?;
        set(&fd, libc::XDP_UMEM_FILL_RING, &shape.chunks)?;
        // The kernel wants one, although nothing is sent.
        set(&fd, libc::XDP_UMEM_COMPLETION_RING, &1u32)?;
        set(&fd, libc::XDP_RX_RING, &shape.chunks)?;
        let offsets = offsets(&fd)?;
        let fill_at = libc::XDP_UMEM_PGOFF_FILL_RING as i64;
        let receive = Ring::map(&fd, offsets.rx, shape.chunks, DESCRIPTOR_BYTES, libc::XDP_PGOFF_RX_RING)?;
        let mut fill = Ring::map(&fd, offsets.fr, shape.chunks, ADDRESS_BYTES, fill_at)?;
        (0..shape.chunks).for_each(|chunk| fill.put_address(u64::from(chunk) * u64::from(shape.chunk_bytes)));
        fill.publish_written();
        let takes_long_frames = bind(&fd, interface, queue)?;
        let is_zero_copy = options(&fd)? & libc::XDP_OPTIONS_ZEROCOPY != 0;
        let socket = Arc::new(Self { fd, is_zero_copy, takes_long_frames });
        Ok((XdpQueue { socket, receive, fill, chunks, shape }, pages))
    }

    /// Whether the card writes into the chunks itself.
    pub(crate) fn is_zero_copy(&self) -> bool {
        self.is_zero_copy
    }

    /// Whether frames that are longer than a chunk come in parts (since Linux 6.6).
    pub(crate) fn takes_long_frames(&self) -> bool {
        self.takes_long_frames
    }

    /// What was lost so far.
    pub(crate) fn drops(&self) -> io::Result<QueueDrops> {
        // struct xdp_statistics.
        let mut counters = [0u64; 6];
        get(&self.fd, libc::XDP_STATISTICS, &mut counters)?;
        let [no_chunk, _, _, ring_full, _, _] = counters;
        Ok(QueueDrops { no_chunk, ring_full })
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl XdpQueue {
    pub(crate) fn socket(&self) -> &Arc<XdpSocket> {
        &self.socket
    }

    /// How much waits in it.
    pub(crate) fn backlog(&self) -> QueueBacklog {
        let Ring { memory, offsets, entries, .. } = &self.receive;
        QueueBacklog { memory: Arc::clone(memory), offsets: *offsets, entries: *entries }
    }

    /// What comes next, if anything has come.
    pub(crate) fn peek(&mut self) -> Option<Part<'_>> {
        if !self.receive.has_more() {
            return None;
        }
        let descriptor = self.receive.descriptor()?;
        let (offset, len) = (usize::try_from(descriptor.addr).ok()?, descriptor.len as usize);
        // What the kernel says is believed as far as it lies within a chunk.
        let within = offset % self.shape.chunk_bytes as usize + len <= self.shape.chunk_bytes as usize;
        let (stamp_at, len) = (offset.checked_sub(STAMP_BYTES)?, if within { len } else { 0 });
        let place = self.chunks.place(stamp_at, STAMP_BYTES + len)?;
        // SAFETY: as many bytes are mapped from `place` on as long as `self`, initialised (they began as zeros), and the
        // kernel's no more: it has put the descriptor of their chunk into the receive ring (acquire ordering in
        // `has_more`), and gets the chunk back by `advance`, which no slice outlives: it takes `&mut self`.
        let bytes = unsafe { slice::from_raw_parts(place.as_ptr(), STAMP_BYTES + len) };
        let (stamp, frame) = bytes.split_first_chunk::<STAMP_BYTES>()?;
        let stamp_ns = u64::from_ne_bytes(*stamp);
        Some(Part { bytes: frame, stamp_ns, goes_on: descriptor.options & libc::XDP_PKT_CONTD != 0 })
    }

    /// What was next is done with.
    pub(crate) fn advance(&mut self) {
        if let Some(descriptor) = self.receive.descriptor() {
            self.clear_stamp(descriptor.addr);
            let chunk = descriptor.addr - descriptor.addr % u64::from(self.shape.chunk_bytes);
            self.fill.put_address(chunk);
            self.receive.ours = self.receive.ours.wrapping_add(1);
        }
    }

    /// Wipes the stamp of the frame at this address, which is ours still: a driver without room for one would leave it to the
    /// next frame there. Not before the frame is done with: it is looked at twice where it finds no room in a block.
    fn clear_stamp(&mut self, address: u64) {
        let stamp_at = usize::try_from(address).ok().and_then(|offset| offset.checked_sub(STAMP_BYTES));
        if let Some(place) = stamp_at.and_then(|stamp_at| self.chunks.place(stamp_at, STAMP_BYTES)) {
            // SAFETY: as many bytes are mapped there as long as `self`, and no more the kernel's (`peek`); no slice of them
            // is left, as this takes `&mut self`. Any alignment will do.
            unsafe { place.cast::<[u8; STAMP_BYTES]>().write_unaligned([0; STAMP_BYTES]) };
        }
    }

    /// Tells the kernel how far [`Self::advance`] has come.
    pub(crate) fn publish(&mut self) {
        // The chunks first: a place in the receive ring is of no use without one.
        self.fill.publish_written();
        self.receive.publish_read();
    }
}

impl Ring {
    fn map(
        fd: &OwnedFd,
        offsets: libc::xdp_ring_offset,
        entries: u32,
        entry_bytes: usize,
        at: i64,
    ) -> io::Result<Self> {
        let entries_at = usize::try_from(offsets.desc).map_err(io::Error::other)?;
        let memory = Mapping::shared(fd.as_fd(), entries_at + entries as usize * entry_bytes, at, 0)?;
        Ok(Self { memory: Arc::new(memory), offsets, entries, ours: 0, theirs: 0 })
    }

    /// Whether the kernel has written beyond what we have read.
    fn has_more(&mut self) -> bool {
        if self.ours == self.theirs
            && let Some(producer) = self.word(self.offsets.producer)
        {
            // Acquire: what the kernel wrote into entry and chunk comes before.
            self.theirs = producer.load(Ordering::Acquire);
        }
        self.ours != self.theirs
    }

    /// The entry that comes next, of a receive ring.
    fn descriptor(&self) -> Option<libc::xdp_desc> {
        let place = self.entry(DESCRIPTOR_BYTES)?.cast::<libc::xdp_desc>();
        // SAFETY: as many bytes are mapped there, aligned as the kernel aligns them; any bytes are a descriptor, and the
        // kernel does not write this entry before `publish_read` has gone beyond it.
        Some(unsafe { place.read() })
    }

    /// Writes the entry that comes next, of a fill ring. There is room: it has an entry for each chunk.
    fn put_address(&mut self, address: u64) {
        let Some(place) = self.entry(ADDRESS_BYTES) else { return };
        // SAFETY: 8 bytes are mapped there, aligned, and only accessed atomically on our side.
        let entry = unsafe { AtomicU64::from_ptr(place.as_ptr().cast()) };
        entry.store(address, Ordering::Relaxed);
        self.ours = self.ours.wrapping_add(1);
    }

    /// Release: the entries come before the place up to which they are written.
    fn publish_written(&mut self) {
        if let Some(producer) = self.word(self.offsets.producer) {
            producer.store(self.ours, Ordering::Release);
        }
    }

    /// Release: our reads come before the kernel's writes to the entries.
    fn publish_read(&mut self) {
        if let Some(consumer) = self.word(self.offsets.consumer) {
            consumer.store(self.ours, Ordering::Release);
        }
    }

    fn entry(&self, bytes: usize) -> Option<NonNull<u8>> {
        let first = usize::try_from(self.offsets.desc).ok()?;
        self.memory.place(first + (self.ours & (self.entries - 1)) as usize * bytes, bytes)
    }

    fn word(&self, offset: u64) -> Option<&AtomicU32> {
        word(&self.memory, offset)
    }
}

impl QueueBacklog {
    /// Of the entries of the receive ring those that were written and not taken.
    pub(crate) fn waiting(&self) -> u32 {
        let place = |offset| word(&self.memory, offset).map_or(0, |place| place.load(Ordering::Relaxed));
        // The consumer first: it does not overtake the producer.
        let taken = place(self.offsets.consumer);
        place(self.offsets.producer).wrapping_sub(taken)
    }

    /// Entries of the ring.
    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }
}

/// The place of a producer or a consumer, in a ring's memory.
fn word(memory: &Mapping, offset: u64) -> Option<&AtomicU32> {
    let place = memory.place(usize::try_from(offset).ok()?, size_of::<u32>())?;
    // SAFETY: mapped as long as `memory`, aligned (the kernel's offsets are of cache lines), and only accessed atomically on
    // our side.
    Some(unsafe { AtomicU32::from_ptr(place.as_ptr().cast()) })
}

/// Binds the socket to a queue: without copies where driver and card can, with long frames in parts where the kernel can, which
/// the result says.
fn bind(fd: &OwnedFd, interface: u32, queue: u32) -> io::Result<bool> {
    let bind = |flags| {
        let address = libc::sockaddr_xdp {
            sxdp_family: narrow(libc::AF_XDP),
            sxdp_flags: flags | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: interface,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let len = socklen::<libc::sockaddr_xdp>();
        // SAFETY: bind(2) reads `len` bytes of an address that has as many.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }).map(drop)
    };
    let begun = Instant::now();
    loop {
        let bound = match bind(libc::XDP_USE_SG) {
            // What a kernel says that does not know the flag.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => bind(0).map(|()| false),
            bound => bound.map(|()| true),
        };
        match bound {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && begun.elapsed() < LET_GO => {
                thread::sleep(Duration::from_millis(5));
            }
            bound => return bound,
        }
    }
}

fn offsets(fd: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    let none = || libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none(), tx: none(), fr: none(), cr: none() };
    get(fd, libc::XDP_MMAP_OFFSETS, &mut offsets)?;
    Ok(offsets)
}

fn options(fd: &OwnedFd) -> io::Result<u32> {
    let mut flags = 0u32;
    get(fd, libc::XDP_OPTIONS, &mut flags)?;
    Ok(flags)
}

/// `value` is a number, or a structure of numbers.
fn set<T>(fd: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let (len, value) = (socklen::<T>(), (&raw const *value).cast());
    // SAFETY: setsockopt(2) reads `len` bytes at `value`, a live reference to as many. The pages that a
    // `xdp_umem_reg` leads to are the kernel's, too, as long as the socket is open, mapped here or not (FOLL_LONGTERM in
    // `xdp_umem_pin_pages` of net/xdp/xdp_umem.c).
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, value, len) }).map(drop)
}

/// `T` is a number, or a structure or an array of numbers: any bytes are a value of it.
fn get<T>(fd: &OwnedFd, option: libc::c_int, value: &mut T) -> io::Result<()> {
    let mut len = socklen::<T>();
    let place = (&raw mut *value).cast();
    // SAFETY: getsockopt(2) writes at most `len` bytes to `place`, which has as many and is ours alone.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, option, place, &raw mut len) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, process::Command};

    use rustix::thread::{UnshareFlags, unshare_unsafe};
    use steno_core::testkit::need;

    use super::*;
    use crate::sys::{Redirect, SocketMap, XdpMode};

    const LO: u32 = 1;

    /// Gives this thread a network of its own. `false` where the test is skipped.
    fn is_apart() -> bool {
        // SAFETY: of what threads share, only the network is left.
        let is_apart = unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.is_ok();
        let is_up =
            is_apart && Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|s| s.success());
        need(is_up, "root, and ip(8)")
    }

    fn open() -> io::Result<(XdpQueue, PageKind)> {
        XdpSocket::open(LO, 0, ChunkShape { chunk_bytes: 4096, chunks: 64 })
    }

    /// In a network of this thread's own.
    fn a_queue_is_waited_for() {
        if !is_apart() {
            return;
        }
        let Ok((earlier, _)) = open() else {
            let _ = need(false, "AF_XDP");
            return;
        };
        let later = thread::scope(|scope| {
            let later = scope.spawn(open);
            thread::sleep(Duration::from_millis(100));
            drop(earlier);
            later.join().unwrap()
        });
        assert!(later.is_ok(), "{later:?}");
        let refused = open().unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EBUSY), "not for ever");
    }

    /// In a network of this thread's own.
    fn stamps_stay_until_frames_are_done_with() {
        if !is_apart() {
            return;
        }
        let map = SocketMap::new(1);
        let program = map.as_ref().ok().and_then(|map| Redirect::load(map, true).ok());
        let (Ok(map), Some(program), Ok((mut queue, _))) = (map, program, open()) else {
            let _ = need(false, "AF_XDP");
            return;
        };
        map.put(0, queue.socket().as_fd()).unwrap();
        let _attached = program.attach(LO, XdpMode::Generic).unwrap();
        let backlog = queue.backlog();
        assert_eq!((backlog.waiting(), backlog.entries()), (0, 64));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            let _sent = sender.send_to(&[7; 100], "127.0.0.1:9").unwrap();
        }
        let mut last = 0;
        for number in 0..3 {
            let begun = Instant::now();
            while queue.peek().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(10), "frame {number} does not come");
                thread::sleep(Duration::from_millis(1));
            }
            let stamps = [(); 2].map(|()| queue.peek().unwrap().stamp_ns);
            assert!(stamps[0] > last && stamps[0] == stamps[1], "{stamps:?} after {last}");
            last = stamps[0];
            let stamp_at = usize::try_from(queue.receive.descriptor().unwrap().addr).unwrap() - STAMP_BYTES;
            queue.advance();
            let place = queue.chunks.place(stamp_at, STAMP_BYTES).unwrap();
            // SAFETY: mapped, and not given back by `publish` yet.
            let left = unsafe { place.cast::<u64>().read_unaligned() };
            assert_eq!(left, 0, "the next frame there may have no stamp");
            assert_eq!(backlog.waiting(), 3, "until it is told");
        }
        queue.publish();
        assert_eq!(backlog.waiting(), 0);
    }

    #[test]
    fn a_frame_that_is_looked_at_twice_has_its_time_both_times() {
        thread::spawn(stamps_stay_until_frames_are_done_with).join().unwrap();
    }

    #[test]
    fn a_queue_whose_socket_is_closed_is_had() {
        thread::spawn(a_queue_is_waited_for).join().unwrap();
    }
}
