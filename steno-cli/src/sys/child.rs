//! Starts a child process that ends when the thread that started it does.
//!
//! Owns the death signal only; waiting for the child and killing it in time is the caller's work.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Starts `command`; the kernel sends the child SIGTERM when the calling *thread* ends in any way,
/// a kill included, so that no child is left behind by a crash of this program (prctl(2),
/// `PR_SET_PDEATHSIG`).
///
/// # Errors
/// What [`Command::spawn`] returns.
pub(crate) fn spawn_tied(command: &mut Command) -> io::Result<Child> {
    let parent = getpid();
    let tie = move || {
        set_parent_process_death_signal(Some(Signal::TERM))?;
        // The parent may have died before the request was in force: then nobody would ever signal.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from(rustix::io::Errno::CHILD)) }
    };
    // SAFETY: `pre_exec` asks that the closure, which runs between fork and exec, do only what is
    // async-signal-safe. This one makes two raw system calls (prctl, getppid), compares two integers
    // that it holds by copy, and builds an `io::Error` from an errno, which does not allocate.
    let command = unsafe { command.pre_exec(tie) };
    command.spawn()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::spawn_tied;

    #[test]
    fn the_child_ends_with_the_thread_that_started_it() {
        let started = std::thread::spawn(|| spawn_tied(Command::new("sleep").arg("60").stdout(Stdio::null())));
        let mut child = started.join().unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("the child outlived its thread: {:?}", child.wait().unwrap());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    }
}
