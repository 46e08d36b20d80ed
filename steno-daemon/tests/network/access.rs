//! Rights: several clients with certificates of one CA ask over all transports, and none gets a word of a packet that is out
//! of its reach.

use std::{collections::BTreeSet, time::Duration};

use http::{Method, StatusCode, Version};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use rustls::ClientConfig;
use steno_core::{TimestampNs, testkit::FrameBuilder};
use steno_daemon::access::{Action, Pattern, Rule};
use steno_proto::{
    certs::client_tls,
    legacy::{PcapRequest, stenographer_client::StenographerClient},
    v1::{
        ExplainRequest, FlowsRequest, QueryRequest, Receipt, SegmentsRequest, StatusRequest, flows_response,
        query_response, sensor_client::SensorClient,
    },
};
use steno_query::AddrRange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, transport::Channel};

use super::{
    http_client::Client,
    support::{Running, Wanted, channel, connect, log, start, within},
};

/// What is captured: four minutes ago until a moment ago, and two hours ago.
const RECENT_S: u32 = 240;
const OLD_S: u32 = 7_200;
/// What is in reach of those who get no more than the last hour.
const DEPTH: Duration = Duration::from_secs(3_600);

/// A packet as the test knows it, without the query language.
#[derive(Clone, Debug)]
struct Known {
    time: TimestampNs,
    frame: Vec<u8>,
    in_tens: bool,
    in_vlan: bool,
    recent: bool,
}

/// Conversations between and beside networks, with and without tags, old and new; no two packets alike.
fn capture() -> Vec<Known> {
    let now =
        u32::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let hosts = [[10, 1, 0, 1], [10, 1, 0, 2], [192, 168, 0, 1], [192, 168, 0, 2]];
    let (mut all, mut number) = (Vec::new(), 0u32);
    for (age, recent) in [(OLD_S, false), (RECENT_S, true)] {
        for (a, b) in [(0, 1), (0, 2), (2, 3), (3, 1)] {
            for tag in [None, Some(5), Some(6)] {
                for port in [53, 80, 443] {
                    number += 1;
                    let frame = FrameBuilder::ethernet();
                    let frame = tag.map_or(frame.clone(), |id| frame.tag(0x8100, id));
                    // Conversations go on over the time that divides what is in reach.
                    let frame = frame.ipv4(hosts[a], hosts[b]);
                    let frame = if port == 53 { frame.udp(40_000, port) } else { frame.tcp(40_000, port) };
                    all.push(Known {
                        time: TimestampNs::from_parts(now - age, number),
                        frame: frame.payload(&number.to_be_bytes()).build(),
                        in_tens: [a, b].iter().any(|host| *host < 2),
                        in_vlan: tag == Some(5),
                        recent,
                    });
                }
            }
        }
        number += 1;
        let frame = FrameBuilder::ethernet().other(0x0806, &number.to_be_bytes()).build();
        all.push(Known {
            time: TimestampNs::from_parts(now - age, number),
            frame,
            in_tens: false,
            in_vlan: false,
            recent,
        });
    }
    all
}

fn rule(name: &str, principal: &str) -> Rule {
    Rule {
        name: name.into(),
        principals: vec![Pattern::parse(principal).unwrap()],
        networks: None,
        vlans: None,
        depth: None,
        max_query_bytes: None,
        actions: Action::ALL.into(),
    }
}

fn rules() -> Vec<Rule> {
    let tens = || Some(vec![AddrRange::prefix("10.0.0.0".parse().unwrap(), 8).unwrap()]);
    vec![
        Rule { networks: tens(), ..rule("tens", "CN=alice") },
        Rule { vlans: Some(vec![5]), ..rule("five", "CN=bob") },
        Rule { depth: Some(DEPTH), ..rule("recent", "CN=carol") },
        Rule { networks: tens(), vlans: Some(vec![5, 9]), depth: Some(DEPTH), ..rule("all three", "CN=dav*") },
        Rule { max_query_bytes: Some(300), ..rule("few bytes", "CN=frank") },
        Rule { actions: [Action::Query, Action::Metrics].into(), ..rule("few methods", "CN=grace") },
        rule("anything", "CN=root"),
    ]
}

