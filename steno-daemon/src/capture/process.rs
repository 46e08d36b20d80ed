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
use crate::launch::{Launcher, Started};

/// What the service manager told the daemon is not meant for its children.
pub(crate) const NOT_FOR_CHILDREN: [&str; 7] =
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

/// A command that can be started.
#[derive(Clone, Debug)]
pub(super) struct Start<'a> {
    /// The program, and its arguments.
    pub(super) line: &'a [OsString],
    /// Who starts it, and by which number it knows the command; none: this process itself.
    pub(super) by: Option<(&'a Arc<Launcher>, u32)>,
}

/// Whose child a process is, and so who signals and reaps it.
#[derive(Debug)]
enum Parent {
    /// This process.
    Own(Child),
    /// The launcher, and the number by which it knows the process.
    Launcher(Arc<Launcher>, u32),
    /// An earlier daemon, or its launcher. It is signalled by the launcher where there is one.
    Earlier(Option<(Arc<Launcher>, u32)>),
}

/// A running capture process, or one that has ended and is not reaped yet.
#[derive(Debug)]
pub(super) struct Process {
    parent: Parent,
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
    /// Starts a process, in a process group of its own, so that a Ctrl-C meant for the daemon does not stop capture out
    /// of order.
    ///
    /// The child's end of the control socket is its standard input: that is the one descriptor that can be handed to
    /// exactly one child without unsafe code, and without a moment in which another one could inherit it.
    pub(super) fn start(start: &Start<'_>) -> io::Result<Self> {
        let (output, writer) = io::pipe()?;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&output, true)?;
        // The child's ends of pipe and socket are gone from here when this is done: only the child may have them.
        let (parent, pid, pidfd) = match start.by {
            Some((launcher, command)) => {
                let Started { number, pid, pidfd } = launcher.run(command, theirs.as_fd(), writer.as_fd())?;
                drop((theirs, writer));
                (Parent::Launcher(Arc::clone(launcher), number), pid, pidfd)
            }
            None => {
                let child = spawn(start.line, theirs, writer)?;
                let pid = Pid::from_child(&child);
                (Parent::Own(child), pid, rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
            }
        };
        let pidfd = Arc::new(pidfd);
        Ok(Self { parent, pid, pidfd, output: Some(output), control: Some(ours), meeting: None })
    }

    /// Takes over a process that an earlier daemon started. `check` is asked once the process can no longer be mistaken
    /// for another that got its number.
    pub(super) fn adopt(pid: Pid, check: impl FnOnce() -> bool) -> io::Result<Option<Self>> {
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Arc::new(pidfd),
            Err(Errno::SRCH) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        Ok(check().then_some(Self {
            parent: Parent::Earlier(None),
            pid,
            pidfd,
            output: None,
            control: None,
            meeting: None,
        }))
    }

    /// Has `launcher`, which knows the process by `number`, signal one that was taken over.
    pub(super) fn signalled_by(&mut self, launcher: Arc<Launcher>, number: u32) {
        if let Parent::Earlier(by) = &mut self.parent {
            *by = Some((launcher, number));
        }
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
        matches!(self.parent, Parent::Earlier(_))
    }

    /// The number of the process.
    pub(super) fn number(&self) -> Pid {
        self.pid
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

    /// Asks the process, and what it started in its group, to end. One that has ended already is not an error.
    pub(super) fn terminate(&self) -> io::Result<()> {
        match &self.parent {
            Parent::Launcher(launcher, number) | Parent::Earlier(Some((launcher, number))) => {
                launcher.terminate(*number)
            }
            Parent::Own(_) | Parent::Earlier(None) => self.signal(Signal::TERM),
        }
    }

    /// Kills it in the same way.
    pub(super) fn kill(&self) -> io::Result<()> {
        match &self.parent {
            Parent::Launcher(launcher, number) | Parent::Earlier(Some((launcher, number))) => launcher.kill(*number),
            Parent::Own(_) | Parent::Earlier(None) => self.signal(Signal::KILL),
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent = match &self.parent {
            Parent::Earlier(_) => rustix::process::pidfd_send_signal(&self.pidfd, signal),
            // Its number cannot go to another process before it is reaped, and that is done by `reap` alone.
            Parent::Own(_) | Parent::Launcher(..) => rustix::process::kill_process_group(self.pid, signal),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits for the end, which must have been seen at [`Self::end_fd`] or be near.
    pub(super) fn reap(self) -> Exit {
        let status = match self.parent {
            Parent::Own(mut child) => child.wait(),
            Parent::Launcher(launcher, number) => {
                // The launcher waits for nobody.
                while wait_readable(&[self.pidfd.as_fd()], Duration::from_secs(1)).is_ok_and(|ended| ended == [false]) {
                }
                launcher.reap(number)
            }
            Parent::Earlier(_) => return Exit::Unseen,
        };
        status.map_or(Exit::Unseen, Exit::Ended)
    }
}

/// Starts a program as a child of this process.
fn spawn(line: &[OsString], control: OwnedFd, output: io::PipeWriter) -> io::Result<Child> {
    let (program, arguments) = line.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    let _ = command
        .args(arguments)
        .stdin(Stdio::from(control))
        .stdout(output.try_clone()?)
        .stderr(output)
        .env(CONTROL_FD_VARIABLE, "0")
        .process_group(0);
    for name in NOT_FOR_CHILDREN {
        let _ = command.env_remove(name);
    }
    command.spawn()
}

/// How long a capture process may take to print its `--help`.
const HELP_WITHIN: Duration = Duration::from_secs(5);

/// Whether a program knows the flag `name`: asked of its own `--help`, which both 1.0.1's stenotype and ours print
/// without privileges. A program that does not run knows none.
pub(super) fn knows_flag(help: &Start<'_>, name: &str) -> bool {
    let Ok(mut process) = Process::start(help) else { return false };
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
    let _ = process.kill();
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
