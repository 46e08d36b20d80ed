//! The sockets of a capture: opened shut, made to share packets, then let in and shut again all at once.
//!
//! A socket receives from the moment it is bound, and it must be bound before it can join a fan-out group: until it has
//! joined it would get every packet, and the packets would be there twice. So a filter that lets nothing in is attached
//! first, and replaced when all sockets stand.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{MembarrierCommand, membarrier},
};

use super::{
    Backlog,
    consumer::Consumer,
    source::{BlockMemory, DropCounter, PacketSource, Wait, Waited},
};
use crate::{
    CaptureError,
    console::{debug, warning},
    filter::{Filter, NOTHING},
    sys::{Cpus, Keeping, PacketSocket, RingMemory, RingShape, RingStatistics},
};

/// PACKET_FANOUT_HASH: by a hash of addresses, protocol and ports that is the same for both directions
/// (`__skb_get_hash_symmetric` in `fanout_demux_hash` of net/packet/af_packet.c, since Linux 4.2). It looks through VLAN tags.
/// Fragments are hashed without ports, all fragments of a datagram alike.
const FANOUT_HASH: u16 = 0;
/// ARPHRD_ETHER, and ARPHRD_LOOPBACK, whose frames have an Ethernet header too (linux/if_arp.h).
const ETHERNET_TYPES: [u16; 2] = [1, 772];
/// A filter that is locked can't be replaced to stop: then a stop waits for the block timer, and this is its most.
const RETIRE_AFTER_WITH_FILTER_MAX: Duration = Duration::from_secs(1);
/// How much longer than the block timer a stop waits for a block whose socket can't be shut.
const STOP_PATIENCE: Duration = Duration::from_secs(1);
/// How long receivers on other cores get to end, where the kernel can't tell that they have.
const RECEIVERS_PATIENCE: Duration = Duration::from_millis(50);

/// What [`open_taps`] opens.
#[derive(Clone, Copy)]
pub(crate) struct TapPlan<'a> {
    pub(crate) interface: &'a str,
    pub(crate) threads: u16,
    pub(crate) shape: RingShape,
    pub(crate) promiscuous: bool,
    /// Leave out what the interface sends.
    pub(crate) ignore_outgoing: bool,
    /// PACKET_FANOUT_ value, flags included.
    pub(crate) fanout_type: Option<u16>,
    /// A group that other processes share; 0 for none.
    pub(crate) fanout_id: u16,
    pub(crate) filter: Option<&'a Filter>,
    /// The processors that threads keep to, where they do.
    pub(crate) cpus: Option<&'a Cpus>,
}

impl TapPlan<'_> {
    /// Stays near to the processor of a thread while its ring is made, so that its memory is, too.
    pub(super) fn near_thread(&self, thread: u16) -> Option<Keeping> {
        self.cpus.and_then(|cpus| cpus.of_thread(thread)).and_then(|cpu| Keeping::to(cpu).ok())
    }
}

/// A thread's socket, and its ring.
#[derive(Debug)]
pub(crate) struct Tap {
    socket: Arc<PacketSocket>,
    consumer: Consumer,
    /// The index of the interface.
    interface: u32,
    /// How long a block may take to be handed over.
    retire_after: Duration,
    locked: bool,
    end: End,
}

/// How far the end of a capture has come.
#[derive(Debug)]
enum End {
    /// It has not.
    NotYet,
    /// Nothing is received any more.
    Shut,
    /// Packets go on coming: the stop ends with the block that was being filled when it began, which is the last one.
    ByTimer { last: Option<u64>, deadline: Instant },
    /// All is out.
    Drained,
}

/// Opens a tap a thread. None lets anything in yet.
///
/// # Errors
/// Each step that the system refuses, in a sentence that says what to do.
pub(crate) fn open_taps(plan: &TapPlan<'_>) -> Result<Vec<Tap>, CaptureError> {
    let taps: Vec<Tap> = (0..plan.threads).map(|thread| open_tap(plan, thread)).collect::<Result<_, _>>()?;
    if plan.threads > 1 || plan.fanout_id != 0 {
        share(plan, &taps)?;
    }
    Ok(taps)
}

fn open_tap(plan: &TapPlan<'_>, thread: u16) -> Result<Tap, CaptureError> {
    let _near = plan.near_thread(thread);
    let failed = |what| move |source| CaptureError::Socket { what, interface: plan.interface.to_owned(), source };
    let socket = PacketSocket::open().map_err(|e| match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => CaptureError::NoPermission,
        _ => failed("open a packet socket")(e),
    })?;
    let interface = socket
        .interface_index(plan.interface)
        .map_err(|_| CaptureError::NoInterface { interface: plan.interface.to_owned() })?;
    let mut shape = plan.shape;
    if plan.filter.is_some() {
        shape.retire_after = shape.retire_after.min(RETIRE_AFTER_WITH_FILTER_MAX);
    }
    let no_ring =
        |source| CaptureError::Ring { blocks: shape.blocks, block_kib: shape.block_bytes >> 10, thread, source };
    socket.make_ring(shape).map_err(no_ring)?;
    let (memory, locked) = RingMemory::map(&socket, shape).map_err(no_ring)?;
    if !locked {
        debug!("the ring of thread {thread} is not locked into memory: RLIMIT_MEMLOCK is below its size");
    }
    if plan.ignore_outgoing
        && let Err(e) = socket.ignore_outgoing()
    {
        warning!("what {} sends is captured, too: {e}", plan.interface);
    }
    bind_shut(&socket, plan, interface)?;
    let consumer = Consumer::new(memory);
    let (socket, retire_after) = (Arc::new(socket), shape.retire_after);
    Ok(Tap { socket, consumer, interface, retire_after, locked: false, end: End::NotYet })
}

