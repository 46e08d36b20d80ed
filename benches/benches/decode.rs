//! Step 2 of the data flow: walking a block and decoding the headers of its packets.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steno_core::{
    BLOCK_BYTES, TimestampNs,
    block::{Block, BlockWriter, Push},
    packet::decode,
    testkit::FrameBuilder,
};

/// A full block of TCP and UDP over IPv4 and IPv6, one in eight tagged.
fn block() -> Vec<u8> {
    let mut writer = BlockWriter::new(BLOCK_BYTES);
    for i in 0u16.. {
        let [high, low] = i.to_be_bytes();
        let frame = FrameBuilder::ethernet();
        let frame = if i % 8 == 0 { frame.tag(0x8100, 100) } else { frame };
        let frame = match i % 5 {
            0 => frame.ipv6([high; 16], [low; 16]).tcp(443, i),
            1 => frame.ipv4([10, 0, high, low], [192, 0, 2, low]).udp(i, 53),
            _ => frame.ipv4([10, 0, high, low], [198, 51, 100, low]).tcp(i, 443),
        };
        let frame = frame.payload(&[0; 400]).build();
        let wire_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match writer.push(TimestampNs::new(u64::from(i)), wire_len, &frame) {
            Ok(Push::Stored { .. }) => {}
            _ => break,
        }
    }
    writer.finish(1).to_vec()
}

fn decode_block(c: &mut Criterion) {
    let bytes = block();
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