/// Who asks, and what is in reach.
struct Someone {
    name: &'static str,
    tls: ClientConfig,
    sensor: SensorClient<Channel>,
    reach: fn(&Known) -> bool,
}

async fn someone(running: &Running, name: &'static str, reach: fn(&Known) -> bool) -> Someone {
    let tls = client_tls(&running.certs.issue_client(name).unwrap()).unwrap().config;
    let sensor = SensorClient::new(channel(running.address, tls.clone()).await.unwrap());
    Someone { name, tls, sensor, reach }
}

/// The frames in a pcap of either precision.
fn frames(pcap: &[u8]) -> Vec<Vec<u8>> {
    let (mut at, mut frames) = (24, Vec::new());
    while let Some(record) = pcap.get(at..at + 16) {
        let captured = u32::from_le_bytes(record[8..12].try_into().unwrap()) as usize;
        frames.push(pcap[at + 16..at + 16 + captured].to_vec());
        at += 16 + captured;
    }
    frames
}

impl Someone {
    async fn query(&mut self, request: QueryRequest) -> Result<(Vec<Vec<u8>>, Receipt), tonic::Status> {
        let mut stream = within("an answer", self.sensor.query(request)).await?.into_inner();
        let (mut pcap, mut receipt) = (Vec::new(), None);
        while let Some(message) = within("a message", stream.message()).await? {
            match message.part.unwrap() {
                query_response::Part::Chunk(chunk) => pcap.extend_from_slice(&chunk),
                query_response::Part::Receipt(last) => receipt = Some(last),
                query_response::Part::Progress(_) => {}
            }
        }
        Ok((frames(&pcap), receipt.unwrap()))
    }

    /// What flows tell: packets of all, and the receipt.
    async fn flows(&mut self, query: &str) -> Result<(u64, TimestampNs, Receipt), tonic::Status> {
        let request = FlowsRequest { query: query.into(), ..FlowsRequest::default() };
        let mut stream = within("flows", self.sensor.flows(request)).await?.into_inner();
        let (mut packets, mut first, mut receipt) = (0, TimestampNs::MAX, None);
        while let Some(message) = within("a message", stream.message()).await? {
            match message.part.unwrap() {
                flows_response::Part::Flows(batch) => {
                    for flow in batch.flows {
                        packets += flow.a_to_b.unwrap().packets + flow.b_to_a.unwrap().packets;
                        first = first.min(TimestampNs::new(flow.first_ns));
                    }
                }
                flows_response::Part::Receipt(last) => receipt = Some(last),
                flows_response::Part::Progress(_) => {}
            }
        }
        Ok((packets, first, receipt.unwrap()))
    }

    async fn legacy(&self, running: &Running, query: &str) -> Result<Vec<Vec<u8>>, tonic::Status> {
        let mut client = StenographerClient::new(channel(running.address, self.tls.clone()).await.unwrap());
        let request = PcapRequest { query: query.into(), ..PcapRequest::default() };
        let mut stream = within("an answer", client.retrieve_pcap(request)).await?.into_inner();
        let mut pcap = Vec::new();
        while let Some(message) = within("a message", stream.message()).await? {
            pcap.extend_from_slice(&message.pcap);
        }
        Ok(frames(&pcap))
    }

    async fn http(&self, running: &Running, version: Version) -> Client {
        Client::of(running.address, self.tls.clone(), version, 1 << 20).await
    }
}