/// Binds a socket that lets nothing in yet, and sees that the interface is one to capture from.
pub(super) fn bind_shut(socket: &PacketSocket, plan: &TapPlan<'_>, interface: u32) -> Result<(), CaptureError> {
    let failed = |what| move |source| CaptureError::Socket { what, interface: plan.interface.to_owned(), source };
    socket.attach_filter(&NOTHING).map_err(failed("attach a filter"))?;
    socket.bind(interface).map_err(failed("receive"))?;
    let hardware_type = socket.hardware_type().map_err(failed("ask for the type"))?;
    if !ETHERNET_TYPES.contains(&hardware_type) {
        return Err(CaptureError::NotEthernet { interface: plan.interface.to_owned(), hardware_type });
    }
    if plan.promiscuous
        && let Err(e) = socket.be_promiscuous(interface)
    {
        warning!("{} is not in promiscuous mode: {e}; packets for other stations are not seen", plan.interface);
    }
    Ok(())
}

/// Puts the sockets into one group, which shares the packets.
fn share(plan: &TapPlan<'_>, taps: &[Tap]) -> Result<(), CaptureError> {
    let kind = plan.fanout_type.unwrap_or(FANOUT_HASH);
    let mut group = (plan.fanout_id != 0).then_some(plan.fanout_id);
    for tap in taps {
        let joined = match group {
            Some(group) => tap.socket.join_fanout(group, kind),
            None => tap.socket.found_fanout(kind).map(|founded| group = Some(founded)),
        };
        joined.map_err(|source| CaptureError::Fanout {
            interface: plan.interface.to_owned(),
            kind,
            hint: fanout_hint(plan, &source),
            source,
        })?;
    }
    Ok(())
}

fn fanout_hint(plan: &TapPlan<'_>, error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EINVAL) if plan.fanout_type.is_some() => "; give a PACKET_FANOUT_ value that packet(7) names",
        Some(libc::EINVAL) if plan.fanout_id != 0 => {
            "; another process may have that --fanout_id for something else, or the interface may be down"
        }
        Some(libc::EINVAL) => "; the interface may be down: `ip link set IFACE up`",
        _ => "",
    }
}

impl PacketSource for Tap {
    fn next(&mut self) -> Option<BlockMemory> {
        if matches!(self.end, End::Drained) {
            // The block that was copied: its timer hands it over while the copy is being stored.
            return None;
        }
        let block = self.consumer.next().map(BlockMemory::Ring);
        if block.is_some() || !matches!(self.end, End::Shut) {
            return block;
        }
        if let Some(copy) = self.consumer.copy_open_block() {
            self.end = End::Drained;
            return Some(copy);
        }
        // The block timer may have handed it over between the two looks.
        let block = self.consumer.next().map(BlockMemory::Ring);
        if block.is_none() {
            self.end = End::Drained;
        }
        block
    }

    fn wait(&mut self, wait: &Wait<'_>) -> Waited {
        let timeout = Timespec::try_from(wait.most).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let mut watched =
            [PollFd::new(&*self.socket, PollFlags::IN), PollFd::from_borrowed_fd(wait.stop.as_fd(), PollFlags::IN)];
        // Interrupted or timed out, it is looked for work all the same.
        let _ = poll(&mut watched, Some(&timeout));
        let [socket, _] = watched;
        if socket.revents().contains(PollFlags::ERR) { Waited::Error } else { Waited::Well }
    }

    fn takes_packets_itself(&self) -> bool {
        false
    }

    /// A filter that was asked for is locked: whoever takes over this process can't see more through it.
    fn let_in(&mut self, filter: Option<&Filter>) -> io::Result<()> {
        match filter {
            Some(filter) => {
                self.socket.attach_filter(&filter.program).map_err(|e| too_long(e, filter))?;
                self.socket.lock_filter()?;
                self.locked = true;
                Ok(())
            }
            None => self.socket.detach_filter(),
        }
    }

    fn shut(&mut self) -> bool {
        let is_shut = !self.locked && shut(&self.socket);
        self.end = match is_shut {
            true => End::Shut,
            false => End::ByTimer { last: None, deadline: Instant::now() + self.retire_after + STOP_PATIENCE },
        };
        is_shut
    }

    fn is_drained(&mut self) -> bool {
        let End::ByTimer { last, deadline } = &mut self.end else { return matches!(self.end, End::Drained) };
        if last.is_none() {
            *last = self.consumer.open_block().map(|open| open.seq_num);
        }
        last.is_none_or(|last| self.consumer.next_seq() > last) || Instant::now() >= *deadline
    }

