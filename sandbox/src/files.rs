//! Which files can be opened at all (landlock(7)).

use std::{io, path::Path};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest interface of the kernel whose rights were thought about here. An older kernel forbids what it knows of them.
const KNOWN: ABI = ABI::V6;

/// What may be done below a directory, or with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Files are read.
    Read,
    /// Files are read, written, made and removed; no directories, links to elsewhere, devices or programs are made.
    Keep,
    /// Directories that are empty are removed.
    Empty,
}

/// What is scoped beyond files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Other processes are not signalled, and not called over abstract Unix sockets.
    OutOfReach,
    /// They may be called.
    Called,
}

/// Lets the calling thread, and those that it starts, get at nothing but files in `directories`: no other is opened, created,
/// removed or renamed, no TCP port is used, no process outside is signalled. `false` where the kernel has no Landlock.
///
/// # Errors
/// A directory that is not there, or what the kernel says. Nothing is forbidden then.
pub fn only<P: AsRef<Path>>(directories: &[P]) -> io::Result<bool> {
    let places: Vec<_> = directories.iter().map(|directory| (directory, Use::Keep)).collect();
    reach(&places, Others::OutOfReach)
}

/// The same for places of which each has a use of its own.
///
/// # Errors
/// As [`only`].
pub fn reach<P: AsRef<Path>>(places: &[(P, Use)], others: Others) -> io::Result<bool> {
    let place = |(path, used): &(P, Use)| Ok((PathFd::new(path)?, rights(*used, path.as_ref().is_dir())));
    let places: Vec<_> =
        places.iter().map(place).collect::<Result<_, _>>().map_err(|e: PathFdError| io::Error::other(e))?;
    Ok(restrict(places, others).map_err(io::Error::other)? != RulesetStatus::NotEnforced)
}

fn restrict(places: Vec<(PathFd, BitFlags<AccessFs>)>, others: Others) -> Result<RulesetStatus, RulesetError> {
    let scope = match others {
        Others::OutOfReach => Scope::from_all(KNOWN),
        Others::Called => Scope::Signal.into(),
    };
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(scope)?
        .create()?;
    let rule = |(place, rights)| Ok::<_, RulesetError>(PathBeneath::new(place, rights));
    Ok(rules.add_rules(places.into_iter().map(rule))?.restrict_self()?.ruleset)
}

fn rights(used: Use, is_dir: bool) -> BitFlags<AccessFs> {
    let read = if is_dir { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() };
    match used {
        Use::Read => read,
        Use::Keep => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile,
        Use::Empty => AccessFs::RemoveDir.into(),
    }
}
