//! Catalogue files: [`steno_query::store::Kept`].
//!
//! The input is read as it is, and once more with the checksums made right that guard its entries, so that mutations reach
//! what lies behind them. Whatever is in there, it is read to its end, and every filter is asked.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use steno_query::store::Kept;

/// `docs/format/catalogue.md`, section 1.
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 96;

fuzz_target!(|input: &[u8]| {
    look(input.to_vec());
    let mut repaired = input.to_vec();
    if repair(&mut repaired).is_some() {
        look(repaired);
    }
});

fn look(bytes: Vec<u8>) {
    let length = bytes.len();
    let Ok(kept) = Kept::from_bytes(bytes) else { return };
    let segments: Vec<_> = kept.segments().collect();
    assert!(segments.len() <= length / ENTRY_BYTES, "more entries than there are bytes for");
    assert!(segments.is_sorted_by(|a, b| a.0 < b.0), "segments do not ascend");
    for (place, _) in (0..).zip(&segments) {
        for address in ["10.0.0.1", "0.0.0.0", "2001:db8::1"] {
            let address: IpAddr = address.parse().expect("an address");
            assert!(kept.may_hold(place, address).is_some(), "an entry that was listed is there");
        }
    }
    let past = u32::try_from(segments.len()).expect("few");
    assert_eq!(kept.may_hold(past, IpAddr::from([10, 0, 0, 1])), None);
}

/// Makes the length, the place of the entries and the checksums of header, entries and filters right.
fn repair(bytes: &mut [u8]) -> Option<()> {
    let length = u64::try_from(bytes.len()).ok()?;
    let entries = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
    let table_bytes = usize::try_from(entries).ok()?.checked_mul(ENTRY_BYTES)?;
    let table = bytes.len().checked_sub(table_bytes).filter(|table| *table >= HEADER_BYTES)?;
    for entry in (table..bytes.len()).step_by(ENTRY_BYTES) {
        let at = u64::from_le_bytes(bytes.get(entry + 80..entry + 88)?.try_into().ok()?);
        let len = u32::from_le_bytes(bytes.get(entry + 88..entry + 92)?.try_into().ok()?);
        let at = usize::try_from(at).ok()?;
        if let Some(filter) = bytes.get(at..at.saturating_add(usize::try_from(len).ok()?)) {
            let crc = crc32c::crc32c(filter).to_le_bytes();
            bytes.get_mut(entry + 92..entry + 96)?.copy_from_slice(&crc);
        }
    }
    bytes.get_mut(16..24)?.copy_from_slice(&length.to_le_bytes());
    bytes.get_mut(24..32)?.copy_from_slice(&u64::try_from(table).ok()?.to_le_bytes());
    let crc = crc32c::crc32c(bytes.get(table..)?).to_le_bytes();
    bytes.get_mut(32..36)?.copy_from_slice(&crc);
    let crc = crc32c::crc32c(bytes.get(..60)?).to_le_bytes();
    bytes.get_mut(60..64)?.copy_from_slice(&crc);
    Some(())
}
