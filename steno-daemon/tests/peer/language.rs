//! Random queries of 1.0.1's whole language, and what they mean, given what their primitives lead to.

use std::fmt;

use jiff::{Timestamp, tz::Offset};

use super::{random::Random, universe::Keys};

/// `and` and `or` of equal precedence, left to right, as 1.0.1 has them.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    first: Box<Item>,
    /// Whether both must hold, how that is written, and what follows.
    rest: Vec<(bool, &'static str, Item)>,
}

/// What stands between operators.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Plain(String),
    Vlan(u16),
    Time { before: bool, at: At },
    Group(Query),
}

/// A moment, as it is written.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// Microseconds since 1970, and the text.
    Then(u64, String),
    /// So many seconds before the query is asked, and the text.
    Ago(u64, String),
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        self.rest.iter().try_for_each(|(_, operator, item)| write!(f, " {operator} {item}"))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Vlan(id) => write!(f, "vlan {id}"),
            Self::Time { before, at: At::Then(_, text) | At::Ago(_, text) } => {
                write!(f, "{} {text}", if *before { "before" } else { "after" })
            }
            Self::Group(query) => write!(f, "({query})"),
        }
    }
}

impl Query {
    /// Of one item alone.
    pub(crate) fn of(item: Item) -> Self {
        Self { first: Box::new(item), rest: Vec::new() }
    }

    /// All that stands between operators, at any depth.
    pub(crate) fn leaves(&self) -> Vec<&Item> {
        let items = std::iter::once(&*self.first).chain(self.rest.iter().map(|(_, _, item)| item));
        items
            .flat_map(|item| match item {
                Item::Group(query) => query.leaves(),
                leaf => vec![leaf],
            })
            .collect()
    }

    pub(crate) fn has_time(&self) -> bool {
        self.leaves().iter().any(|leaf| matches!(leaf, Item::Time { .. }))
    }

    pub(crate) fn has_ago(&self) -> bool {
        self.leaves().iter().any(|leaf| matches!(leaf, Item::Time { at: At::Ago(..), .. }))
    }

    pub(crate) fn has_vlan(&self) -> bool {
        self.leaves().iter().any(|leaf| matches!(leaf, Item::Vlan(_)))
    }

    /// Whether it may hold for a large part of all packets: by 1.0.1's times, which are of whole files.
    pub(crate) fn is_wide(&self) -> bool {
        let of = |item: &Item| match item {
            Item::Group(query) => query.is_wide(),
            Item::Time { .. } => true,
            Item::Vlan(_) => false,
            Item::Plain(text) => {
                let wide = ["/0", "/1", "/8", "/12", " mask ", "tcp", "udp", "proto"];
                wide.iter().any(|part| if part.starts_with('/') { text.ends_with(part) } else { text.contains(part) })
            }
        };
        self.rest.iter().fold(
            of(&self.first),
            |wide, (both, _, item)| {
                if *both { wide && of(item) } else { wide || of(item) }
            },
        )
    }

    /// For which packets it holds; `leaf` says for which a part holds that has no operators.
    pub(crate) fn holds(&self, leaf: &dyn Fn(&Item) -> Vec<bool>) -> Vec<bool> {
        let of = |item: &Item| match item {
            Item::Group(query) => query.holds(leaf),
            other => leaf(other),
        };
        let mut all = of(&self.first);
        for (both, _, item) in &self.rest {
            for (so_far, this) in all.iter_mut().zip(of(item)) {
                *so_far = if *both { *so_far && this } else { *so_far || this };
            }
        }
        all
    }
}

/// Draws queries about what a capture holds, and a little that it does not.
pub(crate) struct Draw<'a> {
    pub(crate) random: Random,
    pub(crate) keys: &'a Keys,
    /// Arrival of the first packet and of the last, microseconds since 1970; none: no times.
    pub(crate) span_us: Option<(u64, u64)>,
    /// Whether times may be relative to when the query is asked.
    pub(crate) ago: bool,
    /// Whether networks may be of any size. From an index of 300,000 packets 1.0.1 takes 20 s for the largest.
    pub(crate) any_size: bool,
}

