//! Steps 8 to 12: from a query to the bytes of a capture file, over a store in a temporary directory; and step 11, the merge,
//! alone.

use std::{error::Error, fs, hint::black_box, path::Path};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use steno_core::{
    BLOCK_BYTES, SegmentId, TimestampNs,
    block::{BlockWriter, Push},
    testkit::FrameBuilder,
};
use steno_index::{Facts, index_packet_file, segment::SegmentPaths};
use steno_query::{Options, Store, parse};
use tempfile::TempDir;

const PACKETS: u32 = 50_000;

/// A segment of TCP and UDP a thread, one packet in a hundred from 10.0.0.9; the threads take turns.
fn write_store(dir: &Path, threads: u32) -> Result<(), Box<dyn Error>> {
    for thread in 0..threads {
        write_segment(dir, thread, threads)?;
    }
    Ok(())
}

fn write_segment(dir: &Path, thread: u32, threads: u32) -> Result<(), Box<dyn Error>> {
    let (packets_dir, index_dir) = (dir.join(format!("PKT{thread}")), dir.join(format!("IDX{thread}")));
    fs::create_dir(&packets_dir)?;
    fs::create_dir(&index_dir)?;
    let (mut writer, mut file, mut blocks) = (BlockWriter::new(BLOCK_BYTES), Vec::new(), 0);
    for i in (0..PACKETS).filter(|i| i % threads == thread) {
        let [_, _, c, d] = i.to_be_bytes();
        let from = if i % 100 == 0 { [10, 0, 0, 9] } else { [10, 1, c, d] };
        let frame = FrameBuilder::ethernet().ipv4(from, [192, 0, 2, d]);
        let port = u16::try_from(i % 20_000)? + 1_024;
        let frame = if i % 5 == 0 { frame.udp(port, 53) } else { frame.tcp(port, 443) };
        let frame = frame.payload(&[0; 500]).build();
        let time = TimestampNs::new(u64::from(i) * 10_000);
        while writer.push(time, u32::try_from(frame.len())?, &frame)? == Push::Full {
            blocks += 1;
            file.extend_from_slice(writer.finish(blocks));
            writer.clear();
        }
    }
    file.extend_from_slice(writer.finish(blocks + 1));
    let paths = SegmentPaths::new(&packets_dir, &index_dir, SegmentId(1));
    let mut index = Vec::new();
    let _built = index_packet_file(&mut file.as_slice(), &Facts::default(), &mut index)?;
    fs::write(paths.hidden_packet_file(), file)?;
    fs::write(paths.hidden_index_file(), index)?;
    Ok(paths.publish()?)
}

/// A store of so many threads in a directory that goes with it.
fn store(threads: u32) -> Option<(TempDir, Store)> {
    let dir = tempfile::tempdir().ok()?;
    if let Err(e) = write_store(dir.path(), threads) {
        eprintln!("no store to measure: {e}");
        return None;
    }
    let store = Store::open(dir.path()).ok()?;
    Some((dir, store))
}

fn answers(c: &mut Criterion) {
    let Some((_dir, store)) = store(1) else { return };
    let mut group = c.benchmark_group("answer");
    let mut chunk = Vec::new();
    for text in ["tcp", "host 10.0.0.9", "port 53 and not host 10.0.0.9", "host 10.9.9.9"] {
        let Ok(query) = parse(text, TimestampNs::MAX) else { return };
        let mut run = || {
            let mut answer = store.answer(&query, Options::default());
            let mut bytes = 0;
            while answer.next_chunk(&mut chunk) {
                bytes += chunk.len() as u64;
            }
            bytes
        };
        let _ = group.throughput(Throughput::Bytes(run()));
        let _ = group.bench_function(text, |b| b.iter(|| black_box(run())));
    }
    group.finish();
}

/// What the order of time costs: all packets, of one thread and of such as lie side by side.
fn merge(c: &mut Criterion) {
    let Ok(query) = parse("tcp or udp", TimestampNs::MAX) else { return };
    let mut group = c.benchmark_group("merge");
    let _ = group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for threads in [1, 2, 8, 32] {
        let Some((_dir, store)) = store(threads) else { return };
        let _ = group.bench_function(format!("{threads} threads"), |b| {
            b.iter(|| {
                let (mut answer, mut bytes) = (store.answer(&query, Options::default()), 0);
                while let Some(packet) = answer.next_packet() {
                    bytes += u64::from(packet.wire_len);
                }
                black_box(bytes)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answers, merge);
criterion_main!(benches);
