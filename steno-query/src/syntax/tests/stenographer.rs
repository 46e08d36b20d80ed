//! That what stenographer 1.0.1 accepts means here what it meant there.
//!
//! A model of its lexer and grammar (`query/parser.y`), written from those and apart from the parser under test, says
//! what a text means. It is silent on a text at which 1.0.1's lexer gives up: that lexer then reports the *end* of the
//! text, so that 1.0.1 answers `tcp | port 80` as `tcp`. Here such a text is an error.

use std::{fs, net::IpAddr};

use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use steno_core::{
    TimestampNs,
    testkit::{need, shared_dir},
};

use super::{NOW, parse};
use crate::syntax::{AddrRange, Expr, PortRange, Primitive, Side, TimeSpan, glued};

/// Times as they are written, with their seconds since the epoch; `None` where Go refuses them.
const TIMES: &[(&str, Option<u64>)] = &[
    ("2024-03-05T14:05:00Z", Some(1_709_647_500)),
    ("2024-03-05T15:05:00+01:00", Some(1_709_647_500)),
    ("2024-03-05T10:35:00-03:30", Some(1_709_647_500)),
    ("2024-03-05T4:05:00Z", Some(1_709_611_500)),
    ("2024-03-05T14:05:00+-1:+5", Some(1_709_650_800)),
    ("2024-03-05T14:05:00+99:99", Some(1_709_285_160)),
    ("2024-02-29T00:00:00Z", Some(1_709_164_800)),
    ("2024-02-30T00:00:00Z", None),
    ("2024-03-05T24:00:00Z", None),
    ("2024-03-05T14:05Z", None),
    ("2024-03-05", None),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    Keyword(&'static str),
    Mark(char),
    Address(IpAddr),
    Number(u64),
    Ago(u64),
    Time(u64),
}

const KEYWORDS: &[&str] = &[
    "after", "ago", "&&", "and", "before", "host", "icmp", "ip", "mask", "mpls", "net", "||", "or", "port", "proto",
    "tcp", "udp", "vlan",
];

/// The tokens of a text; `None` where the lexer reports an error or gives up.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']).len();
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { return Some(tokens) };
        if let Some(keyword) = KEYWORDS.iter().find(|keyword| rest.starts_with(**keyword)) {
            tokens.push(Token::Keyword(keyword));
            at += keyword.len();
            continue;
        }
        let (mut len, mut is_address, mut is_duration, mut is_time) = (0, false, false, false);
        for c in rest.chars() {
            match c {
                ':' | '.' => is_address = true,
                '0'..='9' | 'a'..='f' => {}
                'm' | 'h' => is_duration = true,
                '-' | 'T' | '+' | 'Z' => is_time = true,
                _ => break,
            }
            len += 1;
            if is_duration {
                break;
            }
        }
        let part = &rest[..len];
        at += len;
        tokens.push(match part {
            "" if "()/".contains(first) => {
                at += 1;
                Token::Mark(first)
            }
            "" => return None,
            _ if is_time => Token::Time(TIMES.iter().find(|(text, _)| *text == part)?.1?),
            _ if is_address => Token::Address(part.parse::<IpAddr>().ok()?.to_canonical()),
            _ if is_duration => {
                let count: u64 = part[..len - 1].parse().ok()?;
                Token::Ago(count * if part.ends_with('h') { 3_600 } else { 60 })
            }
            _ => Token::Number(part.parse().ok()?),
        });
    }
}

/// What follows of a text, token by token.
struct Rest<'a>(&'a [Token]);

