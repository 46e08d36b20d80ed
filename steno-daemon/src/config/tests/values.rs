//! Values: what each takes, and that all faults are named at once.

use std::{path::Path, time::Duration};

use super::*;
use crate::audit::OnFailure;

#[test]
fn every_fault_is_named_with_key_value_and_what_it_takes() {
    let text = r#"{"Threads":[
            {"PacketsDirectory":7,"IndexDirectory":"","DiskFreePercentage":101,"MaxAge":"30x","MaxBytes":0},
            5],
        "Interface":["eth0"],"Port":70000,"Host":"localhost","Flags":"-v","IndexFormat":"sst",
        "MaxOpenFiles":-1,"Limits":{"MaxMemory":"1MiB","QueryDeadline":5,"MaxConcurrentQueries":0},"Rpc":[]}"#;
    let expected = [
        "Threads[0].PacketsDirectory: 7 will not do; it takes a directory",
        "Threads[0].IndexDirectory: missing; it takes a directory",
        "Threads[0].DiskFreePercentage: 101 will not do; it takes a whole number from 0 to 100",
        "Threads[0].MaxAge: \"30x\" will not do; it takes a number and a unit of s, m, h, d or w, as \"30d\"",
        "Threads[0].MaxBytes: 0 will not do; it takes a number of bytes, or a number and a unit of KiB, MiB, GiB, TiB, KB, \
         MB, GB or TB, as \"10GiB\"",
        "Threads[1]: it is 5; it must be an object",
        "Interface: a list will not do; it takes a text",
        "Threads[0].Interface: no interface; name one here, in Interface or in Interfaces",
        "Threads[1].Interface: no interface; name one here, in Interface or in Interfaces",
        "Host: \"localhost\" will not do; it takes an IP address to listen on",
        "Port: 70000 will not do; it takes a whole number from 1 to 65535",
        "Rpc: it is a list; it must be an object",
        "Limits.MaxConcurrentQueries: 0 will not do; it takes a whole number from 1 to 10000",
        "Limits.MaxMemory: too little to answer queries with; it takes \"16MiB\" or more",
        "Limits.QueryDeadline: 5 will not do; it takes a number and a unit of s, m, h, d or w, as \"30d\"",
        "Flags: \"-v\" will not do; it takes a list of texts",
        "IndexFormat: \"sst\" will not do; it takes \"native\" or \"leveldb\"",
        "MaxOpenFiles: -1 will not do; it takes a whole number, not negative",
    ];
    assert_eq!(errors(text), expected);
}

#[test]
fn numbers_are_whole_as_go_wants_them() {
    for bad in ["1234.0", "1.5", "1e3", "\"1234\"", "true", "[]", "{}"] {
        assert_eq!(errors(&with(&format!("\"Port\":{bad}"))).len(), 1, "{bad}");
    }
}

#[test]
fn the_outermost_must_be_an_object() {
    for (text, what) in [("[]", "a list"), ("7", "7"), ("null", "null"), ("\"x\"", "\"x\"")] {
        assert_eq!(errors(text), [format!("the configuration is {what}; it must be an object")]);
    }
}

#[test]
fn retention_is_by_thread_and_in_units() {
    let text = r#"{"Threads":[
        {"PacketsDirectory":"/a","IndexDirectory":"/b","MaxAge":"30d","MaxBytes":"10GiB","DiskFreePercentage":0},
        {"PacketsDirectory":"/c","IndexDirectory":"/d","MaxAge":"72h","MaxBytes":5000,"MaxDirectoryFiles":0}],
        "Interface":"eth0"}"#;
    let config = good(text);
    let [a, b] = config.threads.as_slice() else { panic!("two threads") };
    assert_eq!((a.max_age, a.max_bytes), (Some(Duration::from_secs(30 * 86_400)), Some(10 << 30)));
    assert_eq!((b.max_age, b.max_bytes), (Some(Duration::from_secs(72 * 3_600)), Some(5_000)));
    assert_eq!((a.disk_free_percentage, b.disk_free_percentage), (10, 10), "0 is not given, as with 1.0.1");
    assert_eq!((a.max_directory_files, b.max_directory_files), (None, None), "no silent bound");
}

