//! Steps 3, 5 and 9: noting packets, sealing a segment, looking into its index.

use std::{hint::black_box, net::IpAddr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steno_core::{
    Position, TimestampNs,
    packet::{Decoded, Frame, decode},
    testkit::FrameBuilder,
};
use steno_index::{BlockNote, Facts, Index, Log, Sealer};

const PACKETS: u32 = 200_000;
const PACKETS_A_BLOCK: u32 = 1_000;

/// Headers of conversations of some ten packets each, many at a time.
fn headers() -> Vec<Decoded> {
    let mut tags = Vec::new();
    let conversations = PACKETS / 10;
    (0..conversations)
        .map(|i| {
            let [_, b, c, d] = i.to_be_bytes();
            let port = u16::try_from(i % 28_000).unwrap_or_default() + 32_768;
            let frame = FrameBuilder::ethernet().ipv4([10, 0, c % 32, d], [192, b, 2, d % 50]).tcp(port, 443).build();
            decode(&Frame::new(&frame), &mut tags)
        })
        .collect()
}

fn note(log: &mut Log, headers: &[Decoded]) {
    for i in 0..PACKETS {
        let at = (i as usize).wrapping_mul(7_919) % headers.len();
        let Some(decoded) = headers.get(at) else { continue };
        let position = Position(((i / PACKETS_A_BLOCK) << 20) + 48 + i % PACKETS_A_BLOCK * 1_000);
        log.note(position, TimestampNs::new(u64::from(i) * 30_000), 900, decoded, &[]);
        if i % PACKETS_A_BLOCK == PACKETS_A_BLOCK - 1 {
            let offset_bytes = u64::from(i / PACKETS_A_BLOCK) << 20;
            log.end_block(BlockNote { offset_bytes, used_bytes: 1 << 20, crc32c: Some(i), seq_num: u64::from(i) });
        }
    }
}

fn build(c: &mut Criterion) {
    let headers = headers();
    let mut log = Log::new();
    let mut group = c.benchmark_group("index");
    let _ = group.throughput(Throughput::Elements(u64::from(PACKETS)));
    let _ = group.bench_function("note", |b| {
        b.iter(|| {
            log.clear();
            note(&mut log, &headers);
        });
    });
    let mut sealer = Sealer::new();
    let mut file = Vec::new();
    let _ = group.bench_function("seal", |b| {
        b.iter(|| {
            file.clear();
            black_box(sealer.seal(&log, &Facts::default(), &mut file).is_ok())
        });
    });
    group.finish();
    let Ok(index) = Index::from_bytes(file) else { return };
    let mut group = c.benchmark_group("look-up");
    let host = IpAddr::from([10, 0, 7, 7]);
    let mut found = Vec::new();
    let _ = group.bench_function("an address", |b| {
        b.iter(|| {
            found.clear();
            black_box(index.conversations_by_address(host..=host, &mut found).is_ok())
        });
    });
    group.finish();
}

criterion_group!(benches, build);
criterion_main!(benches);
