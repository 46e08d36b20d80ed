//! Step 2 of the data flow: walking a block and decoding the headers of its packets.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use full_block::full_block;
use steno_core::{block::Block, packet::decode};

mod full_block;

fn decode_block(c: &mut Criterion) {
    let bytes = full_block();
    let Ok(block) = Block::parse(&bytes) else { return };
    let mut group = c.benchmark_group("decode");
    let _ = group.throughput(Throughput::Elements(u64::from(block.header().num_pkts)));
    let _ = group.bench_function("walk", |b| b.iter(|| block.packets().filter(Result::is_ok).count()));
    let mut tags = Vec::new();
    let _ = group.bench_function("walk and decode", |b| {
        b.iter(|| {
            for packet in block.packets().flatten() {
                let _ = black_box(decode(&packet.frame(), &mut tags));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, decode_block);
criterion_main!(benches);
