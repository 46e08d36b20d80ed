//! The service of 1.0.1.

use std::fs;

use steno_core::pcap::Format;
use steno_proto::legacy::{PcapRequest, PcapResponse};
use steno_query::Options;
use tonic::{Code, Status};

use super::support::{Served, TestStore, within};
use crate::answer::{Bounds, LegacyLimits};

async fn take(served: &mut Served, asked: PcapRequest) -> (Vec<PcapResponse>, Result<(), Status>) {
    let mut stream = served.legacy.retrieve_pcap(asked).await.unwrap().into_inner();
    let mut messages = Vec::new();
    loop {
        match within("a message", stream.message()).await {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return (messages, Ok(())),
            Err(status) => return (messages, Err(status)),
        }
    }
}

fn request(query: &str) -> PcapRequest {
    PcapRequest { query: query.to_owned(), ..PcapRequest::default() }
}

fn bytes(messages: &[PcapResponse]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.pcap.to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_a_microsecond_pcap_in_chunks_under_the_requests_name() {
    let mut served = Served::new(TestStore::new(2, 2, 1_000, 200), Bounds::default()).await;
    let expected = served.store.bytes("udp", Options { format: Format::Pcap, ..Options::default() });
    assert_eq!(expected[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    let asked = PcapRequest { uid: "../../x".into(), chunk_size: 1_000, ..request("udp") };
    let (messages, end) = take(&mut served, asked).await;
    end.unwrap();
    assert!(bytes(&messages) == expected);
    assert!(messages.iter().all(|m| m.uid == "../../x" && m.pcap.len() <= 1_000 && !m.pcap.is_empty()));

    let (messages, end) = take(&mut served, request("udp")).await;
    end.unwrap();
    assert!(bytes(&messages) == expected);
    assert!(messages.iter().all(|m| m.uid == messages[0].uid && m.pcap.len() <= 64 << 10));
    let uid = uuid::Uuid::parse_str(&messages[0].uid).unwrap();
    assert_eq!(uid.get_version_num(), 4);
    let (again, _) = take(&mut served, request("port 53")).await;
    assert_ne!(again[0].uid, messages[0].uid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_find_is_an_empty_stream_that_ends_well() {
    let mut served = Served::new(TestStore::new(1, 1, 100, 20), Bounds::default()).await;
    for query in ["", "   ", "no query at all", "vlan 5", "before 1999-01-01T00:00:00Z"] {
        let (messages, end) = take(&mut served, request(query)).await;
        assert!(messages.is_empty() && end.is_ok(), "{query}: {messages:?} {end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_end_an_answer_as_configured_and_never_in_silence() {
    let limits = LegacyLimits { chunk_bytes: 500, max_bytes: Some(16 + 3 * 158), server_max_bytes: Some(16 + 5 * 158) };
    let mut served = Served::with_legacy(TestStore::new(1, 1, 100, 100), Bounds::default(), limits).await;
    let packets = |messages: &[PcapResponse]| (bytes(messages).len() - 24) / 158;
    let (messages, end) = take(&mut served, request("udp")).await;
    assert!(end.is_ok() && messages.iter().all(|m| m.pcap.len() <= 500));
    assert_eq!(packets(&messages), 3, "the configured default");
    let (messages, end) = take(&mut served, PcapRequest { max_size: 20, ..request("udp") }).await;
    assert!(end.is_ok());
    assert_eq!(packets(&messages), 1, "as asked for");
    let (messages, end) = take(&mut served, PcapRequest { max_size: 1 << 40, ..request("udp") }).await;
    assert_eq!(packets(&messages), 5, "the server's own");
    assert_eq!(end.unwrap_err().code(), Code::ResourceExhausted);
    for wrong in [
        PcapRequest { max_size: -1, ..request("udp") },
        PcapRequest { chunk_size: -1, ..request("udp") },
        PcapRequest { uid: "u".repeat(257), ..request("udp") },
    ] {
        let status = served.legacy.retrieve_pcap(wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_is_an_error_also_where_nothing_was_found() {
    let mut served = Served::new(TestStore::new(1, 2, 1_000, 100), Bounds::default()).await;
    fs::OpenOptions::new().write(true).open(served.store.packet_file(0, 0)).unwrap().set_len(1 << 16).unwrap();
    let (messages, end) = take(&mut served, request("udp")).await;
    assert!(bytes(&messages).len() > 100_000);
    assert_eq!(end.unwrap_err().code(), Code::DataLoss);
    // All that this one asks for is in the part that is gone.
    let query = "host 10.0.0.199 and before 2023-11-14T22:13:21Z and after 2023-11-14T22:13:20.9Z";
    let (messages, end) = take(&mut served, request(query)).await;
    assert!(messages.is_empty(), "{messages:?}");
    assert_eq!(end.unwrap_err().code(), Code::DataLoss);

    let mut served = Served::new(TestStore::new(1, 1, 10, 10), Bounds::default()).await;
    served.answers.close();
    assert_eq!(served.legacy.retrieve_pcap(request("udp")).await.unwrap_err().code(), Code::Unavailable);
}
