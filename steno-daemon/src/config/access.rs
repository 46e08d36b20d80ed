//! The section `Access`: who may ask what.
//!
//! What this section says narrows what is given out, so that nothing in it is passed over: what elsewhere is odd, and said, is
//! wrong here.

use std::{collections::BTreeSet, net::IpAddr};

use steno_proto::json::Node;
use steno_query::AddrRange;

use super::{
    fields::{Fields, Findings},
    nearest::nearest,
};
use crate::access::{Action, Pattern, Rule};

const KEYS: &[&str] = &["Rules"];
const RULE_KEYS: &[&str] = &["Name", "Principals", "Nets", "Vlans", "Depth", "MaxQueryBytes", "Methods"];

/// Characters of a rule's name: it is a label of metrics.
const NAME_CHARS: usize = 64;
/// Items of a list: what a scope is made of is joined to every query.
const ITEMS_MOST: usize = 1_000;
/// VLAN ids have twelve bits (IEEE 802.1Q).
const VLAN_MOST: u16 = 4_095;

const NETS: &str = "a network, as \"10.1.0.0/16\" or \"2001:db8::/32\", or an address";
const VLANS: &str = "a VLAN's id from 0 to 4095, or a range of them, as \"100-199\"";

/// The rules, in their order.
pub(super) fn access(node: &Node, path: &str, findings: &mut Findings) -> Vec<Rule> {
    let mut fields = Fields::strict(node, path, KEYS, findings);
    if !fields.is_object() {
        return Vec::new();
    }
    let rules = fields.list("Rules", rule);
    if rules.is_empty() {
        fields.error("Rules", "none; nobody could ask anything; take Access out to let everybody");
    }
    for (at, rule) in rules.iter().enumerate() {
        let before = rules.get(..at).unwrap_or_default();
        let item = format!("Rules[{at}]");
        if !rule.name.is_empty() && before.iter().any(|other| other.name == rule.name) {
            fields.error(&format!("{item}.Name"), format!("{:?} is the name of another rule already", rule.name));
        }
        if let Some(all) = before.iter().find(|other| other.principals.iter().any(Pattern::is_anyone)) {
            fields.error(&item, format!("never reached: the rule {:?} before it is for everybody", all.name));
        }
    }
    rules
}

fn rule(node: &Node, path: &str, findings: &mut Findings) -> Rule {
    let mut fields = Fields::strict(node, path, RULE_KEYS, findings);
    let name = fields.required("Name", "a name for the rule").to_owned();
    if name.chars().count() > NAME_CHARS || name.chars().any(char::is_control) {
        fields.error("Name", format!("{name:?} will not do; it takes {NAME_CHARS} printable characters at most"));
    }
    let principals = items(&mut fields, "Principals", &mut |node| match node {
        Node::Text(text) => Pattern::parse(text).ok_or_else(|| Pattern::TAKES.to_owned()),
        _ => Err(Pattern::TAKES.to_owned()),
    });
    if principals.is_none() && fields.is_object() && !fields.has("Principals") {
        fields.error("Principals", format!("missing; it takes a list of {}", Pattern::TAKES));
    }
    let networks = items(&mut fields, "Nets", &mut network);
    let vlans = items(&mut fields, "Vlans", &mut vlan_range).map(|ranges| ranges.into_iter().flatten().collect());
    let depth = fields.duration("Depth");
    let is_narrow = networks.is_some() || vlans.is_some() || depth.is_some();
    let actions =
        items(&mut fields, "Methods", &mut action).map(BTreeSet::from_iter).unwrap_or_else(|| match is_narrow {
            true => Action::OF_PACKETS.into(),
            false => Action::ALL.into(),
        });
    if actions.contains(&Action::Follow) && !actions.contains(&Action::Query) {
        fields.error("Methods", "\"Follow\" goes on with a Query; it takes \"Query\" beside it");
    }
    let (principals, max_query_bytes) = (principals.unwrap_or_default(), fields.bytes("MaxQueryBytes"));
    Rule { name, principals, networks, vlans, depth, max_query_bytes, actions }
}

/// The items of a list that must not be empty, where it is given; `read` says what one takes instead.
fn items<T>(
    fields: &mut Fields<'_, '_>,
    name: &str,
    read: &mut dyn FnMut(&Node) -> Result<T, String>,
) -> Option<Vec<T>> {
    if !fields.has(name) {
        return None;
    }
    let items = fields.list(name, |node, path, findings| match read(node) {
        Ok(item) => Some(item),
        Err(takes) => {
            findings.error(path, format!("{} will not do; it takes {takes}", node.describe()));
            None
        }
    });
    match items.len() {
        0 if fields.is_list(name) => {
            fields.error(name, "empty, which would mean nothing; leave it out to mean anything")
        }
        n if n > ITEMS_MOST => fields.error(name, format!("{n} items; {ITEMS_MOST} are the most")),
        _ => {}
    }
    Some(items.into_iter().flatten().collect())
}

fn network(node: &Node) -> Result<AddrRange, String> {
    let Node::Text(text) = node else { return Err(NETS.to_owned()) };
    let (address, bits) = text.split_once('/').map_or((text.as_str(), None), |(a, bits)| (a, Some(bits)));
    let address: IpAddr = address.parse().map_err(|_| NETS.to_owned())?;
    if address.to_canonical() != address {
        return Err(format!("the IPv4 address that it stands for, {}", address.to_canonical()));
    }
    let Some(bits) = bits else { return Ok(AddrRange::single(address)) };
    let is_plain = bits.bytes().all(|digit| digit.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| is_plain).ok_or_else(|| NETS.to_owned())?;
    let range = AddrRange::prefix(address, bits).ok_or_else(|| NETS.to_owned())?;
    if range.low() != address {
        // As likely as not, the length is what is wrong.
        return Err(format!("the network that it is of, as \"{}/{bits}\"", range.low()));
    }
    Ok(range)
}

fn vlan_range(node: &Node) -> Result<std::ops::RangeInclusive<u16>, String> {
    let number = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>().ok().filter(|id| is_plain && *id <= VLAN_MOST)
    };
    let range = match node {
        Node::Number(id) => number(&id.to_string()).map(|id| id..=id),
        Node::Text(text) => match text.split_once('-') {
            Some((low, high)) => number(low).zip(number(high)).map(|(low, high)| low..=high),
            None => number(text).map(|id| id..=id),
        },
        _ => None,
    };
    range.filter(|range| !range.is_empty()).ok_or_else(|| VLANS.to_owned())
}

fn action(node: &Node) -> Result<Action, String> {
    let names = Action::ALL.map(Action::name);
    let takes = |text: &str| match nearest(text, &names) {
        Some(near) => format!("the name of a method; did you mean {near:?}?"),
        None => format!("one of {}", names.map(|name| format!("{name:?}")).join(", ")),
    };
    match node {
        Node::Text(text) => Action::ALL.into_iter().find(|action| action.name() == text).ok_or_else(|| takes(text)),
        _ => Err(takes("")),
    }
}
