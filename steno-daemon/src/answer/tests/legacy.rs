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
    let expected = served.store.bytes("udp", Options { format: Format::PcapLegacy, ..Options::default() });
    assert_eq!((&expected[..4], &expected[16..20]), (&[0xd4, 0xc3, 0xb2, 0xa1][..], &[0, 0, 1, 0][..]));
    let asked = PcapRequest { uid: "../../x".into(), chunk_size: 1_000, ..request("udp") };
    let (messages, end) = take(&mut served, asked).await;
    end.unwrap();
    assert!(bytes(&messages) == expected);
    assert!(messages.iter().all(|m| m.uid == "../../x"));
    let (last, others) = messages.split_last().unwrap();
    assert!(others.iter().all(|m| m.pcap.len() == 1_000) && (1..=1_000).contains(&last.pcap.len()));

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
    // The whole file has 24 and 100 times 158 bytes.
    let limits = LegacyLimits { chunk_bytes: 500, max_bytes: Some(490), server_max_bytes: Some(806) };
    let mut served = Served::with_legacy(TestStore::new(1, 1, 100, 100), Bounds::default(), limits).await;
    let file = served.store.bytes("udp", Options { format: Format::PcapLegacy, ..Options::default() });
    assert_eq!(file.len(), 15_824);
    let of = |max_size, chunk_size| PcapRequest { max_size, chunk_size, ..request("udp") };
    for (asked, sizes, good) in [
        (of(0, 0), &[500][..], true),
        (of(20, 0), &[500], true),
        (of(20, 7), &[7, 7, 7], true),
        (of(600, 300), &[300, 300], true),
        (of(601, 300), &[300, 300, 300], true),
        // The server's own bound: as much, and then an error.
        (of(1 << 40, 0), &[500, 500], false),
        (of(1_001, 0), &[500, 500], false),
        // It ends at the same message, so that the client has what it wanted.
        (of(999, 0), &[500, 500], true),
        (of(1 << 40, 16_000), &[15_824], true),
    ] {
        let text = format!("{asked:?}");
        let (messages, end) = take(&mut served, asked).await;
        assert_eq!(messages.iter().map(|m| m.pcap.len()).collect::<Vec<_>>(), sizes, "{text}");
        assert_eq!(bytes(&messages), file[..sizes.iter().sum::<usize>()], "{text}");
        assert_eq!(
            end.map_err(|status| status.code()),
            if good { Ok(()) } else { Err(Code::ResourceExhausted) },
            "{text}"
        );
    }
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
