//! A flow as callers see it.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;
use steno_core::TimestampNs;
use steno_index::{Class, Endpoint};

use super::{
    CommunityId, Ports,
    gather::{Ends, Share},
};
use crate::receipt::{Receipt, moment};

/// The flows of a query, by the time of their first packets, and the receipt.
#[derive(Debug)]
pub struct Flows {
    pub(super) classes: Vec<Arc<Class>>,
    pub(super) shares: Vec<(Ends, Share)>,
    pub(super) receipt: Receipt,
}

/// A conversation, over all segments and threads in which it matches.
///
/// End a sent the first packet of what was counted. A conversation is told by its layers (tags included), addresses, protocol
/// and ports alone: where ports are used again after days, that is one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Its earliest packet, either way.
    #[serde(serialize_with = "moment::serialize")]
    pub first: TimestampNs,
    /// Its latest packet, either way.
    #[serde(serialize_with = "moment::serialize")]
    pub last: TimestampNs,
    /// Its layers from the outside in, as `vlan 5 ip tcp`.
    pub layers: String,
    /// The IP protocol.
    pub protocol: Option<u8>,
    /// The address of the end that sent the first packet; `None` without IP.
    pub a: Option<IpAddr>,
    /// Its port; `None` for what has none, as fragments after the first.
    pub a_port: Option<u16>,
    /// The address of the other end.
    pub b: Option<IpAddr>,
    /// Its port.
    pub b_port: Option<u16>,
    /// What a sent to b.
    pub a_to_b: Traffic,
    /// What b sent to a.
    pub b_to_a: Traffic,
    /// Whether the counts hold packets outside of the time asked (see the module's notes on what is exact).
    pub partial: bool,
    /// The name that other tools have for it; `None` where it cannot be told: for ICMP, whose types are not in the index, for
    /// fragments after the first, and without IP.
    pub community_id: Option<CommunityId>,
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes on the wire, link-layer headers and tags included.
    pub bytes: u64,
    /// Whether the packets that went this way match the query, and not only those that came back.
    pub matches: bool,
}

impl Flows {
    /// The flows, by the time of their first packets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Flow> + '_ {
        self.shares.iter().map(|(ends, share)| self.flow(ends, share))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shares.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// The receipt.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn flow(&self, ends: &Ends, share: &Share) -> Flow {
        let class = self.classes.get(ends.class as usize);
        let (a, b) = if share.opened_by_high { (ends.high, ends.low) } else { (ends.low, ends.high) };
        let [low_to_high, high_to_low] = share.ways;
        let (a_to_b, b_to_a) =
            if share.opened_by_high { (high_to_low, low_to_high) } else { (low_to_high, high_to_low) };
        Flow {
            first: share.first,
            last: share.last,
            layers: class.map(|class| class.to_string()).unwrap_or_default(),
            protocol: class.and_then(|class| class.protocol),
            a: a.addr,
            a_port: a.port,
            b: b.addr,
            b_port: b.port,
            a_to_b,
            b_to_a,
            partial: share.partial,
            community_id: class.and_then(|class| community_id(class, a, b)),
        }
    }
}

fn community_id(class: &Class, a: Endpoint, b: Endpoint) -> Option<CommunityId> {
    // Other tools put fragments together before they name the flow.
    let protocol = class.protocol.filter(|_| !class.later_fragments)?;
    let ports = a.port.zip(b.port).map_or(Ports::None, |(a, b)| Ports::Numbers(a, b));
    CommunityId::of(a.addr?, b.addr?, protocol, ports)
}
