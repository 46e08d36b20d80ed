//! Filters in words: the plain part of pcap-filter(7), which is also in the query language.
//!
//! `ip`, `ip6`, `arp`, `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `proto N`, `host`, `net`, `port`, `portrange`, `less`,
//! `greater`, `src` and `dst`, `and`, `or` (of one precedence, from left to right), `not`, parentheses. What is taken here means
//! what it means to tcpdump; everything else is an error, and left to tcpdump. Names of hosts and services are not looked
//! up, and numbers are decimal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use steno_core::packet::ip_protocol;

/// Primitives of a filter at most: a program has room for fewer.
const PRIMITIVES_MAX: usize = 1_000;
/// Parentheses and negations within each other at most.
const DEPTH_MAX: usize = 100;

/// What a filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Is(Primitive),
}

/// What can be asked of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Primitive {
    /// Of this type.
    Network(Network),
    /// The protocol that IP carries; over IPv4 and IPv6 where no network is named.
    Protocol { network: Option<Network>, number: u8 },
    /// An address, in the headers that have one.
    Address { network: Option<Network>, side: Side, prefix: Prefix },
    /// A port, both ends of the range included; of TCP, UDP and SCTP where no transport is named.
    Port { transport: Option<u8>, side: Side, low: u16, high: u16 },
    /// At most so many bytes.
    Less(u32),
    /// At least so many bytes.
    Greater(u32),
}

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Ip,
    Ip6,
    Arp,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Either,
    Source,
    Destination,
}

/// Addresses that begin alike. The bits that are not compared are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    V4 { address: u32, mask: u32 },
    V6 { address: u128, mask: u128 },
}

/// What stands before a value, and holds for further ones: `host A or B`.
#[derive(Clone, Copy, Debug)]
struct Qualifiers {
    network: Option<Network>,
    transport: Option<u8>,
    side: Side,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// Reads a filter.
///
/// # Errors
/// The first thing that is not of the plain part, in words.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, last: None, primitives: 0, depth: 0 };
    let expr = parser.expr()?;
    match parser.next() {
        None => Ok(expr),
        Some(token) => Err(format!("`{token}` is not expected there")),
    }
}

/// Words, parentheses and operators.
fn tokens(text: &str) -> Result<Vec<&str>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '(' | ')' | '!' => 1,
            '&' | '|' if rest.starts_with("&&") || rest.starts_with("||") => 2,
            _ => rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len()),
        };
        let (token, behind) = rest
            .split_at_checked(len)
            .filter(|(token, _)| !token.is_empty())
            .ok_or_else(|| format!("`{first}` is not of the plain part of the language"))?;
        tokens.push(token);
        rest = behind.trim_start();
    }
    Ok(tokens)
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | '\\')
}

