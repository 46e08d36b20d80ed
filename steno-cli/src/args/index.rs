//! The words of `steno index`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `steno index`
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Print what an index holds
    Dump(DumpArgs),
    /// Make an index from a packet file alone
    Build(BuildArgs),
    /// Make a native index from one of version 2, or the other way round
    Convert(ConvertArgs),
}

/// `steno index dump`
#[derive(Args, Debug)]
pub struct DumpArgs {
    /// An index file, native or of version 2
    pub file: PathBuf,
    /// List every block of the packet file (native)
    #[arg(long)]
    pub blocks: bool,
    /// List every conversation (native)
    #[arg(long)]
    pub conversations: bool,
    /// List every key, and how many packets have it (version 2)
    #[arg(long)]
    pub keys: bool,
}

/// `steno index build`
#[derive(Args, Debug)]
#[command(after_long_help = BUILD_DETAILS)]
pub struct BuildArgs {
    /// A packet file: PKT0/NAME of a store
    #[arg(value_name = "PACKET_FILE")]
    pub packets: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: IndexOutputArgs,
    /// Its format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = IndexFormat::Native)]
    pub format: IndexFormat,
}

/// `steno index convert`
#[derive(Args, Debug)]
#[command(after_long_help = CONVERT_DETAILS)]
pub struct ConvertArgs {
    /// An index file, native or of version 2
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: IndexOutputArgs,
    /// The format to write [default: the one that INDEX does not have]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub to: Option<IndexFormat>,
    /// The packet file that INDEX describes [default: PKT0/NAME for IDX0/NAME, and so on]
    #[arg(long, value_name = "FILE")]
    pub packets: Option<PathBuf>,
}

/// Where an index is written to.
#[derive(Args, Debug)]
pub struct IndexOutputArgs {
    /// The index file to write
    #[arg(short, value_name = "FILE", required = true)]
    pub write: PathBuf,
    /// Put it in the place of a file that is there
    #[arg(long)]
    pub replace: bool,
}

/// Index formats by the names that the command line has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IndexFormat {
    /// Steno's own
    Native,
    /// Version 2, which stenographer 1.0.1 reads
    Leveldb,
}

const BUILD_DETAILS: &str = "\
The distance of the blocks is found out from the file. The index appears under its name when it is whole. It knows what the
packets tell, and not the circumstances of the capture: interface, filter, packets that the kernel dropped.

Where a block is damaged, the index ends before it, and the exit status is 1.";

const CONVERT_DETAILS: &str = "\
The packet file has to be there: directions, times and places come from it, and the index is compared with it first. One that
does not agree is not converted (`steno verify` tells more, `steno index build` makes one of the packets alone). The circumstances
of the capture are taken over.

An index of version 2 has no conversations and no directions: with it, `steno flows`, `src` and `dst` read the packets. One
that stenographer 1.0.1 wrote lacks the outermost VLAN tags; `--to leveldb` makes one of the same version that has them.";
