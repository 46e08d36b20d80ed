//! The bounds of text, primitives and nesting; and that nothing within them needs a deep stack.

use steno_core::{
    TimestampNs,
    packet::{Network, Tag},
};

use super::parse;
use crate::{
    predicate::Fields,
    syntax::{Fault, MAX_NESTING, MAX_PRIMITIVES, MAX_TEXT_BYTES, Query, QueryErrors},
};

/// The only error of a text.
fn fault(text: &str) -> Fault {
    let errors: QueryErrors = parse(text).unwrap_err();
    assert_eq!((errors.errors().len(), errors.omitted()), (1, 0), "{errors}");
    errors.errors()[0].fault.clone()
}

#[test]
fn text() {
    let padded = |len: usize| format!("tcp{}", " ".repeat(len - 3));
    assert!(parse(&padded(MAX_TEXT_BYTES)).is_ok());
    assert_eq!(fault(&padded(MAX_TEXT_BYTES + 1)), Fault::TooLong { len_bytes: MAX_TEXT_BYTES + 1 });
    let wide = "é".repeat(MAX_TEXT_BYTES);
    assert_eq!(fault(&wide), Fault::TooLong { len_bytes: 2 * MAX_TEXT_BYTES });
    let report = parse(&wide).unwrap_err().to_string();
    assert!(report.starts_with("error: query of 131072 bytes is too long\n") && report.len() < 1_000, "{report}");
    assert!(report.ends_with("^ expected at most 65536 bytes"), "{report}");
}

#[test]
fn text_written_out_in_full() {
    // Every address takes over qualifiers that are written out before each of them when it is displayed.
    let address = "1111:1111:1111:1111:1111:1111:1111:111";
    let items: Vec<String> = (0..980).map(|i| format!("{address}{}/{}", i % 10, 65 + i % 60)).collect();
    let text = format!("ip6 src net {}", items[..400].join("||"));
    assert_eq!(parse(&text).map(|q| parse(&q.to_string()) == Ok(q)), Ok(true));
    let text = format!("tcp or src net {}", items.join("   or      "));
    assert!(text.len() <= MAX_TEXT_BYTES);
    let query = parse(&text).unwrap();
    assert_eq!(parse(&query.to_string()), Ok(query));
    let long = "ffff:1111:1111:1111:1111:1111:1111:1111";
    let text = format!("src net {}", vec![format!("{long} mask {long}"); 730].join("or "));
    assert!(text.len() <= MAX_TEXT_BYTES, "{}", text.len());
    assert!(matches!(fault(&text), Fault::TooLong { len_bytes } if len_bytes > MAX_TEXT_BYTES));
}

#[test]
fn primitives() {
    let chain = |n: usize| vec!["tcp"; n].join(" or ");
    assert!(parse(&chain(MAX_PRIMITIVES)).is_ok());
    assert_eq!(fault(&chain(MAX_PRIMITIVES + 1)), Fault::TooManyPrimitives);
    // What an item of a list, a second bound and a spelt-out conjunction count.
    let list = |n: usize| format!("port in {{{}}}", vec!["1"; n].join(","));
    assert!(parse(&list(MAX_PRIMITIVES)).is_ok());
    assert_eq!(fault(&list(MAX_PRIMITIVES + 1)), Fault::TooManyPrimitives);
    assert_eq!(fault(&format!("{} or src and dst port 1", chain(MAX_PRIMITIVES - 1))), Fault::TooManyPrimitives);
    assert_eq!(fault(&format!("{} or icmp6", chain(MAX_PRIMITIVES - 1))), Fault::TooManyPrimitives);
    assert_eq!(fault(&format!("{} or between 2h ago and 1h ago", chain(MAX_PRIMITIVES - 1))), Fault::TooManyPrimitives);
    let report = parse(&chain(MAX_PRIMITIVES + 1)).unwrap_err().to_string();
    assert!(report.ends_with("^^^ expected at most 1000, items of lists included"), "{report}");
}

#[test]
fn nesting() {
    for (open, close) in [("(", ")"), ("not ", ""), ("!(", ")")] {
        let nested = |n: usize| format!("{}tcp{}", open.repeat(n), close.repeat(n));
        let most = if open == "!(" { MAX_NESTING / 2 } else { MAX_NESTING };
        let query = parse(&nested(most)).unwrap();
        assert_eq!(parse(&query.to_string()), Ok(query));
        assert_eq!(fault(&nested(most + 1)), Fault::TooDeep);
        assert_eq!(fault(&open.repeat(MAX_TEXT_BYTES / open.len())), Fault::TooDeep);
    }
    // Levels are given back.
    assert!(parse(&vec!["!(!(tcp))"; 500].join(" and ")).is_ok());
    // A conjunction of two in one word is a level more when it is written out.
    let nested = |n: usize| format!("{}tcp or icmp6{}", "(".repeat(n), ")".repeat(n));
    let query = parse(&nested(MAX_NESTING - 2)).unwrap();
    assert_eq!(parse(&query.to_string()), Ok(query));
    assert_eq!(fault(&nested(MAX_NESTING)), Fault::TooDeep);
    let report = parse(&"(".repeat(1_000)).unwrap_err().to_string();
    assert!(report.starts_with("error: nested too deeply\n"), "{report}");
    assert!(report.ends_with("^ expected at most 200 levels of `(` and `not`"), "{report}");
}

/// The deepest trees that the bounds allow, on the stack of a small thread.
#[test]
fn the_stack_is_enough() {
    let chain = vec!["tcp"; MAX_PRIMITIVES].join(" or ");
    let right = format!("{}tcp{}", "udp and (".repeat(MAX_NESTING), ")".repeat(MAX_NESTING));
    let nots = format!("{}tcp", "not ".repeat(MAX_NESTING));
    let both = format!(
        "{}{}{}",
        "udp and not (".repeat(MAX_NESTING / 2),
        chain.replace("tcp or tcp", "tcp"),
        ")".repeat(MAX_NESTING / 2)
    );
    let use_all = move || {
        for text in [chain, right, nots, both] {
            let query: Query = parse(&text).unwrap();
            let copy = query.clone();
            assert_eq!(parse(&query.to_string()), Ok(copy));
            assert!(format!("{query:?}").len() > text.len());
            let fields = Fields {
                network: Network::None { ether_type: None },
                protocol: Some(6),
                ports: None,
                tags: &[Tag::Vlan(1)],
            };
            let matches = query.expr.matches(&fields, TimestampNs::MIN);
            assert_eq!(query.expr.times(&fields).is_all(), matches);
            assert!(query.expr.may_match_times().is_all());
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(use_all).unwrap().join().unwrap();
}