impl Rest<'_> {
    fn next(&mut self) -> Option<Token> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn is_next(&mut self, token: Token) -> bool {
        let is_next = self.0.first() == Some(&token);
        if is_next {
            let _token = self.next();
        }
        is_next
    }

    fn number_below(&mut self, bound: u64) -> Option<u64> {
        match self.next()? {
            Token::Number(number) if number < bound => Some(number),
            _ => None,
        }
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.next()? {
            Token::Address(address) => Some(address),
            _ => None,
        }
    }

    /// `expr: expr2 | expr AND expr2 | expr OR expr2`.
    fn expr(&mut self) -> Option<Expr> {
        let mut left = self.expr2()?;
        loop {
            if self.is_next(Token::Keyword("and")) || self.is_next(Token::Keyword("&&")) {
                left = left.and(self.expr2()?);
            } else if self.is_next(Token::Keyword("or")) || self.is_next(Token::Keyword("||")) {
                left = left.or(self.expr2()?);
            } else {
                return Some(left);
            }
        }
    }

    fn expr2(&mut self) -> Option<Expr> {
        let addresses = |range| Primitive::Address { side: Side::Either, ranges: vec![range] };
        Some(Expr::Is(match self.next()? {
            Token::Mark('(') => {
                let inner = self.expr()?;
                return self.is_next(Token::Mark(')')).then_some(inner);
            }
            Token::Keyword("tcp") => Primitive::Protocol(6),
            Token::Keyword("udp") => Primitive::Protocol(17),
            Token::Keyword("icmp") => Primitive::Protocol(1),
            Token::Keyword("host") => addresses(AddrRange::single(self.address()?)),
            Token::Keyword("net") => {
                let address = self.address()?;
                addresses(if self.is_next(Token::Mark('/')) {
                    let bits = if address.is_ipv4() { 32 } else { 128 };
                    AddrRange::prefix(address, u8::try_from(self.number_below(bits + 1)?).ok()?)?
                } else if self.is_next(Token::Keyword("mask")) {
                    AddrRange::masked(address, self.address()?)?
                } else {
                    return None;
                })
            }
            Token::Keyword("port") => Primitive::Port {
                side: Side::Either,
                transport: None,
                ranges: vec![PortRange::single(u16::try_from(self.number_below(1 << 16)?).ok()?)],
            },
            Token::Keyword("ip") if self.is_next(Token::Keyword("proto")) => {
                Primitive::Protocol(u8::try_from(self.number_below(1 << 8)?).ok()?)
            }
            Token::Keyword("vlan") => Primitive::Vlan(Some(u16::try_from(self.number_below(1 << 16)?).ok()?)),
            Token::Keyword("mpls") => Primitive::Mpls(Some(u32::try_from(self.number_below(1 << 20)?).ok()?)),
            Token::Keyword("before") => Primitive::Time(TimeSpan { from: None, until: Some(self.time()?) }),
            Token::Keyword("after") => Primitive::Time(TimeSpan { from: Some(self.time()?), until: None }),
            _ => return None,
        }))
    }

    fn time(&mut self) -> Option<TimestampNs> {
        let secs = match self.next()? {
            Token::Time(secs) => secs,
            Token::Ago(secs) if self.is_next(Token::Keyword("ago")) => NOW.secs() - secs,
            _ => return None,
        };
        Some(TimestampNs::new(secs * 1_000_000_000))
    }
}

/// What 1.0.1 takes a text for, where it takes it.
fn model(text: &str) -> Option<Expr> {
    let tokens = tokens(text)?;
    let mut rest = Rest(&tokens);
    rest.expr().filter(|_| rest.0.is_empty())
}

/// A blank, or none, or another.
fn gap() -> impl Strategy<Value = String> {
    select(vec![" ", " ", " ", " ", "", "", "\t", "\n", "  "]).prop_map(str::to_owned)
}

