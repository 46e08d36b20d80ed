//! Answers of a sensor as its clients take them: `steno_cli::fuzzing::packets` and `flows`.
//!
//! The first byte says what is asked for, and whether receipts are made to agree with what came before them; the rest are
//! messages, each behind its length. However the bytes are cut into chunks, they are read the same; what is taken for whole is
//! what its receipt says; and nothing that a sensor says steers the terminal that it is shown on, or forges a value.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message;
use steno_cli::fuzzing::{Answered, flows, packets};
use steno_cli::print::{flow_as_csv, flow_as_json, flows_as_table};
use steno_core::pcap::Format;
use steno_proto::v1::{FlowsResponse, QueryResponse, query_response::Part};

/// The bit of the first byte that has receipts made right.
const REPAIRED: u8 = 0x80;
/// Values on a line of flows.
const VALUES: usize = 16;

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&first, rest)) = input.split_first() else { return Corpus::Reject };
    let format = match first & !REPAIRED {
        0 => Format::PcapNs,
        1 => Format::Pcap,
        2 => Format::PcapNg,
        3 => {
            look_at_flows(messages(rest));
            return Corpus::Keep;
        }
        _ => return Corpus::Reject,
    };
    let mut messages: Vec<QueryResponse> = messages(rest);
    if first & REPAIRED != 0 {
        repair(format, &mut messages);
    }
    let answered = packets(format, messages.clone());
    let other = packets(format, recut(messages.clone()));
    look(&answered, &messages);
    assert_eq!(other.ended.is_ok(), answered.ended.is_ok(), "{answered:?}, and in other chunks {other:?}");
    if answered.ended.is_ok() {
        assert_eq!((&other.bytes, other.packets), (&answered.bytes, answered.packets), "in other chunks");
    }
    Corpus::Keep
});

/// Those that can be decoded, one behind the other.
fn messages<M: Message + Default>(mut bytes: &[u8]) -> Vec<M> {
    std::iter::from_fn(|| M::decode_length_delimited(&mut bytes).ok()).take(1_000).collect()
}

/// Has every receipt tell of what came before it.
fn repair(format: Format, messages: &mut [QueryResponse]) {
    for at in 0..messages.len() {
        let (before, rest) = messages.split_at_mut(at);
        let Some(QueryResponse { part: Some(Part::Receipt(receipt)) }) = rest.first_mut() else { continue };
        let chunks: Vec<u8> = chunks(before).concat();
        receipt.packets = packets(format, before.to_vec()).packets;
        receipt.bytes = chunks.len() as u64;
        receipt.blake3 = blake3::hash(&chunks).to_hex().to_string();
    }
}

fn chunks(messages: &[QueryResponse]) -> Vec<&[u8]> {
    let chunk = |message| match message {
        &QueryResponse { part: Some(Part::Chunk(ref chunk)) } => Some(&chunk[..]),
        _ => None,
    };
    messages.iter().filter_map(chunk).collect()
}

/// The same bytes in chunks of one byte and of all the others.
fn recut(messages: Vec<QueryResponse>) -> Vec<QueryResponse> {
    let chunk = |bytes: Bytes| QueryResponse { part: Some(Part::Chunk(bytes)) };
    let mut all = Vec::new();
    for message in messages {
        match message.part {
            Some(Part::Chunk(mut bytes)) if bytes.len() > 1 => {
                let one = bytes.split_to(1);
                all.extend([chunk(one), chunk(bytes)]);
            }
            part => all.push(QueryResponse { part }),
        }
    }
    all
}

fn look(answered: &Answered, messages: &[QueryResponse]) {
    let sent = chunks(messages).concat();
    assert!(sent.starts_with(&answered.bytes), "what is handed on is what came");
    match &answered.ended {
        Ok((receipt, _)) => {
            let digest = blake3::hash(&answered.bytes).to_hex();
            assert_eq!(receipt.blake3.as_deref(), Some(digest.as_str()));
            assert_eq!((receipt.packets, receipt.bytes), (answered.packets, answered.bytes.len() as u64));
            plain(&receipt.to_string());
            let json = serde_json::to_string(receipt).expect("a receipt is written");
            let _: serde_json::Value = serde_json::from_str(&json).expect("and read");
        }
        Err(why) => plain(why),
    }
}

fn look_at_flows(messages: Vec<FlowsResponse>) {
    let (flows, ended) = flows(messages);
    match ended {
        Ok(receipt) => plain(&receipt.to_string()),
        Err(why) => plain(&why),
    }
    let mut out = Vec::new();
    flows_as_table(|| flows.iter().cloned(), &mut out).expect("memory takes it");
    for flow in &flows {
        let mut line = Vec::new();
        flow_as_csv(flow, &mut line).expect("memory takes it");
        assert_eq!(line.iter().filter(|byte| **byte == b',').count() + 1, VALUES, "{flow:?}");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "{flow:?}");
        out.extend(line);
        flow_as_json(flow, &mut out).expect("memory takes it");
    }
    plain(str::from_utf8(&out).expect("text"));
}

fn plain(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}
