//! Makes the sockets of an interface's receive queues, and the program that leads to them.
//!
//! Everything that needs privileges happens here. The program is attached last: from then on packets come, and wait in the
//! memory of the queues until the threads run.

use std::{fmt, io, net::IpAddr, os::fd::AsFd, sync::Arc};

use steno_core::{Clock, SystemClock};

use super::{
    filler::Filler,
    link::Link,
    queues::QueueWatch,
    source::{Parts, XdpSource},
};
use crate::{
    CaptureError,
    console::{info, warning},
    error::words,
    ring::{
        TapPlan,
        source::{PacketSource, Sources},
        tap::bind_shut,
    },
    sys::{
        self, Attached, ChunkShape, HEADROOM_BYTES, HostUse, PacketSocket, PageKind, Redirect, RingMemory, RingShape,
        SocketMap, XdpMode, XdpQueue, XdpSocket,
    },
};

/// The part of a ring's memory that frames have which were not looked at yet: what comes while a thread waits for its
/// processor has no other place. The blocks have the rest, for what comes while the disk takes nothing.
const CHUNKS_PART: u32 = 4;
/// Chunks of a queue.
const CHUNKS_LEAST: u32 = 1 << 12;
const CHUNKS_MOST: u32 = 1 << 20;
/// Chunks for frames up to 1792 bytes; longer ones come in parts, where the kernel can.
const CHUNK_BYTES: u32 = 2048;
const CHUNK_BYTES_LARGE: u32 = 4096;

/// Why AF_XDP is not to be had.
#[derive(Debug)]
pub(in crate::ring) enum Refused {
    /// A step that the system refuses.
    Step(&'static str, io::Error),
    /// What AF_PACKET refuses, too.
    Interface(CaptureError),
    /// The host would not get its packets any more.
    HasAddress(IpAddr),
    /// Of a bridge, a bond.
    IsPart,
    /// Tags would be lost.
    StripsTags(String),
    /// Tags may have been taken out below.
    LiesOnOthers(String),
    /// Only packet sockets have filters.
    Filter,
    /// Only packet sockets are shared among processes.
    FanoutId,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(what, e) => match e.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    write!(f, "no permission to {what} (it takes root, or CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW)")
                }
                Some(libc::EBUSY | libc::EEXIST) => write!(f, "failed to {what}: another program has it"),
                _ => write!(f, "failed to {what}: {}", words(e)),
            },
            Self::Interface(e) => e.fmt(f),
            Self::HasAddress(address) => write!(
                f,
                "the host has the address {address} there, and AF_XDP takes all packets away from the host, which could not be \
                 called any more; take the address off a port that is for capture alone"
            ),
            Self::IsPart => write!(f, "it is part of a bridge or bond, which would get no packets any more"),
            Self::StripsTags(interface) => write!(
                f,
                "it takes VLAN tags out of frames, and only packet sockets are told of them: \
                 `ethtool -K {interface} rxvlan off` leaves them in"
            ),
            Self::LiesOnOthers(kind) => write!(
                f,
                "it is a {kind}, and VLAN tags are taken out of frames before they come to it: capture from the interface below"
            ),
            Self::Filter => write!(f, "it has no --filter"),
            Self::FanoutId => write!(f, "it shares no packets with other processes by --fanout_id"),
        }
    }
}

fn step(what: &'static str) -> impl Fn(io::Error) -> Refused {
    move |e| Refused::Step(what, e)
}

