//! Which segments a look-up finds nothing in, by the filters that catalogue files keep: these need not be opened.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Lookup;
use crate::{
    AddrRange,
    store::{Hashed, may_hold},
};

/// Addresses of a range that are asked for one by one. Of a larger range, most segments have some.
const ONE_BY_ONE: u128 = 16;
/// Addresses that are asked for in all.
const ADDRESSES_MAX: usize = 4096;

/// What a segment has to have for a look-up to find anything in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Screen {
    /// Filters do not tell.
    Open,
    /// One of these addresses.
    Addresses(Vec<Hashed>),
    /// All of these.
    And(Vec<Screen>),
    /// One of these.
    Or(Vec<Screen>),
}

impl Screen {
    pub(super) fn of(lookup: &Lookup) -> Self {
        match lookup {
            Lookup::All | Lookup::Ports { .. } | Lookup::Class(_) => Self::Open,
            Lookup::Addresses(ranges) => {
                let mut hashed = Vec::new();
                for range in ranges {
                    match each(range) {
                        Some(addresses) => hashed.extend(addresses.map(Hashed::from)),
                        None => return Self::Open,
                    }
                    if hashed.len() > ADDRESSES_MAX {
                        return Self::Open;
                    }
                }
                Self::Addresses(hashed)
            }
            Lookup::And(parts) => {
                let parts: Vec<_> = parts.iter().map(Self::of).filter(|part| *part != Self::Open).collect();
                if parts.is_empty() { Self::Open } else { Self::And(parts) }
            }
            Lookup::Or(parts) => {
                let parts: Vec<_> = parts.iter().map(Self::of).collect();
                if parts.contains(&Self::Open) { Self::Open } else { Self::Or(parts) }
            }
        }
    }

    /// Whether a look-up may find something in a segment with this filter; if not, it does not.
    pub(super) fn passes(&self, filter: &[u8]) -> bool {
        match self {
            Self::Open => true,
            Self::Addresses(addresses) => addresses.iter().any(|&address| may_hold(filter, address)),
            Self::And(parts) => parts.iter().all(|part| part.passes(filter)),
            Self::Or(parts) => parts.iter().any(|part| part.passes(filter)),
        }
    }
}

/// The addresses of a range, of which there are few.
fn each(range: &AddrRange) -> Option<impl Iterator<Item = IpAddr> + use<>> {
    let (first, last, of): (u128, u128, fn(u128) -> IpAddr) = match (range.low(), range.high()) {
        (IpAddr::V4(low), IpAddr::V4(high)) => (low.to_bits().into(), high.to_bits().into(), |bits| {
            Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into()
        }),
        (IpAddr::V6(low), IpAddr::V6(high)) => (low.to_bits(), high.to_bits(), |bits| Ipv6Addr::from_bits(bits).into()),
        _ => return None,
    };
    (last.checked_sub(first)? < ONE_BY_ONE).then(|| (first..=last).map(of))
}
