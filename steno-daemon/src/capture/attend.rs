//! Attends one run of a capture process, from its start to its end: its messages, its output, its signals.
//!
//! Everything is one poll(2) loop on the capture's thread. A child that says nothing, too much, or nonsense costs at most
//! some log lines a second.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use steno_index::ClockStep;
use tracing::{debug, error, info, warn};

use super::{
    Counters, Exit, Kind, Message,
    lines::{Level, LineBuffer, LineParser, statistics},
    process::{Heard, Output, Process, wait_readable},
    supervisor::{Shared, drain},
};

/// How many lines of a child are passed on each second.
const LINES_A_SECOND: u32 = 200;
/// How many reads are made before the other descriptors get their turn.
const READS_A_TURN: usize = 64;

/// One run.
pub(super) struct Attendance<'a> {
    shared: &'a Shared,
    process: Process,
    began: Instant,
    /// Since when it captures, as far as can be known.
    captures_since: Option<Instant>,
    buffer: LineBuffer,
    parser: LineParser,
    budget: LineBudget,
    /// When the process is killed, once it was asked to stop.
    kill_at: Option<Instant>,
    killed: bool,
    /// When the process itself was seen to have ended; others of its group may still write.
    ended: bool,
}

impl<'a> Attendance<'a> {
    pub(super) fn new(shared: &'a Shared, process: Process) -> Self {
        let now = Instant::now();
        Self {
            shared,
            process,
            began: now,
            captures_since: None,
            buffer: LineBuffer::default(),
            parser: LineParser::default(),
            budget: LineBudget { second: now, left: LINES_A_SECOND, left_out: 0 },
            kill_at: None,
            killed: false,
            ended: false,
        }
    }

