//! What Debian's `stenokeys` makes: keys of RSA with 4096 bits, and certificates of version 1.

use std::process::Command;

use steno_core::testkit::need;

use super::*;

/// The directory that `stenokeys` made for 127.0.0.1; none where it is not installed, or this is not root.
fn debian() -> Option<(TempDir, CertDir)> {
    let installed = Command::new("stenokeys").output().is_ok();
    if !need(installed, "stenokeys (Debian package stenographer-client)") {
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    let dir = CertDir::new(root.path().join("certs"));
    let config = root.path().join("config");
    fs::write(&config, format!(r#"{{"Host": "127.0.0.1", "CertPath": "{}"}}"#, dir.path().display())).unwrap();
    let output = Command::new("stenokeys").args(["root", "root"]).env("STENOGRAPHER_CONFIG", config).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    need(output.status.success(), &format!("a stenokeys that works as this user: {said}")).then_some((root, dir))
}

#[test]
fn a_sensor_and_its_client_with_the_certificates_of_stenokeys() {
    let Some((_root, dir)) = debian() else { return };
    let tls = client_tls(&dir).unwrap();
    assert_eq!(shake(tls.config.clone(), server(&dir), "127.0.0.1"), End::Agreed(Some(b"h2".to_vec())));
    assert!(tls.matched_by_common_name());
    assert_eq!(tls.leaf.common_name(), "127.0.0.1_client");
    assert!(matches!(shake(tls.config, server(&dir), "127.0.0.2"), End::ClientRefused(_)));

    let now = OffsetDateTime::now_utc().unix_timestamp();
    let weak = |path: &Path, used_as| Leaf::read(path).unwrap().weaknesses(used_as, now);
    let (version_1, long) = ("does not say what it may be used for (X.509 version 1)", "is good for 9999 days");
    let no_name = "names its host as the common name \"127.0.0.1\" alone, where most clients do not look";
    assert_eq!(weak(&dir.server_cert(), Use::Server), [no_name, version_1, long]);
    assert_eq!(weak(&dir.client_cert(), Use::Client), [version_1, long]);
    assert_eq!(weak(&dir.ca_cert(), Use::Ca), [long]);

    // Another client, and another sensor's certificate, of the same CA.
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap(), Vec::<std::path::PathBuf>::new());
    let alice = dir.issue_client("alice").unwrap();
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::Agreed(_)));
    for file in [dir.server_cert(), dir.server_key()] {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(dir.init(&["127.0.0.1"]).unwrap(), [dir.server_cert()]);
    let tls = client_tls(&dir).unwrap();
    assert!(matches!(shake(tls.config.clone(), server(&dir), "127.0.0.1"), End::Agreed(_)));
    assert!(!tls.matched_by_common_name());

    // Its client is taken back by name, and found by where the script keeps what it has signed.
    fs::rename(dir.path().join("client_cert.pem"), dir.path().join("away.pem")).unwrap();
    let done = dir.revoke("127.0.0.1_client", &[], None).unwrap();
    assert_eq!(done.revoked.len(), 1);
    fs::rename(dir.path().join("away.pem"), dir.path().join("client_cert.pem")).unwrap();
    let end = shake(client(&dir), server(&dir), "127.0.0.1");
    assert!(matches!(&end, End::ServerRefused(why) if why.contains("Revoked")), "{end:?}");
    assert!(matches!(shake(client(&alice), server(&dir), "127.0.0.1"), End::Agreed(_)));
}
