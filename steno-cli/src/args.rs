//! The command line as clap knows it: from these definitions come the parser, the help texts, the man pages and the shell
//! completions. What the commands do is in [`crate::command`].

mod audit;
mod index;
mod keys;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use audit::{AuditCommand, AuditVerifyArgs};
pub use index::{BuildArgs, ConvertArgs, DumpArgs, IndexCommand, IndexFormat, IndexOutputArgs};
pub use keys::{KeyKind, KeysClientArgs, KeysCommand, KeysInitArgs, KeysRevokeArgs, WantedArgs};

use crate::{demo::DemoArgs, exit::Exit};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "steno",
    version,
    about = "Find the packets that were on the wire",
    long_about = "Find the packets that were on the wire.\n\n\
        steno asks a sensor, or reads the files that one has written: it finds packets by a query, lists conversations, \
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
    /// Say how a sensor fares: what it holds, what it loses, its disks
    Status(StatusArgs),
    /// Bring pcap and pcapng files into a store
    Import(ImportArgs),
    /// Write one segment of a store as a capture file
    Export(ExportArgs),
    /// Check every block and index of a store
    Verify(VerifyArgs),
    /// Look into an index, make one from a packet file, or convert one
    #[command(subcommand, arg_required_else_help = true)]
    Index(IndexCommand),
    /// Check the audit log of a sensor
    #[command(subcommand, arg_required_else_help = true)]
    Audit(AuditCommand),
    /// Make certificates: of the CA, of the sensor, of its clients
    #[command(subcommand, arg_required_else_help = true)]
    Keys(KeysCommand),
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

/// Where the packets are: with a sensor, or in files.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Where the packets are")]
pub struct SourceArgs {
    /// Ask the sensor that listens there
    #[arg(long, value_name = "HOST:PORT", requires = "certs", conflicts_with_all = ["config", "store"])]
    pub server: Option<String>,
    /// The directory of ca_cert.pem, client_cert.pem and client_key.pem that --server is called with
    #[arg(long, value_name = "DIR", requires = "server")]
    pub certs: Option<PathBuf>,
    /// Ask the sensor of this configuration. Without it the one of $STENOGRAPHER_CONFIG, of ./steno-data/config, or of
    /// /etc/stenographer/config, whichever is there first
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    pub config: Option<PathBuf>,
    /// Ask no sensor; read the files in DIR: packet files in PKT0, PKT1, ..., their indexes in IDX0, IDX1, ...
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
    pub source: SourceArgs,
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
    /// End the answer after this time, as `30s` or `5m`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub deadline: Option<Duration>,
    /// Write the receipt of the answer to FILE, as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// After the packets that are stored, go on with those that arrive, until interrupted. Of a sensor that captures they come
    /// as soon as their block is on the disk; with `--store`, as soon as their file is sealed
    #[arg(long)]
    pub follow: bool,
    /// Arguments for tcpdump, after `--`
    #[arg(last = true, value_name = "TCPDUMP ARGS", conflicts_with = "write")]
    pub tcpdump_args: Vec<OsString>,
}

const READ_EXAMPLES: &str = "\
Examples:
  steno read 'host 10.0.0.1 and port 443 and last 10m' -w out.pcap
  steno read --server sensor.example:1234 --certs certs 'udp and port 53' -- -n -vv
  steno read --store /data 'net 10.0.0.0/8' -w - --format pcapng | tshark -r -

The receipt, on standard error, says what was searched, what was found, and what may be missing.

Exit status 3 tells an answer that is not complete: a limit that was reached, a file that could not be read, a connection to
the sensor that was lost. What had come by then is delivered, up to a whole packet. Exit status 1 tells an answer that must not
be used where its bytes are not those that the receipt has the digest of. Times without a date or zone, and `last`, are by the
clock of whoever answers.

An answer is not kept waiting for ever: a sensor gives up on who takes nothing for a minute, as a pager may. Write it to a file
first.";