struct Parser<'a> {
    tokens: &'a [&'a str],
    at: usize,
    /// The qualifiers of the last value.
    last: Option<Qualifiers>,
    primitives: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    fn take(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    fn expr(&mut self) -> Result<Expr, String> {
        let mut left = self.term()?;
        loop {
            if self.take("and") || self.take("&&") {
                left = Expr::And(Box::new(left), Box::new(self.term()?));
            } else if self.take("or") || self.take("||") {
                left = Expr::Or(Box::new(left), Box::new(self.term()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn term(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} parentheses and negations within each other"));
        }
        let term = if self.take("not") || self.take("!") {
            Expr::Not(Box::new(self.term()?))
        } else if self.take("(") {
            let expr = self.expr()?;
            if !self.take(")") {
                return Err("a parenthesis is not closed".to_owned());
            }
            expr
        } else {
            self.primitives += 1;
            if self.primitives > PRIMITIVES_MAX {
                return Err(format!("more than {PRIMITIVES_MAX} primitives"));
            }
            Expr::Is(self.primitive()?)
        };
        self.depth -= 1;
        Ok(term)
    }

    fn primitive(&mut self) -> Result<Primitive, String> {
        let word = self.next().ok_or("something is missing at the end")?;
        let network = match word {
            "ip" => Some(Network::Ip),
            "ip6" => Some(Network::Ip6),
            "arp" => Some(Network::Arp),
            _ => None,
        };
        if network.is_some() {
            return self.qualified(network, None);
        }
        match word {
            "tcp" | "udp" | "sctp" => self.qualified(None, ip_protocol::number(word)),
            "icmp" => self.without_value(Primitive::Protocol { network: Some(Network::Ip), number: ip_protocol::ICMP }),
            "icmp6" => {
                self.without_value(Primitive::Protocol { network: Some(Network::Ip6), number: ip_protocol::ICMPV6 })
            }
            "less" => self.length().map(Primitive::Less),
            "greater" => self.length().map(Primitive::Greater),
            "src" | "dst" | "host" | "net" | "port" | "portrange" | "proto" => {
                self.at -= 1;
                self.qualified(None, None)
            }
            value => {
                let qualifiers = self.last.ok_or_else(|| format!("`{value}` is not expected there"))?;
                self.value(value, qualifiers)
            }
        }
    }

    /// A primitive that has no value to be carried over.
    fn without_value(&mut self, primitive: Primitive) -> Result<Primitive, String> {
        self.last = None;
        Ok(primitive)
    }

    /// What follows a network or a transport, or stands without one: `[src|dst] [host|net|port|portrange|proto] VALUE`, or
    /// nothing.
    fn qualified(&mut self, network: Option<Network>, transport: Option<u8>) -> Result<Primitive, String> {
        let side = match self.peek() {
            Some("src") => Side::Source,
            Some("dst") => Side::Destination,
            _ => Side::Either,
        };
        self.at += usize::from(side != Side::Either);
        let kind = match self.peek() {
            Some("host") => Some(Kind::Host),
            Some("net") => Some(Kind::Net),
            Some("port") => Some(Kind::Port),
            Some("portrange") => Some(Kind::PortRange),
            Some("proto") => Some(Kind::Proto),
            _ => None,
        };
        self.at += usize::from(kind.is_some());
        let kind = match (kind, side, network, transport) {
            (None, Side::Either, Some(network), _) => return self.without_value(Primitive::Network(network)),
            (None, Side::Either, _, Some(number)) => {
                return self.without_value(Primitive::Protocol { network: None, number });
            }
            (None, ..) => Kind::Host,
            (Some(kind), ..) => kind,
        };
        let fits = match kind {
            Kind::Host | Kind::Net => transport.is_none(),
            Kind::Port | Kind::PortRange => network.is_none(),
            Kind::Proto => side == Side::Either && transport.is_none() && network != Some(Network::Arp),
        };
        let value = self.next().filter(|_| fits).ok_or("qualifiers that do not go together, or without a value")?;
        self.value(value, Qualifiers { network, transport, side, kind })
    }

    fn value(&mut self, value: &str, qualifiers: Qualifiers) -> Result<Primitive, String> {
        let Qualifiers { network, transport, side, kind } = qualifiers;
        self.last = Some(qualifiers);
        match kind {
            Kind::Host => {
                let prefix = host(value).filter(|prefix| goes_with(*prefix, network));
                let prefix = prefix.ok_or_else(|| format!("`{value}` is no address that fits there"))?;
                Ok(Primitive::Address { network, side, prefix })
            }
            Kind::Net => {
                let mask = if self.take("mask") { Some(self.next().unwrap_or_default()) } else { None };
                let prefix = net(value, mask).filter(|prefix| goes_with(*prefix, network));
                let prefix = prefix.ok_or_else(|| format!("`{value}` is no network that fits there"))?;
                Ok(Primitive::Address { network, side, prefix })
            }
            Kind::Port => {
                let port = decimal(value).ok_or_else(|| format!("`{value}` is no number of a port"))?;
                Ok(Primitive::Port { transport, side, low: port, high: port })
            }
            Kind::PortRange => {
                let ends = value.split_once('-').and_then(|(low, high)| Some((decimal(low)?, decimal(high)?)));
                let ends = ends.filter(|(low, high)| low <= high);
                let (low, high) = ends.ok_or_else(|| format!("`{value}` is no range of ports, as 8000-8100"))?;
                Ok(Primitive::Port { transport, side, low, high })
            }
            Kind::Proto => {
                let name = value.trim_start_matches('\\');
                let number = decimal(value).or_else(|| ip_protocol::number(name));
                let number = number.ok_or_else(|| format!("`{value}` is no IP protocol"))?;
                Ok(Primitive::Protocol { network, number })
            }
        }
    }

    fn length(&mut self) -> Result<u32, String> {
        self.last = None;
        self.next().and_then(decimal).ok_or_else(|| "a number of bytes is missing".to_owned())
    }
}

/// A number in decimal. (A leading zero would be octal elsewhere.)
fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_decimal)
}

fn goes_with(prefix: Prefix, network: Option<Network>) -> bool {
    match (prefix, network) {
        (_, None) => true,
        (Prefix::V4 { .. }, Some(network)) => network != Network::Ip6,
        (Prefix::V6 { .. }, Some(network)) => network == Network::Ip6,
    }
}

fn host(text: &str) -> Option<Prefix> {
    match text.parse().ok()? {
        IpAddr::V4(address) => Some(v4(address, u32::MAX)),
        IpAddr::V6(address) => Some(v6(address, u128::MAX)),
    }
}

/// `A/LEN`, `A mask M`, or a whole address. Bits behind the mask are masked off.
fn net(text: &str, mask: Option<&str>) -> Option<Prefix> {
    if let Some(mask) = mask {
        return Some(v4(text.parse().ok()?, u32::from(mask.parse::<Ipv4Addr>().ok()?)));
    }
    let Some((address, len)) = text.split_once('/') else { return host(text) };
    let len: u32 = decimal(len)?;
    match address.parse().ok()? {
        IpAddr::V4(address) => Some(v4(address, u32::MAX.checked_shl(u32::BITS.checked_sub(len)?).unwrap_or(0))),
        IpAddr::V6(address) => Some(v6(address, u128::MAX.checked_shl(u128::BITS.checked_sub(len)?).unwrap_or(0))),
    }
}

fn v4(address: Ipv4Addr, mask: u32) -> Prefix {
    Prefix::V4 { address: u32::from(address) & mask, mask }
}

fn v6(address: Ipv6Addr, mask: u128) -> Prefix {
    Prefix::V6 { address: u128::from(address) & mask, mask }
}
