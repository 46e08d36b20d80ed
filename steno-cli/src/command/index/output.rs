//! An index file in the making: written beside its place, and put there when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use steno_index::{Built, Facts, IndexError, index_packet_file, index_packet_file_version2};

use super::super::CommandError;
use crate::{
    args::{IndexFormat, IndexOutputArgs},
    print::count,
};

/// Buffer of the file.
const BUFFER_BYTES: usize = 1 << 18;

/// The index file that the command line names.
#[derive(Debug)]
pub(super) struct Output<'a> {
    path: &'a Path,
    replace: bool,
    /// Where it is written. Removed unless it got its name.
    hidden: PathBuf,
}

impl<'a> Output<'a> {
    /// # Errors
    /// A file that is there and is not to be replaced; a name that cannot be a file's.
    pub(super) fn new(args: &'a IndexOutputArgs) -> Result<Self, CommandError> {
        let path = args.write.as_path();
        let Some(name) = path.file_name().filter(|name| *name != "-") else {
            return Err(CommandError::Usage(format!("an index goes into a file: {} is none", path.display())));
        };
        if !args.replace && path.symlink_metadata().is_ok() {
            return Err(taken(path));
        }
        // No name of a segment, hidden or not: nobody takes it for one.
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".new{}", std::process::id()));
        Ok(Self { path, replace: args.replace, hidden: path.with_file_name(hidden) })
    }

    /// Writes the index of a packet file in `format`, and gives it its name. Says what it wrote. `None`: interrupted.
    pub(super) fn write(
        self,
        (packets, packet_path): (&File, &Path),
        format: IndexFormat,
        facts: &Facts,
        interrupted: &AtomicBool,
    ) -> Result<Option<Built>, CommandError> {
        let write = |source| CommandError::Write { path: self.path.to_owned(), source };
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.hidden);
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, created.map_err(write)?);
        let mut packets = Interruptible { packets, interrupted };
        let built = match format {
            IndexFormat::Native => index_packet_file(&mut packets, facts, &mut out),
            IndexFormat::Leveldb => index_packet_file_version2(&mut packets, facts, &mut out),
        };
        if interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let built = built.map_err(|error| match error {
            IndexError::Write { source } => write(source),
            source => CommandError::Index { path: packet_path.to_owned(), source },
        })?;
        out.flush().map_err(write)?;
        out.get_ref().sync_all().map_err(write)?;
        self.publish()?;
        self.say(&built, format);
        Ok(Some(built))
    }

    fn publish(&self) -> Result<(), CommandError> {
        let write = |source| CommandError::Write { path: self.path.to_owned(), source };
        if self.replace {
            fs::rename(&self.hidden, self.path).map_err(write)?;
        } else {
            match renameat_with(CWD, &self.hidden, CWD, self.path, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => return Err(taken(self.path)),
                // A file system that cannot do that. A link never replaces anything either.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    fs::hard_link(&self.hidden, self.path).map_err(|e| match e.kind() {
                        io::ErrorKind::AlreadyExists => taken(self.path),
                        _ => write(e),
                    })?;
                }
                renamed => renamed.map_err(|e| write(e.into()))?,
            }
        }
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(write)
    }

    fn say(&self, built: &Built, format: IndexFormat) {
        let s = &built.summary;
        let (kind, more) = match format {
            IndexFormat::Native => ("native index", format!(", {}", count(s.conversations.into(), "conversation"))),
            IndexFormat::Leveldb => ("index of version 2", String::new()),
        };
        let (packets, blocks) = (count(s.packets.into(), "packet"), count(s.blocks.into(), "block"));
        eprintln!("{}: {kind} of {packets} in {blocks}{more}, {} bytes", self.path.display(), s.file_bytes);
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        // It is there only where something failed, or where the name is a second link.
        let _ = fs::remove_file(&self.hidden);
    }
}

fn taken(path: &Path) -> CommandError {
    let text = format!("{} is there already: give another name, or --replace", path.display());
    CommandError::Write { path: path.to_owned(), source: io::Error::new(io::ErrorKind::AlreadyExists, text) }
}

/// A packet file whose reading ends when a signal comes.
struct Interruptible<'a> {
    packets: &'a File,
    interrupted: &'a AtomicBool,
}

impl Read for Interruptible<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.interrupted.load(Ordering::Relaxed) {
            // Not `Interrupted`: that would be tried again.
            return Err(io::Error::other("interrupted"));
        }
        self.packets.read(bytes)
    }
}
