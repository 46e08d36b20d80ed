//! Configurations that hold, that do not, and what is said of them.

mod embedded;
mod flags;
mod keys;
mod machine;
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

fn warnings(text: &str) -> Vec<String> {
    parse(text).unwrap().warnings.iter().map(Problem::to_string).collect()
}

fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Bad(problems)) => problems.iter().map(Problem::to_string).collect(),
        other => panic!("{text}: not refused for what it says: {other:?}"),
    }
}
