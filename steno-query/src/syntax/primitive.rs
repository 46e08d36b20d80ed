//! Primitives: a keyword or qualifiers, then a value. Values of their own kinds are read in `value.rs`.

use std::ops::Range;

use steno_core::packet::ip_protocol;

use super::{
    ast::{Expr, NetworkKind, Primitive, Side, Transport},
    cursor::{Noted, Parsed, quoted},
    error::Fault,
    lexer::Kind,
    parser::Parser,
    services, time, value, vocabulary,
};

/// The qualifiers before a value, as far as `host A or B` carries them over to `B`.
#[derive(Clone, Copy)]
pub(super) struct Head {
    network: Option<NetworkKind>,
    transport: Option<Transport>,
    direction: Direction,
    kind: HeadKind,
}

#[derive(Clone, Copy)]
enum Direction {
    One(Side),
    Both,
}

/// The keyword before a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadKind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl HeadKind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "net" => Self::Net,
            "port" => Self::Port,
            "portrange" => Self::PortRange,
            "proto" => Self::Proto,
            _ => return None,
        })
    }
}

impl Parser<'_> {
    /// One primitive, or a value that stands for one.
    pub(super) fn primitive(&mut self) -> Parsed<Expr> {
        let Some(word) = self.at.word() else { return Err(self.at.unexpected("a primitive")) };
        let carried = self.carried.take();
        let goes_on = self.at.word_after().is_some_and(|after| HeadKind::of(after).is_some() || is_direction(after));
        match word {
            "ip" | "ip6" | "tcp" | "udp" | "sctp" if goes_on => self.headed(),
            "ip" => self.bare(Primitive::Network(NetworkKind::Ip)),
            "ip6" => self.bare(Primitive::Network(NetworkKind::Ip6)),
            "arp" if goes_on => Err(self.not_yet_with_next()),
            "arp" => self.bare(Primitive::Network(NetworkKind::Arp)),
            "tcp" => self.bare(Primitive::Protocol(ip_protocol::TCP)),
            "udp" => self.bare(Primitive::Protocol(ip_protocol::UDP)),
            "sctp" => self.bare(Primitive::Protocol(ip_protocol::SCTP)),
            "icmp" => self.bare(Primitive::Protocol(ip_protocol::ICMP)),
            "icmp6" => {
                let span = self.at.span();
                let protocol = self.bare(Primitive::Protocol(ip_protocol::ICMPV6))?;
                self.within(NetworkKind::Ip6, protocol, span)
            }
            "vlan" => {
                self.tag("VLAN id", u16::MAX.into(), |id| Primitive::Vlan(id.and_then(|id| u16::try_from(id).ok())))
            }
            "mpls" => self.tag("MPLS label", value::MAX_MPLS_LABEL, Primitive::Mpls),
            "before" | "after" | "between" | "last" => self.time_primitive(word),
            _ if HeadKind::of(word).is_some() || is_direction(word) => self.headed(),
            _ => match carried {
                Some(head) if is_value(head.kind, word) => self.value(head),
                _ if vocabulary::NOT_YET.contains(&word) => self.not_yet(word),
                _ => Err(self.unknown(word)),
            },
        }
    }

    /// A primitive of one word.
    fn bare(&mut self, primitive: Primitive) -> Parsed<Expr> {
        let span = self.at.span();
        if self.at.kind_after() == Kind::Symbol('[') {
            let what = format!("`{}[..]`", self.at.word().unwrap_or_default());
            return Err(self.at.fail(span, Fault::NotSupportedYet { what }, ""));
        }
        self.at.advance();
        self.count(1, span)?;
        Ok(primitive.into())
    }

    /// `vlan` or `mpls`, alone or with a number.
    fn tag(&mut self, what: &'static str, max: u32, primitive: impl Fn(Option<u32>) -> Primitive) -> Parsed<Expr> {
        if self.at.word_after().is_none_or(|after| !after.starts_with(|c: char| c.is_ascii_digit())) {
            return self.bare(primitive(None));
        }
        let span = self.at.span();
        self.at.advance();
        let number = self.number(what, max)?;
        self.count(1, span)?;
        Ok(primitive(Some(number)).into())
    }

    /// A primitive with a keyword before its value, and qualifiers before the keyword.
    fn headed(&mut self) -> Parsed<Expr> {
        let start = self.at.span().start;
        let (mut network, mut transport) = (None, None);
        match self.at.word() {
            Some("ip") => network = Some(NetworkKind::Ip),
            Some("ip6") => network = Some(NetworkKind::Ip6),
            Some("tcp") => transport = Some(Transport::Tcp),
            Some("udp") => transport = Some(Transport::Udp),
            Some("sctp") => transport = Some(Transport::Sctp),
            _ => {}
        }
        if network.is_some() || transport.is_some() {
            self.at.advance();
        }
        let direction = self.direction();
        let qualifiers = start..self.at.end_of_last();
        let kind = match self.at.word().and_then(HeadKind::of) {
            Some(kind) => {
                self.at.advance();
                kind
            }
            None => self.kind_of_bare_value()?,
        };
        // 1.0.1 has only `ip proto N`, and means either version of IP by it.
        if kind == HeadKind::Proto && network == Some(NetworkKind::Ip) {
            network = None;
        }
        let head = Head { network, transport, direction: direction.unwrap_or(Direction::One(Side::Either)), kind };
        self.check_qualifiers(&head, direction.is_some(), qualifiers)?;
        self.value(head)
    }

    /// `src`, `dst`, or both with an operator between them.
    fn direction(&mut self) -> Option<Direction> {
        let (side, other) = match self.at.word()? {
            "src" => (Side::Source, "dst"),
            "dst" => (Side::Destination, "src"),
            _ => return None,
        };
        self.at.advance();
        let both = match self.at.kind() {
            Kind::And if self.at.word_after() == Some(other) => Direction::Both,
            Kind::Or if self.at.word_after() == Some(other) => Direction::One(Side::Either),
            _ => return Some(Direction::One(side)),
        };
        // `src 10.0.0.1 or dst 10.0.0.2` has an address before the operator, so this one joins the two directions.
        self.at.advance();
        self.at.advance();
        Some(both)
    }

    /// The keyword that is left out after a direction: `src 10.0.0.1`, `src 10.0.0.0/8`.
    fn kind_of_bare_value(&mut self) -> Parsed<HeadKind> {
        const EXPECTED: &str = "an IP address, `host`, `net`, `port` or `portrange`";
        let Some(word) = self.at.word() else { return Err(self.at.unexpected(EXPECTED)) };
        if value::address(word).is_some() {
            return Ok(if self.at.kind_after() == Kind::Slash { HeadKind::Net } else { HeadKind::Host });
        }
        let meant = if value::number(word).is_some() || services::port(word).is_some() {
            vec![format!("port {}", quoted(word))]
        } else {
            self.at.nearest(word, ["host", "net", "port", "portrange"])
        };
        Err(self.at.unexpected_but(EXPECTED, meant))
    }

    /// That the qualifiers go with the keyword.
    fn check_qualifiers(&mut self, head: &Head, has_direction: bool, span: Range<usize>) -> Parsed<()> {
        let (refused, expected) = match (head.kind, head.network, head.transport) {
            (HeadKind::Port | HeadKind::PortRange, Some(network), _) => (
                format!("`{network}` cannot qualify a port"),
                format!("`tcp`, `udp`, `sctp`, or `{network} and` before it"),
            ),
            (HeadKind::Host | HeadKind::Net | HeadKind::Proto, _, Some(transport)) => {
                (format!("`{transport}` qualifies only ports"), format!("`{transport} and` before the rest"))
            }
            (HeadKind::Proto, ..) if has_direction => {
                ("a protocol has no direction".to_owned(), "`proto` without `src` or `dst`".to_owned())
            }
            _ => return Ok(()),
        };
        Err(self.at.fail(span, Fault::Conflict(refused), expected))
    }

    /// The value after a head, or after `or` where the head is carried over.
    fn value(&mut self, head: Head) -> Parsed<Expr> {
        self.carried = Some(head);
        let start = self.at.span();
        let side = Side::Either;
        let primitive = match head.kind {
            HeadKind::Host => Primitive::Address { side, ranges: self.host()? },
            HeadKind::Net => Primitive::Address { side, ranges: self.net()? },
            HeadKind::Port => Primitive::Port { side, transport: head.transport, ranges: self.port()? },
            HeadKind::PortRange => Primitive::Port { side, transport: head.transport, ranges: self.port_range()? },
            HeadKind::Proto => Primitive::Protocol(self.protocol()?),
        };
        let expr: Expr = match head.direction {
            Direction::One(side) => on_side(primitive, side).into(),
            Direction::Both => {
                self.count(weight(&primitive), start.clone())?;
                self.check_depth(1)?;
                let source = on_side(primitive.clone(), Side::Source);
                Expr::from(source).and(on_side(primitive, Side::Destination).into())
            }
        };
        match head.network {
            Some(network) => self.within(network, expr, start),
            None => Ok(expr),
        }
    }

    /// `network and expr`, which is displayed in parentheses where it is an operand itself.
    fn within(&mut self, network: NetworkKind, expr: Expr, span: Range<usize>) -> Parsed<Expr> {
        self.count(1, span)?;
        self.check_depth(2)?;
        Ok(Expr::from(Primitive::Network(network)).and(expr))
    }

    /// A word that begins something which cannot be answered yet.
    fn not_yet(&mut self, word: &str) -> Parsed<Expr> {
        let span = self.at.span();
        let what = format!("`{word}`");
        if matches!(word, "inner" | "outer") {
            let Noted = self.at.fail(span, Fault::NotSupportedYet { what }, "");
            self.at.advance();
            return self.primitive();
        }
        if word == "ether" && self.at.word_after().is_some() {
            return Err(self.not_yet_with_next());
        }
        Err(self.at.fail(span, Fault::NotSupportedYet { what }, ""))
    }

    /// The same for two words that belong together, such as `ether host`.
    fn not_yet_with_next(&mut self) -> Noted {
        let start = self.at.span().start;
        let what =
            format!("`{} {}`", self.at.word().unwrap_or_default(), quoted(self.at.word_after().unwrap_or_default()));
        self.at.advance();
        self.at.fail(start..self.at.span().end, Fault::NotSupportedYet { what }, "")
    }

    /// A word where a primitive must begin, and none is called so.
    fn unknown(&mut self, word: &str) -> Noted {
        let shown = quoted(word);
        let keyword = if value::address(word).is_some() {
            "host"
        } else if time::moment(word).is_some() {
            "after"
        } else if services::port(word).is_some() || value::number(word).is_some() {
            "port"
        } else if ip_protocol::number(word).is_some() {
            "proto"
        } else {
            let span = self.at.span();
            let meant = self.at.nearest(word, vocabulary::PRIMITIVES.iter().copied().chain(["not"]));
            let expected = if meant.is_empty() { "a primitive, such as `host 10.0.0.1` or `port 53`" } else { "" };
            self.at.note(span, Fault::UnknownPrimitive { word: shown }, expected, meant);
            return Noted;
        };
        self.at.unexpected_but("a primitive", vec![format!("{keyword} {shown}")])
    }
}

fn is_direction(word: &str) -> bool {
    matches!(word, "src" | "dst")
}

/// Whether a word without a keyword can be a value of this kind, rather than a misspelt primitive.
fn is_value(kind: HeadKind, word: &str) -> bool {
    let name = value::name(word);
    word.starts_with(|c: char| c.is_ascii_digit())
        || match kind {
            HeadKind::Host | HeadKind::Net => word.contains(':'),
            HeadKind::Port | HeadKind::PortRange => value::port_range(word).is_some(),
            HeadKind::Proto => ip_protocol::number(name).is_some(),
        }
}

/// A primitive about either end, as one about `side`.
fn on_side(primitive: Primitive, side: Side) -> Primitive {
    match primitive {
        Primitive::Address { ranges, .. } => Primitive::Address { side, ranges },
        Primitive::Port { transport, ranges, .. } => Primitive::Port { side, transport, ranges },
        other => other,
    }
}

/// What a primitive counts as: one for each item.
fn weight(primitive: &Primitive) -> usize {
    match primitive {
        Primitive::Address { ranges, .. } => ranges.len(),
        Primitive::Port { ranges, .. } => ranges.len(),
        _ => 1,
    }
}
