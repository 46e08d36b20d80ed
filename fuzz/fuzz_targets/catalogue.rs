//! Catalogue files: [`steno_query::store::Kept`].
//!
//! The input is read as it is, and once more with the checksums made right that guard its tables and its filters, so that mutations
//! reach what lies behind them. Whatever is in there, it is read to its end, and every filter is asked, of segments and of groups.

#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use steno_query::store::Kept;

/// `docs/format/catalogue.md`, section 1.
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 96;
const GROUP_BYTES: usize = 32;

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
    let address = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(kept.may_hold(past, address), None);
    let groups = (0..).map_while(|place| kept.group_may_hold(place, address));
    for (at, (members, _)) in groups.enumerate() {
        assert!(at < length / GROUP_BYTES, "more groups than there are bytes for");
        assert!(members.start < members.end && members.end <= past, "a group of segments that are not there");
    }
}

/// Makes the length, the places of the tables and the checksums of header, tables and filters right.
fn repair(bytes: &mut [u8]) -> Option<()> {
    let length = u64::try_from(bytes.len()).ok()?;
    let u32_at = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let table = |end: usize, rows: u32, row_bytes: usize| {
        let table_bytes = usize::try_from(rows).ok()?.checked_mul(row_bytes)?;
        end.checked_sub(table_bytes).filter(|table| *table >= HEADER_BYTES)
    };
    let entries = table(bytes.len(), u32_at(bytes, 12)?, ENTRY_BYTES)?;
    let groups = table(entries, u32_at(bytes, 44)?, GROUP_BYTES)?;
    for entry in (entries..bytes.len()).step_by(ENTRY_BYTES) {
        repair_filter(bytes, entry + 80, entry + 88, entry + 92)?;
    }
    for group in (groups..entries).step_by(GROUP_BYTES) {
        repair_filter(bytes, group + 16, group + 12, group + 24)?;
    }
    bytes.get_mut(16..24)?.copy_from_slice(&length.to_le_bytes());
    bytes.get_mut(24..32)?.copy_from_slice(&u64::try_from(entries).ok()?.to_le_bytes());
    bytes.get_mut(48..56)?.copy_from_slice(&u64::try_from(groups).ok()?.to_le_bytes());
    let crc = crc32c::crc32c(bytes.get(entries..)?).to_le_bytes();
    bytes.get_mut(32..36)?.copy_from_slice(&crc);
    let crc = crc32c::crc32c(bytes.get(groups..entries)?).to_le_bytes();
    bytes.get_mut(56..60)?.copy_from_slice(&crc);
    let crc = crc32c::crc32c(bytes.get(..60)?).to_le_bytes();
    bytes.get_mut(60..64)?.copy_from_slice(&crc);
    Some(())
}

/// Makes the checksum of a filter right, by where its row says where it is, how long it is, and what its checksum is.
fn repair_filter(bytes: &mut [u8], at: usize, len: usize, crc: usize) -> Option<()> {
    let start = usize::try_from(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()?;
    let len = usize::try_from(u32::from_le_bytes(bytes.get(len..len + 4)?.try_into().ok()?)).ok()?;
    if let Some(filter) = bytes.get(start..start.saturating_add(len)) {
        let right = crc32c::crc32c(filter).to_le_bytes();
        bytes.get_mut(crc..crc + 4)?.copy_from_slice(&right);
    }
    Some(())
}
