//! The steps of a start, in the order in which they need privileges, each taken back when a later one fails.
//!
//! Signals, filter and account need nothing. Sockets need CAP_NET_RAW. Directories are made by who starts the capture, and
//! given to the account. Then the process acts as the account, packets are let in, and the first files are made: whoever
//! waits for a hidden file may send from then on. Only when all of that worked the way back to root is given up, and with it
//! everything else that a capture has no use for (`sandbox`), before there is a second thread.

use std::{
    io,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use signal_hook::iterator::Handle;
use steno_core::{Clock, SegmentId, SystemClock, TimestampNs};
use steno_index::{Facts, Pause};

use super::{
    account::{self, Target},
    directories::Directories,
    rings,
    signals::SignalHandlers,
};
use crate::{
    CaptureError, Flags, IndexFormat, IoChoice, Seccomp, SourceChoice, Switch,
    console::{self, Level, debug, info, shows, warning},
    control::Control,
    counters::Counters,
    error::words,
    filter::Filter,
    io::{MadeUring, probe_uring},
    ledger::{Balance, Entry, Identity, Keeper, LedgerPlan},
    ring::{Budget, LinkMeter, LossMeter, PacketSource, QueueWatch, Sources, Stop, TapPlan, ThreadPlan, open_sources},
    sandbox,
    segment::{OpenSegment, Place, Recovery, RecoveryPlan, Sealer, Sealing, Shares, WriterOptions, earlier, give_way},
    sys::{self, Acting, Cpus, Host, LinkStatistics},
};

/// A daemon of 1.0.1 looks every five minutes for a file that is younger than that, and sees it 15 s late.
const SIGN_OF_LIFE: Duration = Duration::from_secs(120);

/// A capture that is ready to run.
pub(super) struct Started {
    pub(super) threads: Vec<ThreadPlan>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) losses: Vec<Arc<LossMeter>>,
    /// Of the interface; none where the kernel does not tell.
    pub(super) link: Option<LinkMeter>,
    /// Those of its receive queues that are captured from; none where all are.
    pub(super) queues: Option<QueueWatch>,
    pub(super) stop: Arc<Stop>,
    pub(super) signals: Handle,
    pub(super) control: Control,
    /// Of what an earlier capture left behind.
    pub(super) recovery: Recovery,
    /// None where what passes cannot be counted.
    pub(super) ledger: Option<Keeper>,
    /// Time between two lines of statistics.
    pub(super) stats_every: Option<Duration>,
    /// How long a thread may stand still.
    pub(super) patience: Option<Duration>,
}

/// Makes everything ready.
///
/// # Errors
/// Whatever keeps the capture from starting.
pub(super) fn start(flags: &Flags, control: Control) -> Result<Started, CaptureError> {
    refuse(flags)?;
    let flags = &rings::sized(flags);
    tell_what_is_not_in_force(flags);
    let signals = SignalHandlers::install()?;
    let stop = Arc::new(Stop::new().map_err(|source| CaptureError::System { what: "get a descriptor", source })?);
    let filter = Flags::given(flags.filter.as_ref()).map(|text| Filter::read(text, &flags.iface)).transpose()?;
    let target = account::find(Flags::given(flags.uid.as_ref()), Flags::given(flags.gid.as_ref()))?;
    let cpus = rings::processors(flags);
    raise_limits(flags);
    let plan = TapPlan {
        interface: &flags.iface,
        threads: flags.threads,
        shape: flags.ring_shape(),
        promiscuous: !flags.no_promisc,
        ignore_outgoing: flags.ignore_outgoing,
        fanout_type: flags.fanout_type,
        fanout_id: flags.fanout_id,
        filter: filter.as_ref(),
        cpus: cpus.as_ref(),
    };
    let mut sources = open_sources(flags.source, &plan)?;
    // Of who starts the capture, who may register more memory than who it becomes.
    let urings: Vec<_> = sources.sources.iter().map(|source| make_uring(flags, &**source)).collect();
    steno_sandbox::bound();
    let dir = flags.dir.clone().unwrap_or_default();
    let (directories, places) = Directories::make(&dir, flags.threads, target.account)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let earlier: Vec<_> = places.iter().map(|place| earlier::captured_until(place, clock.now())).collect();
    let before = places.first().and_then(|place| Entry::read(&place.index_dir));
    let (acting, files) = begin_as(&target, &mut sources.sources, filter.as_ref(), &places, &clock, flags)?;
    if let Err(e) = acting.for_good() {
        files.into_iter().for_each(discard);
        return Err(become_failed(&target, e));
    }
    directories.keep();
    let Sources { sources, kind, queues } = sources;
    let asked = Asked::of(sources.first().map(|source| source.interface()));
    let own: Vec<_> = places.iter().flat_map(|place| [&place.packets_dir, &place.index_dir]).cloned().collect();
    sandbox::confine(&own, flags.seccomp.unwrap_or(Seccomp::Kill));
    // Making filters and rules took more than anything that is made from now on but the log.
    steno_core::give_back_memory();
    console::print_apart();
    let signals = signals.obey(Arc::clone(&stop), control.clone())?;
    let pause = give_way(sources.iter().map(|source| source.backlog()).collect(), Arc::clone(&stop));
    let parts = Parts { flags, filter, cpus, kind, clock, stop: Arc::clone(&stop), control: control.clone(), pause };
    let first: Vec<_> = files.iter().map(|file| file.paths.id()).collect();
    let threads = parts.threads(sources.into_iter().zip(urings), places.clone(), files, earlier)?;
    let Asked { link, counts } = asked;
    let (ledger, recovered) = parts.ledger(counts, &places, &threads, before).unzip();
    let recovery = parts.recovery(&places, first, recovered)?;
    info!("capturing from {} into {} with {} threads", flags.iface, dir.display(), flags.threads);
    Ok(Started {
        recovery,
        ledger,
        counters: threads.iter().map(|t| Arc::clone(&t.counters)).collect(),
        losses: threads.iter().map(|t| Arc::clone(&t.losses)).collect(),
        link,
        queues,
        threads,
        stop,
        signals,
        control,
        stats_every: (flags.stats_sec > 0).then(|| Duration::from_secs(flags.stats_sec)),
        patience: flags.watchdog_patience(),
    })
}

