//! The command line of `stenotype`: every flag of 1.0.1 with its default and meaning, and ours beside them.
//!
//! Also what help texts and the man page are made from. A value that can't be right is refused here, with exit status 2;
//! whether it works on this machine shows when the capture starts.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgAction, CommandFactory, Parser, ValueEnum, error::ErrorKind, value_parser};

use crate::{segment::Rotation, sys::RingShape, usage};

/// Block timer unless `--blockage_sec` is given: blocks are written as far as they are filled, so that a short timer
/// costs no disk.
const RETIRE_AFTER_DEFAULT: Duration = Duration::from_millis(500);
/// Positions in a packet file have 32 bits.
const FILE_MB_MAX: u64 = 4096;

/// Which index is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IndexFormat {
    /// Steno's own.
    Native,
    /// The version-2 LevelDB table of 1.0.1.
    Leveldb,
}

/// A flag that is `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// How blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IoChoice {
    /// By io_uring, out of the ring.
    Uring,
    /// By pwrite(2), out of the ring.
    Sync,
}

/// Where packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SourceChoice {
    /// Packet sockets: the host gets its packets, too.
    AfPacket,
    /// AF_XDP sockets: the host gets none of the interface's packets.
    AfXdp,
}

/// Whether packet threads keep to a processor each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pin {
    /// Where there are several threads, and more processors than threads.
    Auto,
    /// Where there are as many processors as threads.
    On,
    /// They go where the system puts them.
    Off,
}

/// What becomes of a forbidden system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Seccomp {
    /// Nothing is forbidden.
    None,
    /// It is made, and the kernel's log has it.
    Trace,
    /// It kills the process.
    Kill,
}

