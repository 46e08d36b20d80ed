//! One capture process: started, listened to, signalled, reaped.
//!
//! Owns the file descriptors between the two processes. It decides nothing: when to start, stop and start again is
//! [`super::supervisor`]'s.
//!
//! No death signal is asked for: a capture process goes on when the daemon is killed, and the next daemon takes it over
//! (`super::directory`).

use std::{
    ffi::OsString,
    fmt,
    io::{self, IoSliceMut, PipeReader, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, RecvMsg, SocketFlags, SocketType, recvmsg,
    },
    process::{Pid, PidfdFlags, Signal},
};

use super::{
    control::{CONTROL_FD_VARIABLE, ControlError, MAX_DATAGRAM_BYTES, Message, parse},
    meeting::MeetingPlace,
};

/// What the service manager told the daemon is not meant for its children.
const NOT_FOR_CHILDREN: [&str; 7] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "JOURNAL_STREAM"];

/// How a capture process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended, and this is its status.
    Ended(ExitStatus),
    /// It ended, but was another daemon's child, so that its status went elsewhere.
    Unseen,
    /// It could not be started, for this reason.
    NotStarted(String),
}

impl Exit {
    /// Whether it made a system call that its sandbox forbids.
    pub(super) fn is_forbidden_call(&self) -> bool {
        matches!(self, Self::Ended(status) if status.signal() == Some(Signal::SYS.as_raw()))
    }
}

/// A fragment that reads after "stenotype ": `exited with status 1`, `was killed by signal 9`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(status) => match (status.code(), status.signal()) {
                (Some(code), _) => write!(f, "exited with status {code}"),
                (None, Some(signal)) if self.is_forbidden_call() => {
                    write!(f, "was killed by signal {signal}: it made a system call that its sandbox forbids")
                }
                (None, Some(signal)) if status.core_dumped() => write!(f, "was killed by signal {signal}, core dumped"),
                (None, Some(signal)) => write!(f, "was killed by signal {signal}"),
                (None, None) => write!(f, "ended: {status}"),
            },
            Self::Unseen => f.write_str("ended; it was an earlier daemon's child, so its status is not known"),
            Self::NotStarted(reason) => write!(f, "could not be started: {reason}"),
        }
    }
}

/// What a read of the control socket gave.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message, or one of a kind that is not known here; and the descriptor beside it.
    Message(Option<Message>, Option<OwnedFd>),
    /// A datagram that does not hold.
    Nonsense(ControlError),
    /// Nothing more for now.
    Silence,
    /// The other end is closed for good.
    Closed,
}

/// What a read of the output gave.
#[derive(Debug)]
pub(super) enum Output<'a> {
    Bytes(&'a [u8]),
    Silence,
    Closed,
}

/// A running capture process, or one that has ended and is not reaped yet.
#[derive(Debug)]
pub(super) struct Process {
    /// None: it was started by an earlier daemon.
    child: Option<Child>,
    pid: Pid,
    /// Readable once the process has ended (pidfd_open(2)).
    pidfd: Arc<OwnedFd>,
    /// Where its standard output and error end up.
    output: Option<PipeReader>,
    control: Option<OwnedFd>,
    /// Where a process that an earlier daemon started is waited for to call.
    meeting: Option<MeetingPlace>,
}