/// Texts of the query language, each of which someone may try to get out with.
fn query() -> impl Strategy<Value = String> {
    let primitive = select(vec![
        "ip",
        "arp",
        "tcp",
        "udp",
        "vlan",
        "vlan 5",
        "vlan 6",
        "port 53",
        "dst port 80",
        "net 10.0.0.0/8",
        "src net 10.0.0.0/8",
        "host 192.168.0.1",
        "dst host 10.1.0.2",
        "last 10m",
        "last 3h",
        "before 30m ago",
        "after 3h ago",
        "between 3h ago and 30m ago",
        "portrange 1-65535",
    ]);
    primitive.prop_map(str::to_owned).prop_recursive(4, 12, 2, |inner| {
        prop_oneof![
            2 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) and ({b})")),
            3 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} or {b}")),
            2 => inner.prop_map(|a| format!("not ({a})")),
        ]
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_word_of_what_is_out_of_reach() {
    let known = capture();
    let frames = known.iter().map(|packet| (packet.time, packet.frame.clone())).collect();
    let running = start(Wanted { access: Some(rules()), frames, ..Wanted::default() }).await;
    let mut root = someone(&running, "root", |_| true).await;
    let mut others = [
        someone(&running, "alice", |packet| packet.in_tens).await,
        someone(&running, "bob", |packet| packet.in_vlan).await,
        someone(&running, "carol", |packet| packet.recent).await,
        someone(&running, "dave", |packet| packet.in_tens && packet.in_vlan && packet.recent).await,
    ];
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut texts: Vec<String> =
        ["ip or not ip", "not (vlan 5)", "arp or ip", "before 30m ago or tcp"].map(str::to_owned).into();
    texts.extend((0..24).map(|_| query().new_tree(&mut runner).unwrap().current()));
    for (at, text) in texts.iter().enumerate() {
        let request = || QueryRequest { query: text.clone(), ..QueryRequest::default() };
        let (all, receipt) = root.query(request()).await.unwrap();
        assert!(receipt.complete && receipt.scope.is_none(), "{receipt:?}");
        for who in &mut others {
            let of = format!("{} asks {text}", who.name);
            let reach: BTreeSet<&[u8]> = known.iter().filter(|p| (who.reach)(p)).map(|p| &p.frame[..]).collect();
            let oldest = known.iter().filter(|p| (who.reach)(p)).map(|p| p.time).min().unwrap();
            let expected: Vec<&Vec<u8>> = all.iter().filter(|frame| reach.contains(&frame[..])).collect();

            let (got, receipt) = who.query(request()).await.unwrap();
            assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{of}");
            assert!(receipt.complete && receipt.packets == expected.len() as u64, "{of}: {receipt:?}");
            let scope = receipt.scope.expect("the receipt says that a scope applied");
            assert!(!scope.rule.is_empty() && !scope.query.is_empty(), "{of}: {scope:?}");

            let (packets, first, receipt) = who.flows(text).await.unwrap();
            assert!(packets <= reach.len() as u64 && packets >= expected.len() as u64, "{of}: {packets} in flows");
            assert!(first >= oldest && receipt.scope.is_some(), "{of}: from {first}");

            let request = ExplainRequest { query: text.clone(), ..ExplainRequest::default() };
            let explained = within("an explanation", who.sensor.explain(request)).await.unwrap().into_inner();
            let most = explained.estimate.unwrap().packets_at_most;
            assert!(most <= reach.len() as u64 && most >= expected.len() as u64, "{of}: {most} explained");
            assert!(explained.receipt.unwrap().scope.is_some() && explained.text.contains("\nscope: "), "{of}");

            assert_eq!(who.legacy(&running, text).await.unwrap().iter().collect::<Vec<_>>(), expected, "{of}");
            let version = if at % 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
            let answer = who.http(&running, version).await.post(text, &[]).await;
            assert_eq!(self::frames(&answer.body).iter().collect::<Vec<_>>(), expected, "{of}");
            assert!(answer.receipt()["scope"]["name"].is_string(), "{of}");
            if at < 4 {
                let follow = QueryRequest { query: text.clone(), follow: true, deadline_ms: 300, ..Default::default() };
                let (got, _) = who.query(follow).await.unwrap();
                assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{of}, and what follows");
            }
        }
    }
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_no_rule_is_for_and_what_a_rule_does_not_list_is_refused_everywhere() {
    let frames = capture().into_iter().map(|packet| (packet.time, packet.frame)).collect();
    let running = start(Wanted { access: Some(rules()), frames, ..Wanted::default() }).await;
    let tcp = || QueryRequest { query: "tcp".into(), ..QueryRequest::default() };
    for (name, why) in [
        ("eve", "no rule of this sensor is for CN=eve,O=Stenographer"),
        ("grace", "the rule \"few methods\" does not let CN=grace,O=Stenographer ask for "),
    ] {
        let mut who = someone(&running, name, |_| false).await;
        let denied = |status: tonic::Status| {
            assert!(status.code() == Code::PermissionDenied && status.message().starts_with(why), "{name}: {status}");
        };
        denied(who.flows("tcp").await.unwrap_err());
        denied(
            within("explain", who.sensor.explain(ExplainRequest { query: "tcp".into(), deadline_ms: 0 }))
                .await
                .unwrap_err(),
        );
        denied(within("status", who.sensor.status(StatusRequest::default())).await.unwrap_err());
        denied(within("segments", who.sensor.segments(SegmentsRequest::default())).await.unwrap_err());
        denied(who.legacy(&running, "tcp").await.unwrap_err());
        denied(who.query(QueryRequest { follow: true, ..tcp() }).await.unwrap_err());
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let mut client = who.http(&running, version).await;
            let posted = client.post("tcp", &[]).await;
            let stats = client.begin(Method::GET, "/debug/stats", &[], "").await.end().await;
            for answer in [posted, stats] {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name}");
                assert!(answer.text().starts_with(why), "{name}: {}", answer.text());
            }
            let metrics = client.begin(Method::GET, "/metrics", &[], "").await.end().await;
            let nowhere = client.begin(Method::GET, "/nowhere", &[], "").await.end().await;
            let expected = if name == "eve" { [403, 403] } else { [200, 404] };
            assert_eq!([metrics.status.as_u16(), nowhere.status.as_u16()], expected, "{name}");
        }
        let channel = channel(running.address, who.tls.clone()).await.unwrap();
        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let health = within("health", health.check(tonic_health::pb::HealthCheckRequest::default())).await;
        match (name, who.query(tcp()).await) {
            ("eve", Err(status)) => {
                denied(status);
                denied(health.unwrap_err());
            }
            (_, answered) => assert!(answered.unwrap().1.complete && health.is_ok(), "{name}"),
        }
    }
    let metrics = running.metrics.encode().unwrap();
    let count = |rule: &str| {
        let line =
            metrics.lines().find_map(|l| l.strip_prefix(&format!("steno_access_denied_total{{rule=\"{rule}\"}} ")));
        line.unwrap().parse::<u32>().unwrap()
    };
    assert!(count("") >= 14 && count("few methods") >= 10, "{metrics}");
    assert!(metrics.contains("steno_principal_answers_total{principal=\"CN=grace,O=Stenographer\"} 1\n"), "{metrics}");
    let said = log().text();
    assert!(said.contains("denied: no rule of this sensor is for CN=eve,O=Stenographer principal=CN=eve,O=Stenographer peer=127.0.0.1:"), "{said}");
    let _took = running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_most_bytes_of_a_rule_cut_every_answer_and_it_says_so() {
    let frames = capture().into_iter().map(|packet| (packet.time, packet.frame)).collect();
    let running = start(Wanted { access: Some(rules()), frames, ..Wanted::default() }).await;
    let mut frank = someone(&running, "frank", |_| true).await;
    let wide = QueryRequest { query: "tcp".into(), max_bytes: Some(1 << 30), ..QueryRequest::default() };
    assert_eq!(frank.query(wide).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(frank.legacy(&running, "tcp").await.unwrap_err().code(), Code::ResourceExhausted);
    let mut tls = frank.tls.clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = connect(running.address, tls).await.unwrap();
    let request = b"POST /query HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 3\r\n\r\ntcp";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _broken = within("the answer", stream.read_to_end(&mut answer)).await;
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n") && answer.len() < 1_000, "{}", String::from_utf8_lossy(&answer));
    let narrow = QueryRequest { query: "tcp".into(), max_packets: Some(2), ..QueryRequest::default() };
    assert_eq!(frank.query(narrow).await.unwrap().1.packets, 2);
    let _took = running.stop().await;
}