/// Captures packets from a network interface into packet files, with an index beside each.
///
/// Runs until SIGTERM or SIGINT; then everything that was received is written, indexed and published, and the exit status
/// is 0. A second signal ends it at once (a SIGTERM within a second of the first is the same one). Exit status 1: it could not start, or not everything could be published. 2: the
/// command line can't be right.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "stenotype",
    version,
    rename_all = "snake_case",
    args_override_self = true,
    infer_long_args = true,
    disable_help_flag = true
)]
pub struct Flags {
    /// Log more; may be given several times
    #[arg(short = 'v', action = ArgAction::Count)]
    pub verbose: u8,
    /// Log less; each -q counteracts one -v
    #[arg(short = 'q', action = ArgAction::Count)]
    pub quiet: u8,
    /// Interface to read packets from
    #[arg(long, value_name = "IFACE", default_value = "eth0")]
    pub iface: String,
    /// Directory that holds PKT0 and IDX0, for a second thread PKT1 and IDX1, and so on; they are created where they are
    /// missing
    #[arg(long, value_name = "DIR", required_unless_present_any = ["usage", "testimony"])]
    pub dir: Option<PathBuf>,
    /// Stop after this many packets; -1: never
    #[arg(long, value_name = "NUM", default_value_t = -1, allow_negative_numbers = true, value_parser = value_parser!(i64).range(-1..))]
    pub count: i64,
    /// Blocks of each thread's ring [default: 2048; more on a link that fills these within a second, fewer where all rings
    /// would take more than half of the memory]
    #[arg(long, value_name = "NUM", value_parser = value_parser!(u32).range(4..=65536))]
    pub blocks: Option<u32>,
    /// Writes under way at most, for each thread; not more than --blocks [default: 128; with AF_XDP as many as there are
    /// blocks]
    #[arg(long, value_name = "NUM", value_parser = value_parser!(u32).range(1..=4096))]
    pub aiops: Option<u32>,
    /// A packet file is rotated when it has this many MiB
    #[arg(long, value_name = "NUM", default_value_t = FILE_MB_MAX, value_parser = value_parser!(u64).range(1..=FILE_MB_MAX))]
    pub filesize_mb: u64,
    /// Threads that read packets, each with its own ring and files
    #[arg(long, value_name = "NUM", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// A packet file is rotated when it is this many seconds old
    #[arg(long, value_name = "NUM", default_value_t = 60, value_parser = value_parser!(u64).range(1..=31_536_000))]
    pub fileage_sec: u64,
    /// How packets are shared among threads: a PACKET_FANOUT_ value of packet(7), flags included [default: 0, by a hash
    /// that is the same for both directions of a conversation]
    #[arg(long, value_name = "NUM", value_parser = kernel_number)]
    pub fanout_type: Option<u16>,
    /// Share packets with other processes that give the same id; 0: with none
    #[arg(long, value_name = "NUM", default_value_t = 0, hide_default_value = true)]
    pub fanout_id: u16,
    /// Where packets come from: packet sockets, or AF_XDP sockets, which take them away from the host, before it has spent
    /// time on them. Only for an interface that the host has no address on; where AF_XDP is not to be had, packet sockets
    /// take its place, and the log says why
    #[arg(long, value_name = "SOURCE", default_value = "af_packet")]
    pub source: SourceChoice,
    /// Do not capture what the interface sends
    #[arg(long)]
    pub ignore_outgoing: bool,
    /// Keep each packet thread to a processor of its own, near to the network card: `on`, `off`, or `auto`, where there are
    /// several threads and more processors than threads
    #[arg(long, value_name = "auto|on|off", default_value = "auto", hide_possible_values = true)]
    pub pin: Pin,
    /// User to become once the sockets are open, by name or number [default: nobody, when started as root]
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// Group to become once the sockets are open, by name or number [default: nogroup, when started as root]
    #[arg(long, value_name = "GROUP")]
    pub gid: Option<String>,
    /// Write no index
    #[arg(long)]
    pub no_index: bool,
    /// Nice level of the threads that write indexes
    #[arg(long, value_name = "NUM", default_value_t = 0, allow_negative_numbers = true, value_parser = value_parser!(i32).range(-20..=19))]
    // What 1.0.1 takes for it, and --index_format would make ambiguous.
    #[arg(aliases = ["in", "ind", "inde", "index", "index_"])]
    pub index_nicelevel: i32,
    /// Capture only what this accepts: a filter of pcap-filter(7), or a compiled program in hexadecimal, 16 digits an
    /// instruction. What is beyond ip, ip6, arp, tcp, udp, sctp, icmp, icmp6, proto, host, net, port, portrange, less, greater,
    /// src, dst, and, or, not is compiled by tcpdump
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// What a system call that a capture has no use for brings about: `none`, nothing, all are allowed; `trace`, a line in the
    /// kernel's log; `kill`, the end of the process [default: kill]
    #[arg(long, value_name = "MODE")]
    pub seccomp: Option<Seccomp>,
    /// Reserve this many MiB on the disk when a packet file is opened
    #[arg(long, value_name = "NUM", default_value_t = 0, value_parser = value_parser!(u64).range(0..=FILE_MB_MAX))]
    // What 1.0.1 takes for it, and --pin would make ambiguous.
    #[arg(alias = "p")]
    pub preallocate_file_mb: u64,
    /// Do not end when a thread is stuck
    #[arg(long)]
    pub no_watchdogs: bool,
    /// A thread is stuck, and ends the process, when what it has begun (a write above all) does not get on for this many
    /// seconds; a quiet link is no fault [default: twice --fileage_sec, at least 30]
    #[arg(long, value_name = "NUM", value_parser = value_parser!(u64).range(3..=86_400))]
    pub watchdog_sec: Option<u64>,
    /// Not supported: use --iface
    #[arg(long, value_name = "SOCKET")]
    pub testimony: Option<String>,
    /// A block that has packets is written after this many seconds, full or not [default: 0.5]
    #[arg(long, value_name = "SEC", value_parser = seconds)]
    pub blockage_sec: Option<Duration>,
    /// KiB of a block: a multiple of 4
    #[arg(long, value_name = "NUM", default_value_t = 1024, value_parser = block_kib)]
    pub blocksize_kb: u32,
    /// Do not set the interface to promiscuous mode
    #[arg(long)]
    pub no_promisc: bool,
    /// With -v, log statistics each time this many blocks were read; 0: never
    #[arg(long, value_name = "NUM", default_value_t = 100)]
    pub stats_blocks: u64,
    /// With -v, log statistics each time this many seconds have passed; 0: never
    #[arg(long, value_name = "NUM", default_value_t = 60)]
    pub stats_sec: u64,
    /// Which index to write
    #[arg(long, value_name = "FORMAT", default_value = "native")]
    pub index_format: IndexFormat,
    /// Keep a CRC-32C of each block in the index
    #[arg(long, value_name = "on|off", default_value = "on", hide_possible_values = true)]
    pub block_crc: Switch,
    /// How to write [default: uring where the kernel allows it, else sync]
    #[arg(long, value_name = "WAY")]
    pub io: Option<IoChoice>,
    /// Print a short usage message
    #[arg(long)]
    pub usage: bool,
    /// Print help
    #[arg(long, short = 'h', short_alias = '?', action = ArgAction::Help)]
    help: Option<bool>,
    /// What is no flag. 1.0.1 leaves it aside without a word, so that configurations have it
    #[arg(hide = true, allow_hyphen_values = false)]
    pub strays: Vec<OsString>,
}

