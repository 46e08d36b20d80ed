//! Writes to the system's log by its socket, `/dev/log`, in the lines of RFC 3164 as glibc's syslog(3) sends them: a
//! priority, the local time, the program with its process number, the text; no host name.
//!
//! It never waits: a system log that does not keep up costs counted lines, and one that is away sends them to standard
//! error.

use std::{
    io::{self, Write},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Where syslog daemons listen.
pub(super) const SOCKET: &str = "/dev/log";

/// LOG_USER, the facility that 1.0.1 logs to.
const FACILITY_USER: u8 = 1;

/// What is left of a longer text.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// The system's log.
#[derive(Debug)]
pub(super) struct Syslog {
    /// None: the system gives no socket.
    socket: Option<UnixDatagram>,
    path: PathBuf,
    tag: String,
    lost: AtomicU64,
}

impl Syslog {
    /// A log that names its lines after the program `identifier`.
    pub(super) fn new(identifier: &str, path: impl AsRef<Path>) -> Self {
        let socket = UnixDatagram::unbound().and_then(|s| s.set_nonblocking(true).map(|()| s)).ok();
        Self {
            socket,
            path: path.as_ref().to_owned(),
            tag: format!("{identifier}[{}]", std::process::id()),
            lost: AtomicU64::new(0),
        }
    }

    fn log(&self, severity: u8, text: &str) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let sent = if lost > 0 { self.send(4, &format!("{lost} lines of this log were lost")) } else { Ok(()) };
        match sent.and_then(|()| self.send(severity, text)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let _ = self.lost.fetch_add(lost + 1, Ordering::Relaxed);
            }
            Err(_) => {
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }

    fn send(&self, severity: u8, text: &str) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let priority = FACILITY_USER * 8 + severity;
        let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
        let line = format!("<{priority}>{time} {}: {text}", self.tag);
        socket.send_to(line.as_bytes(), &self.path).map(|_| ())
    }
}

/// One line, written at once.
pub(super) struct SyslogLine<'a> {
    log: &'a Syslog,
    severity: u8,
}

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = SyslogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        SyslogLine { log: self, severity: 6 }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let severity = match *metadata.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        SyslogLine { log: self, severity }
    }
}

impl Write for SyslogLine<'_> {
    /// The formatter hands over a whole event in one write.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        // A line must not become two in the system's log.
        let one_line: String = text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end = one_line.floor_char_boundary(MAX_TEXT_BYTES);
        self.log.log(self.severity, one_line.get(..end).unwrap_or_default());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_those_of_syslog_3() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new("stenographer", &path);
        log.log(3, "a line");
        let mut bytes = [0; 200];
        let n = socket.recv(&mut bytes).unwrap();
        let line = str::from_utf8(&bytes[..n]).unwrap();
        let (head, text) = line.split_once(": ").unwrap();
        assert_eq!(text, "a line");
        // "<11>Nov  3 01:38:13 stenographer[123]": the day is padded with a space.
        let (month, rest) = head.strip_prefix("<11>").unwrap().split_at(3);
        assert!("JanFebMarAprMayJunJulAugSepOctNovDec".contains(month), "{head}");
        let (day, rest) = rest.strip_prefix(' ').unwrap().split_at(2);
        assert!((1..=31).contains(&day.trim_start().parse::<u8>().unwrap()));
        let (time, tag) = rest.trim_start().split_once(' ').unwrap();
        assert_eq!(time.split(':').filter(|p| p.len() == 2 && p.parse::<u8>().is_ok()).count(), 3);
        assert_eq!(tag, format!("stenographer[{}]", std::process::id()));
    }

    #[test]
    fn a_log_that_does_not_keep_up_never_blocks_and_is_told_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new("x", &path);
        // Far more than the socket holds (net.unix.max_dgram_qlen).
        (0..20_000).for_each(|i| log.log(6, &format!("line {i}")));
        let lost = log.lost.load(Ordering::Relaxed);
        assert!(lost > 0);
        socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 200];
        let mut received = 0;
        while socket.recv(&mut bytes).is_ok() {
            received += 1;
        }
        assert_eq!(received + lost, 20_000);
        log.log(6, "after");
        let n = socket.recv(&mut bytes).unwrap();
        assert!(str::from_utf8(&bytes[..n]).unwrap().ends_with(&format!("{lost} lines of this log were lost")));
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let log = Syslog::new("x", &path);
        let mut long = "é".repeat(MAX_TEXT_BYTES);
        long.insert(0, 'a');
        assert_eq!(log.make_writer().write(long.as_bytes()).unwrap(), long.len());
        let mut bytes = vec![0; 2 * MAX_TEXT_BYTES];
        let n = socket.recv(&mut bytes).unwrap();
        assert!(n <= MAX_TEXT_BYTES + 64 && str::from_utf8(&bytes[..n]).unwrap().ends_with('é'));
    }
}