/// `steno flows`
#[derive(Args, Debug)]
#[command(after_long_help = FLOWS_FIELDS)]
pub struct FlowsArgs {
    /// Which packets; `steno help query` tells the language
    pub query: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub source: SourceArgs,
    /// End the answer after this time, as `30s` or `5m`
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub deadline: Option<Duration>,
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
#[command(after_long_help = EXPLAIN_FIELDS)]
pub struct ExplainArgs {
    /// Which packets; `steno help query` tells the language
    pub query: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub source: SourceArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

const EXPLAIN_FIELDS: &str = "\
Fields of --json:
  query             as understood; it parses back to itself
  lookup            the look-ups that are made in each index
  segments          those that hold matches: file, conversations, estimate
  segments_omitted  how many more there are; a sensor lists the first 1,000
  conversations     that match, counted in each segment
  estimate          packets_at_least, packets_at_most, bytes_at_least, bytes_at_most
  receipt           what a receipt would say before the first packet";

/// `steno status`
#[derive(Args, Debug)]
#[command(after_long_help = STATUS_FIELDS)]
pub struct StatusArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub source: SourceArgs,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

const STATUS_FIELDS: &str = "\
Exit status 0 tells that all is well, 3 that there are problems, which are the first thing that is printed, and 1 that the
sensor cannot be asked. With --store, what the files themselves tell is printed: coverage, gaps, drops, disk.

Fields of --json; times are RFC 3339, UTC, sizes are bytes; what only a sensor can tell is null with --store:
  healthy, problems     whether nothing is wrong, and what is, a sentence each
  now, started          the time of the report, and when the sensor started
  version, host         of the sensor
  holdings              oldest and newest packet, segments, packet_bytes and index_bytes on disk, and lists:
    gaps                when capture was down: from, until, thread, reason
    unreadable          files that cannot be searched: file, reason
    unsealed            files that are being written: file, opened, bytes
  captures              capture processes: source (the interface), threads, state (starting, running, backoff, stopping,
                        stopped), state_at (since when, or when it starts again), pid, restarts, last_exit, last_exit_at
  threads               capture threads: thread, packets_directory, index_directory, packets, bytes, kernel_drops, lost,
                        write_errors, losses (by cause, as in a receipt), segments, segments_removed, packet_bytes, index_bytes, disk_bytes and
                        disk_free_bytes of the file system, error. Counts are since the sensor started; with --store, of
                        what the files hold
  queries               running, most_running, finished, truncated, refused, packets, bytes, since the sensor started
  certificate_until,    when the certificates of the sensor and of the CA for its clients end
  ca_until";

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
    /// Make indexes anew that are damaged or missing, finish what a capture has left unfinished, cut torn ends off; deletes nothing whole
    #[arg(long)]
    pub repair: bool,
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
    /// The program that is to be completed
    #[arg(long, value_enum, value_name = "PROGRAM", default_value_t = Program::Steno)]
    pub program: Program,
}

/// A program of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// This one
    Steno,
    /// The old command
    Stenoread,
}

/// `steno man`
#[derive(Args, Debug)]
pub struct ManArgs {
    /// Write a file a page into DIR, that of `stenoread` among them; without it the page of `steno` itself goes to standard output
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// `stenoread`
#[derive(Debug, Parser)]
#[command(
    name = "stenoread",
    version,
    about = "Print the packets of a query, through tcpdump",
    after_long_help = STENOREAD_DETAILS,
    max_term_width = 100,
)]
pub struct StenoreadArgs {
    /// End the answer after N packets
    #[arg(long, value_name = "N")]
    pub limit_packets: Option<u64>,
    /// End the answer after the packet that reaches N bytes of capture file
    #[arg(long, value_name = "N")]
    pub limit_bytes: Option<u64>,
    /// Which packets; `steno help query` tells the language
    pub query: String,
    /// All that follows the query is for tcpdump
    #[arg(last = true, value_name = "TCPDUMP ARGS")]
    pub tcpdump_args: Vec<OsString>,
}

impl StenoreadArgs {
    /// The definitions, for what is generated from them.
    pub fn definitions() -> clap::Command {
        // The parser is handed a `--` that users do not write.
        Self::command().override_usage("stenoread [OPTIONS] <QUERY> [TCPDUMP ARGS]...")
    }
}

const STENOREAD_DETAILS: &str = "\
Examples:
  stenoread 'host 1.1.1.1' -n src host 1.1.1.1
  stenoread 'host 1.1.1.1 and host 2.2.2.2' -n 'tcp[tcpflags] & tcp-push != 0'
  stenoread --limit-packets 6 'host 1.1.1.1 and host 2.2.2.2' -w /tmp/out.pcap

The sensor is that of $STENOGRAPHER_CONFIG, of ./steno-data/config, or of /etc/stenographer/config, whichever is there first.
`steno read` does the same and more.

Exit status: that of tcpdump where it fails; 3 where an answer is not complete, with its receipt on standard error; else as
`steno --help` lists them.";

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

/// A length of time: a number and `ms`, `s`, `m` or `h`. Not 0.
fn time(text: &str) -> Result<Duration, String> {
    let takes = || "it takes a number and a unit, as 500ms, 30s, 5m or 1h".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(takes)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(takes()),
    };
    let number: u64 = number.parse().map_err(|_| takes())?;
    let time = number.checked_mul(ms).filter(|ms| *ms > 0).ok_or_else(takes)?;
    Ok(Duration::from_millis(time))
}

impl From<CaptureFormat> for steno_proto::v1::CaptureFormat {
    fn from(format: CaptureFormat) -> Self {
        match format {
            CaptureFormat::Pcap => Self::Pcap,
            CaptureFormat::PcapNs => Self::PcapNs,
            CaptureFormat::Pcapng => Self::Pcapng,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000)] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)));
        }
        for text in
            ["", "s", "30", "0s", "-1s", "1.5s", "1d", "99999999999999999999s", "9999999999999999999h", "1\u{b5}s"]
        {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
