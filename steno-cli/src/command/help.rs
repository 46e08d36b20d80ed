//! `steno help`: the help of a command, or the reference of the query language.

use crate::{
    args::{Cli, HelpArgs},
    command::CommandError,
    exit::Exit,
};

/// Prints it.
pub(super) fn help(args: &HelpArgs) -> Result<Exit, CommandError> {
    if args.topic == ["query"] {
        return super::to_stdout(steno_query::syntax::REFERENCE.as_bytes());
    }
    let definitions = Cli::definitions();
    let mut found = &definitions;
    for name in &args.topic {
        let topics = || found.get_subcommands().map(|c| c.get_name().to_owned()).collect::<Vec<_>>().join(", ");
        let missing = || CommandError::Usage(format!("no help on `{name}`; there is help on: query, {}", topics()));
        found = found.find_subcommand(name).ok_or_else(missing)?;
    }
    // The parser's own `--help`, so that there is one text.
    let words = ["steno"].into_iter().chain(args.topic.iter().map(String::as_str)).chain(["--help"]);
    if let Err(help) = Cli::definitions().try_get_matches_from(words) {
        let _ = help.print();
    }
    Ok(Exit::Done)
}
