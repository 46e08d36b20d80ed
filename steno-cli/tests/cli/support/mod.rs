//! What the tests of the binary share: running it, and reading capture files back.

pub(crate) mod captures;

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use captures::Sample;
use steno_cli::import::reader::{CaptureReader, Record};

/// The binary.
pub(crate) const STENO: &str = env!("CARGO_BIN_EXE_steno");

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Runs `steno` with these arguments to its end.
pub(crate) fn steno<S: AsRef<OsStr>>(args: &[S]) -> Run {
    Command::new(STENO).args(args).output().unwrap().into()
}

/// A store in a directory that goes away with it.
pub(crate) struct TestStore {
    pub(crate) dir: tempfile::TempDir,
}

impl TestStore {
    /// An empty directory, and a store in it that does not exist yet.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A store that holds these capture files.
    pub(crate) fn of(files: &[Vec<u8>]) -> Self {
        let store = Self::new();
        for (i, file) in files.iter().enumerate() {
            let run = store.import(&store.file(&format!("{i}.pcap"), file));
            assert_eq!(run.status, Some(0), "{run:?}");
        }
        store
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Writes a file beside the store.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn import(&self, file: &Path) -> Run {
        steno(&[OsStr::new("import"), file.as_os_str(), OsStr::new("--store"), self.path().as_os_str()])
    }

    /// Runs a command on the store.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        let [command, rest @ ..] = args else { panic!("no command") };
        let store = self.path();
        let mut words = vec![OsStr::new(command), OsStr::new("--store"), store.as_os_str()];
        words.extend(rest.iter().map(OsStr::new));
        steno(&words)
    }

    /// Reads the packets of a query through `-w FILE`.
    pub(crate) fn read(&self, query: &str, more: &[&str]) -> (Run, Vec<Sample>) {
        let path = self.dir.path().join("answer");
        let path = path.to_str().unwrap();
        let run = self.run(&[&["read", query, "-w", path], more].concat());
        let packets = if Path::new(path).exists() { packets(File::open(path).unwrap()) } else { Vec::new() };
        (run, packets)
    }

    /// Names of the files in one of its directories.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path().join(dir))
            .map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }
}

/// The packets of a capture file, which must be whole.
pub(crate) fn packets(file: impl Read) -> Vec<Sample> {
    let mut reader = CaptureReader::open(file).unwrap();
    let mut found = Vec::new();
    while let Some(record) = reader.next_record().unwrap() {
        let Record::Packet(packet) = record else { panic!("a packet that is too large") };
        found.push(Sample { ns: packet.time.unwrap().as_ns(), wire_len: packet.wire_len, data: packet.data.to_vec() });
    }
    found
}

/// Queries that match every packet.
pub(crate) const ALL: &str = "after 1970-01-01T00:00:00Z";
