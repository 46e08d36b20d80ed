//! The sockets of a capture: opened shut, made to share packets, then let in and shut again all at once.
//!
//! A socket receives from the moment it is bound, and it must be bound before it can join a fan-out group: until it has
//! joined it would get every packet, and the packets would be there twice. So a filter that lets nothing in is attached
//! first, and replaced when all sockets stand.

use std::{io, sync::Arc, time::Duration};

use rustix::{
    net::netdevice,
    thread::{MembarrierCommand, membarrier},
};

use crate::{
    CaptureError,
    console::{debug, warning},
    filter::{Filter, NOTHING},
    sys::{PacketSocket, RingMemory, RingShape},
};

/// PACKET_FANOUT_HASH: by a hash of addresses, protocol and ports that is the same for both directions
/// (`__skb_get_hash_symmetric` in `fanout_demux_hash` of net/packet/af_packet.c, since Linux 4.2). It looks through VLAN tags.
/// Fragments are hashed without ports, all fragments of a datagram alike.
const FANOUT_HASH: u16 = 0;
/// ARPHRD_ETHER, and ARPHRD_LOOPBACK, whose frames have an Ethernet header too (linux/if_arp.h).
const ETHERNET_TYPES: [u16; 2] = [1, 772];
/// A filter that is locked can't be replaced to stop: then a stop waits for the block timer, and this is its most.
const RETIRE_AFTER_WITH_FILTER_MAX: Duration = Duration::from_secs(1);
/// How long receivers on other cores get to end, where the kernel can't tell that they have.
const RECEIVERS_PATIENCE: Duration = Duration::from_millis(50);

/// What [`open_taps`] opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapPlan<'a> {
    pub(crate) interface: &'a str,
    pub(crate) threads: u16,
    pub(crate) shape: RingShape,
    pub(crate) promiscuous: bool,
    /// PACKET_FANOUT_ value, flags included.
    pub(crate) fanout_type: Option<u16>,
    /// A group that other processes share; 0 for none.
    pub(crate) fanout_id: u16,
    pub(crate) filter: Option<&'a Filter>,
}

/// A thread's socket, and its ring.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) socket: Arc<PacketSocket>,
    pub(crate) memory: Arc<RingMemory>,
    /// The index of the interface.
    interface: u32,
    /// How long a block may take to be handed over.
    pub(crate) retire_after: Duration,
    locked: bool,
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
    Ok(Tap { socket: Arc::new(socket), memory, interface, retire_after: shape.retire_after, locked: false })
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

impl Tap {
    /// Lets in what `filter` accepts, or everything. A filter that was asked for is locked: whoever takes over this
    /// process can't see more through it.
    pub(crate) fn let_in(&mut self, filter: Option<&Filter>) -> io::Result<()> {
        match filter {
            Some(filter) => {
                self.socket.attach_filter(&filter.program)?;
                self.socket.lock_filter()?;
                self.locked = true;
                Ok(())
            }
            None => self.socket.detach_filter(),
        }
    }

    /// Lets nothing in any more, and returns once no packet is being received on any core. `false` where the filter is
    /// locked: packets go on coming.
    pub(crate) fn shut(&self) -> bool {
        if self.locked {
            return false;
        }
        if let Err(e) = self.socket.attach_filter(&NOTHING) {
            warning!("failed to stop receiving: {e}");
            return false;
        }
        // A packet is received within an RCU read section, and MEMBARRIER_CMD_GLOBAL waits for all of those
        // (`synchronize_rcu` in kernel/sched/membarrier.c).
        if membarrier(MembarrierCommand::Global).is_err() {
            std::thread::sleep(RECEIVERS_PATIENCE);
        }
        true
    }

    /// The index of the interface.
    pub(crate) fn interface(&self) -> u32 {
        self.interface
    }

    /// Whether the interface was removed.
    pub(crate) fn interface_is_gone(&self) -> bool {
        netdevice::index_to_name(&self.socket, self.interface).is_err()
    }
}
