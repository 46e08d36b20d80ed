//! Exit statuses: the one table that the code, `--help` and the man pages are made from.

use std::process::ExitCode;

/// How a run of `steno` ended.
///
/// Two tiers: these are the expected ends, of which the operator or the input is the cause. A bug ends in a panic, with a
/// message that asks for a report and Rust's own status 101.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and complete.
    Done,
    /// Failed: what was asked for was not done, or not all of it.
    Failed,
    /// The command line or the query cannot be understood; nothing was done.
    Usage,
    /// An answer was delivered that is not complete.
    Incomplete,
    /// Interrupted by SIGINT or SIGTERM.
    Interrupted,
}

impl Exit {
    /// Every end with its meaning, by status.
    pub const TABLE: [(Self, &'static str); 5] = [
        (Self::Done, "done and complete"),
        (Self::Failed, "failed, or not all of it was done: standard error says what"),
        (Self::Usage, "bad usage, or a query that does not parse"),
        (Self::Incomplete, "an answer was delivered that is not complete: the receipt on standard error says why"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The number that the shell sees.
    pub const fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            // 128 and SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }

    /// The table as help texts show it.
    pub fn help() -> String {
        let lines = Self::TABLE.map(|(exit, meaning)| format!("  {:<4}{meaning}", exit.status()));
        format!("Exit status:\n{}", lines.join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_are_those_of_the_contract() {
        assert_eq!(Exit::TABLE.map(|(exit, _)| exit.status()), [0, 1, 2, 3, 130]);
        assert!(Exit::help().contains("\n  130 interrupted"));
    }
}
