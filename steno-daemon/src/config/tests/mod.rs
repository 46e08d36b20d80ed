//! Configurations that hold, that do not, and what is said of them.

mod access;
mod embedded;
mod flags;
mod keys;
mod machine;
mod places;
mod values;

use super::*;

/// A configuration with `more` in it, which holds without it.
fn with(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"Threads":[{{"PacketsDirectory":"/p","IndexDirectory":"/i"}}],"Interface":"eth0"{comma}{more}}}"#)
}

fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).config
}

/// Key and message. Places are the business of `places.rs`.
fn plain(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| Problem { place: None, ..problem.clone() }.to_string()).collect()
}

fn warnings(text: &str) -> Vec<String> {
    plain(&parse(text).unwrap().warnings)
}

fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Bad(problems)) => plain(&problems),
        other => panic!("{text}: not refused for what it says: {other:?}"),
    }
}
