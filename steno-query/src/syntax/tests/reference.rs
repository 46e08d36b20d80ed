//! That the reference says what is so.

use super::parse;
use crate::syntax::{MAX_NESTING, MAX_PRIMITIVES, MAX_TEXT_BYTES, REFERENCE, services::SERVICES, vocabulary};
use steno_core::packet::ip_protocol;

/// The fenced blocks of a kind.
fn blocks(kind: &str) -> Vec<String> {
    let fence = format!("\n```{kind}\n");
    REFERENCE.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_example_parses() {
    let examples: Vec<String> =
        blocks("query").iter().flat_map(|b| b.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert!(examples.len() > 40, "only {} examples", examples.len());
    for example in examples {
        // What a line says after `#` is for the reader.
        let text = example.split('#').next().unwrap();
        if let Err(errors) = parse(text) {
            panic!("the reference has a query that does not parse:\n{errors}");
        }
    }
}

/// A block of two lines with `=` says that both mean the same.
#[test]
fn examples_mean_what_is_said() {
    let pairs = blocks("same");
    assert!(pairs.len() > 2, "only {} comparisons", pairs.len());
    for pair in pairs {
        let trees: Vec<_> = pair.lines().map(|line| parse(line).unwrap_or_else(|e| panic!("{e}"))).collect();
        assert!(trees.len() > 1 && trees.windows(2).all(|two| two[0] == two[1]), "not the same:\n{pair}");
    }
}

#[test]
fn every_error_is_reported_so() {
    let reports = blocks("error");
    assert!(reports.len() > 2, "only {} reports", reports.len());
    for report in reports {
        let text = report.lines().nth(1).unwrap().strip_prefix("  | ").unwrap();
        assert_eq!(parse(text).unwrap_err().to_string(), report);
    }
}

/// The rows of the tables of names: `| name, name | number |`, two such pairs or more in a row.
fn named(heading: &str) -> Vec<(String, u16)> {
    let section = REFERENCE.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut rows = Vec::new();
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        for pair in cells.chunks(2).filter(|pair| !pair[0].is_empty()) {
            rows.extend(pair[0].split(", ").map(|name| (name.trim_matches('`').to_owned(), pair[1].parse().unwrap())));
        }
    }
    rows.sort();
    rows
}

#[test]
fn the_tables_of_names_are_whole() {
    let mut services: Vec<(String, u16)> = SERVICES.iter().map(|&(name, port)| (name.to_owned(), port)).collect();
    services.sort();
    assert_eq!(named("\n## Service names"), services);
    let mut protocols: Vec<(String, u16)> =
        ip_protocol::NAMES.iter().map(|&(name, number)| (name.to_owned(), number.into())).collect();
    protocols.sort();
    assert_eq!(named("\n## Protocol names"), protocols);
}

#[test]
fn every_word_and_bound_is_there() {
    for word in vocabulary::PRIMITIVES.iter().chain(vocabulary::NOT_YET) {
        assert!(REFERENCE.contains(&format!("`{word}")), "`{word}` is not in the reference");
    }
    assert_eq!(MAX_TEXT_BYTES, 64 * 1024);
    for bound in ["64 KiB".to_owned(), format!("{MAX_NESTING} levels"), "1,000 primitives".to_owned()] {
        assert!(REFERENCE.contains(&bound), "{bound} is not in the reference");
    }
    assert_eq!(MAX_PRIMITIVES, 1_000);
}
