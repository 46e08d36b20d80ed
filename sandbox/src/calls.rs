//! System calls as data, and the program that the kernel runs at each call (seccomp(2)).

use std::{collections::BTreeMap, io};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter, apply_filter_all_threads,
};

/// A system call, and when it may be made.
#[derive(Debug)]
pub struct Call {
    /// Its number on this machine.
    pub number: i64,
    /// With which arguments.
    pub only: Only,
    /// Its name, for those who read the table.
    pub name: &'static str,
    /// What for.
    pub why: &'static str,
}

/// Arguments with which a call may be made. They are counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Only {
    /// Whatever they are.
    Any,
    /// The argument is one of these, by its lower 32 bits.
    OneOf(u8, &'static [u64]),
    /// None of these bits is set in the argument.
    Without(u8, u64),
    /// The argument is all zeros: a null pointer.
    Null(u8),
    /// The argument is the number of this process.
    Own(u8),
}

/// `call!(name, "why")`, or `call!(name, Only, "why")`: an entry of a table, by the name that libc has for its number.
#[macro_export]
macro_rules! call {
    ($name:ident, $why:literal) => {
        $crate::call!($name, $crate::Only::Any, $why)
    };
    ($name:ident, $only:expr, $why:literal) => {
        $crate::Call { number: $crate::libc::$name as i64, only: $only, name: stringify!($name), why: $why }
    };
}

/// What becomes of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// They are made, and the kernel's log has them.
    Log,
    /// They end the process, by SIGSYS.
    Kill,
    /// They fail with this error number.
    Fail(i32),
}

impl Otherwise {
    fn action(self) -> SeccompAction {
        match self {
            Self::Log => SeccompAction::Log,
            Self::Kill => SeccompAction::KillProcess,
            Self::Fail(errno) => SeccompAction::Errno(errno.unsigned_abs()),
        }
    }
}

/// A program of rules about calls.
#[derive(Debug)]
pub struct Filter(BpfProgram);

impl Filter {
    /// Lets `calls` pass, and does `otherwise` for every other one, those of a foreign instruction set included.
    ///
    /// # Errors
    /// Where there are no such programs for this processor.
    pub fn allow(calls: impl Iterator<Item = &'static Call>, otherwise: Otherwise) -> io::Result<Self> {
        program(calls, SeccompAction::Allow, otherwise.action()).map(Self).map_err(io::Error::other)
    }

    /// Lets all pass but `calls`, for which it does `otherwise`.
    ///
    /// # Errors
    /// As [`Self::allow`].
    pub fn refuse(calls: impl Iterator<Item = &'static Call>, otherwise: Otherwise) -> io::Result<Self> {
        program(calls, otherwise.action(), SeccompAction::Allow).map(Self).map_err(io::Error::other)
    }

    /// How many instructions it has.
    pub fn instructions(&self) -> usize {
        self.0.len()
    }

    /// The calling thread, and those that it starts, are under it from now on. Of several the strictest counts.
    ///
    /// # Errors
    /// Where the kernel refuses, or has no such filters.
    pub fn apply(&self) -> io::Result<()> {
        apply_filter(&self.0).map_err(words)
    }

    /// All threads of the process are under it from now on.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_to_all_threads(&self) -> io::Result<()> {
        apply_filter_all_threads(&self.0).map_err(words)
    }
}

fn words(error: seccompiler::Error) -> io::Error {
    match error {
        seccompiler::Error::Prctl(e) | seccompiler::Error::Seccomp(e) => e,
        other => io::Error::other(other),
    }
}

fn program(
    calls: impl Iterator<Item = &'static Call>,
    then: SeccompAction,
    otherwise: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut whatever = Vec::new();
    for call in calls {
        let of_call = rules.entry(call.number).or_default();
        match conditions(call.only)? {
            Some(more) => of_call.extend(more),
            None => whatever.push(call.number),
        }
    }
    // No rule is every rule; a call of several lists may be made as any of them says.
    for number in whatever {
        let _before = rules.insert(number, Vec::new());
    }
    SeccompFilter::new(rules, otherwise, then, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Each rule is one way; `None` where the arguments do not matter.
fn conditions(only: Only) -> Result<Option<Vec<SeccompRule>>, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let rule =
        |argument, len, compare, value| SeccompRule::new(vec![SeccompCondition::new(argument, len, compare, value)?]);
    Ok(Some(match only {
        Only::Any => return Ok(None),
        Only::OneOf(argument, values) => {
            values.iter().map(|value| rule(argument, Dword, SeccompCmpOp::Eq, *value)).collect::<Result<_, _>>()?
        }
        Only::Without(argument, bits) => vec![rule(argument, Qword, SeccompCmpOp::MaskedEq(bits), 0)?],
        Only::Null(argument) => vec![rule(argument, Qword, SeccompCmpOp::Eq, 0)?],
        Only::Own(argument) => vec![rule(argument, Dword, SeccompCmpOp::Eq, std::process::id().into())?],
    }))
}
