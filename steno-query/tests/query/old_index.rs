//! Index files as stenographer 1.0.1 writes them, written in the plainest way: one block of keys, its two faults included.

use std::collections::{BTreeMap, BTreeSet};

use steno_core::packet::{Frame, Network, Tag, decode_as_indexed, ip_protocol};
use steno_index::{Log, log::Entry};

/// The magic at the end of a LevelDB table.
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;

/// The keys that 1.0.1 finds in a frame, as the ring has it, without the tag that the kernel took out.
pub(crate) fn keys(captured: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut tags = Vec::new();
    let decoded = decode_as_indexed(&Frame::new(captured), &mut tags);
    let mut keys = BTreeSet::new();
    let mut add = |kind: u8, value: &[u8]| {
        let _new = keys.insert([&[kind], value].concat());
    };
    match decoded.network {
        Network::None { .. } => {}
        Network::V4 { src, dst } => [src, dst].iter().for_each(|a| add(4, &a.octets())),
        Network::V6 { src, dst } => [src, dst].iter().for_each(|a| add(6, &a.octets())),
    }
    if let Some(protocol) = decoded.protocol {
        add(1, &[protocol]);
        if let (ip_protocol::TCP | ip_protocol::UDP, Some((src, dst))) = (protocol, decoded.ports) {
            [src, dst].iter().for_each(|port| add(2, &port.to_be_bytes()));
        }
    }
    for tag in tags {
        match tag {
            Tag::Vlan(id) => add(3, &id.to_be_bytes()),
            Tag::Mpls(label) => add(5, &label.to_be_bytes()),
        }
    }
    keys
}

/// The index of packets, which are given with their frames as the ring has them, in the order of `log`.
pub(crate) fn index<'a>(log: &Log, frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut table: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::from([(vec![0], vec![0, 0, 0, 2, 0, 0, 0, 0])]);
    let positions = log.entries().filter_map(|entry| match entry.unwrap() {
        Entry::Packet(note) => Some(note.position.0),
        Entry::Block(_) => None,
    });
    for (position, frame) in positions.zip(frames) {
        for key in keys(frame) {
            table.entry(key).or_default().extend(position.to_be_bytes());
        }
    }
    write(&table)
}

/// A table of these keys and values.
pub(crate) fn write(table: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    let data = block(&mut file, table.iter().map(|(key, value)| (key.as_slice(), value.as_slice())));
    let meta = block(&mut file, std::iter::empty());
    let last = table.keys().last().unwrap();
    let index = block(&mut file, std::iter::once((last.as_slice(), data.as_slice())));
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(MAGIC.to_le_bytes());
    file
}

/// Appends a block without compression and gives its handle.
fn block<'a>(file: &mut Vec<u8>, entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let (mut bytes, mut restarts) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        restarts.push(u32::try_from(bytes.len()).unwrap());
        for len in [0, key.len(), value.len()] {
            varint(&mut bytes, len);
        }
        bytes.extend([key, value].concat());
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    let count = u32::try_from(restarts.len()).unwrap();
    bytes.extend(restarts.iter().chain([&count]).flat_map(|word| word.to_le_bytes()));
    let (offset, len) = (file.len(), bytes.len());
    bytes.push(0);
    let crc = crc32c::crc32c(&bytes).rotate_right(15).wrapping_add(0xa282_ead8);
    file.extend(bytes);
    file.extend(crc.to_le_bytes());
    let mut handle = Vec::new();
    varint(&mut handle, offset);
    varint(&mut handle, len);
    handle
}

fn varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 127 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
}