impl Draw<'_> {
    pub(crate) fn query(&mut self) -> Query {
        let depth = [0, 1, 1, 1, 2, 2][self.random.below(6)];
        self.sequence(depth)
    }

    fn sequence(&mut self, depth: usize) -> Query {
        let first = Box::new(self.item(depth));
        let more = if depth == 0 { 0 } else { self.random.below(4) };
        let rest = (0..more).map(|_| {
            let (both, operator) = *self.random.of(&[(true, "and"), (true, "&&"), (false, "or"), (false, "||")]);
            (both, operator, self.item(depth))
        });
        Query { first, rest: rest.collect() }
    }

    fn item(&mut self, depth: usize) -> Item {
        if depth > 0 && self.random.below(4) == 0 { Item::Group(self.sequence(depth - 1)) } else { self.leaf() }
    }

    fn leaf(&mut self) -> Item {
        let kind = self.random.below(20);
        match kind {
            0..=3 if !self.keys.v4.is_empty() => Item::Plain(format!("host {}", self.v4())),
            4 | 5 if !self.keys.v6.is_empty() => Item::Plain(format!("host {}", self.v6())),
            6 if !self.keys.v4.is_empty() => {
                let bits: &[u8] =
                    if self.any_size { &[0, 1, 8, 12, 16, 20, 24, 30, 31, 32] } else { &[14, 16, 20, 24, 31] };
                let bits = *self.random.of(bits);
                Item::Plain(format!("net {}/{bits}", self.v4()))
            }
            7 if !self.keys.v4.is_empty() => {
                let masks = ["255.255.255.0", "255.255.0.0", "255.255.0.255", "255.128.0.0", "255.0.255.0", "0.0.0.0"];
                let mask = *self.random.of(if self.any_size { &masks } else { &masks[..3] });
                Item::Plain(format!("net {} mask {mask}", self.v4()))
            }
            8 if !self.keys.v6.is_empty() => {
                let bits = *self.random.of(&[0, 1, 16, 32, 48, 64, 127, 128]);
                Item::Plain(format!("net {}/{bits}", self.v6()))
            }
            9 if !self.keys.v6.is_empty() => {
                let mask = *self.random.of(&["ffff:ffff::", "ffff:ffff:ffff:ffff::", "ffff::ffff", "::"]);
                Item::Plain(format!("net {} mask {mask}", self.v6()))
            }
            10 | 11 => Item::Plain(format!("ip proto {}", self.of(|keys| &keys.protocols, 253))),
            12 => Item::Plain((*self.random.of(&["tcp", "udp", "icmp"])).to_owned()),
            13 => Item::Vlan(self.of(|keys| &keys.vlans, 4000)),
            14 => Item::Plain(format!("mpls {}", self.of(|keys| &keys.mpls, 1_048_575))),
            15..=17 if self.span_us.is_some() => self.time(),
            _ => Item::Plain(format!("port {}", self.of(|keys| &keys.ports, 1))),
        }
    }

    /// One in eight is not there.
    fn v4(&mut self) -> std::net::Ipv4Addr {
        if self.random.below(8) == 0 { [192, 0, 2, 77].into() } else { *self.random.of(&self.keys.v4) }
    }

    fn v6(&mut self) -> std::net::Ipv6Addr {
        if self.random.below(8) == 0 { "3fff::77".parse().unwrap() } else { *self.random.of(&self.keys.v6) }
    }

    fn of<T: Copy>(&mut self, of: impl Fn(&Keys) -> &Vec<T>, absent: T) -> T {
        let all = of(self.keys);
        if all.is_empty() || self.random.below(8) == 0 { absent } else { *self.random.of(all) }
    }

    fn time(&mut self) -> Item {
        let before = self.random.below(2) == 0;
        let (first, last) = self.span_us.unwrap();
        if self.ago && self.random.below(4) == 0 {
            let (number, (unit, seconds)) = (self.random.below(4) as u64, *self.random.of(&[("m", 60), ("h", 3600)]));
            return Item::Time { before, at: At::Ago(number * seconds, format!("{number}{unit} ago")) };
        }
        let within = first + self.random.next() % (last - first + 1);
        let (second, minute) = (1_000_000, 60_000_000);
        let us = match self.random.below(6) {
            0 => within - within % second,
            1..=3 => within,
            4 => (within - minute) + self.random.next() % (2 * minute),
            _ => *self.random.of(&[first - 90 * minute, first - 2 * minute, last + 2 * minute, last + 90 * minute]),
        };
        let text = rfc3339(us, *self.random.of(&[0, 0, 3600, -12_600]));
        Item::Time { before, at: At::Then(us, text) }
    }
}

/// Holds for packets before the given microsecond since 1970.
pub(crate) fn before(us: u64) -> Item {
    Item::Time { before: true, at: At::Then(us, rfc3339(us, 0)) }
}

/// With as many decimals as it needs, in a zone so many seconds east of Greenwich.
fn rfc3339(us: u64, east: i32) -> String {
    let time = Timestamp::from_microsecond(i64::try_from(us).unwrap()).unwrap();
    match east {
        0 => time.to_string(),
        _ => time.display_with_offset(Offset::from_seconds(east).unwrap()).to_string(),
    }
}