/// What is asked of the interface while packets are captured, over sockets that cannot be opened any more once the process is
/// confined.
struct Asked {
    /// What it drops by itself: worth knowing, and no condition.
    link: Option<LinkMeter>,
    /// What it counts, and whose count that is; none where there is no interface.
    counts: Option<io::Result<(Identity, LinkStatistics)>>,
}

impl Asked {
    fn of(interface: Option<u32>) -> Self {
        let link = interface.and_then(|interface| {
            let meter = LinkMeter::new(interface, SystemClock.now());
            meter.inspect_err(|e| warning!("what the interface itself drops is not known: {}", words(e))).ok()
        });
        let counts = |interface| Ok((Identity::of(interface)?, LinkStatistics::of(interface)?));
        Self { link, counts: interface.map(counts) }
    }
}

/// What a packet thread is to write by, unless that is not wanted.
fn make_uring(flags: &Flags, source: &dyn PacketSource) -> Option<io::Result<MadeUring>> {
    (flags.io != Some(IoChoice::Sync)).then(|| MadeUring::new(flags.in_flight_max(), Some(source.memory())))
}

/// What is understood, and not to be had.
fn refuse(flags: &Flags) -> Result<(), CaptureError> {
    if Flags::given(flags.testimony.as_ref()).is_some() {
        let (what, instead) = ("--testimony is not supported:", "capture from an interface with --iface");
        return Err(CaptureError::NotSupported { what, instead });
    }
    if flags.io == Some(IoChoice::Uring) {
        probe_uring().map_err(|source| CaptureError::NoUring { source })?;
    }
    Ok(())
}

fn tell_what_is_not_in_force(flags: &Flags) {
    for stray in &flags.strays {
        warning!("{stray:?} is no flag, and is left aside");
    }
    if flags.source == SourceChoice::AfXdp && flags.fanout_type.is_some() {
        warning!("--fanout_type is not in force with AF_XDP: the network card shares packets among its queues");
    }
}

/// Limits that root may raise for who it becomes, and that of open files. Without them only speed is lost, and segments when very
/// many wait to be published.
fn raise_limits(flags: &Flags) {
    let shape = flags.ring_shape();
    let ring = u64::from(shape.block_bytes) * u64::from(shape.blocks) * u64::from(flags.threads);
    if let Err(e) = sys::allow_locked_memory(ring) {
        debug!("RLIMIT_MEMLOCK stays as it is: {e}");
    }
    if let Err(e) = sys::allow_open_files() {
        debug!("RLIMIT_NOFILE stays as it is: {e}");
    }
    if flags.index_nicelevel < 0
        && let Err(e) = sys::allow_nice_level(flags.index_nicelevel)
    {
        debug!("RLIMIT_NICE stays as it is: {e}");
    }
}

