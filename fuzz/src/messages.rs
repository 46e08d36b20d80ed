//! Starting inputs that are messages of gRPC.

use bytes::Bytes;
use prost::Message;
use steno_core::pcap::{CaptureMeta, CaptureWriter, Format, InterfaceMeta, Record};
use steno_core::testkit::recipe;
use steno_proto::legacy::PcapRequest;
use steno_proto::v1::{
    ClockStep, ExplainRequest, Flow, FlowBatch, FlowsRequest, FlowsResponse, Gap, Losses, Progress, QueryRequest,
    QueryResponse, Receipt, SegmentCounts, SegmentsRequest, Traffic, Truncation, Unreadable, Unsealed, flows_response,
    query_response,
};

/// As the target reads them: the method, then the message.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let with = |method: u8, message: Vec<u8>| [&[method], &message[..]].concat();
    let query = |format, max_packets| QueryRequest {
        query: "host 10.0.0.1 and not port 22".to_owned(),
        format,
        max_bytes: None,
        max_packets,
        chunk_bytes: 5_000,
        follow: false,
        deadline_ms: 60_000,
    };
    let flows = FlowsRequest { query: "ip or ip6".to_owned(), ..FlowsRequest::default() };
    let explain = ExplainRequest { query: "net 10.0.0.0/8 and (tcp or udp)".to_owned(), ..ExplainRequest::default() };
    let theirs =
        PcapRequest { uid: "a".to_owned(), chunk_size: 100, max_size: 1_000, query: "port 53 or port 80".to_owned() };
    let mut all = vec![
        with(0, query(2, None).encode_to_vec()),
        with(0, query(3, Some(2)).encode_to_vec()),
        with(0, QueryRequest { query: "vlan and prot 53".to_owned(), ..query(1, None) }.encode_to_vec()),
        with(1, flows.encode_to_vec()),
        with(2, explain.encode_to_vec()),
        with(3, Vec::new()),
        with(4, SegmentsRequest::default().encode_to_vec()),
        with(5, theirs.encode_to_vec()),
        // A service's name, and a request for the list of services.
        with(6, b"\x0a\x0fsteno.v1.Sensor".to_vec()),
        with(7, b"\x3a\x01*".to_vec()),
        with(8, b"\x22\x0fsteno.v1.Sensor".to_vec()),
    ];
    // Framed by hand: whole, and compressed by nothing that is known.
    let message = query(0, None).encode_to_vec();
    for flag in [0, 1] {
        let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
        all.push([&[0x80, flag], &length[..], &message].concat());
    }
    all
}

/// As the target reads them: what was asked for, then messages, each behind its length. Those in packets have receipts that the
/// target makes right, or that are as they are.
pub(crate) fn answers() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (number, format) in [(0, Format::PcapNs), (1, Format::Pcap), (2, Format::PcapNg)] {
        for repaired in [0, 0x80] {
            let file = file(format);
            let (first, second) = file.split_at(file.len() / 2);
            let progress = Progress { packets: 1, bytes: 2, elapsed_ms: 3 };
            let parts = [
                query_response::Part::Chunk(Bytes::copy_from_slice(first)),
                query_response::Part::Progress(progress),
                query_response::Part::Chunk(Bytes::copy_from_slice(second)),
                query_response::Part::Receipt(receipt()),
            ];
            let mut seed = vec![number | repaired];
            for part in parts {
                seed.extend(QueryResponse { part: Some(part) }.encode_length_delimited_to_vec());
            }
            all.push(seed);
        }
    }
    let mut seed = vec![3];
    for part in [
        flows_response::Part::Flows(FlowBatch { flows: vec![flow(), Flow::default()] }),
        flows_response::Part::Receipt(receipt()),
    ] {
        seed.extend(FlowsResponse { part: Some(part) }.encode_length_delimited_to_vec());
    }
    all.push(seed);
    all
}

fn file(format: Format) -> Vec<u8> {
    let meta = CaptureMeta { interfaces: vec![InterfaceMeta::ethernet("eth0")], ..CaptureMeta::default() };
    let (writer, mut file) = (CaptureWriter::new(format, meta), Vec::new());
    writer.start(&mut file);
    let packets =
        "1700000000 ip 10.0.0.1 > 10.0.0.2 tcp 40000 > 80\n1700000001 ip 10.0.0.2 > 10.0.0.1 udp 9 > 53 data 7";
    for packet in recipe(packets).unwrap_or_default() {
        let record = Record { time: packet.time, wire_len: packet.wire_len, frame: packet.frame(), interface: 0 };
        writer.packet(&mut file, &record);
    }
    file
}

fn receipt() -> Receipt {
    Receipt {
        query: "tcp".to_owned(),
        asked_from_ns: Some(1),
        asked_until_ns: Some(2),
        held_oldest_ns: Some(3),
        held_newest_ns: Some(4),
        segments: Some(SegmentCounts { total: 1, considered: 2, unreadable: 3, ..SegmentCounts::default() }),
        unreadable: vec![Unreadable { file: "PKT0/1".to_owned(), reason: "why".to_owned(), may_hold_matches: true }],
        unsealed: vec![Unsealed { file: "PKT0/.2".to_owned(), opened_ns: 5, bytes: 6, may_hold_matches: false }],
        kernel_drops: 10,
        gaps: vec![Gap { from_ns: 11, until_ns: 12, thread: 13, reason: "down".to_owned() }],
        truncated_by: Truncation::LimitBytes.into(),
        gap_ns: 14,
        losses: Some(Losses { ring_freezes: 15, cut_packets: 16, ..Losses::default() }),
        clock_steps: vec![ClockStep { from_ns: 22, to_ns: 23, thread: 24 }],
        ..Receipt::default()
    }
}

fn flow() -> Flow {
    Flow {
        first_ns: 1,
        last_ns: 2,
        layers: "ip udp".to_owned(),
        protocol: Some(17),
        a_address: "10.0.0.1".to_owned(),
        a_port: Some(53),
        b_address: "2001:db8::1".to_owned(),
        b_port: None,
        a_to_b: Some(Traffic { packets: 3, bytes: 4, matches: true }),
        b_to_a: None,
        partial: true,
        community_id: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=".to_owned(),
    }
}
