//! Running the binaries, never for ever.

use std::{
    ffi::OsStr,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
pub(crate) use steno_core::testkit::{PATIENCE, until};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A command that knows of no sensor but those it is told of.
pub(crate) fn command(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    let _ = command
        .current_dir(directory)
        .env_remove("STENOGRAPHER_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A run under way.
pub(crate) struct Running {
    child: Child,
    out: JoinHandle<Vec<u8>>,
    err: JoinHandle<Vec<u8>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().map_or_else(|| thread::spawn(Vec::new), collect);
        let err = collect(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// Sends Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Run {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                let _ = self.child.wait().unwrap();
                panic!("it does not end: {}", String::from_utf8_lossy(&self.err.join().unwrap()));
            }
            thread::sleep(Duration::from_millis(5));
        };
        let err = String::from_utf8_lossy(&self.err.join().unwrap()).into_owned();
        Run { status: status.code(), bytes: self.out.join().unwrap(), err }
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Runs `steno` with these arguments in `directory`.
pub(crate) fn steno<S: AsRef<OsStr>>(directory: &Path, args: &[S]) -> Run {
    Running::start(command(env!("CARGO_BIN_EXE_steno"), directory).args(args)).end()
}
