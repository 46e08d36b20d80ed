//! Holds the lines of a log against each other (`docs/format/audit.md`, section 4).

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, BufRead, Read as _},
};

use super::{Digest, Fragment, Head, LineFault, MOST_LINE_BYTES, Missing, OpenedAs, Read, line};

/// Findings that are kept; more are counted.
const MOST_FINDINGS: usize = 100;

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line in it, from 1 on.
    pub row: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, row {}", self.file, self.row)
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum What {
    /// A row that is no line.
    #[error("{0}: it was altered or damaged")]
    Line(#[from] LineFault),
    /// A row that is longer than any line.
    #[error("it is longer than any line: it was altered or damaged")]
    TooLong,
    /// Lines are not there.
    #[error("{} missing before line {next}", lines(*.first, *.last))]
    Gone {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// The line after them.
        next: u64,
    },
    /// A line that comes after a later one.
    #[error("line {line} after line {after}: lines were put in another order, or put in")]
    Order {
        /// The line.
        line: u64,
        /// The one before it.
        after: u64,
    },
    /// A line that does not have the hash of the one before it.
    #[error("line {0} does not follow the line before it, which is another than it was")]
    Link(u64),
    /// The log does not begin with the beginning of a file.
    #[error("line {0} is not the first of a file: what was before it in this file was cut off")]
    Beginning(u64),
    /// A line that was known of is not there.
    #[error("the log ends with line {last}, but line {head} had been written: its end was cut off")]
    CutOff {
        /// The last line that is there.
        last: u64,
        /// The one that was known of.
        head: u64,
    },
    /// A line is another than the one that was known of.
    #[error("line {0} is not the one that was written: its hash was another")]
    Head(u64),
    /// The daemon found at its start that lines had gone.
    #[error("line {} had been written, and was not there when the sensor was started next", .0.line)]
    Missing(Missing),
    /// The daemon found at its start rows that are none.
    #[error("the sensor found rows that are no lines, and of which no write can have been broken off")]
    Damaged,
    /// The end of a request that did not begin, or had ended.
    #[error("it tells of the end of request {0}, which is not under way")]
    NotUnderWay(u64),
}

fn lines(first: u64, last: u64) -> String {
    if first == last { format!("line {first} is") } else { format!("lines {first} to {last} are") }
}

/// What was found of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that hold by themselves.
    pub lines: u64,
    /// The number of the first.
    pub first: Option<u64>,
    /// Where the log has got to.
    pub last: Head,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them of which no end is told.
    pub without_end: BTreeSet<u64>,
    /// Lines that the sensor says it could not write.
    pub lost: u64,
    /// Rows that are torn, and told of by the line after them.
    pub torn: u64,
    /// Bytes at the end of which no line came: a sensor that was stopped in the middle of one. They hold nothing of the log.
    pub unfinished: Option<Place>,
    /// Heads that lie before the first line: nothing is known of those.
    pub not_here: Vec<Head>,
    /// What does not hold, in order.
    pub findings: Vec<Finding>,
    /// More of these.
    pub more_findings: u64,
}

impl Report {
    /// Whether everything holds.
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }
}

/// A row that is no line, of which the next line may tell.
struct Stray {
    place: Place,
    fragment: Fragment,
    what: What,
    is_ended: bool,
}

/// Takes a log file by file, in the order in which they were written.
pub struct Verifier {
    heads: Vec<Head>,
    strays: Vec<Stray>,
    place: Place,
    report: Report,
}

impl Verifier {
    /// Nothing yet. The log is to hold `heads`, which were kept elsewhere.
    pub fn new(heads: Vec<Head>) -> Self {
        Self { heads, strays: Vec::new(), place: Place { file: String::new(), row: 0 }, report: Report::default() }
    }

