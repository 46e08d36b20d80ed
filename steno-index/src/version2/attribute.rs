//! What an index of version 2 knows packets by, and its keys.

use std::{
    fmt::{self, Display, Formatter},
    net::{Ipv4Addr, Ipv6Addr},
};

/// An attribute of packets. The order is that of the keys in a file: bytewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// The IP protocol.
    Protocol(u8),
    /// A port of TCP or UDP, of either end.
    Port(u16),
    /// A VLAN id, 0 to 4095.
    Vlan(u16),
    /// An IPv4 address of either end.
    V4(Ipv4Addr),
    /// An MPLS label, 20 bits.
    Mpls(u32),
    /// An IPv6 address of either end.
    V6(Ipv6Addr),
}

/// The key of the record that holds the version.
pub(super) const VERSION_KEY: [u8; 1] = [0];
/// Bytes of the longest key.
const KEY_BYTES_MAX: usize = 17;

mod kind {
    pub(super) const PROTOCOL: u8 = 1;
    pub(super) const PORT: u8 = 2;
    pub(super) const VLAN: u8 = 3;
    pub(super) const V4: u8 = 4;
    pub(super) const MPLS: u8 = 5;
    pub(super) const V6: u8 = 6;
}

/// A key: the kind, then the value, big-endian.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    bytes: [u8; KEY_BYTES_MAX],
    len: usize,
}

impl Key {
    fn new(kind: u8, value: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES_MAX];
        for (to, from) in bytes.iter_mut().zip([kind].iter().chain(value)) {
            *to = *from;
        }
        Self { bytes, len: 1 + value.len() }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Attribute {
    /// Its key.
    pub(super) fn key(self) -> Key {
        match self {
            Self::Protocol(number) => Key::new(kind::PROTOCOL, &[number]),
            Self::Port(port) => Key::new(kind::PORT, &port.to_be_bytes()),
            Self::Vlan(id) => Key::new(kind::VLAN, &id.to_be_bytes()),
            Self::V4(address) => Key::new(kind::V4, &address.octets()),
            Self::Mpls(label) => Key::new(kind::MPLS, &label.to_be_bytes()),
            Self::V6(address) => Key::new(kind::V6, &address.octets()),
        }
    }

    /// That of a key; `None` for one that is none of an attribute's.
    pub(super) fn of_key(key: &[u8]) -> Option<Self> {
        let (kind, value) = key.split_first()?;
        Some(match *kind {
            kind::PROTOCOL => Self::Protocol(u8::from_be_bytes(value.try_into().ok()?)),
            kind::PORT => Self::Port(u16::from_be_bytes(value.try_into().ok()?)),
            kind::VLAN => Self::Vlan(u16::from_be_bytes(value.try_into().ok()?)),
            kind::V4 => Self::V4(<[u8; 4]>::try_from(value).ok()?.into()),
            kind::MPLS => Self::Mpls(u32::from_be_bytes(value.try_into().ok()?)),
            kind::V6 => Self::V6(<[u8; 16]>::try_from(value).ok()?.into()),
            _ => return None,
        })
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(number) => write!(f, "ip proto {number}"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Vlan(id) => write!(f, "vlan {id}"),
            Self::V4(address) => write!(f, "host {address}"),
            Self::Mpls(label) => write!(f, "mpls {label}"),
            Self::V6(address) => write!(f, "host {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute() -> impl Strategy<Value = Attribute> {
        prop_oneof![
            any::<u8>().prop_map(Attribute::Protocol),
            any::<u16>().prop_map(Attribute::Port),
            any::<u16>().prop_map(Attribute::Vlan),
            any::<[u8; 4]>().prop_map(|a| Attribute::V4(a.into())),
            any::<u32>().prop_map(Attribute::Mpls),
            any::<[u8; 16]>().prop_map(|a| Attribute::V6(a.into())),
        ]
    }

    proptest! {
        #[test]
        fn keys_read_back_and_order_as_attributes_do(a in attribute(), b in attribute()) {
            prop_assert_eq!(Attribute::of_key(a.key().as_bytes()), Some(a));
            prop_assert_eq!(a.key().as_bytes().cmp(b.key().as_bytes()), a.cmp(&b));
        }
    }

    #[test]
    fn other_keys_are_none_of_an_attribute() {
        for key in [&[][..], &[0], &[1], &[1, 2, 3], &[2, 0], &[4, 1, 2, 3, 4, 5], &[7, 1]] {
            assert_eq!(Attribute::of_key(key), None, "{key:?}");
        }
    }
}
