//! Who is meant by which rule, and what they may then do.

use std::collections::BTreeSet;

use rcgen::{DnValue, SanType};
use steno_core::TimestampNs;
use steno_proto::{
    certs::Leaf,
    testkit::{CN, OU, certificate},
};

use super::*;
use crate::metrics::Metrics;

/// The holder of a certificate with these attributes and alternative names.
fn principal(attributes: &[(&[u64], &str)], alternative: Vec<SanType>) -> Principal {
    let attributes: Vec<_> =
        attributes.iter().map(|(identifier, value)| (*identifier, DnValue::Utf8String((*value).to_owned()))).collect();
    Principal::of(&Leaf::of(&certificate(&attributes, alternative).unwrap()).unwrap())
}

/// Somebody, and patterns that mean them and that do not.
type Case<'a> = (&'a dyn Fn() -> Principal, &'a [&'a str], &'a [&'a str]);

fn alternative() -> Vec<SanType> {
    vec![
        SanType::DnsName("Probe.Example".try_into().unwrap()),
        SanType::URI("spiffe://example/probe".try_into().unwrap()),
        SanType::Rfc822Name("a@example".try_into().unwrap()),
        SanType::IpAddress("10.0.0.1".parse().unwrap()),
    ]
}

fn rule(name: &str, principals: &[&str], actions: &[Action]) -> Rule {
    Rule {
        name: name.into(),
        principals: principals.iter().map(|text| Pattern::parse(text).unwrap()).collect(),
        networks: None,
        vlans: None,
        depth: None,
        max_query_bytes: None,
        actions: actions.iter().copied().collect(),
    }
}

fn asker(rules: Vec<Rule>, principal: Principal) -> Asker {
    Access::new(Some(rules), Metrics::new()).asker(principal, ([192, 0, 2, 1], 7).into())
}

#[test]
fn names_are_meant_as_they_stand() {
    let long = "x".repeat(5_000);
    let alice = || principal(&[(OU, "SOC Berlin"), (CN, "alice")], Vec::new());
    let several = || principal(&[(CN, "alice"), (CN, "bob")], Vec::new());
    let probe = || principal(&[], alternative());
    let long_one = || principal(&[(CN, &long)], Vec::new());
    let nul = || principal(&[(CN, "alice\0.example")], Vec::new());
    let wide = || principal(&[(CN, "J\u{fc}rgen")], Vec::new());
    let nobody = || principal(&[], Vec::new());
    let cases: [Case<'_>; 7] = [
        (
            &alice,
            &["*", "CN=alice", "CN=al*", "CN=*", "OU=SOC Berlin", "OU=SOC*"],
            &["CN=Alice", "CN=alic", "CN=alice ", "CN=alicex*", "OU=SOC", "CN=SOC Berlin", "DNS=alice", "URI=*"],
        ),
        (&several, &["CN=alice", "CN=bob", "*"], &["CN=alice,CN=bob", "CN=bob,CN=alice"]),
        (
            &probe,
            &["DNS=probe.example", "DNS=PROBE.*", "URI=spiffe://example/*", "EMAIL=a@example", "IP=10.0.0.1", "*"],
            &[
                "CN=*",
                "OU=*",
                "URI=SPIFFE://example/probe",
                "URI=spiffe://example/prob",
                "EMAIL=A@example",
                "DNS=example",
            ],
        ),
        (&long_one, &["CN=xxx*", "*"], &["CN=x", "CN=xxx"]),
        // What a C program would take for alice.
        (&nul, &["*"], &["CN=alice", "CN=alice*", "CN=*"]),
        (&wide, &["CN=J\u{fc}rgen", "CN=J\u{fc}*", "CN=J*"], &["CN=Ju\u{308}rgen", "CN=J\u{fc}rge", "CN=j*"]),
        (&nobody, &["*"], &["CN=*", "OU=*", "DNS=*", "IP=*", "URI=*", "EMAIL=*"]),
    ];
    for (who, meant, others) in cases {
        for (patterns, expected) in [(meant, Some("r")), (others, None)] {
            for pattern in patterns {
                let asker = asker(vec![rule("r", &[pattern], &Action::ALL)], who());
                assert_eq!(asker.rule(), expected, "{pattern} for {}", asker.principal());
                assert_eq!(asker.may_enter().is_ok(), expected.is_some());
            }
        }
    }
    let whole = format!("CN={long}");
    assert_eq!(asker(vec![rule("r", &[&whole], &[])], long_one()).rule(), Some("r"));
}

