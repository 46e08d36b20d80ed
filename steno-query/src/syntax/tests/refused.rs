//! What is refused, with the report to the letter.

use super::parse;
use crate::syntax::{Fault, MAX_ERRORS};

/// Each text with its report, which begins with a line end for the eye.
fn check(cases: &[(&str, &str)]) {
    for (text, report) in cases {
        match parse(text) {
            Ok(query) => panic!("{text:?} is accepted as {query}"),
            Err(errors) => assert_eq!(format!("\n{errors}"), *report, "of {text:?}"),
        }
    }
}

#[test]
fn unknown_words() {
    check(&[
        (
            "udp and prot 53",
            r"
error: unknown primitive `prot`
  | udp and prot 53
  |         ^^^^ did you mean `port` or `proto`?",
        ),
        (
            "TCP AND udp",
            r"
error: unknown primitive `TCP`
  | TCP AND udp
  | ^^^ did you mean `tcp`?",
        ),
        (
            "tcp AND udp",
            r"
error: unexpected `AND`
  | tcp AND udp
  |     ^^^ expected `and` or `or`; did you mean `and`?",
        ),
        (
            "nonsense",
            r"
error: unknown primitive `nonsense`
  | nonsense
  | ^^^^^^^^ expected a primitive, such as `host 10.0.0.1` or `port 53`",
        ),
        (
            "10.0.0.1 or ssh or esp",
            r"
error: unexpected `10.0.0.1`
  | 10.0.0.1 or ssh or esp
  | ^^^^^^^^ expected a primitive; did you mean `host 10.0.0.1`?
error: unexpected `ssh`
  | 10.0.0.1 or ssh or esp
  |             ^^^ expected a primitive; did you mean `port ssh`?
error: unexpected `esp`
  | 10.0.0.1 or ssh or esp
  |                    ^^^ expected a primitive; did you mean `proto esp`?",
        ),
    ]);
}

#[test]
fn operators_and_brackets() {
    check(&[
        (
            "",
            "
error: empty query
  | \n  | ^ expected a primitive, such as `host 10.0.0.1` or `port 53`",
        ),
        (
            "tcp and",
            r"
error: unexpected end of query
  | tcp and
  |        ^ expected a primitive",
        ),
        (
            "tcp udp",
            r"
error: unexpected `udp`
  | tcp udp
  |     ^^^ expected `and` or `or`",
        ),
        (
            "tcp | udp & icmp",
            r"
error: unexpected `|`
  | tcp | udp & icmp
  |     ^ expected `and` or `or`; did you mean `||`?",
        ),
        (
            "()",
            r"
error: unexpected `)`
  | ()
  |  ^ expected a primitive",
        ),
        (
            "tcp ) and udp",
            r"
error: unexpected `)`
  | tcp ) and udp
  |     ^ expected `and`, `or` or the end: no `(` is open",
        ),
        (
            "tcp and ) or udp",
            r"
error: unexpected `)`
  | tcp and ) or udp
  |         ^ expected a primitive",
        ),
        (
            "host 10.0.0.1 or tcp or 10.0.0.2",
            r"
error: unexpected `10.0.0.2`
  | host 10.0.0.1 or tcp or 10.0.0.2
  |                         ^^^^^^^^ expected a primitive; did you mean `host 10.0.0.2`?",
        ),
        (
            "(tcp and (udp or prot 5)",
            r"
error: unclosed `(`
  | (tcp and (udp or prot 5)
  | ^ expected a `)` after it
error: unknown primitive `prot`
  | (tcp and (udp or prot 5)
  |                  ^^^^ did you mean `port` or `proto`?",
        ),
    ]);
}

