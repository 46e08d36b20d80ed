//! `steno completions` and `steno man`: what is generated from the definitions of the command line.

use std::fs;

use clap_mangen::Man;

use crate::{
    args::{Cli, CompletionsArgs, ManArgs, Program, StenoreadArgs},
    command::CommandError,
    exit::Exit,
};

/// Writes a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    let (mut definitions, name) = match args.program {
        Program::Steno => (Cli::definitions(), "steno"),
        Program::Stenoread => (StenoreadArgs::definitions(), "stenoread"),
    };
    clap_complete::generate(args.shell, &mut definitions, name, &mut script);
    super::to_stdout(&script)
}

/// Writes one man page to standard output, or all of them into a directory.
pub(super) fn man(args: &ManArgs) -> Result<Exit, CommandError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::definitions()).render(&mut page).map_err(CommandError::Stdout)?;
        return super::to_stdout(&page);
    };
    let write = |source| CommandError::Write { path: dir.clone(), source };
    fs::create_dir_all(dir).map_err(write)?;
    for definitions in [Cli::definitions(), StenoreadArgs::definitions()] {
        clap_mangen::generate_to(definitions, dir).map_err(write)?;
    }
    Ok(Exit::Done)
}