#[test]
fn a_principal_has_a_name_of_one_line_whatever_it_shows() {
    let long = "\u{fc}".repeat(3_000);
    for (principal, begins, is_whole) in [
        (principal(&[(OU, "SOC"), (CN, "alice")], Vec::new()), "CN=alice,OU=SOC", true),
        (principal(&[], alternative()), "DNS=Probe.Example", true),
        (principal(&[], Vec::new()), "SHA256=", false),
        (principal(&[(CN, "a\nb\u{202e}")], Vec::new()), "CN=a\\0Ab\\E2\\80\\AE", true),
        (principal(&[(CN, &long)], Vec::new()), "CN=\u{fc}", false),
    ] {
        let name = principal.name();
        assert!(name.starts_with(begins) && (!is_whole || name == begins), "{name}");
        assert!(name.len() <= 512 && !name.chars().any(char::is_control), "{name}");
        assert_eq!(principal.sha256().len(), 95);
    }
    let [one, other] = ["a", "b"].map(|end| principal(&[(CN, &format!("{long}{end}"))], Vec::new()));
    assert_ne!(one.name(), other.name(), "however alike they begin");
}

#[test]
fn the_first_rule_that_is_for_somebody_counts_alone() {
    let rules = || vec![rule("narrow", &["CN=alice"], &[Action::Query]), rule("wide", &["OU=SOC"], &Action::ALL)];
    let alice = asker(rules(), principal(&[(OU, "SOC"), (CN, "alice")], Vec::new()));
    assert_eq!(alice.rule(), Some("narrow"));
    assert_eq!(alice.may(Action::Query), Ok(()));
    let denied = alice.may(Action::Flows).unwrap_err();
    assert_eq!(denied.to_string(), "the rule \"narrow\" does not let CN=alice,OU=SOC ask for Flows");
    let bob = asker(rules(), principal(&[(OU, "SOC"), (CN, "bob")], Vec::new()));
    assert!(Action::ALL.into_iter().all(|action| bob.may(action).is_ok()));
    let eve = asker(rules(), principal(&[(CN, "eve")], Vec::new()));
    assert_eq!(eve.may_enter().unwrap_err().to_string(), "no rule of this sensor is for CN=eve");
    assert!(Action::ALL.into_iter().all(|action| eve.may(action).is_err()));
    let nothing = eve.scope(TimestampNs::MAX).expect("nothing is in reach");
    assert!(nothing.expr().may_match_times().is_empty());
}

#[test]
fn without_rules_anyone_may_ask_anything() {
    let access = Access::new(None, Metrics::new());
    let asker = access.asker(principal(&[], Vec::new()), ([192, 0, 2, 1], 7).into());
    assert!(asker.may_enter().is_ok() && Action::ALL.into_iter().all(|action| asker.may(action).is_ok()));
    assert_eq!((asker.rule(), asker.scope(TimestampNs::MAX), asker.max_query_bytes()), (None, None, None));
}

#[test]
fn depth_is_counted_from_the_request_on() {
    let hour = std::time::Duration::from_secs(3_600);
    let narrow = Rule { depth: Some(hour), ..rule("recent", &["*"], &[Action::Query]) };
    let asker = asker(vec![narrow], principal(&[(CN, "alice")], Vec::new()));
    for (now, from) in [(7_200, 3_600), (7_201, 3_601), (5, 0)] {
        let scope = asker.scope(TimestampNs::from_parts(now, 0)).unwrap();
        assert_eq!((scope.name(), scope.from()), ("recent", Some(TimestampNs::from_parts(from, 0))));
    }
}

#[test]
fn what_is_denied_is_counted_by_rule() {
    let metrics = Metrics::new();
    let access = Access::new(Some(vec![rule("narrow", &["CN=alice"], &[Action::Query])]), metrics.clone());
    let of = |name| access.asker(principal(&[(CN, name)], Vec::new()), ([192, 0, 2, 1], 7).into());
    let _denied = (of("alice").may(Action::Status), of("alice").may(Action::Query), of("eve").may(Action::Query));
    let text = metrics.encode().unwrap();
    assert!(text.contains("steno_access_denied_total{rule=\"narrow\"} 1\n"), "{text}");
    assert!(text.contains("steno_access_denied_total{rule=\"\"} 1\n"), "{text}");
    let names: BTreeSet<_> = Action::ALL.map(Action::name).into();
    assert_eq!(names.len(), Action::ALL.len());
}