#[test]
fn interfaces_go_to_threads_in_turn_but_for_those_that_name_theirs() {
    let threads = |n: usize, own: &str| {
        let each = (0..n).map(|i| {
            let own = if i == 1 { own } else { "" };
            format!(r#"{{"PacketsDirectory":"/p{i}","IndexDirectory":"/i{i}"{own}}}"#)
        });
        each.collect::<Vec<_>>().join(",")
    };
    let text = format!(r#"{{"Threads":[{}],"Interfaces":["a","b"]}}"#, threads(4, ""));
    let of = |config: &Config| config.threads.iter().map(|t| t.interface.clone()).collect::<Vec<_>>();
    assert_eq!(of(&good(&text)), ["a", "b", "a", "b"]);
    let text = format!(r#"{{"Threads":[{}],"Interfaces":["a","b"]}}"#, threads(3, r#","Interface":"c""#));
    assert_eq!(of(&good(&text)), ["a", "c", "b"]);
    assert_eq!(good(&text).interfaces(), ["a", "c", "b"]);
    let text = format!(r#"{{"Threads":[{}],"Interface":"a"}}"#, threads(2, r#","Interface":"c""#));
    assert_eq!(of(&good(&text)), ["a", "c"]);

    let text = format!(r#"{{"Threads":[{}],"Interfaces":["a","b"]}}"#, threads(1, ""));
    assert_eq!(errors(&text), ["Interfaces: no thread is left for \"b\"; add one to Threads"]);
    let text = format!(r#"{{"Threads":[{}],"Interfaces":["a"],"Interface":"b"}}"#, threads(1, ""));
    assert_eq!(errors(&text), ["Interfaces: given beside Interface; take one of them out"]);
    // Found by fuzzing: one that is empty was given to a thread.
    let text = format!(r#"{{"Threads":[{}],"Interfaces":["a",""]}}"#, threads(2, ""));
    assert_eq!(errors(&text), ["Interfaces[1]: empty; name an interface there, or take it out"]);
}

#[test]
fn directories_are_apart() {
    let text = r#"{"Threads":[{"PacketsDirectory":"/a","IndexDirectory":"/a"},
        {"PacketsDirectory":"/b","IndexDirectory":"/a/"}],"Interface":"eth0"}"#;
    assert_eq!(
        errors(text),
        [
            "Threads[0].IndexDirectory: /a is Threads[0].PacketsDirectory already; each takes a directory of its own",
            "Threads[1].IndexDirectory: /a/ is Threads[0].PacketsDirectory already; each takes a directory of its own",
        ]
    );
}

#[test]
fn testimony_is_told_what_to_do() {
    let text =
        r#"{"Threads":[{"PacketsDirectory":"/a","IndexDirectory":"/b"}],"Interface":"e","TestimonySocket":"/t"}"#;
    assert_eq!(errors(text), ["TestimonySocket: testimony is not supported; use Interface, and take this key out"]);
    assert_eq!(warnings(&with(r#""TestimonySocket":"""#)), Vec::<String>::new(), "as 1.0.1 takes it");
}

#[test]
fn no_threads_is_no_sensor() {
    let expected = "Threads: none; a capture thread with its PacketsDirectory and IndexDirectory is needed";
    for text in [r#"{"Threads":[]}"#, "{}", r#"{"Threads":null}"#] {
        assert_eq!(errors(text), [expected]);
    }
}

#[test]
fn rpc_is_1_0_1_s() {
    let text = with(
        r#""Rpc":{"CaCert":"/c","ServerKey":"/k","ServerCert":"/s","ServerPort":8443,"ServerPcapPath":"/tmp",
        "ServerPcapMaxSize":1000000000,"ClientPcapChunkSize":1000,"ClientPcapMaxSize":5000000}"#,
    );
    let config = good(&text);
    assert_eq!(config.rpc_address().unwrap().to_string(), "0.0.0.0:8443");
    assert_eq!(
        config.rpc.unwrap(),
        RpcConfig {
            ca_cert: "/c".into(),
            server_cert: "/s".into(),
            server_key: "/k".into(),
            port: 8443,
            server_max_bytes: Some(1_000_000_000),
            client_chunk_bytes: 1_000,
            client_max_bytes: Some(5_000_000),
        }
    );
    assert_eq!(
        errors(&with(r#""Rpc":{"CaCert":"/c"}"#)),
        [
            "Rpc.ServerCert: missing; it takes a PEM file",
            "Rpc.ServerKey: missing; it takes a PEM file",
            "Rpc.ServerPort: missing; it takes the port to listen on",
        ]
    );
    let same = with(r#""Rpc":{"CaCert":"/c","ServerKey":"/k","ServerCert":"/s","ServerPort":1234}"#);
    assert_eq!(errors(&same), ["Rpc.ServerPort: 1234 is Port already; it takes another one"]);
}

#[test]
fn what_is_written_is_read_back() {
    let text = r#"{"Threads":[{"PacketsDirectory":"/a","IndexDirectory":"/b","MaxAge":"30d","MaxBytes":"10GiB",
        "MaxDirectoryFiles":7,"DiskFreePercentage":3},{"PacketsDirectory":"/c","IndexDirectory":"/d","Interface":"x"}],
        "Interface":"eth0","IndexFormat":"leveldb","Flags":["--blocks=1"],"Host":"::1","Port":7,"CertPath":"/certs",
        "StenotypePath":"/s"}"#;
    let config = good(text);
    let written = config.to_json();
    assert_eq!(parse(&written).unwrap(), Loaded { config, warnings: Vec::new() }, "{written}");
}

#[test]
fn more_queries_than_memory_is_said() {
    let text = with(r#""Limits":{"MaxConcurrentQueries":9,"MaxMemory":"64MiB"}"#);
    assert_eq!(
        warnings(&text),
        ["Limits.MaxConcurrentQueries: MaxMemory is enough for 8 at once; no more are answered"]
    );
    let limits = good(&with(r#""Limits":{"MaxQueryBytes":"1GB","QueryDeadline":"10m"}"#)).limits;
    assert_eq!((limits.max_query_bytes, limits.query_deadline), (Some(1_000_000_000), Some(Duration::from_secs(600))));
    assert_eq!((limits.max_concurrent_queries, limits.max_memory_bytes), (32, 256 << 20));
    assert_eq!(warnings(&with(r#""Limits":{"MaxMemory":"16MiB"}"#)), Vec::<String>::new(), "the default gives way");
}

#[test]
fn of_queries_a_quarter_is_kept_from_any_one_client_unless_told_otherwise() {
    for (more, expected) in [
        (r#""Port":1234"#, 24),
        (r#""Limits":{"MaxConcurrentQueries":2}"#, 2),
        (r#""Limits":{"MaxQueriesPerClient":5}"#, 5),
    ] {
        assert_eq!(good(&with(more)).limits.most_of_one(), expected, "{more}");
    }
    let bad = errors(&with(r#""Limits":{"MaxQueriesPerClient":0}"#));
    assert_eq!(bad, ["Limits.MaxQueriesPerClient: 0 will not do; it takes a whole number from 1 to 10000"]);
}

#[test]
fn what_cannot_be_written_down_is_not_answered_unless_told_otherwise() {
    for (more, path, on_failure) in [
        (r#""Port":1234"#, None, OnFailure::Stop),
        (r#""Audit":"/log/audit.log""#, Some("/log/audit.log"), OnFailure::Stop),
        (r#""Audit":"/a","AuditFailure":"stop""#, Some("/a"), OnFailure::Stop),
        (r#""Audit":"/a","AuditFailure":"continue""#, Some("/a"), OnFailure::Continue),
    ] {
        let config = good(&with(more));
        assert_eq!((config.audit.as_deref(), config.audit_failure), (path.map(Path::new), on_failure), "{more}");
    }
    let bad = errors(&with(r#""AuditFailure":"ignore""#));
    assert_eq!(bad, ["AuditFailure: \"ignore\" will not do; it takes \"stop\" or \"continue\""]);
}

#[test]
fn a_scrub_is_off_unless_it_is_asked_for() {
    let day = Duration::from_secs(24 * 3600);
    for (more, scrub) in [
        (r#""Port":1234"#, None),
        (r#""Scrub":{}"#, Some((8 << 20, 7 * day))),
        (r#""Scrub":{"BytesPerSecond":"1MiB","Every":"30d"}"#, Some((1 << 20, 30 * day))),
    ] {
        let got = good(&with(more)).scrub.map(|scrub| (scrub.bytes_a_second, scrub.every));
        assert_eq!(got, scrub, "{more}");
    }
}
