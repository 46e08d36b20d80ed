//! Random trees and random texts.

use proptest::{collection::vec, prelude::*, sample::select};

use super::parse;
use crate::syntax::{Query, arbitrary, vocabulary};

/// A word or mark of the language, or something near one.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<&str> = vocabulary::PRIMITIVES.iter().chain(vocabulary::NOT_YET).copied().collect();
    let marks = vec![
        "and", "or", "not", "&&", "||", "!", "(", ")", "{", "}", ",", "/", "in", "mask", "ago", "\"", "[", "&", "\\",
    ];
    let values = vec![
        "10.0.0.1",
        "::1",
        "10.0.0.1-10.0.0.9",
        "80",
        "80-90",
        "0x10",
        "http",
        "24",
        "3h",
        "1h30m",
        "2024-03-05T14:05:00Z",
        "70000",
        "10.1",
        "tcpandudp",
        "漢",
        "\u{1b}",
        "\t",
        "\n",
    ];
    prop_oneof![4 => select(words), 4 => select(marks), 4 => select(values)].prop_map(str::to_owned)
}

/// A text of such pieces, with and without blanks between them.
fn soup() -> impl Strategy<Value = String> {
    vec((piece(), select(vec![" ", " ", ""])), 0..20)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(piece, blank)| [piece, blank.to_owned()]).collect())
}

/// That a text is read or refused in an orderly way.
fn check(text: &str) -> Result<(), TestCaseError> {
    match parse(text) {
        Ok(query) => prop_assert_eq!(parse(&query.to_string()), Ok(query)),
        Err(errors) => {
            prop_assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?} is no place in {:?}", error.span, text);
            }
            let report = errors.to_string();
            prop_assert!(report.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", report);
            prop_assert_eq!(report.matches("error: ").count(), errors.errors().len());
            prop_assert_eq!(report.lines().count(), 3 * errors.errors().len() + usize::from(errors.omitted() > 0));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_tree_reads_back_from_its_text(expr in arbitrary::expr()) {
        let query = Query { expr };
        prop_assert_eq!(parse(&query.to_string()), Ok(query));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn any_words_are_read_or_refused(text in soup()) {
        check(&text)?;
    }

    /// A query with a place damaged: near enough to one to reach every part of the parser.
    #[test]
    fn a_damaged_query_is_read_or_refused(expr in arbitrary::expr(), at in any::<prop::sample::Index>(), with in piece()) {
        let mut chars: Vec<char> = expr.to_string().chars().collect();
        let at = at.index(chars.len());
        drop(chars.splice(at..=at, with.chars()));
        check(&chars.into_iter().collect::<String>())?;
    }
}