/// Blocks of a ring unless `--blocks` is given, and the machine asks for others.
pub(crate) const BLOCKS_DEFAULT: u32 = 2048;
/// Writes under way at most unless `--aiops` is given.
const AIOPS_DEFAULT: u32 = 128;
const AIOPS_MAX: u32 = 4096;
/// What a watchdog bears at the least unless `--watchdog_sec` is given: a disk that is only slow is no fault.
const WATCHDOG_SEC_LEAST: u64 = 30;

impl Flags {
    /// Reads a command line, the name of the program first.
    ///
    /// # Errors
    /// A usage error, which names what may have been meant: [`clap::Error::exit`] prints it and ends the process with
    /// status 2. `--help` and the like are such an error, too, of status 0.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let args: Vec<OsString> = args.into_iter().collect();
        let flags = Self::try_parse_from(&args).map_err(|e| usage::name_what_was_meant(e, &args))?;
        flags.check()?;
        Ok(flags)
    }

    /// Checks what no flag can check for itself.
    fn check(&self) -> Result<(), clap::Error> {
        let bad = |text: String| Err(Self::command().error(ErrorKind::ValueValidation, text));
        if self.aiops.is_some_and(|aiops| self.blocks.is_some_and(|blocks| aiops > blocks)) {
            return bad(format!(
                "--aiops={} is more than --blocks={}: writes can't be under way for more blocks than there are",
                self.aiops.unwrap_or_default(),
                self.blocks()
            ));
        }
        if self.filesize_mb << 10 < u64::from(self.blocksize_kb) {
            return bad(format!(
                "--filesize_mb={} has no room for a block of --blocksize_kb={}",
                self.filesize_mb, self.blocksize_kb
            ));
        }
        Ok(())
    }

    /// Text that was given, and is not empty: 1.0.1 takes an empty one for none.
    pub(crate) fn given(text: Option<&String>) -> Option<&str> {
        text.map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The shape of each ring.
    pub(crate) fn ring_shape(&self) -> RingShape {
        let retire_after = self.blockage_sec.unwrap_or(RETIRE_AFTER_DEFAULT);
        RingShape { block_bytes: self.blocksize_kb << 10, blocks: self.blocks(), retire_after }
    }

    /// Blocks of each ring.
    fn blocks(&self) -> u32 {
        self.blocks.unwrap_or(BLOCKS_DEFAULT)
    }

    /// As many blocks as a ring must have for the writes that may be under way.
    pub(crate) fn in_flight_least(&self) -> u32 {
        self.aiops.unwrap_or(AIOPS_DEFAULT)
    }

    /// When files are rotated.
    pub(crate) fn rotation(&self) -> Rotation {
        let block_bytes = self.blocksize_kb << 10;
        let blocks_max = u32::try_from((self.filesize_mb << 20) / u64::from(block_bytes.max(1))).unwrap_or(u32::MAX);
        Rotation { block_bytes, blocks_max, after: Duration::from_secs(self.fileage_sec) }
    }

    /// Writes under way at most. Where nobody but the packet thread takes packets out, it may never wait for a write as long as
    /// there is a free block.
    pub(crate) fn in_flight_max(&self) -> u32 {
        let by_default = match self.source {
            SourceChoice::AfPacket => AIOPS_DEFAULT,
            SourceChoice::AfXdp => AIOPS_MAX,
        };
        self.aiops.unwrap_or(by_default).min(self.blocks())
    }

    /// How long a thread may stand still; `None` where nobody looks.
    pub(crate) fn watchdog_patience(&self) -> Option<Duration> {
        let secs = self.watchdog_sec.unwrap_or_else(|| (self.fileage_sec * 2).max(WATCHDOG_SEC_LEAST));
        (!self.no_watchdogs).then(|| Duration::from_secs(secs))
    }

    /// `-v` less `-q`.
    pub(crate) fn verbosity(&self) -> i32 {
        i32::from(self.verbose) - i32::from(self.quiet)
    }
}

