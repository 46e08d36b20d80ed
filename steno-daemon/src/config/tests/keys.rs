//! Keys: found as Go finds them.

use super::*;

/// `sample_config` of 1.0.1's package.
const PACKAGED: &str = r#"{
  "Threads": [
    { "PacketsDirectory": "/var/lib/stenographer/thread0/packets"
    , "IndexDirectory": "/var/lib/stenographer/thread0/index"
    , "MaxDirectoryFiles": 30000
    , "DiskFreePercentage": 10
    }
  ]
  , "StenotypePath": "/usr/sbin/stenotype"
  , "Interface": "eth0"
  , "Port": 1234
  , "Host": "127.0.0.1"
  , "Flags": []
  , "CertPath": "/etc/stenographer/certs"
}
"#;

#[test]
fn the_packaged_configuration_holds_as_it_is() {
    let Loaded { config, warnings } = parse(PACKAGED).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(
        config.threads,
        [ThreadConfig {
            packets_directory: "/var/lib/stenographer/thread0/packets".into(),
            index_directory: "/var/lib/stenographer/thread0/index".into(),
            interface: "eth0".into(),
            disk_free_percentage: 10,
            max_directory_files: Some(30_000),
            max_age: None,
            max_bytes: None,
        }]
    );
    assert_eq!(config.stenotype_path.to_str(), Some("/usr/sbin/stenotype"));
    assert_eq!(config.address().to_string(), "127.0.0.1:1234");
    assert_eq!(config.cert_path.to_str(), Some("/etc/stenographer/certs"));
    assert_eq!((config.rpc, config.max_open_files, config.limits), (None, 100_000, Limits::default()));
}

#[test]
fn case_does_not_count_and_nothing_is_said_of_it() {
    let text = r#"{"threads":[{"packetsdirectory":"/p","INDEXDIRECTORY":"/i"}],"interFace":"eth0","PORT":9,
        "\u017ftenotypePath":"/s","Rpc":null,"Flag\u017f":["-q"]}"#;
    let Loaded { config, warnings } = parse(text).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((config.port, config.flags.as_slice()), (9, ["-q".to_owned()].as_slice()));
    assert_eq!(config.stenotype_path.to_str(), Some("/s"), "Go folds the long s");
}

#[test]
fn the_last_of_a_key_counts() {
    let text = with(r#""Port":1,"port":2,"PORT":3"#);
    assert_eq!(good(&text).port, 3);
    assert_eq!(
        warnings(&text),
        ["port: given more than once; the last one counts", "PORT: given more than once; the last one counts"]
    );
    let text = with(r#""Host":"nonsense","Host":"::1""#);
    assert_eq!(good(&text).address().to_string(), "[::1]:1234", "what does not count need not hold");
}

#[test]
fn unknown_keys_are_named_with_what_may_be_meant() {
    let text = r#"{"Thread":[],"Threads":[{"PacketsDirectory":"/p","IndexDirectory":"/i","MaxAgee":"1d"}],
        "Interface":"eth0","Whatever":{"a":[1]},"Limits":{"MaxMemry":"1GiB"}}"#;
    assert_eq!(
        warnings(text),
        [
            "Thread: unknown key, ignored; did you mean \"Threads\"?",
            "Whatever: unknown key, ignored",
            "Threads[0].MaxAgee: unknown key, ignored; did you mean \"Threads[0].MaxAge\"?",
            "Limits.MaxMemry: unknown key, ignored; did you mean \"Limits.MaxMemory\"?",
        ]
    );
}

#[test]
fn null_is_as_good_as_nothing() {
    let text = with(r#""Port":null,"Host":null,"Flags":null,"Rpc":null,"Limits":null,"MaxOpenFiles":null,"Crl":null"#);
    assert_eq!(good(&text), good(&with("")));
}

#[test]
fn what_follows_is_ignored_and_said() {
    let text = with("") + "\n{}";
    assert_eq!(warnings(&text), ["more text follows the configuration; it is ignored"]);
    assert_eq!(warnings(&(with("") + "\n \n")), Vec::<String>::new());
}

#[test]
fn what_is_not_json_is_placed() {
    for (text, place) in [
        ("", "the file is empty"),
        ("{\n\"Port\": 12,\n}", "line 3 column 1"),
        ("{\"Port\": 012}", "line 1 column 11"),
        ("{'Port': 1}", "line 1 column 2"),
        ("{\"Port\": 1", "line 1 column 10"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(matches!(&error, ConfigError::Syntax(why) if why.contains(place)), "{text:?}: {error}");
    }
    // As deep as one likes, and no deeper than the stack.
    let deep = "[".repeat(100_000);
    assert!(matches!(parse(&deep).unwrap_err(), ConfigError::Syntax(_)));
}
