//! An entry of the ledger, and its form in the file.

use std::{
    fmt::{self, Write as _},
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use steno_core::{SegmentId, crc32c};

/// The file, in the index directory of the first thread. Its name is none of a segment's.
pub(super) const FILE_NAME: &str = ".ledger";

/// The first line. A file of another version is not read.
const HEAD: &str = "steno-ledger 1";
/// No entry of some thousand threads is longer.
const BYTES_MAX: u64 = 1 << 20;

/// Whose count it is: that of an interface goes on for as long as nothing of this changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// This start of the machine (random(4), `boot_id`).
    pub(crate) boot: String,
    /// The network namespace, by its inode.
    pub(crate) namespace: u64,
    /// The index of the interface.
    pub(crate) interface: u32,
}

impl Identity {
    /// Of an interface of the caller's network namespace.
    pub(crate) fn of(interface: u32) -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { boot, namespace: fs::metadata("/proc/self/ns/net")?.ino(), interface })
    }
}

/// What a capture knows of the packets of its interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) identity: Identity,
    /// What the interface has counted, less what the sockets of the capture received.
    pub(crate) beyond: i64,
    /// Packets of before the capture that it knows not to be captured, and that no published segment tells of yet.
    pub(crate) owed: u64,
    /// For each thread, up to which segment its packets are accounted for, and how many those are.
    pub(crate) threads: Vec<(SegmentId, u64)>,
}

impl Entry {
    /// The last entry in the ledger of these directories. `None` where there is none that holds.
    pub(crate) fn read(index_dir: &Path) -> Option<Self> {
        let path = index_dir.join(FILE_NAME);
        let len = fs::metadata(&path).ok()?.len();
        (len <= BYTES_MAX).then(|| fs::read_to_string(&path).ok())?.and_then(|text| Self::parse(&text))
    }

    /// Removes the ledger of these directories: it would not be true any more.
    pub(crate) fn forget(index_dir: &Path) -> io::Result<()> {
        match fs::remove_file(index_dir.join(FILE_NAME)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.rsplit_once("crc32c ")?;
        if u32::from_str_radix(sum.strip_suffix('\n')?, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        // A line ends with a line feed and nothing before it.
        let mut lines = body.strip_suffix('\n')?.split('\n');
        let mut next = |word: &str| lines.next()?.strip_prefix(word)?.strip_prefix(' ').map(str::to_owned);
        let version = next("steno-ledger")?;
        let identity = Identity {
            boot: next("boot")?,
            namespace: next("namespace")?.parse().ok()?,
            interface: next("interface")?.parse().ok()?,
        };
        let (beyond, owed) = (next("beyond")?.parse().ok()?, next("owed")?.parse().ok()?);
        let thread = |line: &str| {
            let (id, packets) = line.strip_prefix("thread ")?.split_once(' ')?;
            Some((id.parse().ok()?, packets.parse().ok()?))
        };
        let threads = lines.map(thread).collect::<Option<_>>()?;
        (HEAD.strip_prefix("steno-ledger ") == Some(version.as_str())).then_some(Self {
            identity,
            beyond,
            owed,
            threads,
        })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { boot, namespace, interface } = &self.identity;
        let mut text = format!(
            "{HEAD}\nboot {boot}\nnamespace {namespace}\ninterface {interface}\nbeyond {}\nowed {}\n",
            self.beyond, self.owed
        );
        for (id, packets) in &self.threads {
            writeln!(text, "thread {id} {packets}")?;
        }
        writeln!(f, "{text}crc32c {:08x}", crc32c::crc32c(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            identity: Identity { boot: "0af1-3".to_owned(), namespace: 4_026_531_840, interface: 7 },
            beyond: -12,
            owed: 3,
            threads: vec![(SegmentId(1_795_395_475_661_823), 40), (SegmentId(1_795_395_475_661_824), 0)],
        }
    }

    #[test]
    fn an_entry_round_trips_and_is_a_text_of_lines() {
        let text = entry().to_string();
        assert_eq!(Entry::parse(&text), Some(entry()));
        assert!(text.starts_with(
            "steno-ledger 1\nboot 0af1-3\nnamespace 4026531840\ninterface 7\nbeyond -12\nowed 3\nthread 1795395475661823 40\n"
        ));
        let without_threads = Entry { threads: Vec::new(), ..entry() };
        assert_eq!(Entry::parse(&without_threads.to_string()), Some(without_threads));
    }

    /// Found by fuzzing: a carriage return at the end of a line was lost with each reading.
    #[test]
    fn a_line_is_read_to_its_end_and_has_one() {
        let mut odd = entry();
        odd.identity.boot.push_str("\r\r");
        assert_eq!(Entry::parse(&odd.to_string()), Some(odd));
        let text = entry().to_string();
        let body = text.rsplit_once("\ncrc32c ").unwrap().0;
        assert_eq!(Entry::parse(&format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()))), None);
    }

    #[test]
    fn a_text_that_is_cut_changed_or_of_another_version_is_none() {
        let text = entry().to_string();
        for len in 0..text.len() {
            assert_eq!(Entry::parse(&text[..len]), None, "{len} bytes");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(Entry::parse(&changed), Some(entry()), "byte {at}");
        }
        let signed = |body: &str| format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()));
        let body = text.rsplit_once("crc32c ").unwrap().0;
        assert_eq!(Entry::parse(&signed(body)), Some(entry()));
        for (from, to) in [("ledger 1", "ledger 2"), ("owed", "owes"), ("thread 1795395475661823 40", "thread x 40")] {
            assert_eq!(Entry::parse(&signed(&body.replace(from, to))), None, "{to}");
        }
    }

    #[test]
    fn a_file_is_read_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Entry::read(dir.path()), None);
        Entry::forget(dir.path()).unwrap();
        fs::write(dir.path().join(FILE_NAME), entry().to_string()).unwrap();
        assert_eq!(Entry::read(dir.path()), Some(entry()));
        Entry::forget(dir.path()).unwrap();
        assert_eq!(Entry::read(dir.path()), None);
    }
}