#[test]
fn values() {
    check(&[
        (
            "host example.com and net 10.0.0.0/33",
            r"
error: bad IP address `example.com`
  | host example.com and net 10.0.0.0/33
  |      ^^^^^^^^^^^ expected an IPv4 or IPv6 address; names are not looked up
error: prefix length 33 is out of range
  | host example.com and net 10.0.0.0/33
  |                                   ^^ expected 0 to 32",
        ),
        (
            "host 10.0.0.0/8",
            r"
error: unexpected `/`
  | host 10.0.0.0/8
  |              ^ expected one address after `host`; did you mean `net 10.0.0.0/8`?",
        ),
        (
            "net 192.168/16",
            r"
error: bad IP address `192.168`
  | net 192.168/16
  |     ^^^^^^^ expected an IPv4 or IPv6 address; did you mean `192.168.0.0/16`?",
        ),
        (
            "net 10.0.0.0 mask ff:: or net 10.0.0.0/255.0.0.0",
            r"
error: mask ff:: does not fit address 10.0.0.0
  | net 10.0.0.0 mask ff:: or net 10.0.0.0/255.0.0.0
  |                   ^^^^ expected a mask of the same IP version
error: unexpected `255.0.0.0`
  | net 10.0.0.0 mask ff:: or net 10.0.0.0/255.0.0.0
  |                                        ^^^^^^^^^ expected a prefix length, 0 to 32; did you mean `net 10.0.0.0 mask 255.0.0.0`?",
        ),
        (
            "port 65536 or port 80-90 or port htps",
            r"
error: port 65536 is out of range
  | port 65536 or port 80-90 or port htps
  |      ^^^^^ expected 0 to 65535
error: unexpected `80-90`
  | port 65536 or port 80-90 or port htps
  |                    ^^^^^ expected one port after `port`; did you mean `portrange 80-90`?
error: bad port `htps`
  | port 65536 or port 80-90 or port htps
  |                                  ^^^^ expected a port, 0 to 65535, or a service name; did you mean `https` or `ftps`?",
        ),
        (
            "ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x",
            r"
error: IP protocol 256 is out of range
  | ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x
  |          ^^^ expected 0 to 255
error: bad IP protocol `tpc`
  | ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x
  |                       ^^^ expected an IP protocol, 0 to 255, or its name; did you mean `tcp`?
error: VLAN id 65536 is out of range
  | ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x
  |                                   ^^^^^ expected 0 to 65535
error: MPLS label 1048576 is out of range
  | ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x
  |                                                 ^^^^^^^ expected 0 to 1048575
error: bad MPLS label `5x`
  | ip proto 256 or proto tpc or vlan 65536 or mpls 1048576 or mpls 5x
  |                                                                 ^^ expected 0 to 1048575",
        ),
    ]);
}

