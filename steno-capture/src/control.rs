//! What the daemon is told over its control socket (`docs/format/control.md`).
//!
//! Owns the sending of single datagrams. Nothing here waits: a daemon that does not read, or is gone, costs a capture
//! nothing. Without a daemon nothing is said.

use std::{
    ffi::OsStr,
    fmt,
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, sendmsg},
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

/// The way to the daemon, if there is one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: BorrowedFd<'static>,
    /// The daemon is gone.
    closed: AtomicBool,
    /// Messages that found no room.
    left_out: AtomicU64,
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

    /// Whether there is no daemon to talk to.
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
        let (closed, left_out) = (AtomicBool::new(false), AtomicU64::new(0));
        Self(Some(Arc::new(Line { socket, closed, left_out })))
    }

    /// The capture was started, and is getting ready.
    pub(crate) fn starting(&self) {
        self.say(format_args!("starting"));
    }

    /// All rings are open, and packets are being taken.
    pub(crate) fn ready(&self, threads: usize) {
        self.say(format_args!("ready {threads}"));
    }

    /// A segment was published, and its names are on the disk.
    pub(crate) fn sealed(&self, thread: u16, id: SegmentId) {
        self.say(format_args!("sealed {thread} {id}"));
    }

    /// The log of the file that is being written, whose blocks are so far apart.
    pub(crate) fn log(&self, thread: u16, id: SegmentId, block_bytes: u32, memory: BorrowedFd<'_>) {
        self.say_with(format_args!("log {thread} {id} {block_bytes}"), Some(memory));
    }

    /// What a thread has counted so far.
    pub(crate) fn counters(&self, thread: u16, counters: &Counters) {
        let Counters { packets, bytes, drops, freezes, blocks, write_errors, lost_packets, .. } = counters;
        let [packets, bytes, drops] = [packets, bytes, drops].map(|c| c.get());
        let [freezes, blocks, errors, lost] = [freezes, blocks, write_errors, lost_packets].map(|c| c.get());
        let Counters { cut_packets, write_stall_ns, .. } = counters;
        let [cut, stall] = [cut_packets, write_stall_ns].map(|c| c.get());
        let Counters { interface_dropped, interface_missed, interface_overrun, .. } = counters;
        let [dropped, missed, overrun] = [interface_dropped, interface_missed, interface_overrun].map(|c| c.get());
        self.say(format_args!(
            "counters {thread} {packets} {bytes} {drops} {freezes} {blocks} {errors} {lost} {cut} {stall} \
             {dropped} {missed} {overrun}"
        ));
    }

    /// The clock was set.
    pub(crate) fn clock(&self, step: ClockStep) {
        self.say(format_args!("clock {} {}", step.from.as_ns(), step.to.as_ns()));
    }

    /// A signal asked for the end.
    pub(crate) fn stopping(&self) {
        self.say(format_args!("stopping"));
    }

    /// Sends one message, or leaves it out.
    fn say(&self, message: fmt::Arguments<'_>) {
        self.say_with(message, None);
    }

    /// The same, with a descriptor beside it.
    fn say_with(&self, message: fmt::Arguments<'_>, descriptor: Option<BorrowedFd<'_>>) {
        let Some(line) = &self.0 else { return };
        if line.closed.load(Ordering::Relaxed) {
            return;
        }
        let message = message.to_string();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
        if !descriptors.is_empty() {
            let _fits = beside.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        let pieces = [IoSlice::new(message.as_bytes())];
        match sendmsg(line.socket, &pieces, &mut beside, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) => {}
            // The last one: as many descriptors are on their way as this user may have open.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => {
                if line.left_out.fetch_add(1, Ordering::Relaxed) == 0 {
                    warning!("the daemon does not read what it is told: messages are left out");
                }
            }
            Err(e) => {
                if !line.closed.swap(true, Ordering::Relaxed) {
                    info!("the daemon is gone ({}); capture goes on", words(&e.into()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use rustix::net::{RecvFlags, SocketFlags, recv, socketpair};
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
        ];
        (1..).zip(fields).for_each(|(n, counter)| counter.add(n));
        counters.lost_packets.add(u64::MAX - 7);
        control.starting();
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
            "counters 65535 1 2 3 4 5 6 18446744073709551615 8 9 10 11 12",
            "clock 7 18446744073709551615",
            "stopping",
        ];
        assert_eq!(heard(&daemon), expected);
    }

    #[test]
    fn what_finds_no_room_is_left_out_and_what_comes_after_is_said() {
        let (daemon, control) = pair();
        (0..100_000).for_each(|i| control.sealed(0, SegmentId(i)));
        let left_out = control.0.as_ref().unwrap().left_out.load(Ordering::Relaxed);
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
            assert!(control.0.as_ref().unwrap().closed.load(Ordering::Relaxed));
        }
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