impl Process {
    /// Starts `program`, in a process group of its own, so that a Ctrl-C meant for the daemon does not stop capture out
    /// of order.
    ///
    /// The child's end of the control socket is its standard input: that is the one descriptor that can be handed to
    /// exactly one child without unsafe code, and without a moment in which another one could inherit it.
    pub(super) fn start(program: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let (output, writer) = io::pipe()?;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        let mut command = Command::new(program);
        let _ = command
            .args(arguments)
            .stdin(Stdio::from(theirs))
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .env(CONTROL_FD_VARIABLE, "0")
            .process_group(0);
        for name in NOT_FOR_CHILDREN {
            let _ = command.env_remove(name);
        }
        let child = command.spawn()?;
        // The command holds the child's ends of pipe and socket; only the child may.
        drop(command);
        let pid = Pid::from_child(&child);
        let pidfd = Arc::new(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        Ok(Self { child: Some(child), pid, pidfd, output: Some(output), control: Some(ours), meeting: None })
    }

    /// Takes over a process that an earlier daemon started. `check` is asked once the process can no longer be mistaken
    /// for another that got its number.
    pub(super) fn adopt(pid: Pid, check: impl FnOnce() -> bool) -> io::Result<Option<Self>> {
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Arc::new(pidfd),
            Err(Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        Ok(check().then_some(Self { child: None, pid, pidfd, output: None, control: None, meeting: None }))
    }

    /// Lets a process that was taken over call at `place`.
    pub(super) fn wait_at(&mut self, place: MeetingPlace) {
        self.meeting = Some(place);
    }

    /// Takes its call, if it has called; never waits. Says whether it has.
    pub(super) fn take_call(&mut self) -> bool {
        let Some(control) = self.meeting.as_ref().and_then(|place| place.accept(self.pid)) else { return false };
        self.control = Some(control);
        true
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn was_adopted(&self) -> bool {
        self.child.is_none()
    }

    /// Becomes readable when the process has ended.
    pub(super) fn end_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The same, to be kept when this is gone.
    pub(super) fn end(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pidfd)
    }

    /// Readable when there is output; None once it is closed.
    pub(super) fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Readable when the process calls; None where it is not waited for.
    pub(super) fn meeting_fd(&self) -> Option<BorrowedFd<'_>> {
        self.meeting.as_ref().map(MeetingPlace::fd)
    }

    /// Readable when there is a message; None once it is closed.
    pub(super) fn control_fd(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    /// One read of what the process wrote; never waits.
    pub(super) fn read_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        let Some(output) = &mut self.output else { return Output::Closed };
        match output.read(buffer) {
            Ok(read @ 1..) => return buffer.get(..read).map_or(Output::Closed, Output::Bytes),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Output::Silence;
            }
            Ok(_) | Err(_) => {}
        }
        self.output = None;
        Output::Closed
    }

    /// The next message; never waits.
    pub(super) fn read_control(&mut self) -> Heard {
        let Some(control) = &self.control else { return Heard::Closed };
        let mut buffer = [0; MAX_DATAGRAM_BYTES + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(control, &mut [IoSliceMut::new(&mut buffer)], &mut beside, flags);
        let descriptor = beside.drain().find_map(|message| match message {
            // What does not fit is closed by the kernel, what is left of this by us.
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match received {
            Ok(RecvMsg { bytes: bytes @ 1.., .. }) => {
                // A datagram that did not fit fills the buffer, which is longer than any may be.
                match buffer.get(..bytes).ok_or(ControlError::TooLong).and_then(parse) {
                    Ok(message) => Heard::Message(message, descriptor),
                    Err(e) => Heard::Nonsense(e),
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => Heard::Silence,
            Ok(_) | Err(_) => {
                self.control = None;
                Heard::Closed
            }
        }
    }

    /// Signals the process and what it started in its group. A process that has ended already is not an error.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.child {
            // Its number cannot go to another process before it is reaped, and that is done by `reap` alone.
            Some(_) => rustix::process::kill_process_group(self.pid, signal),
            None => rustix::process::pidfd_send_signal(&self.pidfd, signal),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits for the end, which must have been seen at [`Self::end_fd`].
    pub(super) fn reap(self) -> Exit {
        match self.child.map(|mut child| child.wait()) {
            Some(Ok(status)) => Exit::Ended(status),
            Some(Err(_)) | None => Exit::Unseen,
        }
    }
}

/// How long a capture process may take to print its `--help`.
const HELP_WITHIN: Duration = Duration::from_secs(5);

/// Whether `program` knows the flag `name`: asked of its own `--help`, which both 1.0.1's stenotype and ours print
/// without privileges. A program that does not run knows none.
pub(super) fn knows_flag(program: &Path, name: &str) -> bool {
    let Ok(mut process) = Process::start(program, &["--help".into()]) else { return false };
    let deadline = Instant::now() + HELP_WITHIN;
    let mut help = Vec::new();
    let mut buffer = [0; 4096];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        match process.read_output(&mut buffer) {
            Output::Bytes(bytes) if help.len() < (1 << 20) => help.extend_from_slice(bytes),
            Output::Bytes(_) | Output::Closed => break,
            Output::Silence => {
                let fd = process.output_fd();
                let _ = wait_readable(&fd.into_iter().collect::<Vec<_>>(), left);
            }
        }
    }
    let _ = process.signal(Signal::KILL);
    let _ = process.reap();
    String::from_utf8_lossy(&help).contains(name)
}

/// Waits until one of `fds` is readable or closed, or `timeout` is over; says which are.
pub(super) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    // A wait that does not fit is cut short; every caller comes back.
    let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(polled.iter().map(|p| !p.revents().is_empty()).collect()),
        Err(e) => Err(e.into()),
    }
}
