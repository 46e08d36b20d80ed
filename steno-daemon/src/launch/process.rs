//! The process: what it knows, and what it does when it is asked.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, ExitCode, Stdio},
    sync::{Arc, atomic::AtomicBool},
};

use rustix::{
    io::Errno,
    net::{SocketType, sockopt::socket_type},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{
    message::{Answer, Request, Told},
    socket::{Received, receive, send},
};
use crate::{capture::CONTROL_FD_VARIABLE, confine};

/// Serves the daemon whose socket is standard input, until that is closed.
pub fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            crate::run::say(&mut io::stderr(), &format!("stenographer: the process that starts stenotype: {e}"));
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
        return Err(io::Error::other("it is started by stenographer itself, with a socket as its standard input"));
    }
    // It ends with its daemon, which may have to stop what runs. Programs have the default again (execve(2)).
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        let _for_good = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let mut known = Known::default();
    while let Some(Received { bytes, descriptors }) = receive(socket.as_fd())? {
        match Told::parse(&bytes).ok_or(io::ErrorKind::InvalidData)? {
            Told::Command(line) => known.commands.push(line),
            Told::Process => known.add(Process::LeftBehind(one(descriptors)?)),
            Told::Serve => {
                confine::launcher();
                send(socket.as_fd(), Answer::Serving.to_string().as_bytes(), &[])?;
                return known.serve(&socket);
            }
        }
    }
    Ok(())
}

fn one(descriptors: Vec<OwnedFd>) -> io::Result<OwnedFd> {
    descriptors.into_iter().next().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A process that may be signalled.
#[derive(Debug)]
enum Process {
    /// Of its own. Its number cannot go to another one before it is reaped, and that is asked for.
    Child(Child),
    /// Another daemon's.
    LeftBehind(OwnedFd),
}

/// All that there is to be asked for.
#[derive(Debug, Default)]
struct Known {
    commands: Vec<Vec<OsString>>,
    processes: BTreeMap<u32, Process>,
    next: u32,
}

impl Known {
    fn add(&mut self, process: Process) {
        let _none_before = self.processes.insert(self.next, process);
        self.next = self.next.wrapping_add(1);
    }

    fn serve(mut self, socket: &OwnedFd) -> io::Result<()> {
        while let Some(Received { bytes, descriptors }) = receive(socket.as_fd())? {
            let (answer, pidfd) = match self.answer(&bytes, descriptors) {
                Ok(answer) => answer,
                Err(e) => (Answer::Failed(e.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error())), None),
            };
            let beside: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
            send(socket.as_fd(), answer.to_string().as_bytes(), &beside)?;
        }
        Ok(())
    }

    fn answer(&mut self, bytes: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<(Answer, Option<OwnedFd>)> {
        match Request::parse(bytes).ok_or(Errno::INVAL)? {
            Request::Start(command) => {
                let number = self.next;
                let [input, output] = descriptors.try_into().map_err(|_| Errno::INVAL)?;
                let (child, pid, pidfd) = self.start(command, input, output)?;
                self.add(Process::Child(child));
                Ok((Answer::Started { number, pid: pid.as_raw_nonzero().get() }, Some(pidfd)))
            }
            Request::Terminate(process) => self.signal(process, Signal::TERM),
            Request::Kill(process) => self.signal(process, Signal::KILL),
            Request::Reap(process) => self.reap(process),
        }
    }

    /// In a process group of its own, so that a Ctrl-C meant for the daemon does not stop capture out of order.
    fn start(&self, command: u32, input: OwnedFd, output: OwnedFd) -> io::Result<(Child, Pid, OwnedFd)> {
        let line = usize::try_from(command).ok().and_then(|command| self.commands.get(command));
        let (program, arguments) = line.and_then(|line| line.split_first()).ok_or(Errno::INVAL)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output))
            .env(CONTROL_FD_VARIABLE, "0")
            .process_group(0)
            .spawn()?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok((child, pid, pidfd)),
            Err(e) => {
                // Nobody would see it end.
                let _ = child.kill();
                let _ = child.wait();
                Err(e.into())
            }
        }
    }

    fn signal(&self, process: u32, signal: Signal) -> io::Result<(Answer, Option<OwnedFd>)> {
        let sent = match self.processes.get(&process).ok_or(Errno::INVAL)? {
            Process::Child(child) => kill_process_group(Pid::from_child(child), signal),
            Process::LeftBehind(pidfd) => pidfd_send_signal(pidfd, signal),
        };
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok((Answer::Done, None)),
            Err(e) => Err(e.into()),
        }
    }

    fn reap(&mut self, process: u32) -> io::Result<(Answer, Option<OwnedFd>)> {
        let Some(Process::Child(child)) = self.processes.get_mut(&process) else { return Err(Errno::INVAL.into()) };
        // Whoever asks has seen it end: it is not waited for.
        let status = child.try_wait()?.ok_or(Errno::AGAIN)?;
        let _reaped = self.processes.remove(&process);
        Ok((Answer::Ended(status.into_raw()), None))
    }
}
