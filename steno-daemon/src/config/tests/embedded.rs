//! The default for those who have no configuration.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::config::embedded::{lead_from, prepare};

#[test]
fn everything_is_made_once() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("a/steno-data");
    let first = prepare("eth0", &data).unwrap();
    assert!(first.is_new);
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    let config = &first.loaded.config;
    assert_eq!(config.address().to_string(), "127.0.0.1:1234");
    assert!(config.threads[0].packets_directory.is_absolute());
    assert!(steno_proto::certs::server_tls(&config.server_files()).is_ok());
    let written = fs::read_to_string(&first.file).unwrap();
    assert_eq!(parse(&written).unwrap(), first.loaded, "the file says what runs: {written}");
    let ca = fs::read(config.cert_path.join("ca_cert.pem")).unwrap();

    let again = prepare("eth0", &data).unwrap();
    assert_eq!((again.is_new, &again.loaded), (false, &first.loaded));
    assert_eq!(fs::read(config.cert_path.join("ca_cert.pem")).unwrap(), ca);
    assert_eq!(fs::read_to_string(&first.file).unwrap(), written);
}

#[test]
fn the_file_may_be_edited() {
    let root = tempfile::tempdir().unwrap();
    let first = prepare("eth0", root.path()).unwrap();
    let edited = fs::read_to_string(&first.file).unwrap().replace("1234", "4321");
    fs::write(&first.file, edited).unwrap();
    assert_eq!(prepare("eth0", root.path()).unwrap().loaded.config.port, 4321);
    let error = prepare("eth1", root.path()).unwrap_err().to_string();
    assert!(error.contains("config is for eth0, not for eth1; give another directory with -data"), "{error}");
    fs::write(&first.file, "{").unwrap();
    assert!(matches!(prepare("eth0", root.path()).unwrap_err(), ConfigError::Syntax(_)));
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let error = prepare("eth0", &root.path().join("file/data")).unwrap_err().to_string();
    assert!(error.starts_with("cannot write ") && error.contains("file/data: Not a directory"), "{error}");
}

#[test]
fn clients_find_it_from_the_directory_that_it_was_started_in() {
    let root = tempfile::tempdir().unwrap();
    let (here, data, other) = (root.path().join("here"), root.path().join("here/data"), root.path().join("other"));
    for directory in [&data, &other] {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("config"), directory.display().to_string()).unwrap();
    }
    let found = || fs::read_to_string(here.join("steno-data/config")).unwrap();
    for data in [&data, &other, &other] {
        assert!(lead_from(&here, data).unwrap());
        assert_eq!(found(), data.display().to_string());
    }
    fs::remove_dir_all(&other).unwrap();
    assert!(lead_from(&here, &data).unwrap(), "a link that leads nowhere is exchanged");
    assert_eq!(found(), data.display().to_string());
    // The default itself, and a directory that another sensor has there.
    let (there, mine) = (root.path().join("there"), root.path().join("there/steno-data"));
    fs::create_dir_all(&mine).unwrap();
    assert!(lead_from(&there, &mine).unwrap() && !mine.is_symlink());
    assert!(!lead_from(&there, &data).unwrap() && !mine.is_symlink());
    let names = |path: &Path| fs::read_dir(path).unwrap().count();
    assert_eq!((names(&there), names(&here)), (1, 2), "nothing is left over");
}
