//! The words of `steno audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use steno_proto::audit::Head;

/// `steno audit`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check that an audit log is the one that a sensor has written, line for line
    Verify(AuditVerifyArgs),
}

/// `steno audit verify`
#[derive(Args, Debug)]
#[command(after_long_help = VERIFY_DETAILS)]
pub struct AuditVerifyArgs {
    /// The files of one log in the order in which they were written, the oldest first; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A line that the log must have: its number and its hash, as the sensor has logged them. May be given several times.
    /// FILE.head beside a file is taken by itself
    #[arg(long = "head", value_name = "LINE:SHA256")]
    pub heads: Vec<Head>,
}

const VERIFY_DETAILS: &str = "\
Each line has the hash of the one before it, over the ends of files, too: `steno audit verify audit.log.2 audit.log.1 audit.log`.
Lines that were altered, removed, put in, put in another order or cut off the beginning of a file are found by that alone. That the
end was cut off is found by FILE.head, which the sensor keeps beside the log, or by --head.

Whoever may write to the log can make another one, hashes and all. Against that help lines that the sensor has told elsewhere: it
logs them at its start and its end, at each rotation, and every 4,096 lines (`the audit log FILE is at LINE:SHA256`).

Exit status 0 tells that everything holds, 1 that something does not, which is printed, and 3 that everything holds, but the last
line is not whole: the sensor was killed while it wrote it, or is just writing it.";
