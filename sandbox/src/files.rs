//! Which files can be opened at all (landlock(7)).

use std::{io, path::Path};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};

/// The newest interface of the kernel whose rights were thought about here. An older kernel forbids what it knows of them.
const KNOWN: ABI = ABI::V6;

/// Lets the calling thread, and those that it starts, get at nothing but files in `directories`: no other is opened, created,
/// removed or renamed, no TCP port is used, no process outside is signalled. `false` where the kernel has no Landlock.
///
/// # Errors
/// A directory that is not there, or what the kernel says. Nothing is forbidden then.
pub fn only<P: AsRef<Path>>(directories: &[P]) -> io::Result<bool> {
    let directories: Vec<PathFd> =
        directories.iter().map(PathFd::new).collect::<Result<_, _>>().map_err(io::Error::other)?;
    Ok(restrict(directories).map_err(io::Error::other)? != RulesetStatus::NotEnforced)
}

fn restrict(directories: Vec<PathFd>) -> Result<RulesetStatus, RulesetError> {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let rule = |directory| Ok::<_, RulesetError>(PathBeneath::new(directory, rights()));
    Ok(rules.add_rules(directories.into_iter().map(rule))?.restrict_self()?.ruleset)
}

/// Files are read, written, made and removed; no directories, links to elsewhere, devices or programs are made there.
fn rights() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
}
