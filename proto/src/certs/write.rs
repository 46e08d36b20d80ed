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
        rename_to_new(&hidden, path)?;
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

/// Makes the directory `path` and those above it, where they are missing.
pub(super) fn directory(path: &Path) -> Result<(), CertError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| CertError::Write { path: path.to_owned(), source })
}
