//! The daemon's end.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::Pid,
};

use super::{
    ARGUMENT,
    message::{Answer, MAX_BYTES, Request, Told},
    socket::{Received, receive, send},
};
use crate::capture::NOT_FOR_CHILDREN;

/// This program, even where another one lies in its place by now.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// A launcher that serves. It ends when this is dropped, and what it has started goes on.
#[derive(Debug)]
pub struct Launcher {
    /// Held from a request to its answer.
    socket: Mutex<OwnedFd>,
    /// The same, for those who only look.
    seen: OwnedFd,
    /// It is the system's to reap, once the daemon has ended as well.
    _process: Child,
}

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Started {
    /// By which the launcher knows it.
    pub(crate) number: u32,
    pub(crate) pid: Pid,
    /// Readable once it has ended.
    pub(crate) pidfd: OwnedFd,
}

impl Launcher {
    /// Starts one that knows these command lines and these processes, numbered from 0 each. To be called before this process
    /// gives anything up.
    ///
    /// # Errors
    /// What the system says, or an argument that is none. No launcher is running then.
    pub fn start(commands: &[Vec<OsString>], processes: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(THIS_PROGRAM);
        let _ = command
            .arg0("stenographer")
            .arg(ARGUMENT)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // A Ctrl-C is for the daemon.
            .process_group(0);
        for name in NOT_FOR_CHILDREN {
            let _ = command.env_remove(name);
        }
        let process = command.spawn()?;
        // The command holds the other end of the socket; only the launcher may.
        drop(command);
        let launcher = Self { seen: ours.try_clone()?, socket: Mutex::new(ours), _process: process };
        launcher.tell(commands, processes)?;
        Ok(launcher)
    }

    fn tell(&self, commands: &[Vec<OsString>], processes: &[BorrowedFd<'_>]) -> io::Result<()> {
        for line in commands {
            let told = Told::Command(line.clone()).bytes();
            if !Told::is_whole(line) || told.len() >= MAX_BYTES {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a command line is too long, or has a null in it",
                ));
            }
            send(self.seen.as_fd(), &told, &[])?;
        }
        for process in processes {
            send(self.seen.as_fd(), &Told::Process.bytes(), &[*process])?;
        }
        match self.ask(&Told::Serve.bytes(), &[])? {
            (Answer::Serving, _) => Ok(()),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Starts command `number` with these descriptors as its standard input, and as its output.
    pub(crate) fn run(&self, number: u32, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<Started> {
        match self.ask(Request::Start(number).to_string().as_bytes(), &[input, output])? {
            (Answer::Started { number, pid }, Some(pidfd)) => match Pid::from_raw(pid) {
                Some(pid) => Ok(Started { number, pid, pidfd }),
                None => Err(io::ErrorKind::InvalidData.into()),
            },
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Asks process `number`, and what it started in its group, to end. One that has ended already is not an error.
    pub(crate) fn terminate(&self, number: u32) -> io::Result<()> {
        self.done(Request::Terminate(number))
    }

    /// Kills it.
    pub(crate) fn kill(&self, number: u32) -> io::Result<()> {
        self.done(Request::Kill(number))
    }

    /// The status of process `number`, which has ended.
    pub(crate) fn reap(&self, number: u32) -> io::Result<ExitStatus> {
        match self.ask(Request::Reap(number).to_string().as_bytes(), &[])? {
            (Answer::Ended(status), _) => Ok(ExitStatus::from_raw(status)),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Whether it has ended, which it does not by itself.
    pub fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.seen, PollFlags::empty())];
        let at_once = Timespec::try_from(Duration::ZERO).ok();
        poll(&mut polled, at_once.as_ref()).is_ok_and(|ready| ready > 0)
    }

    fn done(&self, request: Request) -> io::Result<()> {
        match self.ask(request.to_string().as_bytes(), &[])? {
            (Answer::Done, _) => Ok(()),
            (other, _) => Err(unexpected(other)),
        }
    }

    fn ask(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<(Answer, Option<OwnedFd>)> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the process that starts stenotype has ended");
        send(socket.as_fd(), request, descriptors).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => gone(),
            _ => e,
        })?;
        let Received { bytes, descriptors } = receive(socket.as_fd())?.ok_or_else(gone)?;
        let answer = Answer::parse(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok((answer, descriptors.into_iter().next()))
    }
}

fn unexpected(answer: Answer) -> io::Error {
    match answer {
        Answer::Failed(errno) => io::Error::from_raw_os_error(errno),
        _ => io::ErrorKind::InvalidData.into(),
    }
}
