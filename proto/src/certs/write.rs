//! Puts a file in its place whole, with the mode that it is to have from its first byte on.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use super::CertError;

/// A file that everyone may read.
pub(super) const PUBLIC: u32 = 0o644;
/// A key that its owner alone may read.
pub(super) const SECRET: u32 = 0o600;
/// A key that a group may read: who is in it may query the sensor, as with stenographer 1.0.1.
pub(super) const GROUP: u32 = 0o640;

/// Writes `text` to `path` by way of a hidden file beside it. What is there already is never replaced. The mode is what it
/// says, whatever the umask is.
pub(super) fn file(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    put(path, text, mode, rename_to_new)
}

/// The same, in the place of what is there, if anything is: a reader finds the one or the other, and never a part.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    put(path, text, mode, |from, to| fs::rename(from, to))
}

fn put(
    path: &Path,
    text: &str,
    mode: u32,
    rename: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), CertError> {
    let failed = |source| CertError::Write { path: path.to_owned(), source };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("cert");
    let hidden = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&hidden) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let open = OpenOptions::new().write(true).create_new(true).mode(mode & SECRET).open(&hidden);
    let written = open.and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        rename(&hidden, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => CertError::Exists { path: path.to_owned() },
        _ => failed(e),
    })
}

/// Gives `from` the name `to`, which must be nobody's. rename(2) would take it from another file.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => fs::remove_file(from),
        // A file system without hard links.
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists && !to.exists() => fs::rename(from, to),
        Err(e) => {
            fs::remove_file(from)?;
            Err(e)
        }
    }
}

/// Gives a file, if it is there, the name `NAME.old`.
pub(super) fn set_aside(path: &Path) -> Result<(), CertError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("cert");
    match fs::rename(path, path.with_file_name(format!("{name}.old"))) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CertError::Write { path: path.to_owned(), source: e }),
        _ => Ok(()),
    }
}

/// Makes the directory `path` and those above it, where they are missing.
pub(super) fn directory(path: &Path) -> Result<(), CertError> {
    made(path, 0o755)
}

/// Makes the directory `path`, for its owner alone, unless it is there.
pub(super) fn own_directory(path: &Path) -> Result<(), CertError> {
    made(path, 0o700)
}

fn made(path: &Path, mode: u32) -> Result<(), CertError> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    made.map_err(|source| CertError::Write { path: path.to_owned(), source })
}

/// Holds the directory `path` for one who makes or takes back certificates, until it is dropped: two at once would each
/// write what the other does not know.
pub(super) fn lock(path: &Path) -> Result<File, CertError> {
    let locked = File::open(path).and_then(|directory| directory.lock().map(|()| directory));
    locked.map_err(|source| CertError::Write { path: path.to_owned(), source })
}
