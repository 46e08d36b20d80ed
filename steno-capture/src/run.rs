//! Puts a capture together: directories, sockets, the account to become, threads; and takes it apart again.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use steno_index::Facts;

use crate::{
    counters::Counters,
    flags::{Flags, IndexFormat, Switch},
    io::Writer,
    log::{self, info, warning},
    packet_thread::{PacketThread, Shared},
    segment::{OpenSegment, Place, Rotation, Sealer},
    sys::{self, Account, Host, PacketSocket, Ring},
};

/// PACKET_FANOUT_HASH: by a hash of the flow that is the same for both directions (`__skb_get_hash_symmetric` in
/// `fanout_demux_hash` of net/packet/af_packet.c).
const FANOUT_HASH: u16 = 0;
/// Exit status of a process that a second signal ends.
const INTERRUPTED: i32 = 130;

/// Runs a capture with these flags until a signal ends it, or `--count` packets have come.
///
/// # Errors
/// What keeps it from starting, in a sentence that says what to do. Nothing half-made is left behind.
pub fn run(flags: &Flags) -> Result<()> {
    log::set_verbosity(flags.verbosity());
    refuse(flags)?;
    let stop = signals()?;
    let account = account(flags)?;
    let mut made = MadeDirs::default();
    let places = made.places(&flags.dir, flags.threads, account)?;
    let started = start(flags, account, places);
    if started.is_err() {
        made.remove();
    }
    watch(started?, &stop)
}

/// What is understood, and not to be had.
fn refuse(flags: &Flags) -> Result<()> {
    if flags.testimony.is_some() {
        bail!("--testimony is not supported: capture from an interface with --iface");
    }
    if flags.index_format == IndexFormat::Leveldb {
        bail!("--index_format=leveldb is not supported yet: use --index_format=native");
    }
    info!("--seccomp is not in force in this version");
    if !flags.no_watchdogs {
        info!("no watchdog runs in this version; a quiet link is no fault");
    }
    Ok(())
}

/// Flags that SIGTERM and SIGINT raise. A second one ends the process at once.
fn signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        let _ = flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop))?;
        let _ = flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// Who to become: as the flags say; else nobody and nogroup for root, as 1.0.1 does; else who we are.
fn account(flags: &Flags) -> Result<Account> {
    let now = Account::current();
    let uid = match &flags.uid {
        Some(name) => number("--uid", name, sys::user_number)?,
        None if now.uid == 0 => sys::user_number("nobody")?.context("there is no user `nobody`: give --uid")?,
        None => now.uid,
    };
    let gid = match &flags.gid {
        Some(name) => number("--gid", name, sys::group_number)?,
        None if now.gid == 0 => sys::group_number("nogroup")?.context("there is no group `nogroup`: give --gid")?,
        None => now.gid,
    };
    Ok(Account { uid, gid })
}

fn number(flag: &str, text: &str, look_up: impl Fn(&str) -> io::Result<Option<u32>>) -> Result<u32> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => look_up(text)?.with_context(|| format!("{flag}={text}: there is no such account on this machine")),
    }
}

/// Directories that were created, so that they can be taken back.
#[derive(Default)]
struct MadeDirs(Vec<PathBuf>);

impl MadeDirs {
    fn places(&mut self, dir: &Path, threads: u16, account: Account) -> Result<Vec<Place>> {
        let result = (0..threads).map(|i| {
            let place = Place { packets_dir: dir.join(format!("PKT{i}")), index_dir: dir.join(format!("IDX{i}")) };
            for dir in [&place.packets_dir, &place.index_dir] {
                self.make(dir, account).with_context(|| format!("failed to make the directory {}", dir.display()))?;
            }
            Ok(place)
        });
        let result: Result<_> = result.collect();
        if result.is_err() {
            self.remove();
        }
        result
    }

