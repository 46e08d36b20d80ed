//! How far an answer of a sensor has come, on a terminal and nowhere else.

use std::{
    io::{self, IsTerminal as _, Write},
    time::{Duration, Instant},
};

use crate::print::{bytes, count};

/// Between two looks.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// An answer that is there by then shows none.
const SHOW_AFTER: Duration = Duration::from_millis(500);

/// A line on standard error that is written over and over, and wiped out at the end.
pub(super) struct Progress<W: Write = io::Stderr> {
    /// Where it is shown, if at all.
    out: Option<W>,
    began: Instant,
    shown: Option<Instant>,
}

impl Progress {
    /// Where standard error is a terminal, and what is found does not go to one as well.
    pub(super) fn new(found_goes_to_terminal: bool) -> Self {
        let out = io::stderr();
        Self::on((out.is_terminal() && !found_goes_to_terminal).then_some(out))
    }
}

impl<W: Write> Progress<W> {
    fn on(out: Option<W>) -> Self {
        Self { out, began: Instant::now(), shown: None }
    }

    /// Shows what there is, if the last look is long enough ago.
    pub(super) fn packets(&mut self, packets: u64, sum: u64) {
        self.show(|| format!("{}, {}", count(packets, "packet"), bytes(sum)));
    }

    /// The same for flows.
    pub(super) fn flows(&mut self, flows: u64) {
        self.show(|| count(flows, "flow"));
    }

    fn show(&mut self, what: impl FnOnce() -> String) {
        let elapsed = self.began.elapsed();
        let due = self.shown.map_or(elapsed >= SHOW_AFTER, |at| at.elapsed() >= SHOW_EVERY);
        if let Some(out) = self.out.as_mut().filter(|_| due) {
            // To the start of the line, and the rest of it wiped out (ECMA-48, CR and EL). A terminal that is gone is no
            // reason to end.
            let _ = write!(out, "\r{}, {} s\x1b[K", what(), elapsed.as_secs()).and_then(|()| out.flush());
            self.shown = Some(Instant::now());
        }
    }

    /// Wipes it out. What is printed next begins a line.
    pub(super) fn clear(&mut self) {
        if let Some(out) = self.out.as_mut().filter(|_| self.shown.is_some()) {
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
            self.shown = None;
        }
    }
}

impl<W: Write> Drop for Progress<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_after_a_while_and_wiped_out() {
        let mut out = Vec::new();
        let mut progress = Progress::on(Some(&mut out));
        progress.packets(1, 2);
        progress.began -= SHOW_AFTER;
        progress.packets(3, 4_096);
        progress.packets(5, 6);
        drop(progress);
        assert_eq!(String::from_utf8(out).unwrap(), "\r3 packets, 4.0 KiB, 0 s\x1b[K\r\x1b[K");
    }

    #[test]
    fn an_answer_that_is_there_at_once_shows_none() {
        let mut out = Vec::new();
        let mut progress = Progress::on(Some(&mut out));
        progress.flows(1);
        drop(progress);
        assert!(out.is_empty());
    }
}
