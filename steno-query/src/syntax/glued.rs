//! Words that are written together.
//!
//! The lexer of stenographer 1.0.1 (`query/parser.y`) looks for a keyword at the start of what is left, then for a run
//! of the characters of an address, a time, a duration or a number; a blank between two tokens is needed only where the
//! run would swallow the next one. So it takes `host10.0.0.1or(tcpandport80)`, and every query that it takes must mean
//! the same here.

use super::{time, value, vocabulary};

/// The keywords of 1.0.1 that are letters. None is the beginning of another.
const KEYWORDS: &[&str] = &[
    "after", "ago", "and", "before", "host", "icmp", "ip", "mask", "mpls", "net", "or", "port", "proto", "tcp", "udp",
    "vlan",
];

/// The parts that 1.0.1 reads a word as, or the word alone: where it is a word of this language, where 1.0.1 cannot
/// read it to the end, and where no part is a keyword.
pub(super) fn split(word: &str) -> Vec<&str> {
    if !vocabulary::is_known(word)
        && let Some(parts) = parts(word)
        && parts.iter().any(|part| KEYWORDS.contains(part))
    {
        parts
    } else {
        vec![word]
    }
}

/// 1.0.1's tokens of a word without blanks or punctuation.
fn parts(word: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let mut rest = word;
    while !rest.is_empty() {
        let len = match KEYWORDS.iter().find(|&&keyword| rest.starts_with(keyword)) {
            Some(keyword) => keyword.len(),
            None => run_len(rest)?,
        };
        let (part, tail) = rest.split_at_checked(len)?;
        parts.push(part);
        rest = tail;
    }
    Some(parts)
}

/// The length of the value at the start of `rest`, if 1.0.1 can read it: a run of digits, `a` to `f` and the marks of
/// times and addresses, ended by the unit of a duration.
fn run_len(rest: &str) -> Option<usize> {
    let len =
        rest.find(|c| !matches!(c, '0'..='9' | 'a'..='f' | ':' | '.' | '-' | '+' | 'T' | 'Z')).unwrap_or(rest.len());
    let (run, after) = rest.split_at_checked(len)?;
    if after.starts_with(['h', 'm']) {
        let is_duration = !run.is_empty() && run.bytes().all(|b| b.is_ascii_digit());
        return is_duration.then_some(len + 1);
    }
    let readable = if run.contains(['-', '+', 'T', 'Z']) {
        time::moment(run).is_some()
    } else if run.contains([':', '.']) {
        value::address(run).is_some()
    } else {
        !run.is_empty() && run.bytes().all(|b| b.is_ascii_digit())
    };
    readable.then_some(len)
}
