//! Which account a capture process writes as, so that directories made for it are its own.
//!
//! A stenotype that is started as root becomes another user once its sockets are open: that of its `--uid` and `--gid`, or
//! else `nobody`, in 1.0.1 as in ours.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, chown},
    path::Path,
};

/// The account to give new directories to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// None: whoever makes them.
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Account {
    /// The account of a capture process that this process starts with `flags`. A name that is not known here is left for
    /// the capture process to complain of.
    pub(super) fn of_capture(flags: &[String]) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self { uid: None, gid: None };
        }
        let number = |flag: &str, default: &str, table: &str| {
            let name = value(flags, flag).unwrap_or(default);
            name.parse().ok().or_else(|| find(&fs::read_to_string(table).ok()?, name))
        };
        Self { uid: number("uid", "nobody", "/etc/passwd"), gid: number("gid", "nogroup", "/etc/group") }
    }

    /// Whether it is not the one of this process.
    pub(super) fn is_another_user(self) -> bool {
        self.uid.is_some_and(|uid| uid != rustix::process::geteuid().as_raw())
    }

    /// Makes `path` for the account alone. Parents that are missing too may be passed through, and stay the maker's.
    pub(super) fn make_directory(self, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
        }
        DirBuilder::new().mode(0o700).create(path)?;
        chown(path, self.uid, self.gid).inspect_err(|_| {
            let _ = fs::remove_dir(path);
        })
    }
}

/// The value of `--name=value` or `--name value`; the last one counts.
fn value<'a>(flags: &'a [String], name: &str) -> Option<&'a str> {
    let long = format!("--{name}");
    let mut value = None;
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        match flag.strip_prefix(&long) {
            Some("") => value = flags.next().map(String::as_str).or(value),
            Some(rest) => value = rest.strip_prefix('=').or(value),
            None => {}
        }
    }
    value
}

/// The number behind a name, in a table such as passwd(5) or group(5): the third field of the name's line.
fn find(table: &str, name: &str) -> Option<u32> {
    let mut lines = table.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use steno_core::testkit::need;

    use super::*;

    fn flags(flags: &[&str]) -> Vec<String> {
        flags.iter().map(|f| (*f).to_owned()).collect()
    }

    #[test]
    fn the_last_value_of_a_flag_counts() {
        assert_eq!(value(&flags(&["-v", "--uid=a", "--uid", "b", "--uidx=c"]), "uid"), Some("b"));
        assert_eq!(value(&flags(&["--uid=a", "--uid"]), "uid"), Some("a"));
        assert_eq!(value(&flags(&["--gid=7", "uid=8"]), "uid"), None);
    }

    #[test]
    fn names_are_found_in_the_tables() {
        let table = "root:x:0:0:root:/root:/bin/bash\nrooty:x:9:9::/:\nbroken\nnobody:*:65534:65534::/:\n";
        assert_eq!((find(table, "root"), find(table, "nobody")), (Some(0), Some(65_534)));
        assert_eq!((find(table, "rooty"), find(table, "broken"), find(table, "none")), (Some(9), None, None));
    }

    #[test]
    fn directories_made_by_root_belong_to_the_capture_process() {
        if !need(rustix::process::geteuid().is_root(), "root") {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let owner = |flags: &[String], name: &str| {
            let path = root.path().join("parent").join(name);
            Account::of_capture(flags).make_directory(&path).unwrap();
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        assert_eq!(owner(&flags(&["--uid=root", "--gid=0"]), "a"), (0, 0, 0o700));
        assert_eq!(owner(&flags(&["--uid=12", "--gid", "13"]), "b"), (12, 13, 0o700));
        let nobody = find(&fs::read_to_string("/etc/passwd").unwrap(), "nobody").unwrap();
        assert_eq!(owner(&[], "c").0, nobody);
        assert_eq!(fs::metadata(root.path().join("parent")).unwrap().mode() & 0o777, 0o711);
    }
}
