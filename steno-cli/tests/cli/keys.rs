//! `steno keys`: what it makes, what it says, and what it leaves alone.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use steno_proto::certs::{CertDir, Leaf, ServerFiles, client_tls, server_tls};

use crate::support::{Run, STENO, steno};

fn keys(dir: &CertDir, args: &[&str]) -> Run {
    let certs = dir.path().to_str().unwrap();
    steno(&[&["keys"], args, &["--certs", certs]].concat())
}

/// A directory that is not there yet.
fn new() -> (tempfile::TempDir, CertDir) {
    let root = tempfile::tempdir().unwrap();
    let dir = CertDir::new(root.path().join("some/certs"));
    (root, dir)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below `dir`, by name: its content.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn init_makes_all_that_a_sensor_needs() {
    let (_root, dir) = new();
    let run = keys(&dir, &["init", "--host", "sensor.example", "--host", "192.0.2.7"]);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    let names: Vec<String> = files(dir.path()).into_iter().map(|(name, _)| name).collect();
    let expected = ["ca_cert", "ca_key", "client_cert", "client_key", "crl", "server_cert", "server_key"];
    let expected = expected.map(|name| dir.path().join(format!("{name}.pem")).display().to_string());
    // Of the sensor's certificate and the client's there is a record.
    let (record, names): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.contains("/ca/"));
    assert_eq!((record.len(), names.as_slice()), (2, expected.as_slice()));
    assert_eq!(mode(&dir.path().join("ca")), 0o700);
    let server = server_tls(&ServerFiles::from(&dir)).unwrap();
    assert_eq!(server.leaf.hosts(), ["sensor.example", "192.0.2.7"]);
    assert!(client_tls(&dir).is_ok());
    for cert in [dir.ca_cert(), dir.server_cert(), dir.client_cert()] {
        let said = format!("{}: made\n", cert.display());
        assert!(run.out.contains(&said), "{run:?}");
        assert!(run.out.contains(&format!("  SHA-256  {}\n", Leaf::read(&cert).unwrap().sha256())), "{run:?}");
    }
    assert!(run.out.contains("  for      sensor.example, 192.0.2.7\n  until    20"), "{run:?}");
    assert!(run.out.contains(&format!("  key      {}, mode 0640\n", dir.client_key().display())), "{run:?}");
    // The text between the lines of each PEM file, which for a key is the secret.
    for (name, text) in files(dir.path()) {
        let secret = text.lines().nth(1).unwrap();
        assert!(!run.out.contains(secret), "{name} is printed");
    }
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "077", "277"] {
        let (_root, dir) = new();
        fs::create_dir_all(dir.path()).unwrap();
        let script = format!("umask {umask}; exec \"$0\" keys init --certs \"$1\"");
        let status = Command::new("sh").args(["-c", &script, STENO]).arg(dir.path()).stdout(Stdio::null()).status();
        assert!(status.unwrap().success(), "umask {umask}");
        assert_eq!([dir.ca_key(), dir.server_key()].map(|key| mode(&key)), [0o600; 2], "umask {umask}");
        assert_eq!(mode(&dir.client_key()), 0o640, "umask {umask}");
        assert_eq!(mode(&dir.ca_cert()), 0o644, "umask {umask}");
    }
}

#[test]
fn what_is_there_is_never_replaced() {
    let (_root, dir) = new();
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    assert_eq!(keys(&dir, &["client", "alice"]).status, Some(0));
    let before = files(dir.path());

    let again = keys(&dir, &["init"]);
    assert_eq!(
        (again.status, again.out.matches(": there already, left as it is\n").count()),
        (Some(0), 3),
        "{again:?}"
    );
    assert_eq!(keys(&dir, &["init", "--host", "LOCALHOST"]).status, Some(0));
    let other = keys(&dir, &["init", "--host", "sensor.example"]);
    assert_eq!(other.status, Some(1), "{other:?}");
    assert!(other.err.contains("server_cert.pem is there already and is not for \"sensor.example\""), "{other:?}");
    let alice = keys(&dir, &["client", "alice"]);
    assert_eq!(alice.status, Some(1), "{alice:?}");
    assert!(alice.err.contains("alice/client_cert.pem is there already; nothing was changed"), "{alice:?}");
    assert_eq!(files(dir.path()), before);

    fs::remove_file(dir.ca_cert()).unwrap();
    let half = keys(&dir, &["init"]);
    assert_eq!(half.status, Some(1), "{half:?}");
    assert!(half.err.contains("ca_key.pem is there, but"), "{half:?}");
    assert!(!dir.ca_cert().exists());
}

#[test]
fn a_client_gets_a_directory_of_its_own() {
    let (_root, dir) = new();
    let early = keys(&dir, &["client", "alice"]);
    assert_eq!(early.status, Some(1), "{early:?}");
    assert!(early.err.contains("`steno keys init --certs "), "{early:?}");
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    let run = keys(&dir, &["client", "alice@example"]);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    let alice = dir.client_dir("alice@example");
    assert_eq!(client_tls(&alice).unwrap().leaf.common_name(), "alice@example");
    assert_eq!(mode(&alice.client_key()), 0o640);
    assert_eq!(fs::read(alice.ca_cert()).unwrap(), fs::read(dir.ca_cert()).unwrap());
    assert!(
        run.out.starts_with(&format!("{}: made\n  for      alice@example\n", alice.client_cert().display())),
        "{run:?}"
    );
}

/// The serial number of the certificate in `dir`, as it is printed.
fn serial(dir: &CertDir) -> String {
    Leaf::read(&dir.client_cert()).unwrap().serial().to_owned()
}

