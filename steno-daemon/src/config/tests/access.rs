//! The section `Access`: what it takes, and that nothing in it is passed over.

use std::{collections::BTreeSet, time::Duration};

use crate::access::{Action, Pattern, Rule};

use super::*;

fn rules(more: &str) -> Vec<Rule> {
    good(&with(&format!(r#""Access":{{"Rules":[{more}]}}"#))).access.unwrap()
}

/// What is wrong with a rule that holds but for this.
fn wrong(more: &str) -> Vec<String> {
    let text = with(&format!(r#""Access":{{"Rules":[{{"Name":"x","Principals":["*"],{more}}}]}}"#));
    errors(&text).into_iter().map(|error| error.replacen("Access.Rules[0].", "", 1)).collect()
}

#[test]
fn without_the_section_anyone_may_ask_anything() {
    assert_eq!(good(&with("")).access, None);
}

#[test]
fn a_rule_says_for_whom_it_is_and_what_they_may_have() {
    let all = rules(
        r#"{"Name":"soc","Principals":["OU=SOC*","CN=root"]},
        {"Name":"web","Principals":["DNS=web.example"],"Nets":["10.1.0.0/16","2001:db8::/32","192.0.2.7"],
         "Vlans":[5,"100-102"],"Depth":"7d","MaxQueryBytes":"1GiB","Methods":["Query","Flows","GET /metrics"]},
        {"Name":"rest","Principals":["*"],"Depth":"1h"}"#,
    );
    let [soc, web, rest] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((soc.name.as_str(), &soc.networks, &soc.vlans, soc.depth), ("soc", &None, &None, None));
    assert_eq!(soc.actions, BTreeSet::from(Action::ALL), "what is not narrowed may ask everything");
    assert_eq!(soc.principals, ["OU=SOC*", "CN=root"].map(|text| Pattern::parse(text).unwrap()));
    let networks: Vec<_> = web.networks.iter().flatten().map(|range| (range.low(), range.prefix_bits())).collect();
    let expected = [("10.1.0.0", 16), ("2001:db8::", 32), ("192.0.2.7", 32)];
    assert_eq!(networks, expected.map(|(address, bits)| (address.parse().unwrap(), Some(bits))));
    assert_eq!(
        (web.vlans.as_deref(), web.depth),
        (Some(&[5, 100, 101, 102][..]), Some(Duration::from_secs(7 * 86_400)))
    );
    assert_eq!(web.max_query_bytes, Some(1 << 30));
    assert_eq!(web.actions, BTreeSet::from([Action::Query, Action::Flows, Action::Metrics]));
    assert_eq!(rest.actions, BTreeSet::from(Action::OF_PACKETS), "what tells of the whole sensor is to be named");
}

#[test]
fn every_fault_of_a_rule_is_named() {
    let net = "a network, as \"10.1.0.0/16\" or \"2001:db8::/32\", or an address";
    let vlan = "a VLAN's id from 0 to 4095, or a range of them, as \"100-199\"";
    for (more, expected) in [
        (r#""Nets":["10.0.0.0/33"]"#, format!("Nets[0]: \"10.0.0.0/33\" will not do; it takes {net}")),
        (r#""Nets":["10.0.0.0/+8"]"#, format!("Nets[0]: \"10.0.0.0/+8\" will not do; it takes {net}")),
        (r#""Nets":["web"]"#, format!("Nets[0]: \"web\" will not do; it takes {net}")),
        (r#""Nets":[7]"#, format!("Nets[0]: 7 will not do; it takes {net}")),
        (
            r#""Nets":["10.1.2.3/16"]"#,
            "Nets[0]: \"10.1.2.3/16\" will not do; it takes the network that it is of, as \"10.1.0.0/16\"".into(),
        ),
        (
            r#""Nets":["::ffff:10.0.0.1"]"#,
            "Nets[0]: \"::ffff:10.0.0.1\" will not do; it takes the IPv4 address that it stands for, 10.0.0.1".into(),
        ),
        (r#""Nets":[]"#, "Nets: empty, which would mean nothing; leave it out to mean anything".into()),
        (r#""Nets":"10.0.0.0/8""#, "Nets: \"10.0.0.0/8\" will not do; it takes a list".into()),
        (r#""Nets":null"#, "Nets: null says nothing; give a value, or leave the key out".into()),
        (r#""Vlans":[4096]"#, format!("Vlans[0]: 4096 will not do; it takes {vlan}")),
        (r#""Vlans":["9-5"]"#, format!("Vlans[0]: \"9-5\" will not do; it takes {vlan}")),
        (r#""Vlans":[5.0]"#, format!("Vlans[0]: 5.0 will not do; it takes {vlan}")),
        (r#""Vlans":[]"#, "Vlans: empty, which would mean nothing; leave it out to mean anything".into()),
        (r#""Depth":"""#, "Depth: \"\" says nothing; give a value, or leave the key out".into()),
        (
            r#""Depth":"0d""#,
            "Depth: \"0d\" will not do; it takes a number and a unit of s, m, h, d or w, as \"30d\"".into(),
        ),
        (
            r#""Methods":["Qeury"]"#,
            "Methods[0]: \"Qeury\" will not do; it takes the name of a method; did you mean \"Query\"?".into(),
        ),
        (r#""Methods":["Follow"]"#, "Methods: \"Follow\" goes on with a Query; it takes \"Query\" beside it".into()),
        (r#""Methods":[]"#, "Methods: empty, which would mean nothing; leave it out to mean anything".into()),
        (r#""Net":["10.0.0.0/8"]"#, "Net: unknown key; did you mean \"Access.Rules[0].Nets\"?".into()),
        (r#""Whatever":1"#, "Whatever: unknown key".into()),
        (r#""Depth":"1d","depth":"9d""#, "depth: given more than once".into()),
    ] {
        assert_eq!(wrong(more), [expected], "{more}");
    }
    let bad =
        "CN=, OU=, DNS=, IP=, URI= or EMAIL= and a name, which may end with a *, or a * alone for any certificate";
    for pattern in ["alice", "CN=", "cn=alice", "SAN=x", "CN=a*b", "CN=**", "CN=a\\u0000", "O=x", ""] {
        let text = with(&format!(r#""Access":{{"Rules":[{{"Name":"x","Principals":["{pattern}"]}}]}}"#));
        let shown = pattern.replace("\\u0000", "\\0");
        assert_eq!(errors(&text), [format!("Access.Rules[0].Principals[0]: \"{shown}\" will not do; it takes {bad}")]);
    }
    let many = format!(r#""Nets":[{}]"#, vec!["\"10.0.0.0/8\""; 1_001].join(","));
    assert_eq!(wrong(&many), ["Nets: 1001 items; 1000 are the most"]);
}

#[test]
fn a_section_that_would_let_nobody_or_everybody_by_mistake_is_refused() {
    let none = "Access.Rules: none; nobody could ask anything; take Access out to let everybody";
    for (more, expected) in [
        (r#""Access":{}"#, vec![none]),
        (r#""Access":{"Rules":[]}"#, vec![none]),
        (r#""Access":null"#, vec!["Access: null says nothing; give a value, or leave the key out"]),
        (r#""Access":[]"#, vec!["Access: it is a list; it must be an object"]),
        (r#""Acess":{}"#, vec!["Acess: unknown key; did you mean \"Access\"?"]),
        (
            r#""Access":{"Rules":[{"Name":"a","Principals":["*"]}],"Rule":[]}"#,
            vec!["Access.Rule: unknown key; did you mean \"Access.Rules\"?"],
        ),
        (
            r#""Access":{"Rules":[{"Name":"a","Principals":["*"]},{"Name":"b","Principals":["CN=b"]}]}"#,
            vec!["Access.Rules[1]: never reached: the rule \"a\" before it is for everybody"],
        ),
        (
            r#""Access":{"Rules":[{"Name":"a","Principals":["CN=a"]},{"Name":"a","Principals":["CN=b"]}]}"#,
            vec!["Access.Rules[1].Name: \"a\" is the name of another rule already"],
        ),
        (
            r#""Access":{"Rules":[{}]}"#,
            vec![
                "Access.Rules[0].Name: missing; it takes a name for the rule",
                "Access.Rules[0].Principals: missing; it takes a list of CN=, OU=, DNS=, IP=, URI= or EMAIL= and a name, \
                 which may end with a *, or a * alone for any certificate",
            ],
        ),
    ] {
        assert_eq!(errors(&with(more)), expected, "{more}");
    }
}