/// A number in decimal, or in hexadecimal as headers of the kernel have it.
fn kernel_number(text: &str) -> Result<u16, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "takes a number from 0 to 65535, or 0x0 to 0xffff".to_owned())
}

/// Seconds, with or without decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let parsed: Option<f64> = text.parse().ok().filter(|secs| (0.001..=86_400.0).contains(secs));
    parsed.map(Duration::from_secs_f64).ok_or_else(|| "takes seconds, from 0.001 to 86400".to_owned())
}

/// From what holds the largest Ethernet frame to 128 MiB; the kernel wants whole pages.
fn block_kib(text: &str) -> Result<u32, String> {
    let kib: Option<u32> =
        text.parse().ok().filter(|kib: &u32| (12..=128 << 10).contains(kib) && kib.is_multiple_of(4));
    kib.ok_or_else(|| "takes a multiple of 4 from 12 to 131072".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Flags, clap::Error> {
        Flags::read(["stenotype"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn the_definitions_hold_together() {
        Flags::command().debug_assert();
    }

    #[test]
    fn every_flag_of_1_0_1_is_understood_in_both_spellings() {
        for (flag, value) in [
            ("--iface", "lo"),
            ("--dir", "/d"),
            ("--count", "-1"),
            ("--blocks", "64"),
            ("--aiops", "32"),
            ("--filesize_mb", "100"),
            ("--threads", "2"),
            ("--fileage_sec", "9"),
            ("--fanout_type", "4097"),
            ("--fanout_id", "7"),
            ("--uid", "nobody"),
            ("--gid", "65534"),
            ("--index_nicelevel", "-5"),
            ("--filter", "0006000000040000"),
            ("--seccomp", "trace"),
            ("--preallocate_file_mb", "64"),
            ("--testimony", "/s"),
            ("--blockage_sec", "10"),
            ("--blocksize_kb", "2048"),
            ("--stats_blocks", "0"),
            ("--stats_sec", "5"),
        ] {
            for args in [vec!["--dir=/x", flag, value], vec!["--dir=/x", &format!("{flag}={value}")]] {
                assert!(parse(&args).is_ok(), "{args:?}: {}", parse(&args).unwrap_err());
            }
        }
        let flags = parse(&["--dir=/d", "-v", "-vv", "-q", "--no_index", "--no_watchdogs", "--no_promisc"]).unwrap();
        assert_eq!(flags.verbosity(), 2);
        assert!(flags.no_index && flags.no_watchdogs && flags.no_promisc);
    }

    #[test]
    fn the_defaults_are_those_of_1_0_1_but_for_the_block_timer() {
        let flags = parse(&["--dir=/d"]).unwrap();
        assert_eq!((flags.iface.as_str(), flags.count, flags.threads), ("eth0", -1, 1));
        assert_eq!((flags.ring_shape().blocks, flags.in_flight_max(), flags.blocksize_kb), (2048, 128, 1024));
        assert_eq!((flags.filesize_mb, flags.fileage_sec), (4096, 60));
        assert_eq!((flags.stats_blocks, flags.stats_sec), (100, 60));
        assert_eq!(flags.ring_shape().retire_after, Duration::from_millis(500));
        let rotation = Rotation { block_bytes: 1 << 20, blocks_max: 4096, after: Duration::from_secs(60) };
        assert_eq!(flags.rotation(), rotation);
        assert_eq!(parse(&["--dir=/d", "--blockage_sec=10"]).unwrap().ring_shape().retire_after.as_secs(), 10);
    }

    #[test]
    fn the_last_of_a_repeated_flag_holds_and_a_beginning_is_enough() {
        let flags = parse(&["--threads=1", "--dir=/a", "--dir", "/b", "--threads", "3", "--filesi=7"]).unwrap();
        assert_eq!((flags.threads, flags.filesize_mb), (3, 7));
        assert_eq!(flags.dir.unwrap().to_str(), Some("/b"));
    }

    /// The long options of 1.0.1, as its `--help` lists them, and whether each takes a value.
    const OF_1_0_1: [(&str, bool); 26] = [
        ("aiops", true),
        ("blockage_sec", true),
        ("blocks", true),
        ("blocksize_kb", true),
        ("count", true),
        ("dir", true),
        ("fanout_id", true),
        ("fanout_type", true),
        ("fileage_sec", true),
        ("filesize_mb", true),
        ("filter", true),
        ("gid", true),
        ("iface", true),
        ("index_nicelevel", true),
        ("no_index", false),
        ("no_promisc", false),
        ("no_watchdogs", false),
        ("preallocate_file_mb", true),
        ("seccomp", true),
        ("stats_blocks", true),
        ("stats_sec", true),
        ("testimony", true),
        ("threads", true),
        ("uid", true),
        ("help", false),
        ("usage", false),
    ];

    #[test]
    fn each_beginning_that_1_0_1_takes_means_the_same_here() {
        let said = |name: &str, takes_value: bool, value: &str| {
            let flag = if takes_value { format!("--{name}={value}") } else { format!("--{name}") };
            parse(&["--dir=/d", &flag]).map(|flags| format!("{flags:?}")).map_err(|e| (e.kind(), e.to_string()))
        };
        for (name, takes_value) in OF_1_0_1 {
            let value = if name == "seccomp" { "trace" } else { "16" };
            for len in 1..name.len() {
                let beginning = &name[..len];
                let all = OF_1_0_1.iter().filter(|(other, _)| other.starts_with(beginning));
                let is_whole = OF_1_0_1.iter().any(|(other, _)| *other == beginning);
                if all.count() > 1 || is_whole {
                    continue;
                }
                let (short, long) = (said(beginning, takes_value, value), said(name, takes_value, value));
                assert_eq!(short, long, "--{beginning}");
                assert_ne!(short, said("threads", true, "1"), "--{beginning} says nothing");
            }
        }
        assert_eq!(parse(&["--dir=/d", "-vvq"]).unwrap().verbosity(), 1);
        assert_eq!(parse(&["--dir=/d", "--fileage=3", "--no_w", "--threads", "2"]).unwrap().fileage_sec, 3);
    }

    #[test]
    fn what_is_no_flag_is_left_aside_as_by_1_0_1() {
        let flags = parse(&["", "--dir=/d", "stray", "--threads=2", "--", "--blocks=4"]).unwrap();
        assert_eq!(flags.strays, ["", "stray", "--blocks=4"]);
        assert_eq!((flags.threads, flags.blocks), (2, None));
        assert_eq!(Flags::given(parse(&["--dir=/d", "--filter="]).unwrap().filter.as_ref()), None);
    }

    #[test]
    fn fewer_blocks_than_writes_by_default_are_no_mistake() {
        assert_eq!(parse(&["--dir=/d", "--blocks=64"]).unwrap().in_flight_max(), 64);
        assert_eq!(parse(&["--dir=/d", "--source=af_xdp", "--blocks=3000"]).unwrap().in_flight_max(), 3000);
    }

    #[test]
    fn what_cannot_be_right_is_refused_in_words() {
        for (args, words) in [
            (vec!["--dir=/d", "--treads=2"], "--threads"),
            (vec!["--dir=/d", "--threads=0"], "1..=256"),
            (vec!["--dir=/d", "--threads=x"], "invalid digit"),
            (vec!["--dir=/d", "--filesize_mb=4097"], "1..=4096"),
            (vec!["--dir=/d", "--fanout_type=65536"], "65535"),
            (vec!["--dir=/d", "--blockage_sec=0"], "0.001"),
            (vec!["--dir=/d", "--blocksize_kb=10"], "multiple of 4"),
            (vec!["--dir=/d", "--count=-2"], "-2"),
            (vec!["--dir=/d", "--seccomp=maybe"], "trace"),
            (vec!["--dir=/d", "--io=fast"], "uring"),
            (vec!["--dir=/d", "--source=xdp"], "af_xdp"),
            (vec!["--dir=/d", "--pin=yes"], "auto"),
            (vec!["--dir=/d", "--blocks=16", "--aiops=17"], "more than --blocks=16"),
            (vec!["--dir=/d", "--filesize_mb=1", "--blocksize_kb=2048"], "no room"),
            (vec!["--threads=1"], "--dir"),
        ] {
            let error = parse(&args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
            assert!(error.to_string().contains(words), "{args:?}: {error}");
        }
    }
}
