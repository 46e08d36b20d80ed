//! Query texts: [`steno_query::syntax::parse`].
//!
//! A text that parses prints as a text that parses to the same query. One that does not has at least one error, each
//! with a place on character boundaries of the text, and a report that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_core::TimestampNs;
use steno_query::parse;

/// 2023-11-14T22:13:20Z: what "ago" counts from.
const NOW: TimestampNs = TimestampNs(1_700_000_000_000_000_000);

fuzz_target!(|text: &str| {
    match parse(text, NOW) {
        Ok(query) => {
            let printed = query.to_string();
            match parse(&printed, NOW) {
                Ok(again) => {
                    assert_eq!(again, query, "`{printed}` means something else");
                    assert_eq!(again.to_string(), printed, "printing is not stable");
                }
                Err(errors) => panic!("`{printed}` does not parse:\n{errors}"),
            }
        }
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                assert!(
                    errors.text().get(error.span.clone()).is_some(),
                    "span {:?} of {:?}",
                    error.span,
                    errors.text()
                );
            }
            assert!(!errors.to_string().is_empty());
        }
    }
});
