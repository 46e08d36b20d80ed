//! Standard output, which may go away.

use std::io::{self, Write as _};

use super::CommandError;
use crate::exit::Exit;

/// Writes all of it.
pub(super) fn to_stdout(bytes: &[u8]) -> Result<Exit, CommandError> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Stdout(e)),
        _ => Ok(Exit::Done),
    }
}
