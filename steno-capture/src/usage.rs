//! What a wrong command line gets beside its error: the flags that may have been meant.
//!
//! The parser knows names that are spelled alike. Here is what habit brings from elsewhere: a single dash as Go has it, and
//! beginnings that fit several names.

use std::ffi::OsString;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::Flags;

/// Adds names to an error about an unknown flag.
pub(crate) fn name_what_was_meant(mut error: clap::Error, args: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else { return error };
    // Of a word behind one dash, the first letter is told.
    let word = match unknown.strip_prefix("--") {
        Some(word) => word.to_owned(),
        None => {
            args.iter().filter_map(|arg| arg.to_str()).find_map(|arg| behind_one_dash(arg, unknown)).unwrap_or_default()
        }
    };
    let meant = names_that_begin_with(&word);
    let _ = match meant.as_slice() {
        [] => None,
        [one] => error.insert(ContextKind::SuggestedArg, ContextValue::String(one.clone())),
        _ => error.insert(ContextKind::SuggestedArg, ContextValue::Strings(meant)),
    };
    // A word behind `--` is no flag, and would be left aside.
    let _ = error.remove(ContextKind::Suggested);
    error
}

/// The word of `-word` or `-word=value`, where its first letter is the unknown one.
fn behind_one_dash(arg: &str, unknown: &str) -> Option<String> {
    let is_one_dash = arg.starts_with(unknown) && !arg.starts_with("--") && arg.len() > unknown.len();
    is_one_dash.then(|| arg.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned())
}

/// Flags that begin with a word, however its parts are joined.
fn names_that_begin_with(word: &str) -> Vec<String> {
    let word = word.replace('-', "_");
    if word.is_empty() {
        return Vec::new();
    }
    let command = Flags::command();
    let names = command.get_arguments().filter_map(|arg| arg.get_long());
    names.filter(|name| name.starts_with(&word)).map(|name| format!("--{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arg: &str) -> String {
        let args = ["stenotype", "--dir=/d", arg].map(OsString::from);
        Flags::read(args).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        for (arg, meant) in [
            ("--treads=2", "'--threads'"),
            ("--no-index", "'--no_index'"),
            ("--promisc", "'--no_promisc'"),
            ("-no_index", "'--no_index'"),
            ("-no-index", "'--no_index'"),
            ("-threads=2", "'--threads'"),
            ("-filea=2", "'--fileage_sec'"),
            ("--file=3", "'--filesize_mb', '--fileage_sec'"),
            ("--block=3", "'--blocks', '--blockage_sec', '--blocksize_kb', '--block_crc'"),
        ] {
            let error = said(arg);
            assert!(error.contains(meant), "{arg}: {error}");
            assert!(!error.contains("as a value"), "{arg}: {error}");
        }
    }

    #[test]
    fn what_is_like_none_is_said_to_be_unknown() {
        for arg in ["--xyzzy", "-x", "-xyzzy"] {
            let error = said(arg);
            assert!(error.contains("unexpected argument") && !error.contains("similar"), "{arg}: {error}");
        }
    }
}
