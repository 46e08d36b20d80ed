//! How large rings are where nobody says, and which processors packet threads keep to.

use std::time::Duration;

use crate::{
    Flags, Pin,
    console::{debug, info, warning},
    error::words,
    flags::BLOCKS_DEFAULT,
    sys::{self, Cpus},
};

/// For how long rings hold what the link brings at the most, while the disk takes nothing.
const BRIDGED: Duration = Duration::from_secs(1);
/// The part of the machine's memory that all rings together have at the most.
const MEMORY_PART: u64 = 2;
/// `--blocks` takes no fewer and no more.
const BLOCKS_LEAST: u64 = 4;
const BLOCKS_MOST: u64 = 65_536;

/// The flags, with a number of blocks (`docs/decisions/0009-ring-memory-without-blocks.md`).
pub(super) fn sized(flags: &Flags) -> Flags {
    if flags.blocks.is_some() {
        return flags.clone();
    }
    let (memory, mbits) = (sys::memory_bytes(), sys::link_mbits(&flags.iface));
    let block_bytes = u64::from(flags.blocksize_kb) << 10;
    let blocks = blocks(memory, mbits, block_bytes, flags.threads, flags.in_flight_least());
    if blocks != BLOCKS_DEFAULT {
        let (gib, link) = (memory >> 30, mbits.map_or_else(|| "unknown".to_owned(), |mbits| mbits.to_string()));
        info!("rings have {blocks} blocks a thread: the machine has {gib} GiB, the link {link} Mbit/s (--blocks)");
    }
    let mut sized = flags.clone();
    sized.blocks = Some(blocks);
    sized
}

/// As many blocks a thread as 1.0.1 has; more, where the link brings more within the time to be bridged; fewer, where the
/// machine has not the memory.
fn blocks(memory_bytes: u64, link_mbits: Option<u64>, block_bytes: u64, threads: u16, least: u32) -> u32 {
    let threads = u64::from(threads.max(1));
    let bytes_per_second = link_mbits.unwrap_or_default().saturating_mul(1_000_000 / 8);
    let bridged = bytes_per_second.saturating_mul(BRIDGED.as_secs()).div_ceil(block_bytes * threads);
    let wanted = bridged.max(BLOCKS_DEFAULT.into());
    let there = memory_bytes / MEMORY_PART / (block_bytes * threads);
    let blocks = wanted.min(there).clamp(BLOCKS_LEAST.max(least.into()), BLOCKS_MOST);
    u32::try_from(blocks).unwrap_or(BLOCKS_DEFAULT)
}

/// The processors of packet threads, where they keep to one each.
pub(super) fn processors(flags: &Flags) -> Option<Cpus> {
    if flags.pin == Pin::Off || (flags.pin == Pin::Auto && flags.threads == 1) {
        return None;
    }
    let cpus = match Cpus::near(&flags.iface) {
        Ok(cpus) => cpus,
        Err(e) => {
            warning!("threads keep to no processor: {}", words(&e));
            return None;
        }
    };
    let (threads, there) = (usize::from(flags.threads), cpus.count());
    // One more is left for everything else: a thread that may not move waits for who has its processor.
    let enough = if flags.pin == Pin::On { threads <= there } else { threads < there };
    if !enough {
        let text = format!("{threads} threads keep to no processor of their own: there are {there}");
        if flags.pin == Pin::On {
            warning!("{text}")
        } else {
            debug!("{text}")
        }
        return None;
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn where_memory_and_link_bear_it_rings_are_those_of_1_0_1() {
        for (memory, mbits, threads) in
            [(4, None, 1), (8, Some(10_000), 2), (32, Some(1_000), 8), (23, Some(16_000), 1)]
        {
            assert_eq!(blocks(memory * GIB, mbits, MIB, threads, 128), 2048, "{memory} GiB, {mbits:?}, {threads}");
        }
    }

    #[test]
    fn a_fast_link_has_a_second_of_it_and_all_rings_half_of_memory() {
        assert_eq!(blocks(256 * GIB, Some(100_000), MIB, 1, 128), 11_921);
        assert_eq!(blocks(256 * GIB, Some(100_000), MIB, 4, 128), 2_981);
        assert_eq!(blocks(16 * GIB, Some(100_000), MIB, 1, 128), 8_192);
        assert_eq!(blocks(2 * GIB, Some(1_000), MIB, 1, 128), 1_024);
        assert_eq!(blocks(2 * GIB, None, MIB, 4, 128), 256);
        assert_eq!(blocks(GIB / 4, None, MIB, 4, 128), 128, "writes under way have a block each");
        assert_eq!(blocks(256 * GIB, None, 64 << 10, 1, 4), 2048);
        assert_eq!(blocks(u64::MAX, Some(u64::MAX), 12 << 10, 1, 4), 65_536);
    }
}
