//! What the daemon is told over its control socket (`docs/format/control.md`), and given: the logs of open files.
//!
//! Owns the sending of single datagrams. Nothing here waits: a daemon that does not read, or is gone, costs a capture
//! nothing. A daemon that takes the capture over after another was lost is called, and told where things stand. Without a
//! daemon nothing is said.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
        connect, sendmsg, socket_with,
    },
};
use steno_core::SegmentId;
use steno_index::ClockStep;

use crate::{
    console::{info, warning},
    counters::Counters,
    error::words,
    sys,
};

/// The environment variable with the number of the descriptor. Programs that a capture starts must not get it.
pub(crate) const VARIABLE: &str = "STENO_CONTROL_FD";

/// Where in its `--dir` a daemon listens that takes a capture over.
const MEETING_PLACE: &str = "control";

/// Logs of a thread that are kept for the next daemon: of the file that is written, and of those that wait to be sealed. Of more
/// files than that the oldest are found once they are sealed.
const LOGS_MAX: usize = 8;

/// The way to the daemon, if there is one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Option<Arc<Mutex<Line>>>);

#[derive(Debug)]
struct Line {
    /// None: the daemon is gone.
    socket: Option<Socket>,
    /// Where to call the next daemon.
    meeting_place: Option<PathBuf>,
    /// Threads that capture, once they do.
    threads: Option<usize>,
    /// The logs of files that are not sealed.
    logs: BTreeMap<(u16, SegmentId), OpenFile>,
    /// Messages that found no room.
    left_out: u64,
}

/// A file that is not sealed, as its reader knows it.
#[derive(Debug)]
struct OpenFile {
    memory: OwnedFd,
    /// How far apart its blocks are.
    block_bytes: u32,
    /// Whether the daemon has been told.
    told: bool,
}

#[derive(Debug)]
enum Socket {
    Inherited(BorrowedFd<'static>),
    Called(OwnedFd),
}

impl Control {
    /// The socket that the environment names; to be called before anything is opened. A name that does not hold is a
    /// warning: a capture without a daemon is worth more than none.
    pub(crate) fn of_environment() -> Self {
        let Some(text) = std::env::var_os(VARIABLE) else { return Self::default() };
        Self::of_number(&text).unwrap_or_else(|why| {
            warning!("{VARIABLE}={} is not used, so that no daemon is told anything: {why}", text.display());
            Self::default()
        })
    }

    /// Whether there is no daemon to talk to, and never was.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn of_number(text: &OsStr) -> Result<Self, String> {
        let number = text.to_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|number| number.parse().ok());
        let number = number.ok_or("it takes the number of a descriptor")?;
        let socket = sys::inherited_socket(number, AddressFamily::UNIX, SocketType::SEQPACKET)
            .map_err(|e| format!("a connected Unix socket of type SOCK_SEQPACKET is expected there: {}", words(&e)))?;
        Ok(Self::over(socket))
    }

    fn over(socket: BorrowedFd<'static>) -> Self {
        let socket = Some(Socket::Inherited(socket));
        let line = Line { socket, meeting_place: None, threads: None, logs: BTreeMap::new(), left_out: 0 };
        Self(Some(Arc::new(Mutex::new(line))))
    }

    fn line(&self) -> Option<MutexGuard<'_, Line>> {
        self.0.as_ref().map(|line| line.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The capture was started, and is getting ready. `dir` is where a daemon is met that takes it over later.
    pub(crate) fn starting(&self, dir: Option<&Path>) {
        let Some(mut line) = self.line() else { return };
        line.meeting_place = dir.map(|dir| dir.join(MEETING_PLACE));
        let _sent = line.say(format_args!("starting"), None);
    }

    /// All rings are open, and packets are being taken.
    pub(crate) fn ready(&self, threads: usize) {
        let Some(mut line) = self.line() else { return };
        line.threads = Some(threads);
        let _sent = line.say(format_args!("ready {threads}"), None);
    }

    /// A segment was published, and its names are on the disk.
    pub(crate) fn sealed(&self, thread: u16, id: SegmentId) {
        let Some(mut line) = self.line() else { return };
        let _log = line.logs.remove(&(thread, id));
        let _sent = line.say(format_args!("sealed {thread} {id}"), None);
    }

    /// The log of the file that is being written, whose blocks are so far apart.
    pub(crate) fn log(&self, thread: u16, id: SegmentId, block_bytes: u32, memory: BorrowedFd<'_>) {
        let Some(mut line) = self.line() else { return };
        let Ok(memory) = memory.try_clone_to_owned() else { return };
        let of_thread = |line: &Line| line.logs.range((thread, SegmentId(0))..=(thread, SegmentId(u64::MAX))).count();
        while of_thread(&line) >= LOGS_MAX {
            let oldest = line.logs.range((thread, SegmentId(0))..).next().map(|(key, _)| *key);
            let _log = oldest.and_then(|oldest| line.logs.remove(&oldest));
        }
        let _before = line.logs.insert((thread, id), OpenFile { memory, block_bytes, told: false });
        line.tell_of_files();
    }

    /// What a thread has counted so far.
    pub(crate) fn counters(&self, thread: u16, counters: &Counters) {
        let Some(mut line) = self.line() else { return };
        let Counters { packets, bytes, drops, freezes, blocks, write_errors, lost_packets, .. } = counters;
        let [packets, bytes, drops] = [packets, bytes, drops].map(|c| c.get());
        let [freezes, blocks, errors, lost] = [freezes, blocks, write_errors, lost_packets].map(|c| c.get());
        let Counters { cut_packets, write_stall_ns, .. } = counters;
        let [cut, stall] = [cut_packets, write_stall_ns].map(|c| c.get());
        let Counters { interface_dropped, interface_missed, interface_overrun, uncaptured, late, .. } = counters;
        let of_interface = [interface_dropped, interface_missed, interface_overrun, uncaptured];
        let [dropped, missed, overrun, uncaptured] = of_interface.map(|c| c.get());
        let late = late.get();
        let numbers = format_args!(
            "counters {thread} {packets} {bytes} {drops} {freezes} {blocks} {errors} {lost} {cut} {stall} \
             {dropped} {missed} {overrun} {uncaptured} {late}"
        );
        let _sent = line.say(numbers, None);
    }

    /// The clock was set.
    pub(crate) fn clock(&self, step: ClockStep) {
        let Some(mut line) = self.line() else { return };
        let _sent = line.say(format_args!("clock {} {}", step.from.as_ns(), step.to.as_ns()), None);
    }

    /// A signal asked for the end.
    pub(crate) fn stopping(&self) {
        let Some(mut line) = self.line() else { return };
        let _sent = line.say(format_args!("stopping"), None);
    }

    /// Looks for the next daemon where the last one is gone, and tells of files that there was no room for when they were opened.
    /// To be called each second.
    pub(crate) fn tend(&self) {
        let Some(mut line) = self.line() else { return };
        if line.socket.is_none() {
            line.call();
        }
        line.tell_of_files();
    }
}

