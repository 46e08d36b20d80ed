//! What a capture process writes to its standard output and error: bytes to lines, lines to level, thread and text.
//!
//! The spellings that are known are described in `docs/format/control.md`: our own log lines, 1.0.1's with the crash report
//! that may follow them, and the level as a word or as sd-daemon(3) writes it. Anything else is passed on as it is. Control characters are escaped here, so that no output of a child can forge a line of the log.

/// The longest line that is passed on, in bytes; the rest of a longer one is left out.
pub(super) const MAX_LINE_BYTES: usize = 4096;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something happened.
    Info,
    /// For those who look for a fault.
    Debug,
}

/// One line of a capture process, understood as far as it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// Which thread says so, by whatever name the process gives its threads.
    pub thread: Option<String>,
    /// What it says, without time, level and thread.
    pub text: String,
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    partial: Vec<u8>,
    overlong: bool,
}

impl LineBuffer {
    /// Takes in `bytes` and hands each line that is now complete to `line`, without its end.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str)) {
        let mut pieces = bytes.split(|b| *b == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_LINE_BYTES.saturating_sub(self.partial.len());
            let (kept, left_out) = piece.split_at(piece.len().min(room));
            self.partial.extend_from_slice(kept);
            self.overlong |= !left_out.is_empty();
            if pieces.peek().is_some() {
                self.end(&mut line);
            }
        }
    }

    /// Hands over what came without a line's end, when nothing more will come.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        if !self.partial.is_empty() {
            self.end(&mut line);
        }
    }

    fn end(&mut self, line: &mut impl FnMut(&str)) {
        let mut text = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        if self.overlong {
            text.push_str(" [...]");
        }
        if !text.is_empty() {
            line(&text);
        }
        self.partial.clear();
        self.overlong = false;
    }
}

/// Understands lines, one after the other.
#[derive(Debug, Default)]
pub(super) struct LineParser {
    /// 1.0.1 announced a crash report: what follows belongs to it.
    aborting: bool,
}

impl LineParser {
    /// Understands the next line.
    pub(super) fn parse(&mut self, line: &str) -> LogLine {
        let found = if let Some(found) = foreign(line) {
            self.aborting = false;
            found
        } else {
            self.aborting |= line == "ABORTABORTABORT";
            if self.aborting { LogLine { level: Level::Error, thread: None, text: line.to_owned() } } else { own(line) }
        };
        LogLine { text: escaped(&found.text), thread: found.thread.map(|t| escaped(&t)), ..found }
    }
}