    /// Stays with the process until it has ended. Says how it ended, and how long it captured.
    pub(super) fn attend(mut self) -> (Exit, Duration) {
        if self.process.was_adopted() {
            let pid = self.process.pid();
            info!(interface = self.shared.source, pid, "taking over the stenotype that an earlier daemon started");
            self.captures(Kind::Foreign);
        }
        while !self.is_over() {
            if let Err(e) = self.turn() {
                // poll(2) fails for want of memory only.
                warn!("waiting for stenotype: {e}");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        let (buffer, parser, shared) = (&mut self.buffer, &mut self.parser, self.shared);
        buffer.finish(|line| pass_on(shared, parser, line));
        self.budget.report(self.shared);
        let captured_for = self.captures_since.map_or(Duration::ZERO, |since| since.elapsed());
        (self.process.reap(), captured_for)
    }

    /// It has ended, and so has every process that holds its output.
    fn is_over(&self) -> bool {
        self.ended && (self.process.output_fd().is_none() || self.killed)
    }

    fn turn(&mut self) -> std::io::Result<()> {
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.shared.wake_fd().as_fd()];
        fds.extend(self.process.output_fd());
        fds.extend(self.process.control_fd());
        fds.extend(self.process.meeting_fd());
        if !self.ended {
            fds.push(self.process.end_fd());
        }
        let ready = wait_readable(&fds, self.longest_wait())?;
        let ended = !self.ended && ready.len() == fds.len() && ready.last() == Some(&true);
        drain(self.shared.wake_fd());
        if self.process.take_call() {
            info!(interface = self.shared.source, "the stenotype that was taken over has called");
        }
        self.read_control();
        self.read_output();
        if ended {
            self.ended = true;
            if self.process.output_fd().is_some() {
                // A wrapper may have left the real process behind: it goes the same way.
                self.ask_to_end();
            }
        }
        if self.shared.stop_requested() && self.kill_at.is_none() {
            self.shared.record().stopping(self.process.pid());
            self.ask_to_end();
        }
        if !self.killed && self.kill_at.is_some_and(|at| at <= Instant::now()) {
            warn!(
                interface = self.shared.source,
                pid = self.process.pid(),
                "stenotype has not ended within {} s of SIGTERM: killing it",
                self.shared.settings.stop_within.as_secs()
            );
            let _ = self.process.kill();
            self.killed = true;
        }
        self.decide_kind();
        Ok(())
    }

    fn ask_to_end(&mut self) {
        if self.kill_at.is_some() {
            return;
        }
        self.kill_at = Some(Instant::now() + self.shared.settings.stop_within);
        if let Err(e) = self.process.terminate() {
            error!(interface = self.shared.source, "cannot stop stenotype: {e}");
        }
    }

    fn longest_wait(&self) -> Duration {
        let now = Instant::now();
        let mut wait = Duration::from_secs(1);
        if let Some(at) = self.kill_at.filter(|_| !self.killed) {
            wait = wait.min(at.saturating_duration_since(now));
        }
        if self.shared.record().kind() == Kind::Undecided {
            let at = self.began + self.shared.settings.foreign_after;
            wait = wait.min(at.saturating_duration_since(now));
        }
        wait
    }

    fn decide_kind(&mut self) {
        if self.ended
            || self.shared.record().kind() != Kind::Undecided
            || self.began.elapsed() < self.shared.settings.foreign_after
        {
            return;
        }
        info!(
            interface = self.shared.source,
            "this stenotype does not speak over the control socket: watching its directories instead"
        );
        self.captures(Kind::Foreign);
    }

    /// Takes note that it captures, unless it was asked to stop already.
    fn captures(&mut self, kind: Kind) {
        if self.kill_at.is_some() {
            return self.shared.record().is_of_kind(kind);
        }
        let _ = self.captures_since.get_or_insert_with(Instant::now);
        let (pid, adopted) = (self.process.pid(), self.process.was_adopted());
        self.shared.record().running(pid, kind, adopted, self.shared.now());
    }

    fn read_control(&mut self) {
        for _ in 0..READS_A_TURN {
            match self.process.read_control() {
                Heard::Message(message, descriptor) => {
                    self.shared.record().heard(self.shared.now());
                    self.take(message, descriptor);
                }
                Heard::Nonsense(e) => {
                    self.shared.record().bad_message();
                    if self.budget.spend() {
                        warn!(interface = self.shared.source, "{e}");
                    }
                }
                Heard::Silence | Heard::Closed => return,
            }
        }
    }

    fn take(&mut self, message: Option<Message>, descriptor: Option<OwnedFd>) {
        // Whoever speaks is one of ours, whatever it says.
        if self.shared.record().kind() != Kind::Own {
            self.shared.record().is_of_kind(Kind::Own);
        }
        match message {
            // Large rings take a while.
            Some(Message::Starting) => debug!(interface = self.shared.source, "stenotype is getting ready"),
            Some(Message::Ready { threads }) => self.ready(threads),
            Some(Message::Sealed { thread, id }) => match self.shared.thread(thread) {
                Some(thread) => {
                    debug!(thread, %id, "segment sealed");
                    self.shared.logs.sealed(thread, id);
                    (self.shared.on_sealed)(thread, id);
                }
                None => self.no_such_thread(thread),
            },
            Some(Message::Log { thread, id, block_bytes }) => match (self.shared.thread(thread), descriptor) {
                (Some(thread), Some(memory)) => {
                    self.shared.logs.add((thread, id), (memory, block_bytes), self.process.end())
                }
                (Some(_), None) => {
                    self.shared.record().bad_message();
                    debug!(thread, %id, "the log of the open file has not come with its message");
                }
                (None, _) => self.no_such_thread(thread),
            },
            Some(Message::Counters { thread, counters }) => {
                // A counter that moves says as much as "ready" does.
                if self.captures_since.is_none() {
                    self.captures(Kind::Own);
                }
                match self.shared.thread(thread) {
                    Some(thread) => self.shared.record().counted(thread, counters),
                    None => self.no_such_thread(thread),
                }
            }
            Some(Message::Clock { from, to }) => {
                // Its own words are in the log.
                self.shared.record().clock_step(ClockStep { from, to });
            }
            Some(Message::Stopping) => info!(interface = self.shared.source, "stenotype is stopping"),
            None => debug!(interface = self.shared.source, "stenotype says something that this version does not know"),
        }
    }

    fn ready(&mut self, threads: u32) {
        let expected = self.shared.settings.threads.len();
        if usize::try_from(threads) != Ok(expected) {
            warn!(interface = self.shared.source, "stenotype runs {threads} threads, not the {expected} configured");
        }
        info!(interface = self.shared.source, pid = self.process.pid(), threads, "capturing");
        self.captures(Kind::Own);
    }

    fn no_such_thread(&mut self, thread: u32) {
        self.shared.record().bad_message();
        if self.budget.spend() {
            warn!(interface = self.shared.source, "stenotype speaks of its thread {thread}, which it does not have");
        }
    }

    fn read_output(&mut self) {
        let mut bytes = [0; 4096];
        for _ in 0..READS_A_TURN {
            match self.process.read_output(&mut bytes) {
                Output::Bytes(bytes) => {
                    let (budget, parser, shared) = (&mut self.budget, &mut self.parser, self.shared);
                    self.buffer.push(bytes, |line| {
                        if budget.spend() {
                            pass_on(shared, parser, line);
                        }
                    });
                }
                Output::Silence | Output::Closed => break,
            }
        }
        self.budget.refill(self.shared);
    }
}

/// Writes one line of the child into the daemon's log.
fn pass_on(shared: &Shared, parser: &mut LineParser, line: &str) {
    let line = parser.parse(line);
    if let Some((number, [packets, blocks, drops])) = statistics(&line.text)
        && let Some(thread) = shared.thread(number)
        && shared.record().kind() != Kind::Own
    {
        shared.record().counted(thread, Counters { packets, blocks, drops, ..Counters::default() });
    }
    let (interface, thread) = (shared.source.as_str(), line.thread.as_deref());
    match line.level {
        Level::Error => error!(target: "stenotype", interface, thread, "{}", line.text),
        Level::Warn => warn!(target: "stenotype", interface, thread, "{}", line.text),
        Level::Info => info!(target: "stenotype", interface, thread, "{}", line.text),
        Level::Debug => debug!(target: "stenotype", interface, thread, "{}", line.text),
    }
}

/// What a child may make the daemon log each second.
struct LineBudget {
    second: Instant,
    left: u32,
    left_out: u64,
}

impl LineBudget {
    fn spend(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.left_out += 1,
        }
        self.left_out == 0
    }

    fn refill(&mut self, shared: &Shared) {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report(shared);
            *self = Self { second: Instant::now(), left: LINES_A_SECOND, left_out: 0 };
        }
    }

    fn report(&self, shared: &Shared) {
        if self.left_out > 0 {
            warn!(interface = shared.source, "left out {} lines of stenotype's output", self.left_out);
        }
    }
}
