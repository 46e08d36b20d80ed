//! Where a capture file goes: into a named file, or to standard output.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
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

    /// Whether it is a file on a disk, which takes what is written when it is written; not so a pipe, a device or a terminal.
    pub(super) fn is_regular_file(&self) -> bool {
        let (Self::Stdout(file) | Self::File { file, .. }) = self;
        file.metadata().is_ok_and(|metadata| metadata.is_file())
    }

    /// Writes chunks of whole records. Where a file does not take them all, it is cut behind the last chunk that it took, so that it
    /// stays a capture that can be read; one that got none is removed, unless it was there before.
    pub(super) fn write(&mut self, chunks: &[impl AsRef<[u8]>]) -> Result<Reader, CommandError> {
        match self {
            Self::Stdout(out) => match write_all(out, chunks).1 {
                Ok(()) => Ok(Reader::There),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
                Err(e) => Err(CommandError::Stdout(e)),
            },
            Self::File { file, path, existed, whole_bytes } => {
                let (taken, written) = write_all(file, chunks);
                *whole_bytes += taken;
                written.map_err(|source| {
                    // A pipe or a device has no length to set; there is nothing more to be done for it.
                    let _ = file.set_len(*whole_bytes);
                    if *whole_bytes == 0 && !*existed {
                        let _ = fs::remove_file(&*path);
                    }
                    CommandError::Cut { path: path.clone(), whole_bytes: *whole_bytes, source }
                })?;
                Ok(Reader::There)
            }
        }
    }
}

/// Writes all chunks with as few calls as they take. Gives the bytes of those that were taken whole.
fn write_all(file: &mut impl Write, chunks: &[impl AsRef<[u8]>]) -> (u64, io::Result<()>) {
    let mut slices: Vec<_> = chunks.iter().map(|chunk| IoSlice::new(chunk.as_ref())).collect();
    let (mut left, mut taken) = (slices.as_mut_slice(), 0);
    // Those without bytes take no call.
    IoSlice::advance_slices(&mut left, 0);
    let written = loop {
        if left.is_empty() {
            break Ok(());
        }
        match file.write_vectored(left) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                taken += bytes;
                IoSlice::advance_slices(&mut left, bytes);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    let ends = chunks.iter().scan(0, |end, chunk| {
        *end += chunk.as_ref().len();
        Some(*end)
    });
    (ends.take_while(|&end| end <= taken).last().unwrap_or(0) as u64, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so much a call, and so much in all.
    struct Narrow {
        taken: Vec<u8>,
        a_call: usize,
        in_all: usize,
        interrupted: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let left = self.in_all - self.taken.len();
            if left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let before = self.taken.len();
            self.taken.extend(slices.iter().flat_map(|slice| slice.iter()).take(left.min(self.a_call)));
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn chunks_are_written_in_order_and_those_counted_that_are_whole() {
        let chunks = [vec![1; 5], Vec::new(), vec![2; 7], vec![3; 1], vec![4; 9]];
        let all = chunks.concat();
        for a_call in 1..=all.len() + 1 {
            for in_all in 0..=all.len() {
                let mut narrow = Narrow { taken: Vec::new(), a_call, in_all, interrupted: false };
                let (whole, written) = write_all(&mut narrow, &chunks);
                assert!(narrow.taken == all[..in_all], "{a_call} a call, {in_all} in all");
                let expected = [0, 5, 12, 13, 22].into_iter().filter(|&end| end <= in_all).max();
                assert_eq!(usize::try_from(whole).ok(), expected);
                assert_eq!(
                    written.map_err(|e| e.kind()),
                    if in_all == all.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull) }
                );
            }
        }
        assert_eq!(write_all(&mut io::sink(), &[Vec::new()]).0, 0);
    }
}
