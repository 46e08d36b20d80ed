//! Where a capture file goes: into a named file, or to standard output.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::CommandError;

/// Whether more is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// It is there.
    There,
    /// Standard output has no reader any more.
    Gone,
}

/// The place that a capture file is written to, record by whole record.
pub(super) enum Output {
    /// Standard output, without the buffer of lines that the library has before it: that looks for their ends, and writes what
    /// comes after the last one apart.
    Stdout(File),
    /// A file.
    File {
        /// The file.
        file: File,
        /// Its name.
        path: PathBuf,
        /// Whether it was there before.
        existed: bool,
        /// Bytes written, up to the end of a record.
        whole_bytes: u64,
    },
}

impl Output {
    /// Opens the file, emptying it where it exists; standard output for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, CommandError> {
        if path.as_os_str() == "-" {
            let own = io::stdout().as_fd().try_clone_to_owned();
            return own.map(|fd| Self::Stdout(File::from(fd))).map_err(CommandError::Stdout);
        }
        let existed = path.exists();
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = opened.map_err(|source| CommandError::Write { path: path.to_owned(), source })?;
        Ok(Self::File { file, path: path.to_owned(), existed, whole_bytes: 0 })
    }

    /// Writes whole records. Where a file takes only a part of them, it is cut behind the last record before, so that it
    /// stays a capture that can be read; one that got none is removed, unless it was there before.
    pub(super) fn write(&mut self, records: &[u8]) -> Result<Reader, CommandError> {
        match self {
            Self::Stdout(out) => match out.write_all(records) {
                Ok(()) => Ok(Reader::There),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
                Err(e) => Err(CommandError::Stdout(e)),
            },
            Self::File { file, path, existed, whole_bytes } => {
                file.write_all(records).map_err(|source| {
                    // A pipe or a device has no length to set; there is nothing more to be done for it.
                    let _ = file.set_len(*whole_bytes);
                    if *whole_bytes == 0 && !*existed {
                        let _ = fs::remove_file(&*path);
                    }
                    CommandError::Cut { path: path.clone(), whole_bytes: *whole_bytes, source }
                })?;
                *whole_bytes += records.len() as u64;
                Ok(Reader::There)
            }
        }
    }
}
