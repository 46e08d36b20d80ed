//! Many clients at once, half of whom go away at any moment: those who stay get exactly what steno-query itself gives, and of
//! those who went nothing is left.

use std::{sync::Arc, time::Duration};

use steno_core::pcap::Format;
use steno_proto::v1::{CaptureFormat, QueryRequest, sensor_client::SensorClient};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Channel;

use super::{
    daemon::{Daemon, Held, Plan},
    random::Random,
    store,
    wire::{Taken, request, sum, within},
};

/// Bulk and selective, and one that matches nothing.
const QUERIES: [&str; 8] = [
    "tcp",
    "udp",
    "port 53",
    "host 10.0.0.7",
    "tcp and port 20003",
    "net 10.0.0.0/26 and not port 53",
    "after 2023-11-14T22:30:00Z and tcp",
    "host 192.0.2.1",
];
const FORMATS: [(CaptureFormat, Format); 3] = [
    (CaptureFormat::Pcap, Format::Pcap),
    (CaptureFormat::PcapNs, Format::PcapNs),
    (CaptureFormat::Pcapng, Format::PcapNg),
];
const CLIENTS: usize = 32;
const ROUNDS: usize = 4;
/// What memory may differ by once all is over. An answer in this test is up to 26 MB, and all that one round delivers or
/// would have delivered is some 300 MB.
const MARGIN_KIB: usize = 32 << 10;

/// When a client goes away.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Not before it has all.
    Never,
    /// At a time, whatever it has by then: before an answer, in the middle of one, or after it.
    After(Duration),
    /// After so many messages, with the connection when `true`.
    Having(usize, bool),
}

struct Question {
    asked: QueryRequest,
    expected: Arc<Vec<u8>>,
}

/// Whether the answer was taken whole.
async fn ask(mut client: SensorClient<Channel>, question: Question, leaves: Leaves) -> bool {
    let query = question.asked.query.clone();
    let answer = async {
        let mut stream = client.query(question.asked).await.unwrap().into_inner();
        let mut taken = Taken::default();
        let most = if let Leaves::Having(most, _) = leaves { most } else { usize::MAX };
        for _ in 0..most {
            if !taken.next(&mut stream).await {
                return Some(taken);
            }
        }
        None
    };
    let taken = match leaves {
        Leaves::After(time) => timeout(time, answer).await.ok().flatten(),
        Leaves::Never | Leaves::Having(..) => answer.await,
    };
    let Some(taken) = taken else { return false };
    let (bytes, expected) = (taken.whole(), &question.expected);
    assert!(bytes == expected.as_slice(), "{query}: {} bytes, not {}", bytes.len(), expected.len());
    true
}

/// 32 questions at once, of which half are given up: some on connections of their own, some with others on one. Gives how
/// many were answered to their end.
async fn round(daemon: &Daemon, random: &mut Random, expected: &[Arc<Vec<u8>>]) -> usize {
    let shared = daemon.sensor().await;
    let mut leaves: Vec<Leaves> = (0..CLIENTS)
        .map(|i| match i % 4 {
            0 | 1 => Leaves::Never,
            2 => Leaves::After(Duration::from_micros(random.next() % 400_000)),
            _ => Leaves::Having(random.below(12), random.below(2) == 0),
        })
        .collect();
    random.shuffle(&mut leaves);
    let mut asked = JoinSet::new();
    for leaves in leaves {
        let (query, format) = (random.below(QUERIES.len()), random.below(FORMATS.len()));
        let chunk_bytes = *random.of(&[0, 4_096, 65_536, 1 << 20]);
        let asks = QueryRequest { format: FORMATS[format].0.into(), chunk_bytes, ..request(QUERIES[query]) };
        let question = Question { asked: asks, expected: Arc::clone(&expected[query * FORMATS.len() + format]) };
        let alone = matches!(leaves, Leaves::Having(_, true)) || random.below(2) == 0;
        let client = if alone { daemon.sensor().await } else { shared.clone() };
        let _handle = asked.spawn(ask(client, question, leaves));
    }
    let answered = within("32 answers", asked.join_all()).await;
    answered.into_iter().filter(|whole| *whole).count()
}

/// What the daemon holds once nothing runs and what idle threads it had have gone: the least of what is seen for a while.
async fn at_rest(daemon: &Daemon, wanted: impl Fn(&Held) -> bool) -> Held {
    let began = Instant::now();
    loop {
        let metrics = daemon.metrics().await;
        let running = sum(&metrics, "steno_streams_active");
        let held = daemon.held();
        // This connection itself is the one.
        let alone = sum(&metrics, "steno_connections_active") == 1.0;
        if (running == 0.0 && alone && wanted(&held)) || began.elapsed() > Duration::from_secs(30) {
            assert!(running == 0.0 && alone, "{running} streams\n{metrics}");
            return held;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_32_queries_half_are_cancelled_and_nothing_is_left_of_them() {
    let mut random = Random::of_this_run();
    let mut plan = Plan::new();
    // They are all of one client, from which a quarter of the places would be kept.
    plan.config["Limits"] = serde_json::json!({ "MaxQueriesPerClient": CLIENTS });
    store::fill(plan.root.path(), 3);
    let formats = QUERIES.iter().flat_map(|query| FORMATS.map(|(_, format)| (query, format)));
    let expected: Vec<_> = formats.map(|(query, f)| Arc::new(store::answer(plan.root.path(), query, f))).collect();
    assert!(expected[0].len() > 15_000_000 && expected[expected.len() - 3].len() == 24, "{}", expected[0].len());
    let daemon = plan.start();

    // What a daemon has to make once: threads of its own, opened indexes, memory that it keeps to use again.
    let _answered = round(&daemon, &mut random, &expected).await;
    let _answered = round(&daemon, &mut random, &expected).await;
    let few = |held: &Held| held.threads <= 12;
    let base = at_rest(&daemon, few).await;
    eprintln!("base {base:?}");
    let mut finished = 0;
    for number in 1..=ROUNDS {
        finished += round(&daemon, &mut random, &expected).await;
        // Threads that have nothing to do stay for some seconds.
        let same = |held: &Held| {
            // The connection that asked for the metrics may be closed by then, or not.
            held.descriptors <= base.descriptors + 1
                // One or two of the pool stay as long as they are asked for metrics in turn.
                && (number < ROUNDS || held.threads <= base.threads + 2)
                && held.resident_kib <= base.resident_kib + MARGIN_KIB
        };
        let held = at_rest(&daemon, same).await;
        eprintln!("round {number}: {held:?}, {finished} answers taken whole");
        assert!(same(&held), "more than the base {base:?}: {held:?}");
    }
    assert!(finished >= ROUNDS * CLIENTS / 2, "{finished}");
    let metrics = daemon.metrics().await;
    let ended = |outcome: &str| sum(&metrics, &format!("steno_queries_total{{method=\"Query\",outcome=\"{outcome}\""));
    let (complete, cancelled) = (ended("complete"), ended("cancelled"));
    eprintln!("{complete} complete, {cancelled} cancelled");
    assert!(cancelled >= 20.0, "too few were cancelled in the midst of their work to show anything: {cancelled}");
    assert_eq!(sum(&metrics, "steno_queries_total"), complete + cancelled, "{metrics}");
}
