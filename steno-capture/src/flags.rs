//! The command line of `stenotype`: every flag of 1.0.1 with its default and meaning, and ours beside them.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Parser, ValueEnum};

use crate::{filter::Filter, sys::RingShape};

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

/// What becomes of a forbidden system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Seccomp {
    /// Nothing is forbidden.
    None,
    /// It is reported to a tracer.
    Trace,
    /// It kills the process.
    Kill,
}

/// Captures packets from an interface into packet files, with an index beside each.
///
/// A flag that is given twice counts as it was given last. Runs until SIGTERM or SIGINT, then writes, indexes and publishes what the ring still holds.
#[derive(Clone, Debug, Parser)]
#[command(name = "stenotype", version, rename_all = "snake_case", disable_help_flag = true, args_override_self = true)]
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
    /// Directory that holds PKT<i> and IDX<i>, which are created where they are missing
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Stop after this many packets; -1: never
    #[arg(long, value_name = "NUM", default_value_t = -1, allow_negative_numbers = true)]
    pub count: i64,
    /// Blocks of each thread's ring
    #[arg(long, value_name = "NUM", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub blocks: u32,
    /// Writes under way at most, for each thread
    #[arg(long, value_name = "NUM", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub aiops: u32,
    /// A packet file is rotated when it has this many MiB
    #[arg(long, value_name = "NUM", default_value_t = FILE_MB_MAX, value_parser = clap::value_parser!(u64).range(1..=FILE_MB_MAX))]
    pub filesize_mb: u64,
    /// Threads that read packets, each with its own ring and files
    #[arg(long, value_name = "NUM", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// A packet file is rotated when it is this many seconds old
    #[arg(long, value_name = "NUM", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    pub fileage_sec: u64,
    /// How packets are shared among threads: a PACKET_FANOUT_ value of packet(7). By default by a hash that is the
    /// same for both directions of a conversation
    #[arg(long, value_name = "NUM")]
    pub fanout_type: Option<u16>,
    /// Share the packets with other processes that give the same id
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u16).range(1..))]
    pub fanout_id: Option<u16>,
    /// User to become once the sockets are open, by name or number (when started as root: nobody)
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// Group to become once the sockets are open, by name or number (when started as root: nogroup)
    #[arg(long, value_name = "GROUP")]
    pub gid: Option<String>,
    /// Write no index
    #[arg(long)]
    pub no_index: bool,
    /// Nice level of the threads that write indexes
    #[arg(long, value_name = "NUM", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub index_nicelevel: i32,
    /// Capture only what this accepts: a filter of pcap-filter(7), or a compiled program in hexadecimal, 16 digits an
    /// instruction
    #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
    pub filter: Option<Filter>,
    /// Parsed, and not in force in this version: none, trace or kill
    #[arg(long, value_name = "MODE", default_value = "kill")]
    pub seccomp: Seccomp,
    /// Reserve this many MiB on the disk when a packet file is opened
    #[arg(long, value_name = "NUM", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=FILE_MB_MAX))]
    pub preallocate_file_mb: u64,
    /// Accepted; a quiet link is no fault, and no watchdog looks for one
    #[arg(long)]
    pub no_watchdogs: bool,
    /// Not supported: use --iface
    #[arg(long, value_name = "SOCKET")]
    pub testimony: Option<String>,
    /// A block that has packets is written after this many seconds, full or not (half a second unless given)
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u64).range(1..=4_000_000))]
    pub blockage_sec: Option<u64>,
    /// KiB of a block: a power of two
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
    #[arg(long, value_name = "on|off", default_value = "on")]
    pub block_crc: Switch,
    /// How to write; unless given, io_uring where the kernel allows it, else pwrite
    #[arg(long, value_name = "WAY")]
    pub io: Option<IoChoice>,
    /// Print help
    #[arg(long, short = '?', action = ArgAction::HelpLong)]
    help: Option<bool>,
}

impl Flags {
    /// The shape of each ring.
    pub(crate) fn ring_shape(&self) -> RingShape {
        let retire_after = self.blockage_sec.map_or(RETIRE_AFTER_DEFAULT, Duration::from_secs);
        RingShape { block_bytes: self.blocksize_kb << 10, blocks: self.blocks, retire_after }
    }

    /// -v less -q.
    pub fn verbosity(&self) -> i32 {
        i32::from(self.verbose) - i32::from(self.quiet)
    }
}

/// A power of two from 16 KiB (larger than any Ethernet frame that is not jumbo) to 128 MiB.
fn block_kib(text: &str) -> Result<u32, String> {
    let kib: u32 = text.parse().map_err(|e| format!("{e}"))?;
    if kib.is_power_of_two() && (16..=128 << 10).contains(&kib) {
        Ok(kib)
    } else {
        Err("takes a power of two from 16 to 131072".to_owned())
    }
}
