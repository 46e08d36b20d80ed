//! Step 12 of the data flow: packets of a block become records of a capture file.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use full_block::full_block;
use steno_core::{
    block::Block,
    pcap::{CaptureMeta, CaptureWriter, Format, InterfaceMeta, Record},
};

mod full_block;

fn assemble(c: &mut Criterion) {
    let bytes = full_block();
    let Ok(block) = Block::parse(&bytes) else { return };
    let mut group = c.benchmark_group("pcap");
    let mut chunk = Vec::new();
    for format in Format::ALL {
        let meta = CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("eth0")], ..CaptureMeta::default() };
        let writer = CaptureWriter::new(format, meta);
        let mut run = || {
            chunk.clear();
            for packet in block.packets().flatten() {
                let (time, wire_len) = (packet.timestamp(), packet.wire_len());
                writer.packet(&mut chunk, &Record { time, wire_len, frame: packet.frame(), interface: 0 });
            }
            black_box(&chunk).len() as u64
        };
        let _ = group.throughput(Throughput::Bytes(run()));
        let _ = group.bench_function(format.name(), |b| b.iter(&mut run));
    }
    group.finish();
}

criterion_group!(benches, assemble);
criterion_main!(benches);
