//! LevelDB tables in the plainest way, to make index files of version 2 that are wrong: one block of keys, nothing compressed.

use std::{net::Ipv6Addr, ops::ControlFlow};

use steno_index::{Attribute, Version2Index};

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// All entries of an index, its version first.
pub(crate) fn entries(index: Vec<u8>) -> Vec<Entry> {
    let index = Version2Index::from_bytes(index).unwrap();
    let mut all = vec![(vec![0], vec![0, 0, 0, 2, 0, 0, 0, 0])];
    let everything = Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from(u128::MAX));
    index
        .each(everything, &mut |attribute, positions| {
            let key = match attribute {
                Attribute::Protocol(protocol) => vec![1, protocol],
                Attribute::Port(port) => [&[2], &port.to_be_bytes()[..]].concat(),
                Attribute::Vlan(id) => [&[3], &id.to_be_bytes()[..]].concat(),
                Attribute::V4(address) => [&[4], &address.octets()[..]].concat(),
                Attribute::Mpls(label) => [&[5], &label.to_be_bytes()[..]].concat(),
                Attribute::V6(address) => [&[6], &address.octets()[..]].concat(),
            };
            all.push((key, positions.iter().flat_map(|position| position.0.to_be_bytes()).collect()));
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

/// A table of these entries, in this order.
pub(crate) fn write(entries: &[Entry]) -> Vec<u8> {
    let mut file = Vec::new();
    let data = block(&mut file, entries);
    let meta = block(&mut file, &[]);
    let last = entries.iter().map(|(key, _)| key).max().unwrap().clone();
    let index = block(&mut file, &[(last, data)]);
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file
}

/// Appends a block and gives its handle.
fn block(file: &mut Vec<u8>, entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut restarts) = (Vec::new(), Vec::new());
    for (key, value) in entries {
        restarts.push(u32::try_from(bytes.len()).unwrap());
        for len in [0, key.len(), value.len()] {
            varint(&mut bytes, len);
        }
        bytes.extend([key.as_slice(), value].concat());
    }
    if restarts.is_empty() {
        restarts.push(0);
    }
    let count = u32::try_from(restarts.len()).unwrap();
    bytes.extend(restarts.iter().chain([&count]).flat_map(|word| word.to_le_bytes()));
    let (offset, len) = (file.len(), bytes.len());
    bytes.push(0);
    // LevelDB's masked CRC-32C, `util/crc32c.h`.
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
