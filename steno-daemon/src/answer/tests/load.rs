//! Many queries at once, and what they leave behind.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use steno_query::Options;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_stream::StreamExt;
use tonic::Code;

use super::{
    request,
    support::{Served, TestStore, within},
    take,
};
use crate::answer::{Bounds, Part, Turn, below, turns};

/// Files that this process has open below `root`: those of queries.
fn open_files(root: &std::path::Path) -> usize {
    let links = fs::read_dir("/proc/self/fd").unwrap();
    links.filter(|link| fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|file| file.starts_with(root))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_queries_half_are_cancelled_and_the_others_are_exact() {
    let served = Served::new(TestStore::new(2, 2, 3_000, 700), Bounds::default()).await;
    let before = open_files(served.store.root.path());
    let queries = ["udp", "port 53", "host 10.0.0.7", "udp and not port 53"];
    let expected: Vec<Vec<u8>> = queries.iter().map(|q| served.store.bytes(q, Options::default())).collect();
    let tasks: Vec<_> = (0..32usize)
        .map(|i| {
            let (mut client, query, expected) = (served.client.clone(), queries[i % 4], expected[i % 4].clone());
            tokio::spawn(async move {
                let mut stream = client.query(request(query)).await.unwrap().into_inner();
                if i / 4 % 2 == 0 {
                    // After none, one or some messages, at some time.
                    for _ in 0..i % 3 {
                        let _ = within("a message", stream.message()).await;
                    }
                    sleep(Duration::from_millis(i as u64 * 3)).await;
                    return;
                }
                let taken = take(&mut stream).await;
                taken.check();
                assert_eq!(taken.code(), Code::Ok);
                assert!(taken.bytes == expected, "{query}: {} and {}", taken.bytes.len(), expected.len());
                assert!(taken.receipt().complete);
            })
        })
        .collect();
    for task in tasks {
        within("a query", task).await.unwrap();
    }
    served.idle().await;
    let queries = served.answers.queries();
    assert_eq!((queries.running, queries.finished + queries.truncated), (0, 32));
    assert!(queries.finished >= 16, "{queries:?}");
    assert_eq!(open_files(served.store.root.path()), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selective_query_is_answered_while_bulk_ones_wait_for_their_clients() {
    let mut served = Served::new(TestStore::new(1, 4, 3_000, 1_300), Bounds::default()).await;
    // One connection has one window, which bulk answers that nobody takes would fill.
    let mut bulk = Vec::new();
    for _ in 0..8 {
        bulk.push(served.answers.packets(ask("udp")).await.unwrap());
    }
    let taken = take(&mut served.client.query(request("host 10.0.0.7 and port 443")).await.unwrap().into_inner()).await;
    assert!(taken.receipt().complete && taken.receipt().packets > 0);
    assert_eq!(served.answers.queries().running, 8);
    drop(bulk);
    served.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_keeps_its_place_until_its_end_is_taken_or_it_is_dropped() {
    let bounds = Bounds { most_running: 1, ..Bounds::default() };
    let served = Served::new(TestStore::new(1, 1, 100, 10), bounds).await;
    let mut parts = served.answers.packets(ask("udp")).await.unwrap();
    // All of it is found, and lies there.
    sleep(Duration::from_millis(300)).await;
    loop {
        assert_eq!(served.answers.queries().running, 1);
        assert!(served.answers.packets(ask("udp")).await.is_err());
        if let Some(Part::End(ending)) = within("the next part", parts.next()).await {
            assert_eq!(ending.receipt.unwrap().packets, 100);
            break;
        }
    }
    assert_eq!(served.answers.queries().running, 0, "at once, so that the client may ask again");
    drop(served.answers.packets(ask("udp")).await.unwrap());
    served.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_whose_clients_take_nothing_have_no_turn() {
    // They are not ended for that meanwhile.
    let bounds = Bounds { stall: Duration::from_secs(600), ..Bounds::default() };
    let served = Served::new(TestStore::new(1, 2, 3_000, 1_300), bounds).await;
    let mut bulk = Vec::new();
    // Of the later ones each needs a turn before it has found anything.
    for _ in 0..8 {
        bulk.push(served.answers.packets(ask("udp")).await.unwrap());
    }
    let all_wait = async {
        while bulk.iter().any(|parts| parts.waiting() < 2) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within("all have found as much as may wait", all_wait).await;
    spawn_blocking(|| turns::take_all()()).await.unwrap();
    drop(bulk);
    served.idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_leaves_a_thread_for_the_next_one() {
    let served = Served::new(TestStore::new(1, 1, 10, 10), Bounds::default()).await;
    let left = async {
        // Answers of other tests take it and leave one, too.
        while !below::has_spare() {
            drop(served.answers.packets(ask("udp")).await.unwrap());
            sleep(Duration::from_millis(10)).await;
        }
    };
    within("a thread waits", left).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_whose_client_went_away_keeps_its_turn_to_its_end() {
    let served = Served::new(TestStore::new(1, 1, 1, 10), Bounds::default()).await;
    let (turn, begun) = (Turn::default(), Arc::new(AtomicUsize::new(0)));
    let mut ends = Vec::new();
    for _ in 0..20 {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let counted = Arc::clone(&begun);
        let work = move || {
            let _before = counted.fetch_add(1, Ordering::SeqCst);
            let _ended = ended.recv();
        };
        ends.push(end);
        // Asked, and reset before there is an answer.
        let asked = timeout(Duration::from_millis(20), served.answers.blocking(&turn, work)).await;
        assert!(asked.is_err());
    }
    assert_eq!(begun.load(Ordering::SeqCst), 1, "of one connection");
    // Each has its end: whoever comes next waits for the one that works.
    drop(ends);
    served.answers.blocking(&turn, || ()).await.unwrap();
}

fn ask(query: &str) -> crate::answer::Ask {
    let query = steno_query::parse(query, steno_core::TimestampNs(0)).unwrap();
    crate::answer::Ask::new(super::support::asker(), crate::metrics::Method::Query, query)
}