/// Opens a source a thread; each has the receive queues whose number, divided by that of threads, leaves its own.
///
/// # Errors
/// Whatever keeps AF_XDP from being had. Nothing stays of it then.
pub(in crate::ring) fn open(plan: &TapPlan<'_>) -> Result<Sources, Refused> {
    if plan.filter.is_some() {
        return Err(Refused::Filter);
    }
    if plan.fanout_id != 0 {
        return Err(Refused::FanoutId);
    }
    let probe = PacketSocket::open().map_err(step("open a packet socket"))?;
    let interface = probe
        .interface_index(plan.interface)
        .map_err(|_| Refused::Interface(CaptureError::NoInterface { interface: plan.interface.to_owned() }))?;
    refuse_what_the_host_uses(interface)?;
    if sys::strips_tags(&probe, plan.interface) {
        return Err(Refused::StripsTags(plan.interface.to_owned()));
    }
    let known = sys::receive_queues(&probe, plan.interface);
    let queues = known.unwrap_or(1);
    let map = SocketMap::new(queues).map_err(step("make a map of sockets"))?;
    let (program, frags) = match Redirect::load(&map, true) {
        Ok(program) => (program, true),
        // A kernel before 5.18.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            (Redirect::load(&map, false).map_err(step("load the program"))?, false)
        }
        Err(e) => return Err(Refused::Step("load the program", e)),
    };
    let (attached, mode) = attach(&program, interface)?;
    if mode == XdpMode::Generic {
        refuse_what_lies_on_others(interface)?;
    }
    let link = Arc::new(Link::new(attached));
    let (shape, chunks) = divide(plan.shape, queues.div_ceil(plan.threads.into()));
    let plan = &TapPlan { shape, ..*plan };
    let opened = open_queues(plan, interface, queues, chunks)?;
    let told = tell(plan, &opened, mode, frags, queues);
    if known.is_none() {
        warning!(
            "the driver of {} does not say how many receive queues it has: packets of others than the first are not captured",
            plan.interface
        );
    }
    for (number, queue) in (0..).zip(&opened) {
        map.put(number, queue.socket().as_fd()).map_err(step("lead packets to a socket"))?;
    }
    let mut shares: Vec<Vec<XdpQueue>> = (0..plan.threads).map(|_| Vec::new()).collect();
    for (number, queue) in opened.into_iter().enumerate() {
        if let Some(share) = shares.get_mut(number % usize::from(plan.threads.max(1))) {
            share.push(queue);
        }
    }
    let source = |(thread, queues)| -> Result<Box<dyn PacketSource>, Refused> {
        Ok(Box::new(source(plan, thread, interface, queues, chunks, &link)?))
    };
    let sources = (0..).zip(shares).map(source).collect::<Result<_, _>>()?;
    let watch = QueueWatch::new(probe, plan.interface, queues, SystemClock.now());
    Ok(Sources { sources, kind: told, queues: Some(watch) })
}

fn refuse_what_the_host_uses(interface: u32) -> Result<(), Refused> {
    match sys::host_use(interface).map_err(step("ask for addresses"))? {
        Some(HostUse::Address(address)) => Err(Refused::HasAddress(address)),
        Some(HostUse::PartOf(_)) => Err(Refused::IsPart),
        None => Ok(()),
    }
}

/// Divides the memory of a thread's ring between blocks and chunks, for so many queues a thread: the shape of what blocks have,
/// and the chunks of each queue.
fn divide(shape: RingShape, queues: u32) -> (RingShape, u32) {
    let for_chunks = shape.blocks / CHUNKS_PART;
    let bytes = u64::from(for_chunks) * u64::from(shape.block_bytes);
    let chunks = bytes / u64::from(CHUNK_BYTES) / u64::from(queues.max(1));
    let chunks = u32::try_from(chunks).unwrap_or(CHUNKS_MOST).clamp(CHUNKS_LEAST, CHUNKS_MOST);
    // The kernel's rings have powers of two.
    (RingShape { blocks: shape.blocks - for_chunks, ..shape }, 1 << chunks.ilog2())
}

/// Behind the drivers of interfaces below it, tags are out of the frames already. A veth pair has none below it.
fn refuse_what_lies_on_others(interface: u32) -> Result<(), Refused> {
    match sys::virtual_kind(interface).map_err(step("ask what it is"))? {
        Some(kind) if kind != "veth" => Err(Refused::LiesOnOthers(kind)),
        _ => Ok(()),
    }
}

/// In the driver where it can, else behind it.
fn attach(program: &Redirect, interface: u32) -> Result<(Attached, XdpMode), Refused> {
    let native = match program.attach(interface, XdpMode::Native) {
        Ok(attached) => return Ok((attached, XdpMode::Native)),
        Err(e) => e,
    };
    match program.attach(interface, XdpMode::Generic) {
        Ok(attached) => {
            info!("the driver takes no program ({}): packets are taken behind it", words(&native));
            Ok((attached, XdpMode::Generic))
        }
        Err(e) => Err(Refused::Step("attach the program", e)),
    }
}