impl Line {
    /// Calls the daemon that has taken the capture over, if there is one.
    fn call(&mut self) {
        let Some(path) = &self.meeting_place else { return };
        let Ok(socket) = meet(path) else { return };
        self.socket = Some(Socket::Called(socket));
        self.logs.values_mut().for_each(|file| file.told = false);
        if let Some(threads) = self.threads {
            let _sent = self.say(format_args!("ready {threads}"), None);
        }
        info!("another daemon has taken this capture over");
    }

    /// Tells of the files that the daemon does not know of.
    fn tell_of_files(&mut self) {
        let mut logs = std::mem::take(&mut self.logs);
        for ((thread, id), file) in &mut logs {
            let OpenFile { memory, block_bytes, told } = file;
            *told = *told || self.say(format_args!("log {thread} {id} {block_bytes}"), Some(memory.as_fd()));
        }
        self.logs = logs;
    }

    /// Sends one message, with a descriptor beside it if there is one, or leaves it out; says whether it was sent.
    fn say(&mut self, message: fmt::Arguments<'_>, descriptor: Option<BorrowedFd<'_>>) -> bool {
        let Some(socket) = &self.socket else { return false };
        let socket = match socket {
            Socket::Inherited(socket) => *socket,
            Socket::Called(socket) => socket.as_fd(),
        };
        match send(socket, &message.to_string(), descriptor) {
            Ok(()) => return true,
            // The last one: as many descriptors are on their way as this user may have open.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => {
                if self.left_out == 0 {
                    warning!("the daemon does not read what it is told: messages are left out");
                }
                self.left_out += 1;
            }
            Err(e) => {
                info!("the daemon is gone ({}); capture goes on", words(&e.into()));
                self.socket = None;
            }
        }
        false
    }
}

/// Sends a datagram.
fn send(socket: BorrowedFd<'_>, message: &str, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        let _fits = beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(message.as_bytes())], &mut beside, flags).map(drop)
}