/// A primitive of 1.0.1 with such gaps, now and then with a value that it refuses.
fn glued_primitive() -> impl Strategy<Value = String> {
    let address = || {
        select(vec![
            "10.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "1:2:3:4:5:6:7:8",
            "1.2.3",
        ])
    };
    let number = |max: u32| prop_oneof![8 => (0..=max).prop_map(|n| n.to_string()), 1 => (0..=max).prop_map(|n| format!("0{n}")), 1 => Just((max + 1).to_string())];
    let words = |parts: Vec<BoxedStrategy<String>>| parts.prop_map(|parts| parts.concat());
    let word = |text: &'static str| Just(text.to_owned()).boxed();
    let time = prop_oneof![
        select(TIMES.iter().map(|(text, _)| (*text).to_owned()).collect::<Vec<_>>()),
        (0..100_000_u32, select(vec!["h", "m"]), gap()).prop_map(|(n, unit, gap)| format!("{n}{unit}{gap}ago")),
    ];
    let address = || address().prop_map(str::to_owned).boxed();
    prop_oneof![
        select(vec!["tcp", "udp", "icmp"]).prop_map(str::to_owned),
        words(vec![word("host"), gap().boxed(), address()]),
        words(vec![word("net"), gap().boxed(), address(), gap().boxed(), word("/"), gap().boxed(), number(32).boxed()]),
        words(vec![word("net"), gap().boxed(), address(), word("/"), number(128).boxed()]),
        words(vec![word("net"), gap().boxed(), address(), gap().boxed(), word("mask"), gap().boxed(), address()]),
        words(vec![word("port"), gap().boxed(), number(65_535).boxed()]),
        words(vec![word("ip"), gap().boxed(), word("proto"), gap().boxed(), number(255).boxed()]),
        words(vec![word("vlan"), gap().boxed(), number(65_535).boxed()]),
        words(vec![word("mpls"), gap().boxed(), number((1 << 20) - 1).boxed()]),
        (select(vec!["before", "after"]), gap(), time).prop_map(|(word, gap, time)| format!("{word}{gap}{time}")),
    ]
}

/// A text of 1.0.1's language, or nearly.
fn glued_query() -> impl Strategy<Value = String> {
    glued_primitive().prop_recursive(3, 12, 2, |inner| {
        let operator =
            (gap(), select(vec!["and", "or", "&&", "||"]), gap()).prop_map(|(a, op, b)| format!("{a}{op}{b}"));
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a}{op}{b}")),
            (gap(), inner, gap()).prop_map(|(a, inner, b)| format!("({a}{inner}{b})")),
        ]
    })
}