    fn socket(&self) -> &Arc<PacketSocket> {
        &self.socket
    }

    fn memory(&self) -> &Arc<RingMemory> {
        self.consumer.memory()
    }

    fn interface(&self) -> u32 {
        self.interface
    }

    fn backlog(&self) -> Arc<dyn Backlog> {
        Arc::clone(self.consumer.backlog()) as Arc<dyn Backlog>
    }

    fn drops(&self) -> Arc<dyn DropCounter> {
        Arc::clone(&self.socket) as Arc<dyn DropCounter>
    }
}

impl DropCounter for PacketSocket {
    fn statistics(&self) -> io::Result<RingStatistics> {
        Self::statistics(self)
    }
}

/// What a socket may hold is bounded (`sk_filter_charge` of net/core/filter.c), by less than the longest program takes.
fn too_long(error: io::Error, filter: &Filter) -> io::Error {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return error;
    }
    let instructions = filter.program.len();
    let hint = format!(
        "its {instructions} instructions take more memory than a socket may have: make the filter shorter, or the sysctl \
         net.core.optmem_max larger"
    );
    io::Error::new(error.kind(), hint)
}

/// Lets nothing in any more, and returns once no packet is being received on any core.
fn shut(socket: &PacketSocket) -> bool {
    if let Err(e) = socket.attach_filter(&NOTHING) {
        warning!("failed to stop receiving: {e}");
        return false;
    }
    wait_for_receivers();
    true
}

/// Returns once what was being received on any core has been.
pub(super) fn wait_for_receivers() {
    // A packet is received within an RCU read section, and MEMBARRIER_CMD_GLOBAL waits for all of those
    // (`synchronize_rcu` in kernel/sched/membarrier.c).
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(RECEIVERS_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use steno_core::testkit::need;

    use super::*;
    use crate::sys::FilterInstruction;

    const SHAPE: RingShape = RingShape { block_bytes: 1 << 20, blocks: 4, retire_after: Duration::from_secs(1) };

    /// Of the loopback interface, where packet sockets may be opened.
    fn tap() -> Option<Tap> {
        let plan = TapPlan {
            interface: "lo",
            threads: 1,
            shape: SHAPE,
            promiscuous: false,
            ignore_outgoing: false,
            fanout_type: None,
            fanout_id: 0,
            filter: None,
            cpus: None,
        };
        let taps = open_taps(&plan);
        need(taps.is_ok(), "packet sockets").then(|| taps.unwrap().remove(0))
    }

    #[test]
    fn a_filter_that_a_socket_cannot_hold_is_told_as_that() {
        let Some(mut tap) = tap() else { return };
        // The kernel makes six instructions of each of these (`BPF_LDX | BPF_B | BPF_MSH`).
        let most = std::fs::read_to_string("/proc/sys/net/core/optmem_max").unwrap().trim().parse::<usize>().unwrap();
        let mut program = vec![FilterInstruction { code: 0xb1, jump_true: 0, jump_false: 0, k: 14 }; 4095];
        program.push(FilterInstruction { code: 6, jump_true: 0, jump_false: 0, k: 1 });
        let filter = Filter { text: String::new(), program };
        match tap.let_in(Some(&filter)) {
            Ok(()) => assert!(most > 4095 * 6 * 8, "{most}"),
            Err(e) => assert!(e.to_string().contains("4096 instructions take more memory"), "{e}"),
        }
    }

    #[test]
    fn blocks_that_wait_show_that_a_thread_is_behind() {
        let Some(mut tap) = tap() else { return };
        tap.let_in(None).unwrap();
        let backlog = tap.backlog();
        assert!(!backlog.is_behind());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Each comes twice, sent and received: a block is full after nine.
        for _ in 0..60 {
            let _sent = socket.send_to(&[0; 60_000], socket.local_addr().unwrap()).unwrap();
        }
        assert!(backlog.is_behind());
        let taken: Vec<_> = std::iter::from_fn(|| tap.next()).collect();
        assert_eq!(taken.len(), 4);
        assert!(!backlog.is_behind(), "what is taken does not wait, although it was not given back yet");
    }

    /// The kernel hands a block over by its timer, whoever has a copy of it by then.
    #[test]
    fn a_block_that_was_copied_for_a_stop_does_not_come_again() {
        let Some(mut tap) = tap() else { return };
        tap.let_in(None).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            let _sent = socket.send_to(b"to myself", socket.local_addr().unwrap()).unwrap();
        }
        assert!(tap.shut());
        let blocks: Vec<_> = std::iter::from_fn(|| tap.next()).collect();
        assert!(!blocks.is_empty() && tap.is_drained());
        std::thread::sleep(2 * SHAPE.retire_after);
        assert!(tap.next().is_none() && tap.is_drained());
        // Unless this machine stood still for so long that there was none to copy.
        let is_copied = matches!(blocks.last(), Some(BlockMemory::Copy(_)));
        assert_eq!(tap.consumer.next().is_some(), is_copied, "the kernel has handed it over meanwhile");
    }
}
