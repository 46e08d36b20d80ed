//! Texts from files, or from another machine, as they are shown: whoever wrote them must not steer the terminal, or forge a line.

use crate::syntax::is_acted_upon;

/// `text` on one line: what a terminal acts upon is escaped.
pub fn plain(text: &str) -> String {
    escaped(text, |_| false)
}

/// `text` on as many lines as it has, as [`plain`] otherwise.
pub fn plain_lines(text: &str) -> String {
    escaped(text, |c| c == '\n')
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_acted_upon(c) && !stays(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_upon_is_escaped() {
        assert_eq!(plain("tcp, größer: 日本"), "tcp, größer: 日本");
        assert_eq!(plain("a\n\u{1b}[31m\u{9b}1m\u{202e}"), "a\\u{a}\\u{1b}[31m\\u{9b}1m\\u{202e}");
        assert_eq!(plain_lines("a\n\u{1b}[31m\r"), "a\n\\u{1b}[31m\\u{d}");
    }
}
