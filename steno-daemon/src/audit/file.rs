//! The file that lines are added to (`docs/format/audit.md`, sections 3 and 5).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use steno_proto::audit::{Digest, Event, Fragment, Head, Missing, Open, OpenedAs, Why, read, seal};

/// Who may read it: the daemon's user, and its group.
const MODE: u32 = 0o640;
/// Bytes at the end of a file in which its last line is looked for first.
const TAIL_BYTES: u64 = 256 << 10;

/// A line that is to be written.
pub(super) struct Due {
    /// When, as RFC 3339.
    pub(super) time: String,
    pub(super) event: Event,
}

/// What a file ends with.
#[derive(Debug, Default)]
struct Tail {
    /// The last line.
    head: Option<Head>,
    /// What follows it, and is none.
    torn: Vec<Fragment>,
    damaged: Vec<Fragment>,
    /// Whether the last row has its end.
    is_ended: bool,
}

/// The file, and where the chain has got to.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    /// Where the head stands beside it; none where that cannot be written.
    beside: Option<File>,
    head: Head,
    /// What the next line has to tell of.
    torn: Vec<Fragment>,
    damaged: Vec<Fragment>,
    missing: Option<Missing>,
    is_ended: bool,
    is_new: bool,
}

impl AuditFile {
    /// Opens the file at `path`, or makes it, and finds out where its chain goes on: after `written`, where this process has written
    /// that far, else after what stands beside the file.
    pub(super) fn open(path: &Path, written: Option<Head>) -> io::Result<Self> {
        let (file, is_new) = open(path)?;
        let tail = if is_new { Tail { is_ended: true, ..Tail::default() } } else { tail(&file)? };
        let beside_path = beside(path);
        let known = written.or_else(|| fs::read_to_string(&beside_path).ok()?.parse().ok());
        let (head, missing) = match (tail.head, known) {
            // While this process ran the file was deleted, or moved where it could not be followed. While no daemon did, it may have
            // been moved as well as deleted.
            (None, Some(known)) if is_new => (known, written),
            (None, known) => (Head::default(), known),
            (Some(head), Some(known)) => {
                // What stands beside the file may be behind it; what this process has written is all that there is to be.
                let is_there = known == head || (written.is_none() && known.line < head.line);
                (head, (!is_there).then_some(known))
            }
            (Some(head), None) => (head, None),
        };
        let Tail { torn, damaged, is_ended, .. } = tail;
        let mut beside = OpenOptions::new();
        let beside = beside.write(true).create(true).truncate(false).mode(MODE).open(beside_path).ok();
        let (path, missing) = (path.to_owned(), missing.map(Missing::from));
        Ok(Self { path, file, beside, head, torn, damaged, missing, is_ended, is_new })
    }

    /// Where the chain has got to.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// What a line that says that the log is written from here on has to tell.
    pub(super) fn opening(&self, why: Why) -> Open {
        Open {
            file: if self.is_new { OpenedAs::New } else { OpenedAs::Same },
            why,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            torn: self.torn.clone(),
            damaged: self.damaged.clone(),
            missing: self.missing,
            lost: None,
        }
    }

