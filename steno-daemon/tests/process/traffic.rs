//! Packets that bear numbers.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// Packets go to one port after the other, from [`FIRST_PORT`] on.
pub(crate) const PORTS: u64 = 16;
pub(crate) const FIRST_PORT: u16 = 7_000;
/// Ethernet, IPv4 and UDP.
pub(crate) const HEADER_BYTES: usize = 14 + 20 + 8;

/// Sends frames of so many bytes until it is told to stop, from within a [`Namespace`](super::namespace::Namespace); gives how
/// many. The payload begins with the packet's number, big-endian.
pub(crate) fn send(stop: &AtomicBool, a_second: u64, frame_bytes: usize) -> u64 {
    let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
    let mut payload = vec![0x5a; frame_bytes - HEADER_BYTES];
    let began = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap() * a_second / 1_000_000;
        while number < due {
            payload[..8].copy_from_slice(&number.to_be_bytes());
            let port = FIRST_PORT + u16::try_from(number % PORTS).unwrap();
            assert_eq!(socket.send_to(&payload, ("10.9.0.2", port)).unwrap(), payload.len());
            number += 1;
        }
        sleep(Duration::from_millis(2));
    }
    number
}