/// A query of the shape that the acceptance checks make at random.
fn random_query() -> impl Strategy<Value = String> {
    let v4 = || any::<u32>().prop_map(std::net::Ipv4Addr::from);
    let v6 = || any::<u128>().prop_map(std::net::Ipv6Addr::from);
    let primitive = prop_oneof![
        2 => v4().prop_map(|a| format!("host {a}")),
        1 => v6().prop_map(|a| format!("host {a}")),
        1 => (v4(), select(vec![0, 1, 8, 12, 16, 20, 24, 30, 32])).prop_map(|(a, bits)| format!("net {a}/{bits}")),
        1 => (v6(), select(vec![0, 16, 32, 48, 64, 127, 128])).prop_map(|(a, bits)| format!("net {a}/{bits}")),
        2 => any::<u16>().prop_map(|port| format!("port {port}")),
        1 => any::<u8>().prop_map(|number| format!("ip proto {number}")),
        1 => (0_u32..1 << 20).prop_map(|label| format!("mpls {label}")),
        1 => select(vec!["tcp", "udp", "icmp"]).prop_map(str::to_owned),
    ];
    primitive.prop_recursive(2, 16, 4, |inner| {
        let more = prop::collection::vec((select(vec!["and", "or", "&&", "||"]), inner.clone()), 1..4);
        (inner, more, prop::bool::weighted(0.6)).prop_map(|(first, more, in_parentheses)| {
            let text = more.into_iter().fold(first, |text, (operator, next)| format!("{text} {operator} {next}"));
            if in_parentheses { format!("({text})") } else { text }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_it_accepts_means_the_same(text in glued_query()) {
        if let Some(expected) = model(&text) {
            match parse(&text) {
                Ok(query) => prop_assert_eq!(query.expr, expected),
                Err(errors) => prop_assert!(false, "refused:\n{}", errors),
            }
        }
    }

    #[test]
    fn random_queries_mean_the_same(text in random_query()) {
        let expected = model(&text);
        prop_assert!(expected.is_some(), "1.0.1 would refuse {}", text);
        prop_assert_eq!(parse(&text).ok().map(|query| query.expr), expected);
    }
}

/// The first test above would hold of a model that accepts nothing.
#[test]
fn the_model_accepts_enough() {
    let mut runner = TestRunner::deterministic();
    let texts = (0..500).map(|_| glued_query().new_tree(&mut runner).unwrap().current());
    let accepted: Vec<String> = texts.filter(|text| model(text).is_some()).collect();
    assert!(accepted.len() > 150, "{} of 500", accepted.len());
    let is_glued = |text: &&String| text.split_whitespace().any(|word| glued::split(word).len() > 1);
    let glued = accepted.iter().filter(is_glued).count();
    assert!(glued > 20, "{glued} of {}", accepted.len());
}

/// What the real 1.0.1 logged as its reading of each text (`stenographer -v=3`).
#[test]
fn the_model_is_what_1_0_1_was_seen_to_do() {
    for (text, logged) in [
        ("host10.0.0.1or(tcpandport80)", "(host 10.0.0.1-10.0.0.1 or (ip proto 6 and port 80))"),
        ("net fe80::1 /\n33", "host fe80::-fe80:0:7fff:ffff:ffff:ffff:ffff:ffff"),
        ("net 10.0.0.1 mask 1.2.3.4", "host 0.0.0.0-254.253.252.251"),
        ("net 10.0.0.1 mask 255.0.255.255", "host 10.0.0.1-10.255.0.1"),
        ("net::/3&&port080", "(host ::-1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff and port 80)"),
        ("tcp and udp or icmp and vlan 65535", "(((ip proto 6 and ip proto 17) or ip proto 1) and vlan 65535)"),
        ("net ::ffff:0:0 mask\n255.255.0.0", "host 0.0.0.0-0.0.255.255"),
    ] {
        let expected = model(text).unwrap_or_else(|| panic!("the model refuses {text:?}"));
        assert_eq!(as_logged(&expected), logged);
        assert_eq!(parse(text).map(|query| query.expr), Ok(expected));
    }
    for refused in
        ["vlan 65536", "mpls 1048576", "net 1.2.3.4/33", "port 65536", "ip proto 256", "tcp udp", "()", "ip", "vlan"]
    {
        assert_eq!(model(refused), None, "{refused}");
    }
}

fn as_logged(expr: &Expr) -> String {
    match expr {
        Expr::And(a, b) => format!("({} and {})", as_logged(a), as_logged(b)),
        Expr::Or(a, b) => format!("({} or {})", as_logged(a), as_logged(b)),
        Expr::Is(Primitive::Address { ranges, .. }) => format!("host {}-{}", ranges[0].low(), ranges[0].high()),
        Expr::Is(Primitive::Protocol(number)) => format!("ip proto {number}"),
        Expr::Is(other) => other.to_string(),
        Expr::Not(_) => panic!("1.0.1 has no `not`"),
    }
}

/// Where 1.0.1 stops reading without a word, there is an error here.
#[test]
fn a_text_that_1_0_1_reads_half_is_refused() {
    for text in ["tcp | port 80", "tcp\nor port 53 #", "host 10.0.0.1 and tcp; udp", "tcp 1e3", "tcp port 80!"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_query_of_the_corpus_parses() {
    let shared = shared_dir(env!("CARGO_MANIFEST_DIR"));
    if !need(shared.is_some(), "the shared corpus") {
        return;
    }
    let table = fs::read_to_string(shared.unwrap().join("corpus/expected.tsv")).unwrap();
    let queries: Vec<&str> = table.lines().skip(1).map(|row| row.split('\t').next().unwrap()).collect();
    assert!(queries.len() > 40);
    for text in queries.into_iter().filter(|&text| text != "(all)") {
        let query = parse(text).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(parse(&query.to_string()), Ok(query));
    }
}
