//! Values: addresses, networks, ports, protocols, times, alone and in lists.

use std::{net::IpAddr, ops::Range};

use steno_core::{TimestampNs, packet::ip_protocol};

use super::{
    ast::{AddrRange, Expr, PortRange, Primitive, TimeSpan, join_addresses, join_ports, normalise},
    cursor::{Noted, Parsed, quoted},
    error::Fault,
    lexer::Kind,
    parser::Parser,
    services, time,
};

/// The highest MPLS label: 20 bits (RFC 3032).
pub(super) const MAX_MPLS_LABEL: u32 = (1 << 20) - 1;

const AN_ADDRESS: &str = "an IPv4 or IPv6 address";
const A_PORT: &str = "a port, 0 to 65535, or a service name";

/// An address. An IPv4-mapped IPv6 address is the IPv4 address, as in 1.0.1.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    written_address(text).map(|address| address.to_canonical())
}

/// An address of the family that it is written in. The groups of an IPv6 address may have any number of leading zeros,
/// as Go's `net.ParseIP` of 1.0.1 has it.
fn written_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| {
        let group = |group: &str| match group.len().checked_sub(4).map(|zeros| group.split_at_checked(zeros)) {
            Some(Some((zeros, group))) if zeros.bytes().all(|b| b == b'0') => group.to_owned(),
            _ => group.to_owned(),
        };
        let groups: Vec<String> = text.split(':').map(group).collect();
        (groups.len() > 1).then(|| groups.join(":").parse().ok()).flatten()
    })
}

/// A number, decimal (leading zeros do not make it octal, as in 1.0.1) or hexadecimal after `0x`. One that does not fit
/// is as good as the largest.
pub(super) fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let readable = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    readable.then(|| u32::from_str_radix(digits, radix).unwrap_or(u32::MAX))
}

/// A name without the backslash that `pcap-filter(7)` wants before a name that is also a keyword.
pub(super) fn name(text: &str) -> &str {
    text.strip_prefix('\\').unwrap_or(text)
}

/// Two ports with a dash between them, or one.
pub(super) fn port_range(text: &str) -> Option<PortRange> {
    if let Some(port) = port(text) {
        return Some(PortRange::single(port));
    }
    // Service names have dashes of their own, so each dash may be the one.
    text.match_indices('-').find_map(|(at, _)| {
        let (low, high) = (text.get(..at)?, text.get(at + 1..)?);
        Some(PortRange::between(port(low)?, port(high)?))
    })
}

fn port(text: &str) -> Option<u16> {
    match number(text) {
        Some(number) => u16::try_from(number).ok(),
        None => services::port(name(text)),
    }
}

