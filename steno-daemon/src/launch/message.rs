//! What is said between the two, one datagram each: words, numbers, and descriptors beside them.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    str::SplitAsciiWhitespace,
};

/// The longest datagram: as long as a command line gets.
pub(super) const MAX_BYTES: usize = 128 << 10;

/// What the launcher is told before it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A command line, which has the next number.
    Command(Vec<OsString>),
    /// A process that is there, by the descriptor beside it. It has the next number, too.
    Process,
    /// That was all.
    Serve,
}

/// What it is asked for afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// This command is to be started, with the two descriptors as its standard input, and as its output.
    Start(u32),
    /// This process is to be asked to end.
    Terminate(u32),
    /// It is to be killed.
    Kill(u32),
    /// It has ended, and its status is wanted. Its number means nothing from then on.
    Reap(u32),
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It serves.
    Serving,
    /// A process, by its number here and the system's, with its pidfd beside it.
    Started {
        /// By which it is asked for.
        number: u32,
        /// The system's.
        pid: i32,
    },
    /// It was done.
    Done,
    /// A process ended with this status, as wait(2) has it.
    Ended(i32),
    /// It was not done, by this error number.
    Failed(i32),
}

const COMMAND: &[u8] = b"command\0";

impl Told {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Command(line) => {
                let line: Vec<&[u8]> = line.iter().map(|argument| argument.as_bytes()).collect();
                [COMMAND, &line.join(&0)].concat()
            }
            Self::Process => b"process".to_vec(),
            Self::Serve => b"serve".to_vec(),
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match (bytes, bytes.strip_prefix(COMMAND)) {
            (_, Some(line)) => {
                let line = line.split(|byte| *byte == 0).map(|argument| OsStr::from_bytes(argument).to_owned());
                Some(Self::Command(line.collect()))
            }
            (b"process", _) => Some(Self::Process),
            (b"serve", _) => Some(Self::Serve),
            _ => None,
        }
    }

    /// Whether the command line arrives as it is.
    pub(super) fn is_whole(line: &[OsString]) -> bool {
        !line.is_empty() && line.iter().all(|argument| !argument.clone().into_vec().contains(&0))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(command) => write!(f, "start {command}"),
            Self::Terminate(process) => write!(f, "terminate {process}"),
            Self::Kill(process) => write!(f, "kill {process}"),
            Self::Reap(process) => write!(f, "reap {process}"),
        }
    }
}

impl Request {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (word, mut rest) = words(bytes)?;
        let request = match (word, number(&mut rest)?) {
            ("start", command) => Self::Start(command),
            ("terminate", process) => Self::Terminate(process),
            ("kill", process) => Self::Kill(process),
            ("reap", process) => Self::Reap(process),
            _ => return None,
        };
        rest.next().is_none().then_some(request)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => f.write_str("serving"),
            Self::Started { number, pid } => write!(f, "started {number} {pid}"),
            Self::Done => f.write_str("done"),
            Self::Ended(status) => write!(f, "ended {status}"),
            Self::Failed(errno) => write!(f, "failed {errno}"),
        }
    }
}

impl Answer {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (word, mut rest) = words(bytes)?;
        let answer = match word {
            "serving" => Self::Serving,
            "started" => Self::Started { number: number(&mut rest)?, pid: number(&mut rest)? },
            "done" => Self::Done,
            "ended" => Self::Ended(number(&mut rest)?),
            "failed" => Self::Failed(number(&mut rest)?),
            _ => return None,
        };
        rest.next().is_none().then_some(answer)
    }
}

fn words(bytes: &[u8]) -> Option<(&str, SplitAsciiWhitespace<'_>)> {
    let mut words = str::from_utf8(bytes).ok()?.split_ascii_whitespace();
    Some((words.next()?, words))
}

fn number<N: std::str::FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<N> {
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        for request in [Request::Start(0), Request::Terminate(7), Request::Kill(u32::MAX), Request::Reap(1)] {
            assert_eq!(Request::parse(request.to_string().as_bytes()), Some(request));
        }
        let answers = [
            Answer::Serving,
            Answer::Started { number: 3, pid: 4711 },
            Answer::Done,
            Answer::Ended(-1),
            Answer::Failed(13),
        ];
        for answer in answers {
            assert_eq!(Answer::parse(answer.to_string().as_bytes()), Some(answer));
        }
        let line: Vec<OsString> = vec!["/bin/x y".into(), "--a=\n".into(), OsString::new()];
        for told in [Told::Command(line), Told::Process, Told::Serve] {
            assert_eq!(Told::parse(&told.bytes()), Some(told));
        }
    }

    #[test]
    fn nothing_else_is() {
        let bad: [&[u8]; 12] = [
            b"",
            b"start",
            b"start x",
            b"start -1",
            b"start 4294967296",
            b"start 1 2",
            b"start 1\0",
            b"terminate",
            b"kill 1 9",
            b"exec /bin/sh",
            b"start \xff",
            b"command\0/bin/sh",
        ];
        for bytes in bad {
            assert_eq!(Request::parse(bytes), None, "{bytes:?}");
        }
        for bytes in [&b"started 1"[..], b"ended", b"failed x", b"done 1", b""] {
            assert_eq!(Answer::parse(bytes), None, "{bytes:?}");
        }
        for bytes in [&b"command"[..], b"process 1", b"Serve", b""] {
            assert_eq!(Told::parse(bytes), None, "{bytes:?}");
        }
        assert!(!Told::is_whole(&[]) && !Told::is_whole(&[OsString::from("a\0b")]) && Told::is_whole(&["a".into()]));
    }
}
