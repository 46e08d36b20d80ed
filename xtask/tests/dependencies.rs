//! The workspace depends in one direction, and on nothing that is not accounted for (`docs/ARCHITECTURE.md`,
//! `docs/DEPENDENCIES.md`).
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "the helpers of a test fail as tests do")]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

/// Every edge that may be: crate, then what it may depend on outside of its tests.
const EDGES: &[(&str, &[&str])] = &[
    ("steno-core", &[]),
    ("steno-index", &["steno-core"]),
    ("steno-sandbox", &[]),
    ("steno-capture", &["steno-core", "steno-index", "steno-sandbox"]),
    ("steno-query", &["steno-core", "steno-index"]),
    ("steno-proto", &[]),
    ("steno-daemon", &["steno-core", "steno-index", "steno-proto", "steno-query", "steno-sandbox"]),
    ("steno-cli", &["steno-core", "steno-index", "steno-proto", "steno-query"]),
    ("steno-benches", &[]),
    ("xtask", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// What cargo reads out of the manifests; no network, no lock file needed.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().expect("a list of packages").clone()
}

/// Dependencies of a package: (name, kind), kind null for a normal one.
fn dependencies(package: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let list = package["dependencies"].as_array().expect("a list of dependencies");
    list.iter().map(|d| (d["name"].as_str().expect("a name"), &d["kind"]))
}

#[test]
fn crates_depend_in_one_direction() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, known, "a crate came or went: say in EDGES what it may depend on");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let allowed = EDGES.iter().find(|(known, _)| *known == name).unwrap().1;
        for (dependency, kind) in dependencies(package) {
            let ours = members.contains(dependency);
            assert!(!ours || kind == "dev" || allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn every_dependency_is_accounted_for() {
    let text = fs::read_to_string(root().join("docs/DEPENDENCIES.md")).expect("docs/DEPENDENCIES.md");
    let listed: BTreeSet<&str> =
        text.lines().filter_map(|l| l.strip_prefix("| `")).filter_map(|l| l.split('`').next()).collect();
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let used: BTreeSet<&str> =
        packages.iter().flat_map(dependencies).map(|(name, _)| name).filter(|n| !members.contains(n)).collect();
    let missing: Vec<_> = used.difference(&listed).collect();
    assert!(missing.is_empty(), "not in docs/DEPENDENCIES.md: {missing:?}");
    // The fuzz targets have a workspace of their own.
    let gone: Vec<_> = listed.difference(&used).filter(|n| **n != "libfuzzer-sys").collect();
    assert!(gone.is_empty(), "in docs/DEPENDENCIES.md, but used by no crate: {gone:?}");
}

#[test]
fn the_index_links_no_server() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package", "steno-index", "--edges", "normal", "--prefix", "none"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("steno-core v"), "{tree}");
    for server in ["tokio", "tonic", "rustls", "prost", "hyper"] {
        assert!(!tree.lines().any(|l| l.split(' ').next() == Some(server)), "steno-index links {server}");
    }
}