/// Acts as the account, lets packets in, and makes the first file of each thread. Goes back when one of these fails.
fn begin_as(
    target: &Target,
    sources: &mut [Box<dyn PacketSource>],
    filter: Option<&Filter>,
    places: &[Place],
    clock: &Arc<dyn Clock>,
    flags: &Flags,
) -> Result<(Acting, Vec<OpenSegment>), CaptureError> {
    let acting = Acting::begin(target.account, target.name.as_deref()).map_err(|e| become_failed(target, e))?;
    for source in sources {
        source.let_in(filter).map_err(|source| {
            let what = if filter.is_some() { "use the filter" } else { "let packets in" };
            CaptureError::Socket { what, interface: flags.iface.clone(), source }
        })?;
    }
    let mut files = Vec::new();
    // The last thread's first: when the first thread's file is there, all are.
    for place in places.iter().rev() {
        match first_file(place, &**clock, target) {
            Ok(file) => files.insert(0, file),
            Err(e) => {
                files.into_iter().for_each(discard);
                return Err(e);
            }
        }
    }
    Ok((acting, files))
}

fn first_file(place: &Place, clock: &dyn Clock, target: &Target) -> Result<OpenSegment, CaptureError> {
    let writable = |dir: &std::path::Path| {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        let flags = rustix::fs::AtFlags::EACCESS;
        rustix::fs::accessat(rustix::fs::CWD, dir, access, flags).map_err(|e| unwritable(dir, e.into(), target))
    };
    writable(&place.index_dir)?;
    writable(&place.packets_dir)?;
    OpenSegment::first(place, clock).map_err(|source| unwritable(&place.packets_dir, source, target))
}

fn unwritable(dir: &std::path::Path, source: io::Error, target: &Target) -> CaptureError {
    let uid = target.account.uid;
    let who = target.name.as_ref().map_or_else(|| format!("user {uid}"), |name| format!("the user `{name}`"));
    CaptureError::Directory {
        what: "write into",
        path: dir.to_owned(),
        source,
        hint: format!("let {who} write there, or become someone who may with --uid and --gid"),
    }
}

fn become_failed(target: &Target, source: io::Error) -> CaptureError {
    CaptureError::Become { uid: target.account.uid, gid: target.account.gid, source }
}

/// Removes a first file that nothing was written into.
fn discard(file: OpenSegment) {
    let path = file.paths.hidden_packet_file();
    if let Err(e) = file.discard() {
        warning!("failed to remove {}: {e}", path.display());
    }
}

/// What all packet threads get the same of.
struct Parts<'a> {
    flags: &'a Flags,
    filter: Option<Filter>,
    cpus: Option<Cpus>,
    /// What the facts say of where packets come from.
    kind: String,
    clock: Arc<dyn Clock>,
    stop: Arc<Stop>,
    control: Control,
    /// What whoever seals does between pieces of it.
    pause: Pause,
}

