//! Traffic like that of the comparison with 1.0.1, on less of it.

use steno_core::{
    Position, TimestampNs,
    packet::{Decoded, Fragment, Network},
};
use steno_index::{BlockNote, Log, PIECE_BYTES};

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2014).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

struct Flow {
    client: u32,
    server: u32,
    ports: (u16, u16),
}

fn flow(rng: &mut Rng) -> Flow {
    let small = |n: u64| u32::try_from(n).unwrap();
    Flow {
        client: 0x0a00_0000 | small(rng.below(2_000)),
        server: small(0x0b00_0000 + rng.below(20_000) * 79_190),
        ports: (u16::try_from(32_768 + rng.below(28_000)).unwrap(), [443, 80, 53, 22, 8080][rng.below(5) as usize]),
    }
}

/// The log of `packets` packets. With `flows`, that many conversations go on at a time, and one in twelve packets ends one and
/// begins another; without, every packet is a conversation of its own.
pub(crate) fn log_of(packets: u32, flows: usize) -> Log {
    let (mut rng, mut log, mut now) = (Rng(7), Log::new(), 1_700_000_000_000_000_000);
    let mut going: Vec<Flow> = (0..flows.max(1)).map(|_| flow(&mut rng)).collect();
    let (mut offset, mut at) = (0, 48);
    for i in 0..packets {
        now += rng.below(60_000);
        let which = usize::try_from(rng.below(flows.max(1) as u64)).unwrap();
        if flows == 0 || rng.below(12) == 0 {
            going[which] = flow(&mut rng);
        }
        let Flow { client, server, ports } = going[which];
        let up = rng.below(100) < 55;
        let (src, dst) = if up { (client, server) } else { (server, client) };
        let d = Decoded {
            network: Network::V4 { src: src.into(), dst: dst.into() },
            protocol: Some(6),
            ports: Some(if up { ports } else { (ports.1, ports.0) }),
            fragment: Fragment::Whole,
            identification: 0,
        };
        let len = [66, 90, 600, 1514][rng.below(4) as usize];
        log.note(Position(offset + at), TimestampNs::new(now), len, &d, &[]);
        at += len.next_multiple_of(8) + 88;
        if at > (1 << 20) - 2000 || i + 1 == packets {
            let crc32c = Some(u32::try_from(rng.below(1 << 31)).unwrap());
            let note = BlockNote { offset_bytes: u64::from(offset), used_bytes: at, crc32c, seq_num: u64::from(i) };
            let running: Vec<u32> =
                (0..(at - 1) / PIECE_BYTES).map(|_| u32::try_from(rng.below(1 << 31)).unwrap()).collect();
            log.end_block_with(note, &running);
            (offset, at) = (offset + (1 << 20), 48);
        }
    }
    log
}