/// What a foreign capture process counts, out of the statistics that 1.0.1 logs with `-v`:
/// `Thread 0 stats: MB=3 secs=3.98 MBps=0.75 packets=10 blocks=3 polls=5 drops=0 drop%=0`. Thread, then packets, blocks
/// and drops since the process started.
pub(super) fn statistics(text: &str) -> Option<(u32, [u64; 3])> {
    let (thread, fields) = text.strip_prefix("Thread ")?.split_once(" stats: ")?;
    let field = |name: &str| -> Option<u64> {
        fields.split_ascii_whitespace().find_map(|f| f.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some((thread.parse().ok()?, [field("packets")?, field("blocks")?, field("drops")?]))
}

/// `2026-11-23T01:38:13.618079Z T:000ec6 [stenotype.cc:466] Thread 0 starting to process packets`
fn foreign(line: &str) -> Option<LogLine> {
    let (time, rest) = line.split_once(' ')?;
    if !time.ends_with('Z') || !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (thread, rest) = rest.strip_prefix("T:")?.split_once(' ')?;
    let (place, text) = rest.strip_prefix('[')?.split_once("] ")?;
    // 1.0.1 writes no level. What it takes for fatal it says as a failed CHECK.
    let level = if text.starts_with("CHECK(") { Level::Error } else { Level::Info };
    let text = if level == Level::Error { format!("{} [{place}]", text.trim_end()) } else { text.to_owned() };
    Some(LogLine { level, thread: Some(thread.to_owned()), text })
}

/// `2026-11-23T01:58:17.506748Z warning packet0: text`, `<4>thread 1: text`, `error: text`, or plain text.
fn own(line: &str) -> LogLine {
    if let Some(found) = stamped(line) {
        return found;
    }
    // What our stenotype says when it ends with a fault.
    if let Some(text) = line.strip_prefix("stenotype: ") {
        return LogLine { level: Level::Error, thread: None, text: text.to_owned() };
    }
    let (level, rest) = numbered_level(line).or_else(|| worded_level(line)).unwrap_or((Level::Info, line));
    let threaded = rest.strip_prefix("thread ").and_then(|r| r.split_once(": "));
    match threaded.filter(|(thread, _)| !thread.is_empty() && thread.bytes().all(|b| b.is_ascii_digit())) {
        Some((thread, text)) => LogLine { level, thread: Some(thread.to_owned()), text: text.to_owned() },
        None => LogLine { level, thread: None, text: rest.to_owned() },
    }
}

/// What our stenotype writes: time, level, thread, text.
fn stamped(line: &str) -> Option<LogLine> {
    let (time, rest) = line.split_once(' ')?;
    if !time.ends_with('Z') || !time.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (word, rest) = rest.split_once(' ')?;
    let level = level_of(word)?;
    let (thread, text) = rest.split_once(": ")?;
    if thread.contains(' ') {
        return None;
    }
    // The first thread of a process says nothing by its name.
    let thread = Some(thread).filter(|t| !matches!(*t, "main" | "?")).map(str::to_owned);
    Some(LogLine { level, thread, text: text.to_owned() })
}

fn numbered_level(line: &str) -> Option<(Level, &str)> {
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    let level = match number.parse::<u8>().ok()? {
        0..=3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        _ => return None,
    };
    Some((level, rest.trim_start()))
}

fn worded_level(line: &str) -> Option<(Level, &str)> {
    let (word, rest) = line.split_once(": ")?;
    Some((level_of(word.rsplit(' ').next().unwrap_or(word))?, rest))
}

fn level_of(word: &str) -> Option<Level> {
    match word.to_ascii_lowercase().as_str() {
        "error" | "fatal" => Some(Level::Error),
        "warning" | "warn" => Some(Level::Warn),
        "info" | "notice" => Some(Level::Info),
        "debug" | "trace" => Some(Level::Debug),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut out, c| {
        match c {
            '\t' => out.push(' '),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            buffer.push(chunk, |l| lines.push(l.to_owned()));
        }
        buffer.finish(|l| lines.push(l.to_owned()));
        lines
    }

    fn parsed(line: &str) -> (Level, Option<String>, String) {
        let LogLine { level, thread, text } = LineParser::default().parse(line);
        (level, thread, text)
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        assert_eq!(lines_of(&[b"on", b"e\ntwo\r\n\n", b"three"]), ["one", "two", "three"]);
        assert_eq!(lines_of(&[b"\xff\xfe bytes\n"]), ["\u{fffd}\u{fffd} bytes"]);
    }

    #[test]
    fn an_overlong_line_is_cut_and_the_next_one_is_whole() {
        let long = vec![b'a'; 3 * MAX_LINE_BYTES];
        let lines = lines_of(&[&long, &long, b"\nnext\n"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), MAX_LINE_BYTES + " [...]".len());
        assert!(lines[0].ends_with("a [...]"));
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn lines_of_1_0_1_carry_thread_and_place() {
        assert_eq!(
            parsed("2026-11-23T01:38:13.618079Z T:000ec6 [stenotype.cc:466] Thread 0 starting to process packets"),
            (Level::Info, Some("000ec6".into()), "Thread 0 starting to process packets".into())
        );
        assert_eq!(
            parsed("2026-11-23T01:37:49.285048Z T:ed4693 [stenotype.cc:575] CHECK(flag_aiops <= flag_blocks) "),
            (Level::Error, Some("ed4693".into()), "CHECK(flag_aiops <= flag_blocks) [stenotype.cc:575]".into())
        );
    }

    #[test]
    fn our_own_lines_carry_level_and_thread() {
        assert_eq!(
            parsed("2026-11-23T01:58:17.506748Z warning packet0: v1 is down: wait"),
            (Level::Warn, Some("packet0".into()), "v1 is down: wait".into())
        );
        assert_eq!(
            parsed("2026-11-23T01:58:17.506748Z info main: capturing from v1 into /d"),
            (Level::Info, None, "capturing from v1 into /d".into())
        );
        assert_eq!(
            parsed("stenotype: there is no interface \"x\": name one"),
            (Level::Error, None, "there is no interface \"x\": name one".into())
        );
        for other in ["2026-11-23T01:58:17Z loud main: x", "x warning main: x", "2026-11-23T01:58:17Z warning in x: y"]
        {
            assert_eq!(parsed(other), (Level::Info, None, other.into()));
        }
    }

    #[test]
    fn a_crash_report_of_1_0_1_is_an_error_to_its_end() {
        let mut parser = LineParser::default();
        let report = ["ABORTABORTABORT", "stenotype(+0x6f3e) [0x55af75979f3e]", "stenotype(+0x15622) [0x55af75988622]"];
        assert!(report.iter().all(|line| parser.parse(line).level == Level::Error));
        let after = "2026-11-23T01:38:12.914464Z T:10e3f3 [stenotype.cc:567] Starting, page size is 4096";
        assert_eq!(parser.parse(after).level, Level::Info);
        assert_eq!(parser.parse("plain").level, Level::Info);
    }

    #[test]
    fn levels_are_found_as_words_and_as_numbers() {
        let thread = |n: &str| Some(n.to_owned());
        assert_eq!(parsed("warning: thread 1: ring full"), (Level::Warn, thread("1"), "ring full".into()));
        assert_eq!(parsed("stenotype error: no such device"), (Level::Error, None, "no such device".into()));
        assert_eq!(parsed("ERROR: no such device"), (Level::Error, None, "no such device".into()));
        assert_eq!(parsed("<3>thread 12: write failed"), (Level::Error, thread("12"), "write failed".into()));
        assert_eq!(parsed("<7> details"), (Level::Debug, None, "details".into()));
        assert_eq!(parsed("<9>x"), (Level::Info, None, "<9>x".into()));
        assert_eq!(parsed("thread of words: x"), (Level::Info, None, "thread of words: x".into()));
        assert_eq!(parsed("eth0: up"), (Level::Info, None, "eth0: up".into()));
    }

    #[test]
    fn a_child_cannot_forge_a_line() {
        assert_eq!(parsed("\u{1b}[31mred\u{7}\tx\rjoe").2, "\\u{1b}[31mred\\u{7} x\\rjoe");
    }

    #[test]
    fn statistics_of_1_0_1_are_counted() {
        let line = "Thread 3 stats: MB=3 secs=3.98018 MBps=0.753735 packets=10 blocks=4 polls=5 drops=2 drop%=0";
        assert_eq!(statistics(line), Some((3, [10, 4, 2])));
        assert_eq!(statistics("Thread 3 stats: packets=10 blocks=x drops=2"), None);
        assert_eq!(statistics("Thread 3 starting"), None);
    }

    proptest! {
        #[test]
        fn any_output_comes_out_printable(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut parser = LineParser::default();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            for line in lines_of(&chunks) {
                let line = parser.parse(&line);
                prop_assert!(!line.text.contains(char::is_control));
                prop_assert!(!line.thread.unwrap_or_default().contains(char::is_control));
            }
        }
    }
}
