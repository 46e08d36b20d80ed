//! What the machine says to a configuration.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use steno_proto::certs::CertDir;

use super::*;

fn config(root: &Path) -> Config {
    let text = format!(
        r#"{{"Threads":[{{"PacketsDirectory":"{0}/p/q","IndexDirectory":"{0}/i"}}],"Interface":"lo",
        "StenotypePath":"/bin/true","CertPath":"{0}/certs","Audit":"{0}/audit.log"}}"#,
        root.display()
    );
    good(&text)
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn a_machine_that_has_everything() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    let _made = CertDir::new(&config.cert_path).init(&["127.0.0.1"]).unwrap();
    assert_eq!(config.check(), Checked::default());
    assert!(!root.path().join("p").exists(), "nothing was made");
}

#[test]
fn a_machine_that_lacks_things() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let mut config = config(root);
    fs::write(root.join("i"), "").unwrap();
    fs::write(root.join("p"), "").unwrap();
    config.stenotype_path = root.join("i");
    config.threads[0].interface = "nope0".into();
    config.audit = Some(root.join("i/audit.log"));
    let checked = config.check();
    let at = root.display();
    assert_eq!(
        texts(&checked.errors),
        [
            format!("Threads[0].PacketsDirectory: {at}/p/q cannot be used: Not a directory (os error 20)"),
            format!("Threads[0].IndexDirectory: {at}/i is not a directory"),
            format!("StenotypePath: {at}/i is not a program that may be run"),
            format!("CertPath: cannot read {at}/certs/server_cert.pem: No such file or directory (os error 2)"),
            format!("Audit: {at}/i is not a directory"),
        ]
    );
    assert_eq!(
        texts(&checked.warnings)[0].split("; this machine has").next().unwrap(),
        "Threads[0].Interface: there is no interface \"nope0\" now; capture will wait for it"
    );
}

#[test]
fn a_directory_that_others_own() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    fs::create_dir(root.path().join("i")).unwrap();
    fs::set_permissions(root.path().join("i"), fs::Permissions::from_mode(0o500)).unwrap();
    let errors = texts(&config.check().errors);
    let refused = errors.iter().any(|e| e.contains("IndexDirectory") && e.contains("cannot be written to"));
    // Root may write everywhere.
    assert_eq!(refused, !rustix::process::geteuid().is_root(), "{errors:?}");
}

#[test]
fn a_missing_program_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.stenotype_path = root.path().join("stenotype");
    let errors = texts(&config.check().errors);
    assert!(
        errors[0].contains("stenotype: No such file or directory") && errors[0].contains("takes the capture program")
    );
}
