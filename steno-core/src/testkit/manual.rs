//! Manual pages (man(7)), read as far as tests hold them against the programs that they describe.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

/// An entry of a list: `.TP`, its tag, its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualEntry {
    /// What it is about.
    pub tag: String,
    /// What is said of it.
    pub text: String,
}

/// The entries of a page, as plain text.
pub fn manual_entries(page: &str) -> Vec<ManualEntry> {
    let mut entries = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line != ".TP" {
            continue;
        }
        let mut tag = String::new();
        // `\c` has the tag go on in the next line.
        for line in lines.by_ref() {
            tag.push_str(&plain(line));
            if !line.ends_with("\\c") {
                break;
            }
        }
        let mut text = String::new();
        while let Some(line) = lines.next_if(|line| ![".TP", ".SH", ".SS", ".PP"].iter().any(|m| line.starts_with(m))) {
            text.push_str(&plain(line));
            text.push(' ');
        }
        entries.push(ManualEntry { tag, text });
    }
    entries
}

/// A line without fonts and escapes.
fn plain(line: &str) -> String {
    let line = match line.strip_prefix('.') {
        // `.BI a b` joins its words, unless they are quoted together.
        Some(line) => {
            let (name, words) = line.split_once(' ').unwrap_or((line, ""));
            if name.len() == 2 { join(words) } else { words.to_owned() }
        }
        None => line.to_owned(),
    };
    line.replace("\\-", "-").replace("\\(dq", "\"").replace("\\c", "")
}

/// Words one after the other; quoted ones with the spaces that are in them.
fn join(words: &str) -> String {
    let parts = words.split('"').enumerate();
    parts.map(|(i, part)| if i % 2 == 0 { part.replace(' ', "") } else { part.to_owned() }).collect()
}

/// The flags that a text names: `-v`, `--blocks`.
pub fn flags_in(text: &str) -> BTreeSet<String> {
    let is_of_flag = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = text.split(|c: char| !is_of_flag(c) && c != '?');
    let is_flag = |word: &&str| word.starts_with('-') && !word.trim_start_matches('-').is_empty() && *word != "-1";
    words.filter(is_flag).map(|word| word.trim_end_matches('-').to_owned()).collect()
}

/// What man(1) has to complain of in a page; `None` where there is none to ask.
pub fn manual_complaints(page: &Path) -> Option<String> {
    let mut man = Command::new("man");
    let _ = man.args(["--warnings", "-E", "UTF-8", "-l"]).arg(page);
    let _ = man.env("MANROFFSEQ", "").env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    let output = man.output().ok()?;
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_people_read_them() {
        let page = ".SH OPTIONS\n.TP\n.BI \\-\\-blocks= NUM\nBlocks of\n.BR ring (7).\n.TP\n.BR \\-? \", \" \\-\\-help\nHelp.\n.SH X\n.TP\n\
                    .BI \\-data \" DIR\"\nThere.\n.TP\n.BR \\-syslog [ =\\c\n.IR BOOL ]\nLog.\n";
        let entries = manual_entries(page);
        let tags: Vec<_> = entries.iter().map(|entry| entry.tag.as_str()).collect();
        assert_eq!(tags, ["--blocks=NUM", "-?, --help", "-data DIR", "-syslog[=BOOL]"]);
        assert_eq!(entries[0].text, "Blocks of ring(7). ");
        assert_eq!(entries[1].text, "Help. ");
    }

    #[test]
    fn flags_are_found_in_texts() {
        let flags = flags_in("`-?`, --help, --no_index=1 a-b -1 - -- [-v INT] x--y");
        assert_eq!(flags.into_iter().collect::<Vec<_>>(), ["--help", "--no_index", "-?", "-v"]);
    }
}
