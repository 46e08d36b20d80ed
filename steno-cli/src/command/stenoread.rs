//! `stenoread`, the old command, for scripts that have it: the answer of a sensor through tcpdump.
//!
//! Its arguments, its standard output and the line that it begins standard error with are those of stenographer 1.0.1. Beyond
//! these it says on standard error when an answer is not complete, and its exit status tells.

use std::{
    ffi::{OsStr, OsString},
    io::{self, IsTerminal as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    sync::atomic::Ordering,
};

use clap::FromArgMatches as _;
use steno_core::pcap::Format;
use steno_proto::v1;

use super::{
    CommandError,
    deliver::{Printed, Tcpdump, to_lines},
    output::Reader,
    progress::Progress,
    read::{Remote, verdict},
    run::signals,
    source::connect,
};
use crate::{
    args::{SourceArgs, StenoreadArgs},
    exit::Exit,
    sensor::{Location, SensorError},
};

/// Where tcpdump may be besides the directories of `PATH`, as for 1.0.1.
const MORE_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// How it ended: by our own table, or as tcpdump did.
enum End {
    Ours(Exit),
    Tcpdump(ExitStatus),
}

/// Runs `stenoread` with these words, the first of which is its own name. Says on standard error what went wrong.
pub fn stenoread(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = StenoreadArgs::definitions().try_get_matches_from(parted(words));
    let args = match parsed.and_then(|matches| StenoreadArgs::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            // Help and version go to standard output and are no error. That they cannot be printed is none either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let end = run(&args).unwrap_or_else(|error| {
        eprintln!("{}", error.report());
        End::Ours(error.exit())
    });
    match end {
        End::Ours(exit) => exit.into(),
        // One that a signal ended has no status of its own.
        End::Tcpdump(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            code.map_or(Exit::Failed.into(), ExitCode::from)
        }
    }
}

/// The words with a mark behind the query: what follows is tcpdump's, whatever it looks like.
fn parted(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    // The name of the program.
    let mut parted: Vec<OsString> = words.by_ref().take(1).collect();
    while let Some(word) = words.next() {
        let is_query = !word.as_bytes().starts_with(b"-");
        let has_value = word == "--limit-packets" || word == "--limit-bytes";
        parted.push(word);
        if is_query {
            parted.push("--".into());
            break;
        }
        if has_value {
            parted.extend(words.next());
        }
    }
    parted.extend(words);
    parted
}

fn run(args: &StenoreadArgs) -> Result<End, CommandError> {
    let interrupted = signals()?;
    let shown: Vec<_> = args.tcpdump_args.iter().map(|arg| arg.to_string_lossy()).collect();
    eprintln!("Running stenographer query '{}', piping to 'tcpdump {}'", args.query, shown.join(" "));
    let sensor = connect(&Location::find(&SourceArgs::default())?, &interrupted)?;
    let request = v1::QueryRequest {
        query: args.query.clone(),
        // A file that `-w` writes has the format that it always had.
        format: v1::CaptureFormat::Pcap.into(),
        max_packets: args.limit_packets,
        max_bytes: args.limit_bytes,
        ..v1::QueryRequest::default()
    };
    let writes = args.tcpdump_args.iter().any(|arg| arg.as_bytes().starts_with(b"-w"));
    let mut remote = Remote::new(sensor.packets(request)?, Progress::new(!writes && io::stdout().is_terminal()));
    let program = tcpdump();
    let tcpdump =
        Tcpdump { program: program.as_os_str(), input: "/dev/stdin", by_line: false, args: &args.tcpdump_args };
    let printed = match tcpdump.print(&mut remote) {
        Ok(Printed::Missing(_)) if args.tcpdump_args.is_empty() => {
            to_lines(&mut remote, Format::Pcap).map(Printed::Done)
        }
        printed => printed,
    };
    let (ending, so_far) = remote.end();
    match printed? {
        Printed::Missing(_) => Err(CommandError::Program(
            "tcpdump is not installed, which is to take the arguments behind the query; without any, packets are printed \
             without it"
                .to_owned(),
        )),
        _ if interrupted.load(Ordering::Relaxed) => Err(SensorError::Interrupted(so_far).into()),
        Printed::Failed(status) => Ok(End::Tcpdump(status)),
        Printed::Done(Reader::Gone) => Ok(End::Ours(Exit::Done)),
        Printed::Done(Reader::There) => {
            let ending = ending.ok_or(SensorError::Cut { so_far, why: "no receipt came".to_owned() })?;
            let exit = verdict(&ending);
            // Scripts are used to silence where nothing is the matter.
            if !ending.receipt.is_complete() {
                eprintln!("{}", ending.receipt);
            }
            Ok(End::Ours(exit))
        }
    }
}

/// The program, where it is found; else its name, which is then not found.
fn tcpdump() -> PathBuf {
    const NAME: &str = "tcpdump";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = MORE_PATHS.iter().map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(more).map(|dir| dir.join(NAME)).find(|file| file.is_file());
    found.unwrap_or_else(|| Path::new(OsStr::new(NAME)).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn args(words: &[&str]) -> StenoreadArgs {
        let words = ["stenoread"].iter().chain(words).map(OsString::from);
        StenoreadArgs::try_parse_from(parted(words)).unwrap()
    }

    #[test]
    fn what_follows_the_query_is_for_tcpdump() {
        let parsed =
            args(&["--limit-packets", "6", "--limit-bytes=2048", "host 1.1.1.1", "-nn", "-w", "out", "--help"]);
        assert_eq!((parsed.limit_packets, parsed.limit_bytes), (Some(6), Some(2_048)));
        assert_eq!(parsed.query, "host 1.1.1.1");
        assert_eq!(parsed.tcpdump_args, ["-nn", "-w", "out", "--help"]);
        let parsed = args(&["tcp", "--limit-packets", "6", "--", "src host 1.1.1.1"]);
        assert_eq!((parsed.limit_packets, parsed.query.as_str()), (None, "tcp"));
        assert_eq!(parsed.tcpdump_args, ["--limit-packets", "6", "--", "src host 1.1.1.1"]);
        assert_eq!(args(&["tcp"]).tcpdump_args, [""; 0]);
    }

    #[test]
    fn without_a_query_nothing_is_done() {
        for words in
            [&["stenoread"][..], &["stenoread", "--limit-packets", "6"], &["stenoread", "--limit-packets", "x", "tcp"]]
        {
            let parsed = StenoreadArgs::try_parse_from(parted(words.iter().map(OsString::from)));
            assert!(parsed.is_err_and(|error| error.use_stderr()), "{words:?}");
        }
    }
}
