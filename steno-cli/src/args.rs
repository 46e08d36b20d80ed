//! The command line as clap knows it: from these definitions come the parser, the help texts, the man pages and the shell
//! completions. What the commands do is in [`crate::command`].

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{demo::DemoArgs, exit::Exit};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "steno",
    version,
    about = "Find the packets that were on the wire",
    long_about = "Find the packets that were on the wire.\n\n\
        steno reads the packet files and indexes that stenotype writes: it finds packets by a query, lists conversations, \
        imports and exports capture files, and checks what is stored.",
    after_long_help = Exit::help(),
    disable_help_subcommand = true,
    propagate_version = true,
    max_term_width = 100,
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The definitions, for what is generated from them.
    pub fn definitions() -> clap::Command {
        Self::command()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give the packets of a query, as a capture file or printed
    Read(ReadArgs),
    /// List the conversations that match a query, from the indexes alone
    Flows(FlowsArgs),
    /// Say how a query is understood and planned, without reading a packet
    Explain(ExplainArgs),
    /// Bring pcap and pcapng files into a store
    Import(ImportArgs),
    /// Write one segment of a store as a capture file
    Export(ExportArgs),
    /// Check every block and index of a store
    Verify(VerifyArgs),
    /// Look into an index
    #[command(subcommand, arg_required_else_help = true)]
    Index(IndexCommand),
    /// Capture real traffic in a private network, and query it: shows what Steno does, needs no privileges
    Demo(DemoArgs),
    /// Print the help of a command, or the reference of the query language: `steno help query`
    Help(HelpArgs),
    /// Write a completion script for a shell to standard output
    Completions(CompletionsArgs),
    /// Write the man pages of every command
    Man(ManArgs),
}

/// Where the packets are.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// The directory that holds the packet files (PKT0, PKT1, ...) and their indexes (IDX0, IDX1, ...)
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// `steno read`
#[derive(Args, Debug)]
#[command(after_long_help = READ_EXAMPLES)]
pub struct ReadArgs {
    /// Which packets; `steno help query` tells the language
    pub query: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
    /// Write a capture file, to standard output for `-`. Without it the packets are printed: by tcpdump where it is
    /// installed, one plain line each where it is not
    #[arg(short, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// The format of that capture file. `pcap` cuts times to the microsecond
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CaptureFormat::PcapNs, requires = "write")]
    pub format: CaptureFormat,
    /// End the answer after N packets
    #[arg(long, value_name = "N")]
    pub limit_packets: Option<u64>,
    /// End the answer after the packet that reaches N bytes of capture file
    #[arg(long, value_name = "N")]
    pub limit_bytes: Option<u64>,
    /// Write the receipt of the answer to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Go on with packets as they arrive (not supported yet)
    #[arg(long)]
    pub follow: bool,
    /// Arguments for tcpdump, after `--`
    #[arg(last = true, value_name = "TCPDUMP ARGS", conflicts_with = "write")]
    pub tcpdump_args: Vec<OsString>,
}

const READ_EXAMPLES: &str = "\
Examples:
  steno read --store /data 'host 10.0.0.1 and port 443 and last 10m' -w out.pcap
  steno read --store /data 'udp and port 53' -- -n -vv
  steno read --store /data 'net 10.0.0.0/8' -w - --format pcapng | tshark -r -

The receipt, on standard error, says what was searched, what was found, and what may be missing.
Exit status 3 tells an answer that is not complete; a limit that was reached is one reason.";

/// `steno flows`
#[derive(Args, Debug)]
#[command(after_long_help = FLOWS_FIELDS)]
pub struct FlowsArgs {
    /// Which packets; `steno help query` tells the language
    pub query: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
    /// One JSON object a line
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Comma-separated values, with a line of names first
    #[arg(long)]
    pub csv: bool,
}

const FLOWS_FIELDS: &str = "\
A flow is a conversation: the packets of the same layers between the same two ends, both ways. End a sent the first of them.

Fields of --json, and with a_to_b and b_to_a spread out as a_to_b_packets and so on those of --csv:
  first, last    times of its earliest and latest packet: RFC 3339, UTC, nine decimals
  layers         from the outside in, as `vlan 5 ip tcp`
  protocol       IP protocol number; null without IP
  a, a_port      address and port of the end that sent the first packet; null where it has none
  b, b_port      the same of the other end
  a_to_b         what a sent to b: packets; bytes on the wire; matches, whether these packets match the query
  b_to_a         the same the other way
  partial        true where it goes on outside of the time asked, and what it sent there is counted too
  community_id   Community ID, version 1; null for what has none

The receipt, on standard error, says what was searched and what may be missing.";

/// `steno explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Which packets; `steno help query` tells the language
    pub query: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// `steno import`
#[derive(Args, Debug)]
#[command(after_long_help = IMPORT_DETAILS)]
pub struct ImportArgs {
    /// pcap or pcapng files, gzip-compressed or not
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
}

const IMPORT_DETAILS: &str = "\
Packets keep their own times, to the nanosecond. Each file becomes segments of its own in PKT0 and IDX0 of the store, which
is created where it is missing; they appear when the file has been read to its end.

A file that is cut or damaged gives every whole packet before that place, and exit status 1. A file that is no capture is
refused. Packets that cannot be stored are counted and skipped, and make the exit status 1: those of a link type other than
Ethernet, larger than a block of 1 MiB, or with a time before 1970 or after 2106.";

/// `steno export`
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The segment: its name, as `steno verify` lists it, or `PKT1/NAME` where several threads have one of that name
    pub segment: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
    /// The capture file to write, standard output for `-`
    #[arg(short, value_name = "FILE", required = true)]
    pub write: PathBuf,
    /// Its format. `pcap` cuts times to the microsecond
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CaptureFormat::PcapNs)]
    pub format: CaptureFormat,
}

/// `steno verify`
#[derive(Args, Debug)]
#[command(after_long_help = "Exit status 1 tells that something was found. Nothing is changed.")]
pub struct VerifyArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub store: StoreArgs,
    /// Rebuild indexes and truncate torn tails (not supported yet)
    #[arg(long)]
    pub repair: bool,
}

/// `steno index`
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Print what an index holds
    Dump(DumpArgs),
}

/// `steno index dump`
#[derive(Args, Debug)]
pub struct DumpArgs {
    /// An index file
    pub file: PathBuf,
    /// List every block of the packet file
    #[arg(long)]
    pub blocks: bool,
    /// List every conversation
    #[arg(long)]
    pub conversations: bool,
}

/// `steno help`
#[derive(Args, Debug)]
pub struct HelpArgs {
    /// `query`, or a command
    #[arg(value_name = "TOPIC")]
    pub topic: Vec<String>,
}

/// `steno completions`
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// `steno man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write a file a page into DIR; without it the page of `steno` itself goes to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Capture-file formats by the names that the command line has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CaptureFormat {
    /// Microseconds, which every tool reads
    Pcap,
    /// Nanoseconds
    PcapNs,
    /// pcapng: interfaces, nanoseconds, drop counts
    Pcapng,
}

impl From<CaptureFormat> for steno_core::pcap::Format {
    fn from(format: CaptureFormat) -> Self {
        match format {
            CaptureFormat::Pcap => Self::Pcap,
            CaptureFormat::PcapNs => Self::PcapNs,
            CaptureFormat::Pcapng => Self::PcapNg,
        }
    }
}
