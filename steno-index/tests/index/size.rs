//! What an index weighs on traffic like that of the comparison with 1.0.1 (20.3 bytes a packet there), on less of it.

use steno_index::{Facts, seal};

use super::flows::log_of;

/// Of the index of `packets` packets, as [`log_of`].
fn bytes_a_packet(packets: u32, flows: usize) -> f64 {
    let summary = seal(&log_of(packets, flows), &Facts::default(), &mut Vec::new()).unwrap();
    f64::from(u32::try_from(summary.file_bytes).unwrap()) / f64::from(packets)
}

#[test]
fn an_index_is_small() {
    let flows = bytes_a_packet(200_000, 1000);
    assert!((2.0..5.0).contains(&flows), "{flows:.2} bytes a packet on flows");
    let flood = bytes_a_packet(100_000, 0);
    assert!((10.0..17.0).contains(&flood), "{flood:.2} bytes a packet where each is a conversation");
}
