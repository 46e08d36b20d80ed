//! Index files of version 2: [`steno_index::Version2Index`].
//!
//! The input is read as it is, and once more with the checksums of the blocks that it names made right, so that mutations
//! reach what lies behind them. Every look-up ends, with an answer or an error. Where `verify` finds nothing wrong, every
//! look-up succeeds, and says the same as reading all keys in turn does.

#![no_main]

use std::net::Ipv6Addr;
use std::ops::{ControlFlow, RangeInclusive};

use libfuzzer_sys::fuzz_target;
use steno_index::{AnyIndex, Attribute, IndexError, Version2Index};

/// So many keys of an index are looked up one by one: a small file may hold very many.
const LOOKED_AT: usize = 300;
/// Every attribute that there can be.
const ALL: RangeInclusive<Attribute> = Attribute::Protocol(0)..=Attribute::V6(Ipv6Addr::from_bits(u128::MAX));

/// `docs/format/version2.md`, section 2.
const FOOTER_BYTES: usize = 48;

type Keys = Vec<(Attribute, Vec<u32>)>;

fuzz_target!(|input: &[u8]| {
    look(input.to_vec());
    let mut repaired = input.to_vec();
    if repair(&mut repaired).is_some() {
        look(repaired);
    }
});

fn look(bytes: Vec<u8>) {
    let Ok(AnyIndex::Version2(index)) = AnyIndex::from_bytes(bytes) else { return };
    // Damage is an expected answer here; what matters is that there is one.
    let sound = index.verify().is_ok();
    let all = read(&index, ALL);
    for attribute in [Attribute::Protocol(6), Attribute::Port(80), Attribute::Vlan(100), Attribute::Mpls(29)] {
        let _ = index.positions(attribute);
        let _ = read(&index, attribute..=Attribute::Mpls(29));
    }
    if sound {
        compare(&index, &all.expect("what verify found right can be read")).expect("and looked up");
    }
}

fn read(index: &Version2Index, range: RangeInclusive<Attribute>) -> Result<Keys, IndexError> {
    let mut keys: Keys = Vec::new();
    index.each(range.clone(), &mut |attribute, positions| {
        assert!(range.contains(&attribute), "a key that was not asked for");
        assert!(keys.last().is_none_or(|(last, _)| *last < attribute), "keys do not ascend");
        let positions: Vec<u32> = positions.iter().map(|position| position.0).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "positions do not ascend");
        keys.push((attribute, positions));
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

/// Each key for itself, and the keys before and behind it.
fn compare(index: &Version2Index, all: &Keys) -> Result<(), IndexError> {
    for (number, (attribute, expected)) in all.iter().enumerate().take(LOOKED_AT) {
        let found = index.positions(*attribute)?.expect("a key that is there");
        assert!(found.iter().map(|position| position.0).eq(expected.iter().copied()), "{attribute}");
        assert_eq!(found.len(), expected.len());
        if number % 16 == 0 {
            assert_eq!(read(index, *attribute..=*ALL.end())?, all[number..]);
            assert_eq!(read(index, *ALL.start()..=*attribute)?, all[..=number]);
        }
    }
    Ok(())
}

/// Makes the checksums right: of the metaindex, of the index of blocks, and of what entries that look like handles lead to.
fn repair(file: &mut [u8]) -> Option<()> {
    let footer = file.len().checked_sub(FOOTER_BYTES)?;
    let mut at = footer;
    let (metaindex, index) = (handle(file, &mut at)?, handle(file, &mut at)?);
    for (offset, len) in [metaindex, index] {
        let block = file.get(offset..offset.checked_add(len)?)?.to_vec();
        let mut at = 0;
        // Three lengths, a key, a value.
        while at < block.len() {
            let Some((unshared, value)) = entry(&block, &mut at) else { break };
            let Some(value_at) = at.checked_add(unshared) else { break };
            let mut inner = value_at;
            if let Some((offset, len)) = handle(&block, &mut inner) {
                let _ = seal(file, offset, len);
            }
            let Some(next) = value_at.checked_add(value) else { break };
            at = next;
        }
        seal(file, offset, len)?;
    }
    Some(())
}

fn entry(block: &[u8], at: &mut usize) -> Option<(usize, usize)> {
    let (_shared, unshared, value) = (varint(block, at)?, varint(block, at)?, varint(block, at)?);
    Some((unshared, value))
}

fn handle(bytes: &[u8], at: &mut usize) -> Option<(usize, usize)> {
    Some((varint(bytes, at)?, varint(bytes, at)?))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn seal(file: &mut [u8], offset: usize, len: usize) -> Option<()> {
    let end = offset.checked_add(len)?.checked_add(1)?;
    let sum = crc32c::crc32c(file.get(offset..end)?).rotate_right(15).wrapping_add(0xa282_ead8);
    file.get_mut(end..)?.get_mut(..4)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}