    fn make(&mut self, dir: &Path, account: Account) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {
                self.0.push(dir.to_owned());
                chown(dir, Some(account.uid), Some(account.gid))
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Removes what was created, unless something is in it by now.
    fn remove(&mut self) {
        for dir in self.0.drain(..).rev() {
            let _ = fs::remove_dir(dir);
        }
    }
}

/// A capture that runs.
struct Started {
    threads: Vec<thread::JoinHandle<()>>,
    shared: Arc<Shared>,
    counters: Vec<Arc<Counters>>,
}

fn start(flags: &Flags, account: Account, places: Vec<Place>) -> Result<Started> {
    let sockets = open_sockets(flags)?;
    sys::become_account(account).with_context(|| {
        format!(
            "failed to become user {} and group {}: start as root, or give --uid and --gid of your own",
            account.uid, account.gid
        )
    })?;
    let shared = Arc::new(shared(flags));
    let threads = packet_threads(flags, sockets, places, &shared)?;
    // Every thread has its file: the kernel may start to fill the rings.
    for thread in &threads {
        open_gate(&thread.socket, flags)?;
    }
    let counters = threads.iter().map(|t| Arc::clone(&t.counters)).collect();
    let spawn = |thread: PacketThread| {
        let name = format!("packet{}", thread.number);
        thread::Builder::new().name(name).spawn(move || thread.run())
    };
    let threads = threads.into_iter().map(spawn).collect::<io::Result<_>>()?;
    info!("capturing from {} into {}", flags.iface, flags.dir.display());
    Ok(Started { threads, shared, counters })
}

fn open_sockets(flags: &Flags) -> Result<Vec<(PacketSocket, Ring)>> {
    let shape = flags.ring_shape();
    let sockets: Vec<_> = (0..flags.threads)
        .map(|_| {
            let socket = PacketSocket::open(&flags.iface).map_err(|e| explain_open(&e, &flags.iface))?;
            socket.shut().context("failed to attach a filter")?;
            socket.make_ring(shape).with_context(|| {
                format!(
                    "failed to get a ring of {} blocks of {} KiB: give fewer with --blocks",
                    shape.blocks,
                    shape.block_bytes >> 10
                )
            })?;
            let ring = Ring::map(&socket, shape).context("failed to map the ring")?;
            if !flags.no_promisc
                && let Err(e) = socket.be_promiscuous()
            {
                bail!("failed to set {} to promiscuous mode ({e}): give --no_promisc, or CAP_NET_RAW", flags.iface);
            }
            Ok((socket, ring))
        })
        .collect::<Result<_>>()?;
    share(&sockets, flags)?;
    Ok(sockets)
}

fn explain_open(error: &io::Error, interface: &str) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => {
            anyhow::anyhow!("there is no interface {interface:?}: name one of those that `ip link` lists with --iface")
        }
        Some(libc::EPERM | libc::EACCES) => anyhow::anyhow!(
            "no permission to open a packet socket: start as root, or with CAP_NET_RAW (setcap cap_net_raw,cap_net_admin+ep stenotype)"
        ),
        _ => anyhow::anyhow!("failed to open a packet socket on {interface}: {error}"),
    }
}

/// Lets packets into the ring.
fn open_gate(socket: &PacketSocket, flags: &Flags) -> Result<()> {
    match &flags.filter {
        Some(filter) => socket.attach_filter(&filter.program).context("the kernel refuses the filter of --filter")?,
        None => socket.detach_filter().context("failed to let packets in")?,
    }
    Ok(())
}

/// Puts every socket into one group, which shares the packets. `sockets` let nothing in yet: else each would get all
/// packets until it has joined.
fn share(sockets: &[(PacketSocket, Ring)], flags: &Flags) -> Result<()> {
    let kind = flags.fanout_type.unwrap_or(FANOUT_HASH);
    let mut group = flags.fanout_id;
    for (socket, _) in sockets {
        socket.bind().with_context(|| format!("failed to receive from {}", flags.iface))?;
        match group {
            Some(group) => socket.join_fanout(group, kind),
            None if sockets.len() == 1 => Ok(()),
            None => socket.found_fanout(kind).map(|founded| group = Some(founded)),
        }
        .with_context(|| format!("failed to share packets among threads by fan-out type {kind}"))?;
    }
    Ok(())
}

