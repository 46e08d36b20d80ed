//! `--filter`: a classic BPF program that the kernel runs on each packet before it gets into the ring.
//!
//! [`Filter::read`] takes it as a program in hexadecimal, or in words: those of the plain part of pcap-filter(7) are read
//! (`words`) and compiled (`generate`) here, all others by tcpdump. [`check`] tells in words what the kernel would refuse
//! with a bare EINVAL.

mod compile;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod generate;
mod program;
#[cfg(test)]
mod tests;
mod words;

pub(crate) use program::check;

use crate::{CaptureError, sys::FilterInstruction};

/// A filter as it was given, and its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) text: String,
    pub(crate) program: Vec<FilterInstruction>,
}

impl Filter {
    /// Reads a filter of either spelling; `interface` is what it is for. Text that is all hexadecimal digits and at least
    /// as long as an instruction is a program: words need spaces, or are shorter.
    ///
    /// # Errors
    /// [`CaptureError::Filter`].
    pub(crate) fn read(text: &str, interface: &str) -> Result<Self, CaptureError> {
        let is_program = text.len() >= program::DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
        let program = if is_program { program::from_hex(text) } else { compile::compile(text, interface) };
        let program = program.and_then(|program| check(&program).map(|()| program));
        let program = program.map_err(|why| CaptureError::Filter { text: text.to_owned(), why })?;
        Ok(Self { text: text.to_owned(), program })
    }
}

/// The program that lets nothing in.
pub(crate) const NOTHING: [FilterInstruction; 1] =
    [FilterInstruction { code: program::RETURN_CONSTANT, jump_true: 0, jump_false: 0, k: 0 }];
