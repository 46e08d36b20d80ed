//! What the demo prints: numbered steps, sentences, commands and their output, for a reader who sees Steno for the first
//! time.
//!
//! It knows no facts; it lays text out on standard output and reports a closed one as an error.

use std::io::{self, Write};

/// Columns that sentences are broken at.
const WIDTH: usize = 96;
/// Before sentences and commands.
const INDENT: &str = "   ";
/// Before the output of a command.
const DEEP_INDENT: &str = "     ";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// The teller.
#[derive(Debug)]
pub(super) struct Story<W> {
    out: W,
    steps: u32,
}

impl<W: Write> Story<W> {
    /// `out` must take out the escape codes where it is no terminal.
    pub(super) fn new(out: W) -> Self {
        Self { out, steps: 0 }
    }

    /// What comes before the first step.
    pub(super) fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{BOLD}{text}{PLAIN}")
    }

    /// A numbered heading.
    pub(super) fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        writeln!(self.out, "\n{BOLD}{}. {title}{PLAIN}", self.steps)?;
        self.out.flush()
    }

    /// Sentences, broken into lines.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        for line in lines(text, WIDTH - INDENT.len()) {
            writeln!(self.out, "{INDENT}{line}")?;
        }
        self.out.flush()
    }

    /// A command as one would type it.
    pub(super) fn command(&mut self, command: &str) -> io::Result<()> {
        writeln!(self.out, "{INDENT}{BOLD}$ {command}{PLAIN}")
    }

    /// Output: each line as it is, at most `most` of them.
    pub(super) fn output(&mut self, text: impl AsRef<str>, most: usize) -> io::Result<()> {
        let text = text.as_ref();
        for line in text.lines().take(most) {
            writeln!(self.out, "{DEEP_INDENT}{line}")?;
        }
        match text.lines().count().saturating_sub(most) {
            0 => Ok(()),
            more => writeln!(self.out, "{DEEP_INDENT}... and {more} more"),
        }
    }

    /// Output that is made of sentences: each line broken where it is too long.
    pub(super) fn prose_output(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines().flat_map(|line| lines(line, WIDTH - DEEP_INDENT.len())) {
            writeln!(self.out, "{DEEP_INDENT}{line}")?;
        }
        Ok(())
    }
}

/// Breaks a text between words; a word longer than `width` gets a line of its own.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A number with thousands set apart, as people read it.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Story, grouped, lines};

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(lines("one two  three\nfour", 9), ["one two", "three", "four"]);
        assert_eq!(lines("one incomprehensible word", 8), ["one", "incomprehensible", "word"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        let shown = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn long_output_is_cut_and_counted() {
        let mut out = Vec::new();
        let mut story = Story::new(&mut out);
        story.step("Look").unwrap();
        story.command("ls").unwrap();
        story.output("a\nb\nc\nd\n", 2).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\n\x1b[1m1. Look\x1b[0m\n   \x1b[1m$ ls\x1b[0m\n     a\n     b\n     ... and 2 more\n");
    }
}
