//! What the fuzz targets reach of filters ([`crate::fuzzing`]).

use std::{io, os::unix::net::UnixDatagram};

use super::{check, generate, program, words};
use crate::sys::{FilterInstruction, PacketSocket};

/// A filter's program, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<FilterInstruction>);

impl Program {
    /// Reads one in hexadecimal.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_hex(text: &str) -> Result<Self, String> {
        program::from_hex(text).map(Self)
    }

    /// Compiles one in words, where these are of the plain part of the language.
    ///
    /// # Errors
    /// Why they are not.
    pub fn of_words(text: &str) -> Result<Self, String> {
        words::parse(text).map(|expr| Self(generate::generate(&expr)))
    }

    /// In hexadecimal.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let digits =
            |i: &FilterInstruction| format!("{:04x}{:02x}{:02x}{:08x}", i.code, i.jump_true, i.jump_false, i.k);
        self.0.iter().map(digits).collect()
    }

    /// Its instructions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks it as a capture does.
    ///
    /// # Errors
    /// What the kernel would refuse.
    pub fn check(&self) -> Result<(), String> {
        check(&self.0)
    }

    /// Has the kernel check it, on a socket that nothing comes to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(&self) -> io::Result<()> {
        PacketSocket::of(UnixDatagram::unbound()?.into()).attach_filter(&self.0)
    }
}