/// A connection to whoever listens at `path`.
fn meet(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::net::{RecvFlags, accept, bind, listen, recv, socketpair};
    use steno_core::TimestampNs;

    use super::*;

    /// A daemon's end, and the way to it.
    fn pair() -> (OwnedFd, Control) {
        let (daemon, ours) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let ours: &'static OwnedFd = Box::leak(Box::new(ours));
        (daemon, Control::over(ours.as_fd()))
    }

    fn heard(daemon: &OwnedFd) -> Vec<String> {
        let mut messages = Vec::new();
        let mut buffer = [0; 513];
        while let Ok((n @ 1.., _)) = recv(daemon, &mut buffer, RecvFlags::DONTWAIT) {
            messages.push(String::from_utf8(buffer[..n].to_vec()).unwrap());
        }
        messages
    }

    #[test]
    fn messages_are_those_of_the_description() {
        let (daemon, control) = pair();
        let counters = Counters::default();
        let fields = [
            &counters.packets,
            &counters.bytes,
            &counters.drops,
            &counters.freezes,
            &counters.blocks,
            &counters.write_errors,
            &counters.lost_packets,
            &counters.cut_packets,
            &counters.write_stall_ns,
            &counters.interface_dropped,
            &counters.interface_missed,
            &counters.interface_overrun,
            &counters.uncaptured,
            &counters.late,
        ];
        (1..).zip(fields).for_each(|(n, counter)| counter.add(n));
        counters.lost_packets.add(u64::MAX - 7);
        control.starting(None);
        control.ready(2);
        control.log(1, SegmentId(1_795_395_475_661_823), 1 << 20, daemon.as_fd());
        control.sealed(1, SegmentId(1_795_395_475_661_823));
        control.counters(65_535, &counters);
        control.clock(ClockStep { from: TimestampNs::new(7), to: TimestampNs::MAX });
        control.stopping();
        let expected = [
            "starting",
            "ready 2",
            "log 1 1795395475661823 1048576",
            "sealed 1 1795395475661823",
            "counters 65535 1 2 3 4 5 6 18446744073709551615 8 9 10 11 12 13 14",
            "clock 7 18446744073709551615",
            "stopping",
        ];
        assert_eq!(heard(&daemon), expected);
    }

    #[test]
    fn what_finds_no_room_is_left_out_and_what_comes_after_is_said() {
        let (daemon, control) = pair();
        (0..100_000).for_each(|i| control.sealed(0, SegmentId(i)));
        let left_out = control.line().unwrap().left_out;
        let messages = heard(&daemon);
        assert!(left_out > 0 && messages.len() as u64 + left_out == 100_000, "{left_out}, {}", messages.len());
        assert_eq!(messages.last(), Some(&format!("sealed 0 {}", messages.len() - 1)), "the first ones fitted");
        control.stopping();
        assert_eq!(heard(&daemon), ["stopping"]);
    }

    #[test]
    fn a_daemon_that_is_gone_is_told_nothing_more() {
        for unread in [false, true] {
            let (daemon, control) = pair();
            if unread {
                control.ready(1);
            }
            drop(daemon);
            (0..3).for_each(|_| control.stopping());
            assert!(control.line().unwrap().socket.is_none());
        }
    }

    #[test]
    fn the_next_daemon_is_told_of_what_is_open() {
        let (daemon, control) = pair();
        let dir = tempfile::tempdir().unwrap();
        control.starting(Some(dir.path()));
        let log = |id| control.log(0, SegmentId(id), 4096, dup(&daemon).as_fd());
        log(5);
        control.log(1, SegmentId(6), 4096, dup(&daemon).as_fd());
        log(7);
        assert_eq!(heard(&daemon), ["starting", "log 0 5 4096", "log 1 6 4096", "log 0 7 4096"]);
        control.tend();
        assert_eq!(heard(&daemon), [""; 0], "all is told");
        let other = dup(&daemon);
        drop((daemon, std::mem::take(&mut control.line().unwrap().logs)));
        drop(other);
        control.log(0, SegmentId(8), 4096, std::io::stderr().as_fd());
        control.log(1, SegmentId(9), 4096, std::io::stderr().as_fd());
        control.ready(2);
        control.sealed(0, SegmentId(8));
        // Nobody is there yet.
        control.tend();
        let meeting = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&meeting, &SocketAddrUnix::new(dir.path().join("control")).unwrap()).unwrap();
        listen(&meeting, 1).unwrap();
        control.tend();
        let daemon = accept(&meeting).unwrap();
        assert_eq!(heard(&daemon), ["ready 2", "log 1 9 4096"]);
        control.stopping();
        assert_eq!(heard(&daemon), ["stopping"]);
    }

    fn dup(fd: &OwnedFd) -> OwnedFd {
        fd.try_clone().unwrap()
    }

    #[test]
    fn files_that_found_no_room_are_told_later_and_few_logs_are_kept() {
        let (daemon, control) = pair();
        while control.line().unwrap().say(format_args!("noise"), None) {}
        (0..20).for_each(|id| control.log(3, SegmentId(id), 4096, std::io::stderr().as_fd()));
        assert!(heard(&daemon).iter().all(|message| message == "noise"));
        control.tend();
        let expected: Vec<String> = (12..20).map(|id| format!("log 3 {id} 4096")).collect();
        assert_eq!(heard(&daemon), expected);
    }

    #[test]
    fn numbers_that_do_not_hold_are_told_apart() {
        let of = |text: &str| Control::of_number(OsStr::new(text)).map(|_| ()).unwrap_err();
        for text in ["", "x", "-1", "+3", "3 ", "99999999999"] {
            assert_eq!(of(text), "it takes the number of a descriptor", "{text:?}");
        }
        assert!(of("1000000").ends_with("is expected there: bad file descriptor"), "{}", of("1000000"));
        let file = std::fs::File::open("/dev/null").unwrap().as_raw_fd().to_string();
        assert!(of(&file).contains("SOCK_SEQPACKET"), "{}", of(&file));
    }

    #[test]
    fn without_a_daemon_nothing_is_said() {
        Control::default().ready(1);
    }
}
