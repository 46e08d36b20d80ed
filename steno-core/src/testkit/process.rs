//! Whether a process that a test has killed is gone.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Whether the process of this number has ended, and every thread of it; nobody may have reaped it yet.
///
/// What `/proc/<number>/stat` says is of its first thread: that is a zombie while others still come to their end, whose writes may
/// go on. A descriptor of the process is readable when all are gone (pidfd_open(2)).
pub fn is_gone(number: u32) -> bool {
    let opened = i32::try_from(number).ok().and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let Some(Ok(process)) = opened else { return true };
    let mut polled = [PollFd::new(&process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::testkit::until;

    #[test]
    fn a_process_is_gone_when_it_has_ended_and_before_it_is_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let number = child.id();
        assert!(!is_gone(number));
        child.kill().unwrap();
        until("it has ended", || is_gone(number));
        let _status = child.wait().unwrap();
        assert!(is_gone(number));
        assert!(is_gone(0) && is_gone(u32::MAX));
    }
}