    /// Takes the next file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn file(&mut self, name: &str, mut input: impl BufRead) -> io::Result<()> {
        self.place = Place { file: name.to_owned(), row: 0 };
        let mut row = Vec::new();
        loop {
            row.clear();
            let taken = input.by_ref().take(MOST_LINE_BYTES as u64).read_until(b'\n', &mut row)?;
            if taken == 0 {
                return Ok(());
            }
            self.place.row += 1;
            let is_ended = row.pop_if(|byte| *byte == b'\n').is_some();
            if !is_ended && taken == MOST_LINE_BYTES {
                // No fragment is that long, so that nothing more need be known of it.
                let is_ended = skip_row(&mut input)?;
                self.stray(&row, What::TooLong, is_ended);
                continue;
            }
            match line::read(&row) {
                Ok(read) => self.line(&read, is_ended),
                Err(fault) => self.stray(&row, fault.into(), is_ended),
            }
        }
    }

    /// All has been taken.
    pub fn finish(mut self) -> Report {
        for stray in std::mem::take(&mut self.strays) {
            // Only what was being written last can lack its end.
            let is_last = stray.place == self.place && !stray.is_ended;
            match is_last {
                true => self.report.unfinished = Some(stray.place),
                false => self.found_at(stray.place, stray.what),
            }
        }
        let (first, last) = (self.report.first.unwrap_or(1), self.report.last.line);
        for head in std::mem::take(&mut self.heads) {
            if head.line > last {
                self.found(What::CutOff { last, head: head.line });
            } else if head.line < first {
                self.report.not_here.push(head);
            }
        }
        self.report
    }

    fn stray(&mut self, row: &[u8], what: What, is_ended: bool) {
        let fragment = Fragment { bytes: row.len() as u64, sha256: Digest::of(row) };
        self.strays.push(Stray { place: self.place.clone(), fragment, what, is_ended });
        // More than are told of in a line.
        if self.strays.len() > MOST_FINDINGS {
            let stray = self.strays.remove(0);
            self.found_at(stray.place, stray.what);
        }
    }

    fn line(&mut self, read: &Read, is_ended: bool) {
        let altered = self.settle_strays(read);
        self.follows(read, altered);
        for head in self.heads.iter().filter(|head| head.line == read.head.line) {
            if head.sha256 != read.head.sha256 {
                let what = What::Head(head.line);
                push(&mut self.report, Finding { place: self.place.clone(), what });
            }
        }
        self.report.lines += 1;
        let before = std::mem::replace(&mut self.report.last, read.head);
        if !is_ended {
            // All of it is there, but for the byte that ends it.
            self.report.unfinished = Some(self.place.clone());
        }
        self.tells(read, before);
    }

    /// Rows before this line that are none: does it tell of them? Gives how many there are of which it does not.
    fn settle_strays(&mut self, read: &Read) -> u64 {
        let strays = std::mem::take(&mut self.strays);
        let (mut torn, mut altered) = (read.said.torn.iter(), 0);
        let mut next = torn.next();
        for stray in strays {
            if next.is_some_and(|told| *told == stray.fragment) {
                self.report.torn += 1;
                next = torn.next();
            } else {
                altered += 1;
                self.found_at(stray.place, stray.what);
            }
        }
        altered
    }

    /// Holds a line against the one before it, between which `altered` rows lie that are no lines any more.
    fn follows(&mut self, read: &Read, altered: u64) {
        let (line, before) = (read.head.line, self.report.last);
        let begins_file = read.said.event == "open" && read.said.file == Some(OpenedAs::New);
        if self.report.first.is_none() {
            self.report.first = Some(line);
            let is_first = line == 1 && read.before != Digest::default();
            if altered == 0 && (!begins_file || line == 0 || is_first) {
                self.found(What::Beginning(line));
            }
            return;
        }
        let expected = before.line.saturating_add(1);
        if line < expected {
            self.found(What::Order { line, after: before.line });
        } else if line > expected.saturating_add(altered) {
            self.found(What::Gone { first: expected.saturating_add(altered), last: line - 1, next: line });
        } else if altered == 0 && read.before != before.sha256 {
            self.found(What::Link(line));
        }
    }

    /// Takes in what a line tells, which follows that of `before`.
    fn tells(&mut self, read: &Read, before: Head) {
        let (line, said) = (read.head.line, &read.said);
        match said.event.as_str() {
            "open" => {
                self.report.lost = self.report.lost.saturating_add(said.lost.map_or(0, |lost| lost.sum()));
                // The line before is there after all: its file was put away where the daemon could not see it.
                if let Some(missing) = said.missing.filter(|missing| *missing != before.into()) {
                    self.found(What::Missing(missing));
                }
                if !said.damaged.is_empty() {
                    self.found(What::Damaged);
                }
            }
            "begin" => {
                self.report.requests += 1;
                let _new = self.report.without_end.insert(line);
            }
            "end" => {
                let of = said.of.unwrap_or_default();
                let was_before = self.report.first.is_some_and(|first| of < first);
                if !self.report.without_end.remove(&of) && (!was_before || of == 0) && self.report.holds() {
                    self.found(What::NotUnderWay(of));
                }
            }
            _ => {}
        }
    }

    fn found(&mut self, what: What) {
        self.found_at(self.place.clone(), what);
    }

    fn found_at(&mut self, place: Place, what: What) {
        push(&mut self.report, Finding { place, what });
    }
}

fn push(report: &mut Report, finding: Finding) {
    if report.findings.len() < MOST_FINDINGS {
        report.findings.push(finding);
    } else {
        report.more_findings += 1;
    }
}

/// Passes over the rest of a row. Whether it has an end.
fn skip_row(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let there = input.fill_buf()?;
        if there.is_empty() {
            return Ok(false);
        }
        let end = there.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(there.len(), |at| at + 1);
        input.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}