#[test]
fn a_client_is_taken_back_by_name_and_told_so_once() {
    let (_root, dir) = new();
    let early = keys(&dir, &["revoke", "alice"]);
    assert!(early.status == Some(1) && early.err.contains("`steno keys init --certs "), "{early:?}");
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    assert_eq!(keys(&dir, &["client", "alice"]).status, Some(0));
    let alice = dir.client_dir("alice");
    let first = serial(&alice);
    let renewed = keys(&dir, &["client", "alice", "--renew", "--days", "7"]);
    assert_eq!(renewed.status, Some(0), "{renewed:?}");
    assert!(renewed.out.contains(&format!("  before   {first}, good until 20")), "{renewed:?}");
    let second = serial(&alice);
    assert!(first != second && renewed.out.contains(&format!("  serial   {second}\n")), "{renewed:?}");

    let run = keys(&dir, &["revoke", "alice"]);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    for serial in [&first, &second] {
        assert!(run.out.contains(&format!("alice {serial}: revoked\n")), "{run:?}");
    }
    assert!(run.out.contains(&format!("{}: good until 20", dir.crl().display())), "{run:?}");
    let list = fs::read(dir.crl()).unwrap();
    let again = keys(&dir, &["revoke", "alice"]);
    assert_eq!(again.status, Some(0), "{again:?}");
    assert_eq!(again.out.matches(": already revoked, since 20").count(), 2, "{again:?}");
    assert_eq!(fs::read(dir.crl()).unwrap(), list);
    assert_eq!(mode(&dir.crl()), 0o644);

    let unknown = keys(&dir, &["revoke", "eve\u{1b}[31m"]);
    assert_eq!(unknown.status, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("of a client \"eve\\u{1b}[31m\" is on record in"), "{unknown:?}");
    assert!(unknown.err.contains(r#"; there are those of "alice", "client""#), "{unknown:?}");
}

#[test]
fn a_list_is_signed_anew_without_a_name() {
    let (_root, dir) = new();
    assert_eq!(keys(&dir, &["init", "--key", "ed25519"]).status, Some(0));
    let nothing = keys(&dir, &["revoke"]);
    assert_eq!(nothing.status, Some(2), "{nothing:?}");
    let list = fs::read(dir.crl()).unwrap();
    let run = keys(&dir, &["revoke", "--list-days", "30"]);
    assert_eq!((run.status, run.out.lines().count()), (Some(0), 1), "{run:?}");
    assert_ne!(fs::read(dir.crl()).unwrap(), list);
    fs::remove_file(dir.crl()).unwrap();
    let run = keys(&dir, &["revoke", "client", "--serial", "0a:0b"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(
        run.out.starts_with("client 0a:0b: revoked\n") && run.out.ends_with("; there was none before\n"),
        "{run:?}"
    );
    for bad in [["--serial", "xyz"], ["--list-days", "0"], ["--list-days", "70000"]] {
        let run = keys(&dir, &["revoke", "client", bad[0], bad[1]]);
        assert_eq!(run.status, Some(2), "{run:?}");
    }
}

#[test]
fn a_client_is_what_it_is_asked_to_be() {
    let (_root, dir) = new();
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    let words = ["client", "alice", "--key", "ed25519", "--unit", "soc", "--san", "DNS:a.example", "--days", "1"];
    let run = keys(&dir, &words);
    assert_eq!((run.status, run.err.as_str()), (Some(0), ""), "{run:?}");
    assert!(run.out.contains("  for      alice (a.example)\n"), "{run:?}");
    for bad in [["--san", "alice"], ["--key", "rsa"], ["--days", "0"], ["--unit", "a\nb"]] {
        let run = keys(&dir, &["client", "bob", bad[0], bad[1]]);
        assert_eq!(run.status, Some(2), "{run:?}");
    }
    assert!(!dir.client_dir("bob").path().exists());
}

#[test]
fn a_key_that_is_open_to_all_is_not_used() {
    let (_root, dir) = new();
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    fs::set_permissions(dir.ca_key(), fs::Permissions::from_mode(0o644)).unwrap();
    for words in [["client", "alice"], ["revoke", "client"]] {
        let run = keys(&dir, &words);
        assert_eq!(run.status, Some(1), "{run:?}");
        assert!(
            run.err.contains("ca_key.pem is open to every user of this machine (mode 0644); `chmod o= "),
            "{run:?}"
        );
    }
    assert!(!dir.client_dir("alice").path().exists());
}

#[test]
fn names_that_are_none_are_refused() {
    let (_root, dir) = new();
    for host in ["", "a b", "a/b", "*.example", "1.2.3.4:5", "[::1]", "a\nb"] {
        let run = keys(&dir, &["init", "--host", host]);
        assert_eq!(run.status, Some(2), "{host:?}: {run:?}");
        assert!(run.err.contains(&format!("bad server name {host:?}")), "{run:?}");
    }
    assert!(!dir.path().exists(), "nothing half made");
    assert_eq!(keys(&dir, &["init"]).status, Some(0));
    let long = "x".repeat(65);
    for name in ["", ".", "..", "../eve", "/eve", "a/b", "a b", "a\nb", "a\u{1b}[31m", "\u{e4}", &long] {
        let run = keys(&dir, &["client", name]);
        assert_eq!(run.status, Some(2), "{name:?}: {run:?}");
        assert!(run.err.contains(&format!("bad client name {name:?}")), "{run:?}");
    }
    assert!(!dir.path().join("clients").exists());
    assert!(!dir.path().join("../eve").exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let (root, dir) = new();
    fs::write(root.path().join("some"), "a file").unwrap();
    let run = keys(&dir, &["init"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.err.starts_with("error: cannot write ") && run.err.contains("some/certs: "), "{run:?}");
}
