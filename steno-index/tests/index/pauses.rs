//! Whoever seals beside a capture can give way to it.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use steno_index::{ConvNo, Direction, Facts, Index, IndexError, Log, Pause, Sealer, Summary, Version2Sealer};

use super::flows::log_of;

/// Seals in one format, with a pause of the caller's.
type Seal = fn(Pause, &Log, &mut dyn Write) -> Result<Summary, IndexError>;

/// Packets are counted on from one piece to the next.
#[test]
fn every_packet_of_many_pieces_is_in_one_list() {
    let (packets, mut file, mut listed) = (30_000, Vec::new(), Vec::new());
    let _ = Sealer::new().seal(&log_of(packets, 50), &Facts::default(), &mut file).unwrap();
    let index = Index::from_bytes(file).unwrap();
    let mut cursor = index.cursor();
    for no in (0..index.conversations()).map(ConvNo) {
        for direction in [Direction::Forward, Direction::Reverse] {
            cursor.packets(no, direction, &mut listed).unwrap();
        }
    }
    listed.sort_unstable();
    assert!(listed.iter().map(|packet| packet.0).eq(0..packets));
}

#[test]
fn a_seal_takes_a_pause_between_pieces_and_writes_the_same() {
    let native: Seal = |pause, log, mut out| Sealer::pausing(pause).seal(log, &Facts::default(), &mut out);
    let version2: Seal = |pause, log, mut out| Version2Sealer::pausing(pause).seal(log, &Facts::default(), &mut out);
    // One a block of the log (253 and 63 of them; twice for version 2), and one for each 8192 items that are sorted or packed: a
    // loop that took none would be missed.
    for (seal, packets, flows, least) in [
        (native, 400_000, 1000, 445),
        (native, 100_000, 0, 360),
        (version2, 400_000, 1000, 650),
        (version2, 100_000, 0, 170),
    ] {
        let log = log_of(packets, flows);
        let sealed = |pause| {
            let mut out = Vec::new();
            (seal(pause, &log, &mut out).unwrap(), out)
        };
        let taken = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&taken);
        let without = sealed(Pause::default());
        assert!(
            sealed(Pause::new(move || {
                let _ = count.fetch_add(1, Ordering::Relaxed);
            })) == without
        );
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken >= least, "{packets} packets, {flows} flows: {taken} pauses");
    }
}
