//! `steno audit verify`: what does not hold, a line each, and then how far the log goes.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use steno_proto::audit::{Head, Report, Verifier};

use super::CommandError;
use crate::{args::AuditVerifyArgs, exit::Exit, print::count};

/// Requests without an end that are named.
const NAMED: usize = 5;

/// Checks the chain of a log. No sensor is needed.
pub(super) fn verify(args: &AuditVerifyArgs) -> Result<Exit, CommandError> {
    let mut heads = args.heads.clone();
    // Before the log: a sensor that is running adds to that first.
    for file in &args.files {
        heads.extend(kept_beside(file)?);
    }
    let is_known = !heads.is_empty();
    let mut verifier = Verifier::new(heads);
    for path in &args.files {
        let failed = |source| CommandError::Read { path: path.clone(), source };
        let name = path.display().to_string();
        match path.as_os_str() == "-" {
            true => verifier.file("standard input", io::stdin().lock()).map_err(failed)?,
            false => {
                let file = File::open(path).map_err(failed)?;
                verifier.file(&name, BufReader::new(file)).map_err(failed)?;
            }
        }
    }
    let report = verifier.finish();
    let printed = super::to_stdout(text(&report, is_known).as_bytes())?;
    Ok(match (&report.unfinished, report.holds()) {
        (_, false) => Exit::Failed,
        (Some(_), true) => Exit::Incomplete,
        (None, true) => printed,
    })
}

/// What the sensor has written down beside a file. Of files that were moved away there is nothing.
fn kept_beside(file: &Path) -> Result<Option<Head>, CommandError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".head");
    let path = PathBuf::from(name);
    match fs::read_to_string(&path) {
        Ok(text) => match text.parse() {
            Ok(head) => Ok(Some(head)),
            Err(e) => Err(CommandError::Program(format!("{} does not hold: {e}", path.display()))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound || file.as_os_str() == "-" => Ok(None),
        Err(source) => Err(CommandError::Read { path, source }),
    }
}

fn text(report: &Report, is_known: bool) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    for finding in &report.findings {
        say(finding.to_string());
    }
    if report.more_findings > 0 {
        say(format!("and {} more findings", report.more_findings));
    }
    if let Some(place) = &report.unfinished {
        say(format!(
            "{place}: the last line is not whole: the sensor was killed while it wrote it, or is just writing it"
        ));
    }
    for head in &report.not_here {
        say(format!("line {} lies before this log, and is not held against it", head.line));
    }
    let findings = report.findings.len() as u64 + report.more_findings;
    let Some(first) = report.first else {
        say(format!("no lines; {}", count(findings, "finding")));
        return text;
    };
    let (requests, lines) = (count(report.requests, "request"), count(report.lines, "line"));
    say(format!("{lines}, {first} to {}, {requests}; {}", report.last.line, count(findings, "finding")));
    if !report.without_end.is_empty() {
        let named: Vec<String> = report.without_end.iter().take(NAMED).map(u64::to_string).collect();
        let more = report.without_end.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = named.join(", ");
        say(format!("no end is told of the requests of lines {named}{more}: under way, or the sensor was killed"));
    }
    if report.torn > 0 {
        say(format!(
            "{} torn by a sensor that was killed or found its disk full, which said so",
            count(report.torn, "line")
        ));
    }
    if report.lost > 0 {
        say(format!("{} could not be written, says the sensor", count(report.lost, "line")));
    }
    if !is_known {
        say("nothing says how far it went: whether its end was cut off is not known (--head)".to_owned());
    }
    say(format!("head {}", report.last));
    text
}
