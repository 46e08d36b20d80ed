//! From the words of the command line to the command, and from what it says to the exit status.

use std::{
    ffi::OsString,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Parser as _;

use super::{CommandError, audit, explain, export, flows, generate, help, import, index, keys, read, status, verify};
use crate::{
    args::{AuditCommand, Cli, Command, IndexCommand, KeysCommand, StoreArgs},
    demo,
    exit::Exit,
    interrupt::flag_on_signal,
};

/// Runs `steno` with these words, the first of which is its own name. Says on standard error what went wrong.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no error. That they cannot be printed is none either.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    dispatch(cli.command).unwrap_or_else(|error| {
        eprintln!("{}", error.report());
        error.exit()
    })
}

fn dispatch(command: Command) -> Result<Exit, CommandError> {
    match &command {
        Command::Read(args) => read::read(args, &signals()?),
        Command::Flows(args) => flows::flows(args, &signals()?),
        Command::Explain(args) => explain::explain(args, &signals()?),
        Command::Status(args) => status::status(args, &signals()?),
        Command::Import(args) => import::import(args, signals()?.as_ref()),
        Command::Export(args) => export::export(args, signals()?.as_ref()),
        Command::Verify(args) => verify::verify(args, signals()?.as_ref()),
        Command::Index(IndexCommand::Dump(args)) => index::dump(args),
        Command::Index(IndexCommand::Build(args)) => index::build(args, signals()?.as_ref()),
        Command::Index(IndexCommand::Convert(args)) => index::convert(args, signals()?.as_ref()),
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(args),
        Command::Keys(KeysCommand::Init(args)) => keys::init(args),
        Command::Keys(KeysCommand::Client(args)) => keys::client(args),
        Command::Keys(KeysCommand::Revoke(args)) => keys::revoke(args),
        Command::Help(args) => help::help(args),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
        // The demo has children to end in order, and sees to signals itself.
        Command::Demo(args) => demo::run(args).map(|()| Exit::Done).map_err(CommandError::from),
    }
}

/// The flag that signals set, for the commands that may take long.
pub(super) fn signals() -> Result<Arc<AtomicBool>, CommandError> {
    flag_on_signal().map_err(CommandError::Signals)
}

/// The store that a command is to work on.
pub(super) fn store_dir(args: &StoreArgs) -> Result<&Path, CommandError> {
    args.store.as_deref().ok_or_else(|| CommandError::Usage("give --store DIR; this works on files alone".to_owned()))
}

/// As a request to a sensor has it. One too long to be said is as good as none, and 0 would mean none.
pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0).max(1)
}