fn open_queues(plan: &TapPlan<'_>, interface: u32, queues: u32, chunks: u32) -> Result<Vec<XdpQueue>, Refused> {
    let mut opened = Vec::new();
    for queue in 0..queues {
        let thread = u16::try_from(queue % u32::from(plan.threads.max(1))).unwrap_or_default();
        let _near = plan.near_thread(thread);
        let small = ChunkShape { chunk_bytes: CHUNK_BYTES, chunks };
        let (mut opened_queue, mut pages) =
            XdpSocket::open(interface, queue, small).map_err(step("open an AF_XDP socket"))?;
        if !opened_queue.socket().takes_long_frames() {
            drop(opened_queue);
            let large = ChunkShape { chunk_bytes: CHUNK_BYTES_LARGE, chunks };
            (opened_queue, pages) = XdpSocket::open(interface, queue, large).map_err(step("open an AF_XDP socket"))?;
        }
        if queue == 0 && pages == PageKind::Small {
            info!("the memory of AF_XDP sockets has small pages");
        }
        opened.push(opened_queue);
    }
    Ok(opened)
}

/// Says how packets come, and what an operator should know of it; in short for the index.
fn tell(plan: &TapPlan<'_>, queues: &[XdpQueue], mode: XdpMode, frags: bool, count: u32) -> String {
    let is_zero_copy = queues.iter().all(|queue| queue.socket().is_zero_copy());
    let (how, copies) = match (mode, is_zero_copy) {
        (XdpMode::Native, true) => ("native", "zero-copy"),
        (XdpMode::Native, false) => ("native", "copy"),
        (XdpMode::Generic, _) => ("generic", "copy"),
    };
    let interface = plan.interface;
    info!("packets of {interface} come by AF_XDP ({how}, {copies}) from {count} queues; the host gets none of them");
    if u32::from(plan.threads) > count {
        let idle = u32::from(plan.threads) - count;
        warning!("{interface} has {count} receive queues: {idle} of the threads get no packets (ethtool -L)");
    }
    let is_long = frags && queues.iter().all(|queue| queue.socket().takes_long_frames());
    if !is_long {
        let most = CHUNK_BYTES_LARGE - HEADROOM_BYTES;
        warning!("frames of more than {most} bytes are dropped, and counted: this takes Linux 6.6");
    }
    format!("AF_XDP, {how}, {copies}")
}

fn source(
    plan: &TapPlan<'_>,
    thread: u16,
    interface: u32,
    queues: Vec<XdpQueue>,
    chunks: u32,
    link: &Arc<Link>,
) -> Result<XdpSource, Refused> {
    let _near = plan.near_thread(thread);
    let (memory, _) = RingMemory::own(plan.shape).map_err(step("get memory for blocks"))?;
    let watch = PacketSocket::open().map_err(step("open a packet socket"))?;
    if let Err(e) = watch.ignore_outgoing() {
        warning!("what {} sends costs time: {}", plan.interface, words(&e));
    }
    bind_shut(&watch, plan, interface).map_err(Refused::Interface)?;
    let station = watch.station().map_err(step("ask for the address"))?;
    let filler = Filler::new(plan.shape.retire_after, interface, station);
    Ok(XdpSource::new(Parts { watch, interface, link: Arc::clone(link), queues, chunks, memory, filler }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn blocks_and_chunks_together_have_the_memory_that_was_asked_for() {
        for (blocks, queues, of_blocks, chunks) in [
            (2048, 1, 1536, 262_144),
            (2048, 3, 1536, 65_536),
            (256, 1, 192, 32_768),
            (8, 1, 6, CHUNKS_LEAST),
            (4, 64, 3, CHUNKS_LEAST),
            (65_536, 1, 49_152, CHUNKS_MOST),
        ] {
            let shape = RingShape { block_bytes: 1 << 20, blocks, retire_after: Duration::ZERO };
            let (left, each) = divide(shape, queues);
            assert_eq!((left.blocks, each), (of_blocks, chunks), "{blocks} blocks, {queues} queues");
        }
    }
}