#[test]
fn lists() {
    check(&[
        (
            "host in {10.0.0.1, foo, 10.0.0.300} and port in {}",
            r"
error: bad IP address `foo`
  | host in {10.0.0.1, foo, 10.0.0.300} and port in {}
  |                    ^^^ expected an IPv4 or IPv6 address; names are not looked up
error: bad IP address `10.0.0.300`
  | host in {10.0.0.1, foo, 10.0.0.300} and port in {}
  |                         ^^^^^^^^^^ expected an IPv4 or IPv6 address
error: unexpected `}`
  | host in {10.0.0.1, foo, 10.0.0.300} and port in {}
  |                                                  ^ expected a port, 0 to 65535, or a service name",
        ),
        (
            "port in {80 or 443} or port in {80",
            r"
error: unexpected `or`
  | port in {80 or 443} or port in {80
  |             ^^ expected `,` or `}`
error: unclosed `{`
  | port in {80 or 443} or port in {80
  |                                ^ expected a `}` after the last item",
        ),
        (
            "host in {10.0.0.9-10.0.0.1, ::1-10.0.0.1}",
            r"
error: no addresses from 10.0.0.9 to 10.0.0.1
  | host in {10.0.0.9-10.0.0.1, ::1-10.0.0.1}
  |          ^^^^^^^^^^^^^^^^^ expected the lower address first, both of one IP version
error: no addresses from ::1 to 10.0.0.1
  | host in {10.0.0.9-10.0.0.1, ::1-10.0.0.1}
  |                             ^^^^^^^^^^^^ expected the lower address first, both of one IP version",
        ),
        (
            "proto in {6} or portrange in {5}",
            r"
error: unexpected `in`
  | proto in {6} or portrange in {5}
  |       ^^ expected one protocol; lists are for `host`, `net` and `port`
error: unexpected `in`
  | proto in {6} or portrange in {5}
  |                           ^^ expected two ports with a dash after `portrange`; did you mean `port in`?",
        ),
    ]);
}

#[test]
fn times() {
    check(&[
        (
            "after 2024-03-05 14:05:00 or before 2024-03-05",
            r"
error: bad time `2024-03-05`
  | after 2024-03-05 14:05:00 or before 2024-03-05
  |       ^^^^^^^^^^ expected a time such as 2024-03-05T14:05:00Z, or `3h ago`; did you mean `2024-03-05T14:05:00Z`?
error: bad time `2024-03-05`
  | after 2024-03-05 14:05:00 or before 2024-03-05
  |                                     ^^^^^^^^^^ expected a time such as 2024-03-05T14:05:00Z, or `3h ago`; did you mean `2024-03-05T00:00:00Z`?",
        ),
        (
            "before 3h and last 90",
            r"
error: unexpected `and`
  | before 3h and last 90
  |           ^^^ expected `ago` after a duration
error: bad duration `90`
  | before 3h and last 90
  |                    ^^ expected a duration such as 90s, 15m, 1h30m or 2d; did you mean `90s`?",
        ),
        (
            "between 2024-02-30T00:00:00Z and soon",
            r"
error: bad time `2024-02-30T00:00:00Z`
  | between 2024-02-30T00:00:00Z and soon
  |         ^^^^^^^^^^^^^^^^^^^^ expected a time such as 2024-03-05T14:05:00Z, or `3h ago`
error: bad time `soon`
  | between 2024-02-30T00:00:00Z and soon
  |                                  ^^^^ expected a time such as 2024-03-05T14:05:00Z, or `3h ago`",
        ),
        (
            "between 1h ago and 2h ago",
            r"
error: the first time is later than the second
  | between 1h ago and 2h ago
  | ^^^^^^^^^^^^^^^^^^^^^^^^^ expected the earlier time first",
        ),
        (
            "between 1h ago or tcp",
            r"
error: unexpected `or`
  | between 1h ago or tcp
  |                ^^ expected `and` and a second time",
        ),
    ]);
}

#[test]
fn qualifiers() {
    check(&[
        (
            "src 80 or src proto 5",
            r"
error: unexpected `80`
  | src 80 or src proto 5
  |     ^^ expected an IP address, `host`, `net`, `port` or `portrange`; did you mean `port 80`?
error: a protocol has no direction
  | src 80 or src proto 5
  |           ^^^ expected `proto` without `src` or `dst`",
        ),
        (
            "tcp host 10.0.0.1 or ip6 src port 80",
            r"
error: `tcp` qualifies only ports
  | tcp host 10.0.0.1 or ip6 src port 80
  | ^^^ expected `tcp and` before the rest
error: `ip6` cannot qualify a port
  | tcp host 10.0.0.1 or ip6 src port 80
  |                      ^^^^^^^ expected `tcp`, `udp`, `sctp`, or `ip6 and` before it",
        ),
    ]);
}

#[test]
fn what_later_versions_will_know() {
    check(&[
        (
            "ether host 00:11:22:33:44:55 or less 64 and prot 5",
            r"
error: `ether host` is not supported yet by this version
  | ether host 00:11:22:33:44:55 or less 64 and prot 5
  | ^^^^^^^^^^
error: `less` is not supported yet by this version
  | ether host 00:11:22:33:44:55 or less 64 and prot 5
  |                                 ^^^^
error: unknown primitive `prot`
  | ether host 00:11:22:33:44:55 or less 64 and prot 5
  |                                             ^^^^ did you mean `port` or `proto`?",
        ),
        (
            r#"bpf "tcp[13] & 2 != 0" and inner tcp and tcp[13] & 2 != 0"#,
            r#"
error: `bpf` is not supported yet by this version
  | bpf "tcp[13] & 2 != 0" and inner tcp and tcp[13] & 2 != 0
  | ^^^
error: `inner` is not supported yet by this version
  | bpf "tcp[13] & 2 != 0" and inner tcp and tcp[13] & 2 != 0
  |                            ^^^^^
error: `tcp[..]` is not supported yet by this version
  | bpf "tcp[13] & 2 != 0" and inner tcp and tcp[13] & 2 != 0
  |                                          ^^^"#,
        ),
        (
            "community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg= or flow 5",
            r"
error: `community-id` is not supported yet by this version
  | community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg= or flow 5
  | ^^^^^^^^^^^^
error: `flow` is not supported yet by this version
  | community-id 1:LQU9qZlK+B5F3KDmev6m5PMibrg= or flow 5
  |                                                ^^^^",
        ),
    ]);
    for word in crate::syntax::vocabulary::NOT_YET {
        let errors = parse(&format!("tcp and {word}")).unwrap_err();
        let [error, ..] = errors.errors() else { panic!("no error for {word}") };
        assert!(matches!(error.fault, Fault::NotSupportedYet { .. }), "{word}: {errors}");
        assert_eq!(error.span, 8..8 + word.len());
    }
}

#[test]
fn places_in_odd_texts() {
    check(&[
        (
            "wörld and prött 5",
            r"
error: unknown primitive `wörld`
  | wörld and prött 5
  | ^^^^^ expected a primitive, such as `host 10.0.0.1` or `port 53`
error: unknown primitive `prött`
  | wörld and prött 5
  |           ^^^^^ did you mean `proto`?",
        ),
        (
            "漢字 or e\u{301}e\u{301} or prot 5",
            "
error: unknown primitive `漢字`
  | 漢字 or e\u{301}e\u{301} or prot 5
  | ^^^^ expected a primitive, such as `host 10.0.0.1` or `port 53`
error: unknown primitive `e\u{301}e\u{301}`
  | 漢字 or e\u{301}e\u{301} or prot 5
  |         ^^ expected a primitive, such as `host 10.0.0.1` or `port 53`
error: unknown primitive `prot`
  | 漢字 or e\u{301}e\u{301} or prot 5
  |               ^^^^ did you mean `port` or `proto`?",
        ),
        (
            "tcp\tand\tprot 5",
            r"
error: unknown primitive `prot`
  | tcp and prot 5
  |         ^^^^ did you mean `port` or `proto`?",
        ),
        (
            "tcp and\r\n  prot 5\r\nor prot 6",
            r"
error: unknown primitive `prot`
2 |   prot 5
  |   ^^^^ did you mean `port` or `proto`?
error: unknown primitive `prot`
3 | or prot 6
  |    ^^^^ did you mean `port` or `proto`?",
        ),
        (
            "tcp \x1b[31m\u{202e}",
            "
error: unexpected `\\u{1b}`
  | tcp \u{fffd}[31m\u{fffd}
  |     ^ expected `and` or `or`",
        ),
    ]);
}

#[test]
fn of_a_long_line_the_place_is_shown() {
    let text = format!("{}prot 5{}", "port 1 or ".repeat(20), " or port 2".repeat(20));
    check(&[(
        &text,
        r"
error: unknown primitive `prot`
  | …port 1 or port 1 or port 1 or port 1 or prot 5 or port 2 or port 2 or port 2 or port 2 or port 2 or …
  |                                          ^^^^ did you mean `port` or `proto`?",
    )]);
    let word = "x".repeat(300);
    let report = parse(&word).unwrap_err().to_string();
    assert!(report.lines().all(|line| line.chars().count() < 180), "{report}");
    assert!(report.starts_with(&format!("error: unknown primitive `{}…`\n", "x".repeat(40))), "{report}");
}

#[test]
fn of_many_errors_some_are_shown() {
    let errors = parse(&["prot 5"; MAX_ERRORS + 3].join(" or ")).unwrap_err();
    assert_eq!((errors.errors().len(), errors.omitted()), (MAX_ERRORS, 3));
    assert!(errors.to_string().ends_with("\nand 3 more errors"));
    assert!(errors.errors().is_sorted_by_key(|error| error.span.start));
}