impl Parser<'_> {
    /// After `host`: an address, or a list of addresses, networks and ranges.
    pub(super) fn host(&mut self) -> Parsed<Vec<AddrRange>> {
        if let Some(ranges) = self.list(Self::address_item)? {
            return Ok(ranges);
        }
        let (address, span) = self.address()?;
        if self.at.kind() == Kind::Slash {
            let length = self.at.word_after().map(quoted).unwrap_or_default();
            let meant = vec![format!("net {address}/{length}")];
            return Err(self.at.unexpected_but("one address after `host`", meant));
        }
        self.count(1, span)?;
        Ok(vec![AddrRange::single(address)])
    }

    /// After `net`: an address with a prefix length or a mask, an address alone, or a list.
    pub(super) fn net(&mut self) -> Parsed<Vec<AddrRange>> {
        if let Some(ranges) = self.list(Self::address_item)? {
            return Ok(ranges);
        }
        self.short_network()?;
        let (address, span) = self.address()?;
        let range = if self.at.kind() == Kind::Slash {
            self.prefix(address)?
        } else if self.at.take_word("mask") {
            let (mask, mask_span) = self.address()?;
            let Some(range) = AddrRange::masked(address, mask) else {
                let fault = Fault::Conflict(format!("mask {mask} does not fit address {address}"));
                return Err(self.at.fail(mask_span, fault, "a mask of the same IP version"));
            };
            range
        } else {
            AddrRange::single(address)
        };
        self.count(1, span)?;
        Ok(vec![range])
    }

    /// An item of a list of addresses: an address, a network, or two addresses with a dash. In a range an IPv4-mapped
    /// address stays what it is, so that every range can be written.
    fn address_item(&mut self) -> Parsed<AddrRange> {
        if let Some((low, high)) = self.at.word().and_then(|word| word.split_once('-'))
            && let (Some(low), Some(high)) = (written_address(low), written_address(high))
        {
            let span = self.at.span();
            self.at.advance();
            return AddrRange::between(low, high).ok_or_else(|| {
                let fault = Fault::Conflict(format!("no addresses from {low} to {high}"));
                self.at.fail(span, fault, "the lower address first, both of one IP version")
            });
        }
        self.short_network()?;
        let (address, _) = self.address()?;
        if self.at.kind() == Kind::Slash { self.prefix(address) } else { Ok(AddrRange::single(address)) }
    }

    fn address(&mut self) -> Parsed<(IpAddr, Range<usize>)> {
        let (word, span) = self.at.any_word(AN_ADDRESS)?;
        match address(word) {
            Some(address) => Ok((address, span)),
            None => {
                let is_name = word.contains(|c: char| c.is_alphabetic() && !c.is_ascii_hexdigit());
                let expected = if is_name { "an IPv4 or IPv6 address; names are not looked up" } else { AN_ADDRESS };
                Err(self.at.fail(span, Fault::BadValue { what: "IP address", text: quoted(word) }, expected))
            }
        }
    }

    /// Refuses `10.1` and `10.1/16` with the network that `pcap-filter(7)` takes it for.
    fn short_network(&mut self) -> Parsed<()> {
        let Some(word) = self.at.word() else { return Ok(()) };
        let parts: Vec<&str> = word.split('.').collect();
        if parts.len() > 3 || parts.iter().any(|part| part.parse::<u8>().is_err()) {
            return Ok(());
        }
        let span = self.at.span();
        self.at.advance();
        let length = match (self.at.kind(), self.at.word_after()) {
            (Kind::Slash, Some(length)) => quoted(length),
            _ => (parts.len() * 8).to_string(),
        };
        let whole: Vec<&str> = parts.into_iter().chain(["0"; 3]).take(4).collect();
        let fault = Fault::BadValue { what: "IP address", text: quoted(word) };
        self.at.note(span, fault, AN_ADDRESS, vec![format!("{}/{length}", whole.join("."))]);
        Err(Noted)
    }

    /// `/` and the length of a prefix.
    fn prefix(&mut self, address: IpAddr) -> Parsed<AddrRange> {
        self.at.advance();
        let max = if address.is_ipv4() { 32 } else { 128 };
        if let Some(mask) = self.at.word().filter(|word| written_address(word).is_some()) {
            let expected = format!("a prefix length, 0 to {max}");
            return Err(self.at.unexpected_but(expected, vec![format!("net {address} mask {mask}")]));
        }
        let span = self.at.span();
        let bits = self.number("prefix length", max)?;
        u8::try_from(bits).ok().and_then(|bits| AddrRange::prefix(address, bits)).ok_or_else(|| {
            let fault = Fault::OutOfRange { what: "prefix length", text: bits.to_string() };
            self.at.fail(span, fault, format!("0 to {max}"))
        })
    }

    /// After `port`: a port or a list of ports and ranges.
    pub(super) fn port(&mut self) -> Parsed<Vec<PortRange>> {
        if let Some(ranges) = self.list(Self::port_item)? {
            return Ok(ranges);
        }
        let (word, span) = self.at.any_word(A_PORT)?;
        let range = self.read_ports(word, span.clone())?;
        if port(word).is_none() {
            let meant = vec![format!("portrange {}", quoted(word))];
            self.at.note(
                span,
                Fault::Unexpected { found: format!("`{}`", quoted(word)) },
                "one port after `port`",
                meant,
            );
            return Err(Noted);
        }
        self.count(1, span)?;
        Ok(vec![range])
    }

    /// After `portrange`: two ports with a dash.
    pub(super) fn port_range(&mut self) -> Parsed<Vec<PortRange>> {
        if self.at.word() == Some("in") {
            return Err(self.at.unexpected_but("two ports with a dash after `portrange`", vec!["port in".to_owned()]));
        }
        let (word, span) = self.at.any_word("two ports with a dash, such as 8000-8100")?;
        let range = self.read_ports(word, span.clone())?;
        self.count(1, span)?;
        Ok(vec![range])
    }

    fn port_item(&mut self) -> Parsed<PortRange> {
        let (word, span) = self.at.any_word(A_PORT)?;
        self.read_ports(word, span)
    }

    fn read_ports(&mut self, word: &str, span: Range<usize>) -> Parsed<PortRange> {
        if let Some(range) = port_range(word) {
            return Ok(range);
        }
        let text = quoted(word);
        let is_number = |text: &str| number(text).is_some();
        if is_number(word) || word.split_once('-').is_some_and(|(low, high)| is_number(low) && is_number(high)) {
            return Err(self.at.fail(span, Fault::OutOfRange { what: "port", text }, "0 to 65535"));
        }
        let meant = self.at.nearest(word, services::SERVICES.iter().map(|&(name, _)| name));
        self.at.note(span, Fault::BadValue { what: "port", text }, A_PORT, meant);
        Err(Noted)
    }

    /// After `proto`: the number or name of an IP protocol.
    pub(super) fn protocol(&mut self) -> Parsed<u8> {
        const EXPECTED: &str = "an IP protocol, 0 to 255, or its name";
        if self.at.word() == Some("in") {
            return Err(self.at.unexpected("one protocol; lists are for `host`, `net` and `port`"));
        }
        let (word, span) = self.at.any_word(EXPECTED)?;
        let number = match number(word) {
            Some(number) => u8::try_from(number).ok(),
            None => ip_protocol::number(name(word)),
        };
        let Some(number) = number else {
            let text = quoted(word);
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(self.at.fail(span, Fault::OutOfRange { what: "IP protocol", text }, "0 to 255"));
            }
            let meant = self.at.nearest(word, ip_protocol::NAMES.iter().map(|&(name, _)| name));
            self.at.note(span, Fault::BadValue { what: "IP protocol", text }, EXPECTED, meant);
            return Err(Noted);
        };
        self.count(1, span)?;
        Ok(number)
    }

    /// A number up to `max`.
    pub(super) fn number(&mut self, what: &'static str, max: u32) -> Parsed<u32> {
        let expected = format!("0 to {max}");
        let (word, span) = self.at.any_word(&format!("a {what}, {expected}"))?;
        let text = quoted(word);
        match number(word) {
            Some(number) if number <= max => Ok(number),
            Some(_) => Err(self.at.fail(span, Fault::OutOfRange { what, text }, expected)),
            None => Err(self.at.fail(span, Fault::BadValue { what, text }, expected)),
        }
    }

    /// `in {..}`, if that is what comes: every item, sorted, overlaps joined. All items are read even where some are
    /// bad.
    fn list<R: Listed>(&mut self, item: impl Fn(&mut Self) -> Parsed<R>) -> Parsed<Option<Vec<R>>> {
        if !self.at.take_word("in") {
            return Ok(None);
        }
        let open = self.at.span();
        if self.at.kind() != Kind::OpenBrace {
            return Err(self.at.unexpected("`{` and a list"));
        }
        if !self.at.has_ahead(Kind::CloseBrace) {
            return Err(self.at.fail(open, Fault::Unclosed { open: '{' }, "a `}` after the last item"));
        }
        let mut items = Vec::new();
        let mut all_read = true;
        loop {
            // Past the brace or the comma.
            self.at.advance();
            let span = self.at.span();
            let read = item(self);
            self.count(1, span)?;
            if matches!(self.at.kind(), Kind::Comma | Kind::CloseBrace) {
                all_read &= read.map(|read| items.push(read)).is_ok();
            } else {
                all_read = false;
                if read.is_ok() {
                    let Noted = self.at.unexpected("`,` or `}`");
                }
                self.at.skip_item();
            }
            if self.at.kind() != Kind::Comma {
                break;
            }
        }
        self.at.advance();
        if !all_read {
            return Err(Noted);
        }
        R::normalise(&mut items);
        Ok(Some(items))
    }

    /// `before T`, `after T`, `between T and T` or `last D`.
    pub(super) fn time_primitive(&mut self, keyword: &str) -> Parsed<Expr> {
        let start = self.at.span();
        self.at.advance();
        let span = match keyword {
            "before" => span_of(i128::MIN, self.moment()?),
            "after" => span_of(self.moment()?, i128::MAX),
            "last" => {
                let length = self.duration()?;
                span_of(self.ago(length), i128::MAX)
            }
            _ => self.between(start.start)?,
        };
        self.count(if keyword == "between" { 2 } else { 1 }, start)?;
        Ok(Primitive::Time(span).into())
    }

    fn between(&mut self, start: usize) -> Parsed<TimeSpan> {
        let from = self.moment();
        if self.at.kind() != Kind::And {
            if from.is_ok() {
                return Err(self.at.unexpected("`and` and a second time"));
            }
            return Err(Noted);
        }
        self.at.advance();
        let until = self.moment();
        let (from, until) = (from?, until?);
        if from > until {
            let fault = Fault::Conflict("the first time is later than the second".to_owned());
            return Err(self.at.fail(start..self.at.end_of_last(), fault, "the earlier time first"));
        }
        Ok(span_of(from, until))
    }

    /// A time in nanoseconds since the epoch: RFC 3339, or a duration and `ago`.
    fn moment(&mut self) -> Parsed<i128> {
        const EXPECTED: &str = "a time such as 2024-03-05T14:05:00Z, or `3h ago`";
        let span = self.at.span();
        let Some(word) = self.at.word() else { return Err(self.at.unexpected(EXPECTED)) };
        if let Some(moment) = time::moment(word) {
            self.at.advance();
            return Ok(moment);
        }
        if time::duration_ns(word).is_some() {
            let length = self.duration()?;
            if self.at.take_word("ago") {
                return Ok(self.ago(length));
            }
            return Err(self.at.unexpected("`ago` after a duration"));
        }
        self.at.advance();
        let meant = self.completed_time(word);
        self.at.note(span, Fault::BadValue { what: "time", text: quoted(word) }, EXPECTED, meant);
        Err(Noted)
    }

    /// The time that is meant where only a part of one is written, or where a blank stands for the `T`.
    fn completed_time(&self, word: &str) -> Vec<String> {
        let of_day = self.at.word().unwrap_or_default();
        [
            format!("{word}T{of_day}"),
            format!("{word}T{of_day}Z"),
            format!("{word}T{of_day}:00Z"),
            format!("{word}Z"),
            format!("{word}:00Z"),
            format!("{word}T00:00:00Z"),
            format!("{}:00Z", word.trim_end_matches('Z')),
        ]
        .into_iter()
        .find(|whole| time::moment(whole).is_some())
        .into_iter()
        .collect()
    }

    /// Durations, summed, in nanoseconds.
    fn duration(&mut self) -> Parsed<u64> {
        const EXPECTED: &str = "a duration such as 90s, 15m, 1h30m or 2d";
        let (word, span) = self.at.any_word(EXPECTED)?;
        let Some(mut total) = time::duration_ns(word) else {
            let meant = if number(word).is_some() { vec![format!("{}s", quoted(word))] } else { Vec::new() };
            self.at.note(span, Fault::BadValue { what: "duration", text: quoted(word) }, EXPECTED, meant);
            return Err(Noted);
        };
        while let Some(more) = self.at.word().and_then(time::duration_ns) {
            total = total.saturating_add(more);
            self.at.advance();
        }
        Ok(total)
    }

    fn ago(&self, length_ns: u64) -> i128 {
        i128::from(self.now.as_ns()) - i128::from(length_ns)
    }
}

/// The span between two moments, either of which may lie outside of what a [`TimestampNs`] can say.
fn span_of(from: i128, until: i128) -> TimeSpan {
    // No packet is later than the last timestamp, so a span that begins past it is empty.
    let Ok(from) = u64::try_from(from.max(0)) else { return TimeSpan::NONE };
    let until = u64::try_from(until.max(0)).ok();
    TimeSpan::new(Some(TimestampNs::new(from)), until.map(TimestampNs::new))
}

/// Ranges that a list is made of.
trait Listed: Sized {
    fn normalise(items: &mut Vec<Self>);
}

impl Listed for AddrRange {
    fn normalise(items: &mut Vec<Self>) {
        normalise(items, join_addresses);
    }
}

impl Listed for PortRange {
    fn normalise(items: &mut Vec<Self>) {
        normalise(items, join_ports);
    }
}
