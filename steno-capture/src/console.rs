//! Log lines on standard error: `2026-11-23T01:58:17.506748Z info packet0: text`.
//!
//! Capture threads must not wait for a terminal that is held or a pipe that nobody reads. So lines go through a bounded
//! channel to a thread that prints them; when it is full, lines are counted and left out. The thread is started late: while a
//! capture gets ready it has one thread, so that what that one gives up nobody else keeps.

use std::{
    fmt,
    io::Write,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI32, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use steno_core::{Clock, SystemClock, TimestampNs};

use crate::sandbox::{self, Role};

/// Lines that wait to be printed at most.
const LINES_MAX: usize = 1024;
/// How long an end waits for the last lines.
const FLUSH_PATIENCE: Duration = Duration::from_millis(500);

static VERBOSITY: AtomicI32 = AtomicI32::new(0);
static PRINTER: OnceLock<SyncSender<Message>> = OnceLock::new();
/// The other end, until there is a thread that has it.
static UNPRINTED: Mutex<Option<Receiver<Message>>> = Mutex::new(None);
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something was lost, or does not work.
    Error,
    /// Something goes on in another way than asked.
    Warning,
    /// What the program does, in few lines.
    Info,
    /// Statistics, files: with `-v`.
    Debug,
}

impl Level {
    /// The least verbosity (`-v` less `-q`) that shows it.
    const fn verbosity(self) -> i32 {
        match self {
            Self::Error => -2,
            Self::Warning => -1,
            Self::Info => 0,
            Self::Debug => 1,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

enum Message {
    Line(String),
    /// Asks for an answer once all lines before it are printed.
    Flush(SyncSender<()>),
}

/// Sets what is shown. Lines wait from now on until [`print_apart`], or until the process ends. Without it, lines are printed
/// by who writes them.
pub(crate) fn start(verbosity: i32) {
    VERBOSITY.store(verbosity, Ordering::Relaxed);
    let (send, receive) = mpsc::sync_channel(LINES_MAX);
    // A second start finds the first one's channel at work.
    if PRINTER.set(send).is_ok() {
        *unprinted() = Some(receive);
    }
}

/// Starts the printing thread, unless there is one.
pub(crate) fn print_apart() {
    let Some(lines) = unprinted().take() else { return };
    let thread = thread::Builder::new().name("console".to_owned());
    if let Err(e) = thread.spawn(move || print_all(lines)) {
        // What waited went with the thread that there is not, and what comes finds the channel closed.
        print(&format_line(Level::Warning, format_args!("nothing more is logged: no thread could be started: {e}")));
    }
}

fn unprinted() -> MutexGuard<'static, Option<Receiver<Message>>> {
    UNPRINTED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn print_all(lines: Receiver<Message>) {
    sandbox::keep_to(Role::Console);
    for message in lines {
        match message {
            Message::Line(line) => print(&line),
            Message::Flush(done) => {
                // Who asked may have lost patience.
                let _ = done.try_send(());
            }
        }
        let left_out = LEFT_OUT.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            print(&format_line(Level::Warning, format_args!("{left_out} log lines were left out: nobody read them")));
        }
    }
}

/// Waits, for a moment, until all lines are printed.
pub(crate) fn flush() {
    print_apart();
    let Some(printer) = PRINTER.get() else { return };
    let (done, flushed) = mpsc::sync_channel(1);
    if printer.try_send(Message::Flush(done)).is_ok() {
        match flushed.recv_timeout(FLUSH_PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Whether lines of this level are shown.
pub(crate) fn shows(level: Level) -> bool {
    VERBOSITY.load(Ordering::Relaxed) >= level.verbosity()
}

/// One line, whole, so that lines of several threads do not mix.
pub(crate) fn line(level: Level, text: fmt::Arguments<'_>) {
    put(format_line(level, text));
}

/// Why the program fails, as programs say it; whatever is shown. Waits a moment for a reader, and for no longer.
pub(crate) fn last_words(text: fmt::Arguments<'_>) {
    put(format!("stenotype: {text}\n"));
    flush();
}

fn put(line: String) {
    match PRINTER.get() {
        Some(printer) => {
            if printer.try_send(Message::Line(line)).is_err() {
                let _ = LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            }
        }
        None => print(&line),
    }
}

fn format_line(level: Level, text: fmt::Arguments<'_>) -> String {
    let thread = thread::current();
    format!("{} {} {}: {text}\n", Rfc3339(SystemClock.now()), level.name(), thread.name().unwrap_or("?"))
}

fn print(line: &str) {
    if cfg!(test) {
        // Goes to the test that it is about.
        return eprint!("{line}");
    }
    // With standard error gone there is nobody to tell; `eprint!` would panic.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// A moment in UTC, to the microsecond (RFC 3339).
struct Rfc3339(TimestampNs);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.secs();
        let (year, month, day) = civil(secs / 86_400);
        let (hour, minute, second) = (secs / 3_600 % 24, secs / 60 % 60, secs % 60);
        let micros = self.0.subsec_ns() / 1_000;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms":
/// `civil_from_days`, for days that are not negative). Years begin in March, so that a leap day is a year's last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A line about something that was lost or does not work.
macro_rules! error {
    ($($part:tt)*) => { $crate::console::at!(Error, $($part)*) };
}
/// A line about something that goes on in another way than asked.
macro_rules! warning {
    ($($part:tt)*) => { $crate::console::at!(Warning, $($part)*) };
}
/// A line about what the program does.
macro_rules! info {
    ($($part:tt)*) => { $crate::console::at!(Info, $($part)*) };
}
/// A line that `-v` shows.
macro_rules! debug {
    ($($part:tt)*) => { $crate::console::at!(Debug, $($part)*) };
}
macro_rules! at {
    ($level:ident, $($part:tt)*) => {
        if $crate::console::shows($crate::console::Level::$level) {
            $crate::console::line($crate::console::Level::$level, format_args!($($part)*));
        }
    };
}
pub(crate) use {at, debug, error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_399_097_506_748_999, "2026-11-23T01:58:17.506748Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Rfc3339(TimestampNs::new(ns)).to_string(), text);
        }
    }

    #[test]
    fn a_line_says_when_how_bad_and_who() {
        let line = thread::Builder::new()
            .name("packet7".to_owned())
            .spawn(|| format_line(Level::Warning, format_args!("text {}", 1)))
            .unwrap()
            .join()
            .unwrap();
        assert!(line.ends_with("Z warning packet7: text 1\n"), "{line}");
    }
}