    /// Whether no name leads to it any more.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Goes on with what is at the path now, where that is another file. Whether it is.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let (file, is_new) = open(&self.path)?;
        let (before, now) = (self.file.metadata()?, file.metadata()?);
        if (before.dev(), before.ino()) == (now.dev(), now.ino()) {
            return Ok(false);
        }
        if !is_new {
            let tail = tail(&file)?;
            if tail.head != Some(self.head) || !tail.is_ended {
                return Err(io::Error::other("it holds something else than the end of this log"));
            }
        }
        (self.file, self.is_new, self.is_ended) = (file, is_new, true);
        Ok(true)
    }

    /// Adds lines and has the disk keep them. The first of them is to be an [`Open`] where the last time failed.
    ///
    /// Gives how many are kept, and why not all.
    pub(super) fn append(&mut self, lines: &[Due]) -> (usize, Option<io::Error>) {
        let mut bytes = Vec::new();
        if !self.is_ended {
            bytes.push(b'\n');
        }
        let begins = bytes.len();
        let (mut head, mut ends) = (self.head, Vec::new());
        for Due { time, event } in lines {
            head = seal(head, time, event, &mut bytes);
            ends.push((bytes.len(), head));
        }
        let (written, failed) = self.write(&bytes);
        // One that lacks nothing but the byte that ends it is all there.
        let whole = ends.iter().take_while(|(end, _)| end - 1 <= written).count();
        self.take_in(&bytes, written, begins, ends.get(..whole).unwrap_or_default());
        if let Some(e) = failed {
            // Those that did come are kept if they can be.
            let kept = if whole > 0 && self.file.sync_data().is_ok() { whole } else { 0 };
            return (kept, Some(e));
        }
        if let Err(e) = self.file.sync_data() {
            return (0, Some(e));
        }
        self.put_beside();
        (whole, None)
    }

    /// Writes as much as goes.
    fn write(&mut self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (written, Some(e)),
            }
        }
        (written, None)
    }

    /// What is in the file after `written` of `bytes`, whose lines begin at `begins`, and of which `whole` are there.
    fn take_in(&mut self, bytes: &[u8], written: usize, begins: usize, whole: &[(usize, Head)]) {
        let mut at = begins;
        if let Some((end, head)) = whole.last() {
            (self.head, self.is_new) = (*head, false);
            self.torn.clear();
            self.damaged.clear();
            self.missing = None;
            at = *end;
        }
        match bytes.get(at..written).filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                self.torn.push(Fragment { bytes: rest.len() as u64, sha256: Digest::of(rest) });
                (self.is_ended, self.is_new) = (false, false);
            }
            None if written > 0 => self.is_ended = written >= at,
            None => {}
        }
    }

    /// Writes down beside the file where it has got to: after the lines, so that it never tells of one that may not be there.
    fn put_beside(&self) {
        let text = format!("{}\n", self.head);
        // Numbers grow, so that nothing of the text before is left. Without it the log is as good, but for a cut at its end.
        let _ = self.beside.as_ref().map(|beside| beside.write_all_at(text.as_bytes(), 0));
    }
}

/// The file in which the head stands.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

/// Opens a file to add to it; whether there is nothing in it.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).mode(MODE);
    let file = match options.clone().create_new(true).open(path) {
        Ok(made) => {
            // Whatever the umask of a service is.
            made.set_permissions(Permissions::from_mode(MODE))?;
            made
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => keep_from_others(options.open(path)?)?,
        Err(e) => return Err(e),
    };
    let is_new = file.metadata()?.len() == 0;
    if is_new && let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // That the file is there is to survive as its lines do.
        File::open(directory)?.sync_all()?;
    }
    Ok((file, is_new))
}

/// Takes from everybody what everybody may do with a file that somebody else has made.
fn keep_from_others(file: File) -> io::Result<File> {
    let mode = file.metadata()?.mode();
    if mode & 0o007 != 0 {
        let refused = |e| io::Error::other(format!("everybody may open it, which cannot be taken back: {e}"));
        file.set_permissions(Permissions::from_mode(mode & 0o770)).map_err(refused)?;
    }
    Ok(file)
}

/// Finds the last line of a file, and what follows it.
fn tail(file: &File) -> io::Result<Tail> {
    let len = file.metadata()?.len();
    let mut size = TAIL_BYTES.min(len);
    loop {
        let from = len - size;
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, from)?;
        let found = last_line(&bytes, from > 0);
        if found.head.is_some() || from == 0 {
            return Ok(found);
        }
        size = size.saturating_mul(4).min(len);
    }
}

/// The last line in the end of a file, whose first row is not whole where it `is_part`.
fn last_line(bytes: &[u8], is_part: bool) -> Tail {
    let mut rows: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let is_ended = rows.last().is_some_and(|row| row.is_empty());
    let mut tail = Tail { is_ended, ..Tail::default() };
    if is_ended {
        let _empty = rows.pop();
    }
    let first = usize::from(is_part);
    for (number, row) in rows.iter().enumerate().skip(first).rev() {
        if let Ok(line) = read(row) {
            tail.head = Some(line.head);
            break;
        }
        let fragment = Fragment { bytes: row.len() as u64, sha256: Digest::of(row) };
        // What a write was broken off in has no end.
        let is_torn = !is_ended && number + 1 == rows.len();
        let of = if is_torn { &mut tail.torn } else { &mut tail.damaged };
        of.insert(0, fragment);
    }
    tail
}
