//! Keys that everyone can read or write are used by nobody.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::certs::CertError;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_of_everyone_s_is_refused_and_one_of_a_group_is_not() {
    let (_root, dir) = made();
    let files = ServerFiles::from(&dir);
    // 1.0.1's, ours, and those of who made them with another umask.
    for mode in [0o400, 0o440, 0o600, 0o640, 0o660, 0o770] {
        set_mode(&dir.server_key(), mode);
        set_mode(&dir.client_key(), mode);
        assert!(server_tls(&files).is_ok() && client_tls(&dir).is_ok(), "{mode:o}");
        assert_eq!(dir.exposed_keys().len(), 0, "{mode:o}");
    }
    for mode in [0o644, 0o444, 0o604, 0o602, 0o601] {
        set_mode(&dir.server_key(), mode);
        set_mode(&dir.client_key(), mode);
        for (error, path) in
            [(server_tls(&files).unwrap_err(), dir.server_key()), (client_tls(&dir).unwrap_err(), dir.client_key())]
        {
            let path = path.display();
            let expected = format!(
                "the key {path} is open to every user of this machine (mode {mode:04o}); `chmod o= {path}` shuts them out"
            );
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn every_key_of_a_directory_is_looked_at_through_links_too() {
    let (root, dir) = made();
    let alice = dir.issue_client("alice").unwrap();
    assert_eq!(dir.exposed_keys().len(), 0);
    // As 1.0.1's script leaves them: a link to a file of another name.
    let named = root.path().join("client_127.0.0.1_client_key.pem");
    fs::rename(dir.client_key(), &named).unwrap();
    std::os::unix::fs::symlink(&named, dir.client_key()).unwrap();
    for key in [&dir.ca_key(), &named, &alice.client_key()] {
        set_mode(key, 0o644);
    }
    let exposed = dir.exposed_keys();
    let paths: Vec<&Path> = exposed
        .iter()
        .map(|error| match error {
            CertError::Exposed { path, mode: 0o644 } => path.as_path(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(paths, [dir.ca_key(), dir.client_key(), alice.client_key()]);
    assert!(matches!(dir.issue_client("bob").unwrap_err(), CertError::Exposed { .. }), "nothing is signed with it");
    assert!(matches!(client_tls(&dir).unwrap_err(), CertError::Exposed { .. }));
}