impl Parts<'_> {
    /// Begins to recover what an earlier capture left in the directories. Files that this one is writing are told by their lock.
    fn recovery(
        &self,
        places: &[Place],
        first: Vec<SegmentId>,
        recovered: Option<Sender<()>>,
    ) -> Result<Recovery, CaptureError> {
        let flags = self.flags;
        let plan = RecoveryPlan {
            threads: (0..).zip(places).map(|(number, place)| (place.clone(), self.options(number).facts)).collect(),
            index: (!flags.no_index).then_some(flags.index_format),
            pause: self.pause.clone(),
            stop: Arc::clone(&self.stop),
            control: self.control.clone(),
            first,
            recovered,
        };
        Recovery::start(plan).map_err(|source| CaptureError::System { what: "start a thread", source })
    }

    /// Begins the ledger, where every packet that the interface counts is one for these sockets, and an index tells of what is lost.
    fn ledger(
        &self,
        counts: Option<io::Result<(Identity, LinkStatistics)>>,
        places: &[Place],
        threads: &[ThreadPlan],
        earlier: Option<Entry>,
    ) -> Option<(Keeper, Sender<()>)> {
        let flags = self.flags;
        let is_counted = self.filter.is_none()
            && self.kind.is_empty()
            && !flags.ignore_outgoing
            && flags.fanout_id == 0
            && !flags.no_index
            && flags.index_format == IndexFormat::Native;
        let dir = &places.first()?.index_dir;
        if !is_counted {
            if let Err(e) = Entry::forget(dir) {
                warning!("the ledger in {} is not true any more, and cannot be removed: {}", dir.display(), words(&e));
            }
            return None;
        }
        let plan = |(identity, link)| {
            let gap_began = threads.first().and_then(|thread| thread.captured_until);
            LedgerPlan {
                identity,
                link,
                places: places.to_vec(),
                first: threads.iter().map(|thread| thread.open.paths.id()).collect(),
                meters: threads.iter().map(|thread| Arc::clone(&thread.losses)).collect(),
                balances: threads.iter().map(|thread| Arc::clone(&thread.balance)).collect(),
                earlier,
                gap_began: gap_began.unwrap_or_else(|| self.clock.now()),
            }
        };
        let started = counts?.map(plan).and_then(Keeper::start);
        started.inspect_err(|e| debug!("what passes when nothing is captured is not counted: {}", words(e))).ok()
    }

    fn threads(
        &self,
        sources: impl Iterator<Item = (Box<dyn PacketSource>, Option<io::Result<MadeUring>>)>,
        places: Vec<Place>,
        files: Vec<OpenSegment>,
        earlier: Vec<Option<TimestampNs>>,
    ) -> Result<Vec<ThreadPlan>, CaptureError> {
        let budget = Arc::new(Budget::new(self.flags.count));
        let parts = (0..).zip(sources.zip(places).zip(files.into_iter().zip(earlier)));
        parts
            .map(|(number, (((source, uring), place), (open, captured_until)))| {
                let counters = Arc::new(Counters::default());
                let flags = self.flags;
                let sealing = Sealing {
                    thread: number,
                    nice_level: flags.index_nicelevel,
                    index: (!flags.no_index).then_some(flags.index_format),
                    counters: Arc::clone(&counters),
                    pause: self.pause.clone(),
                    balance: Arc::new(Balance::before(open.paths.id())),
                    control: self.control.clone(),
                };
                let balance = Arc::clone(&sealing.balance);
                let sealer =
                    Sealer::start(sealing).map_err(|source| CaptureError::System { what: "start a thread", source })?;
                let losses = LossMeter::new(source.drops(), Arc::clone(&counters), Arc::clone(&self.clock));
                Ok(ThreadPlan {
                    number,
                    interface: flags.iface.clone(),
                    source,
                    cpu: self.cpus.as_ref().and_then(|cpus| cpus.of_thread(number)),
                    place,
                    options: self.options(number),
                    uring,
                    open,
                    sealer,
                    clock: Arc::clone(&self.clock),
                    counters,
                    losses: Arc::new(losses),
                    balance,
                    stop: Arc::clone(&self.stop),
                    budget: Arc::clone(&budget),
                    stats_blocks: if shows(Level::Debug) { flags.stats_blocks } else { 0 },
                    captured_until,
                })
            })
            .collect()
    }

    /// The program, and where its packets came from if that is not where they usually do.
    fn software(&self) -> String {
        const PROGRAM: &str = concat!("stenotype ", env!("CARGO_PKG_VERSION"));
        if self.kind.is_empty() { PROGRAM.to_owned() } else { format!("{PROGRAM} ({})", self.kind) }
    }

    /// Only where a daemon of 1.0.1 may be looking.
    fn sign_of_life(&self) -> Option<Duration> {
        let flags = self.flags;
        let may_be = self.control.is_none() && flags.index_format == IndexFormat::Leveldb && !flags.no_index;
        may_be.then_some(SIGN_OF_LIFE)
    }

    fn options(&self, thread: u16) -> WriterOptions {
        let flags = self.flags;
        let host = Host::current();
        let rotation = flags.rotation();
        WriterOptions {
            rotation,
            preallocate_bytes: flags.preallocate_file_mb << 20,
            block_crc: flags.block_crc == Switch::On,
            with_index: !flags.no_index,
            sign_of_life: self.sign_of_life(),
            shares: (!flags.no_index).then(|| Shares {
                control: self.control.clone(),
                thread,
                block_bytes: rotation.block_bytes,
            }),
            in_flight_max: flags.in_flight_max() as usize,
            facts: Facts {
                interface: flags.iface.clone(),
                filter: self.filter.as_ref().map(|filter| filter.text.clone()).unwrap_or_default(),
                host: host.name,
                kernel: host.kernel,
                software: self.software(),
                thread: thread.into(),
                block_bytes: rotation.block_bytes,
                ..Facts::default()
            },
        }
    }
}