/// Makes everything ready for each thread; what was made for the others goes when one fails.
fn packet_threads(
    flags: &Flags,
    sockets: Vec<(PacketSocket, Ring)>,
    places: Vec<Place>,
    shared: &Arc<Shared>,
) -> Result<Vec<PacketThread>> {
    let mut threads: Vec<PacketThread> = Vec::new();
    for (number, ((socket, ring), place)) in (0..).zip(sockets.into_iter().zip(places)) {
        match packet_thread(flags, number, socket, ring, place, shared) {
            Ok(thread) => threads.push(thread),
            Err(e) => {
                for segment in threads.into_iter().filter_map(|thread| thread.segment) {
                    let _ = segment.discard();
                }
                return Err(e);
            }
        }
    }
    Ok(threads)
}

fn packet_thread(
    flags: &Flags,
    number: u16,
    socket: PacketSocket,
    ring: Ring,
    place: Place,
    shared: &Arc<Shared>,
) -> Result<PacketThread> {
    let (writer, how) = Writer::new(flags.io, flags.aiops.min(flags.blocks), &ring)?;
    let sealer = Sealer::start(number, flags.index_nicelevel, !flags.no_index)?;
    let segment = OpenSegment::create(&place, &shared.rotation, sealer.empty_log()).map_err(|e| {
        anyhow::anyhow!("failed to create a packet file ({e}): is the directory writable for the user of --uid?")
    })?;
    let direct = if segment.file.is_direct() { "past" } else { "through" };
    info!("thread {number} writes by {how}, {direct} the page cache");
    let counters = Arc::new(Counters::default());
    Ok(PacketThread {
        number,
        socket,
        ring,
        writer,
        sealer,
        place,
        counters,
        shared: Arc::clone(shared),
        segment: Some(segment),
    })
}

fn shared(flags: &Flags) -> Shared {
    let shape = flags.ring_shape();
    let host = Host::current();
    // Positions have 32 bits.
    let file_bytes = (flags.filesize_mb << 20).min(1 << 32);
    Shared {
        stop: AtomicBool::new(false),
        remaining: (flags.count >= 0).then(|| AtomicI64::new(flags.count)),
        rotation: Rotation {
            block_bytes: u64::from(shape.block_bytes),
            file_bytes: file_bytes.max(u64::from(shape.block_bytes)),
            after: Duration::from_secs(flags.fileage_sec),
            preallocate_bytes: flags.preallocate_file_mb << 20,
        },
        block_crc: flags.block_crc == Switch::On,
        facts: Facts {
            interface: flags.iface.clone(),
            snaplen: shape.block_bytes,
            filter: flags.filter.as_ref().map(|f| f.text().to_owned()).unwrap_or_default(),
            host: host.name,
            kernel: host.kernel,
            software: concat!("stenotype ", env!("CARGO_PKG_VERSION")).to_owned(),
            block_bytes: shape.block_bytes,
            ..Facts::default()
        },
        stats_blocks: if flags.verbosity() > 0 { flags.stats_blocks } else { 0 },
        stats_every: (flags.stats_sec > 0).then(|| Duration::from_secs(flags.stats_sec)),
        retire_after: shape.retire_after,
    }
}

/// Waits for the end.
fn watch(started: Started, stop: &AtomicBool) -> Result<()> {
    let Started { threads, shared, counters } = started;
    while !shared.stop.load(Ordering::Relaxed) && threads.iter().any(|t| !t.is_finished()) {
        if stop.load(Ordering::Relaxed) {
            info!("stopping");
            shared.stop.store(true, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let died = threads.into_iter().filter_map(|t| t.join().err()).count();
    let sum = |of: fn(&Counters) -> u64| counters.iter().map(|c| of(c)).sum::<u64>();
    let (packets, dropped, lost) = (sum(|c| c.packets.get()), sum(|c| c.dropped.get()), sum(|c| c.packets_lost.get()));
    info!("captured {packets} packets; the kernel dropped {dropped}, {lost} could not be written");
    if lost > 0 {
        warning!("{lost} packets could not be written");
    }
    if died > 0 {
        bail!("{died} packet threads have died");
    }
    Ok(())
}
