//! Whom certificates are for, by names that are plain, many, missing, or meant to be taken for others.

use rcgen::{DnValue, SanType, string::Ia5String};

use super::{super::Subject, *};
use crate::testkit::{CN, OU, certificate};

/// Object identifier of a description.
const DESCRIPTION: &[u64] = &[2, 5, 4, 13];

/// The subject of a certificate with these attributes, first one first, and these alternative names.
fn subject(attributes: &[(&[u64], DnValue)], alternative: Vec<SanType>) -> Subject {
    Leaf::of(&certificate(attributes, alternative).unwrap()).unwrap().subject().clone()
}

fn names(subject: &Subject) -> Vec<String> {
    subject.names().iter().map(|(kind, name)| format!("{}={name}", kind.label())).collect()
}

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}

#[test]
fn a_subject_is_written_as_rfc_4514_has_it_and_its_names_are_as_they_are() {
    let bmp = DnValue::BmpString("alice".try_into().unwrap());
    let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
    let long = "x".repeat(5_000);
    for (attributes, text, expected) in [
        (vec![(CN, utf8("alice"))], "CN=alice", vec!["CN=alice"]),
        (vec![(OU, utf8("SOC")), (CN, utf8("alice"))], "CN=alice,OU=SOC", vec!["OU=SOC", "CN=alice"]),
        (vec![(CN, utf8("a")), (CN, utf8("b"))], "CN=b,CN=a", vec!["CN=a", "CN=b"]),
        (vec![(CN, utf8("J\u{fc}rgen \u{4e00}"))], "CN=J\u{fc}rgen \u{4e00}", vec!["CN=J\u{fc}rgen \u{4e00}"]),
        (vec![(CN, utf8(&long))], &format!("CN={long}"), vec![&format!("CN={long}")]),
        (vec![(DESCRIPTION, utf8("hi"))], "2.5.4.13=#6869", vec![]),
        // Nobody is taken for somebody else.
        (vec![(CN, utf8("a,CN=root"))], "CN=a\\,CN=root", vec!["CN=a,CN=root"]),
        (vec![(CN, utf8(" #a;<b>\"+\\ "))], "CN=\\ #a\\;\\<b\\>\\\"\\+\\\\\\ ", vec!["CN= #a;<b>\"+\\ "]),
        (vec![(CN, utf8("alice\0.evil"))], "CN=alice\\00.evil", vec![]),
        (vec![(CN, utf8("alice\n2024 INFO"))], "CN=alice\\0A2024 INFO", vec![]),
        (vec![(CN, utf8("\u{202e}ecila"))], "CN=\\E2\\80\\AEecila", vec![]),
        (vec![(CN, utf8("a\u{200b}lice"))], "CN=a\\E2\\80\\8Blice", vec![]),
        (vec![(CN, utf8(""))], "CN=", vec![]),
        (vec![(CN, bmp)], "CN=#0061006c006900630065", vec![]),
        (vec![], "", vec![]),
    ] {
        let subject = subject(&attributes, Vec::new());
        assert_eq!((subject.text(), names(&subject)), (text, expected.iter().map(ToString::to_string).collect()));
    }
}

#[test]
fn alternative_names_count_beside_the_subject_or_without_one() {
    let alternative = || {
        vec![
            SanType::DnsName(ia5("probe.example")),
            SanType::URI(ia5("spiffe://example/probe")),
            SanType::Rfc822Name(ia5("a@example")),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::DnsName(ia5("nul\0.example")),
        ]
    };
    let expected =
        ["DNS=probe.example", "URI=spiffe://example/probe", "EMAIL=a@example", "IP=10.0.0.1", "IP=2001:db8::1"];
    let nameless = subject(&[], alternative());
    assert_eq!((nameless.text(), names(&nameless)), ("", expected.map(str::to_owned).to_vec()));
    let named = subject(&[(CN, DnValue::Utf8String("p".into()))], alternative());
    assert_eq!((named.text(), names(&named).len()), ("CN=p", 6));
}
