//! `cargo xtask release DIR`: the programs as they are published, what they are made of, and the digests of both.
//! `cargo xtask reproduce`: the same from two directories, held against each other byte by byte.
//!
//! What is committed is built, and nothing else. No path of the machine gets into what is built: each is mapped to a name
//! that is the same everywhere (docs/RELEASING.md).

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::workspace::{cargo, root, target_dir};

/// The programs, each with the crate that it is of.
const PROGRAMS: [(&str, &str); 4] = [
    ("stenographer", "steno-daemon"),
    ("stenotype", "steno-capture"),
    ("steno", "steno-cli"),
    ("stenoread", "steno-cli"),
];
/// The version of CycloneDX that the lists of parts are in.
const CYCLONEDX: &str = "1.5";
/// What its maker is called by.
const MAKE_LISTS: &str = "cargo install cargo-cyclonedx --version 0.5.9 --locked";

/// Whether lists of parts are to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    Needed,
    IfPossible,
}

/// Builds what is committed into a new directory.
pub(crate) fn release(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let [out] = arguments else { bail!("release: give one directory, which is to be made") };
    let out = std::path::absolute(out).context("find the directory")?;
    let work = target_dir().join("release-of-head");
    make(&head()?, &work, &out, Lists::Needed)?;
    println!("{}", fs::read_to_string(out.join("SHA256SUMS")).context("read SHA256SUMS")?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Builds what is committed in two places, and compares.
pub(crate) fn reproduce() -> anyhow::Result<ExitCode> {
    let (root, commit) = (target_dir().join("reproduce"), head()?);
    // Of another length, so that whatever holds the path is of another length, too.
    let works = [root.join("one"), root.join("another/place/not-the-first")];
    let mut made = Vec::new();
    for (work, name) in works.iter().zip(["made-in-one", "made-in-another"]) {
        let out = root.join(name);
        if out.exists() {
            fs::remove_dir_all(&out).with_context(|| format!("remove {}", out.display()))?;
        }
        make(&commit, work, &out, Lists::IfPossible)?;
        made.push(out);
    }
    let [one, other] = made.as_slice() else { bail!("build twice") };
    let mut differ = 0_u32;
    for name in names(one)? {
        let [one, other] = [one, other].map(|made| fs::read(made.join(&name)));
        let (one, other) = (one.context("read what was built")?, other.context("read what was built")?);
        match first_difference(&one, &other) {
            None => println!("the same: {name}, {} bytes", one.len()),
            Some(at) => {
                differ += 1;
                println!("NOT THE SAME: {name}, from byte {at} of {} and {}", one.len(), other.len());
            }
        }
    }
    println!("{}", fs::read_to_string(one.join("SHA256SUMS")).context("read SHA256SUMS")?.trim_end());
    Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Takes `commit` to `work`, builds it there, and puts what is published into `out`.
fn make(commit: &str, work: &Path, out: &Path, lists: Lists) -> anyhow::Result<()> {
    ensure!(!out.exists(), "make {}: it is there already", out.display());
    let (source, target) = (work.join("source"), work.join("build"));
    check_out(commit, &source)?;
    let date = said(&mut git(&["log", "-1", "--format=%ct", commit]))?;
    let places = Places::of(&source, &target)?;
    let mut build = cargo();
    let _ = build.args(["build", "--release", "--locked", "--bins", "--manifest-path"]).arg(source.join("Cargo.toml"));
    for (_, crate_name) in PROGRAMS {
        let _ = build.args(["--package", crate_name]);
    }
    run(places.reproducibly(&mut build, &date))?;
    fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    for (program, _) in PROGRAMS {
        let built = target.join("release").join(program);
        let _bytes = fs::copy(&built, out.join(program)).with_context(|| format!("copy {}", built.display()))?;
    }
    let can_list = cargo().args(["cyclonedx", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    match (can_list.is_ok_and(|status| status.success()), lists) {
        (true, _) => {
            let mut list = cargo();
            list_parts(places.reproducibly(&mut list, &date), &source, out)?;
        }
        (false, Lists::Needed) => bail!("list the parts of the programs: `{MAKE_LISTS}` makes what does it"),
        (false, Lists::IfPossible) => println!("skipped: lists of parts; `{MAKE_LISTS}` makes what does it"),
    }
    let sums = Command::new("sha256sum").args(names(out)?).current_dir(out).output().context("start sha256sum")?;
    ensure!(sums.status.success(), "take digests: {}", String::from_utf8_lossy(&sums.stderr));
    fs::write(out.join("SHA256SUMS"), sums.stdout).context("write SHA256SUMS")
}

/// What is committed last, by its name: it may be another one by the time of the second build.
fn head() -> anyhow::Result<String> {
    said(&mut git(&["rev-parse", "HEAD"]))
}

/// Puts the tree of `commit` into `source`, and nothing else.
fn check_out(commit: &str, source: &Path) -> anyhow::Result<()> {
    if source.exists() {
        fs::remove_dir_all(source).with_context(|| format!("remove {}", source.display()))?;
    }
    fs::create_dir_all(source).with_context(|| format!("make {}", source.display()))?;
    let mut archive = git(&["archive", "--format=tar", commit]).stdout(Stdio::piped()).spawn().context("start git")?;
    let tree = archive.stdout.take().context("read from git")?;
    let mut unpack = Command::new("tar");
    run(unpack.arg("--extract").arg("--directory").arg(source).stdin(tree))?;
    let status = archive.wait().context("wait for git")?;
    ensure!(status.success(), "archive {commit}");
    Ok(())
}

/// Places of this machine, and what they are called in what is built.
struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    fn of(source: &Path, target: &Path) -> anyhow::Result<Self> {
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
        let home = home.context("find the home of cargo")?;
        Ok(Self(vec![(source.to_owned(), "/steno"), (target.to_owned(), "/build"), (home, "/cargo")]))
    }

    /// Has a build depend on nothing but the sources, the toolchain and the C compiler: neither where it is done nor when, nor
    /// what this shell has set.
    fn reproducibly<'c>(&self, command: &'c mut Command, date: &str) -> &'c mut Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(&name.to_string_lossy())) {
            let _ = command.env_remove(name);
        }
        if let Some((target, _)) = self.0.get(1) {
            let _ = command.env("CARGO_TARGET_DIR", target);
        }
        command
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_ENCODED_RUSTFLAGS", self.rust_flags())
            .env("CFLAGS", self.c_flags())
            .env("SOURCE_DATE_EPOCH", date)
    }

    /// For rustc, in the form that allows for spaces.
    fn rust_flags(&self) -> String {
        let flags = self.0.iter().map(|(place, name)| format!("--remap-path-prefix={}={name}", place.display()));
        flags.collect::<Vec<_>>().join("\u{1f}")
    }

    /// For gcc and clang, by way of the crate `cc`.
    fn c_flags(&self) -> String {
        let flags = self.0.iter().map(|(place, name)| format!("-ffile-prefix-map={}={name}", place.display()));
        flags.collect::<Vec<_>>().join(" ")
    }
}

/// Whether a variable of that name changes what a compiler makes.
fn is_setting(name: &str) -> bool {
    const ALONE: [&str; 5] = ["RUSTFLAGS", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS"];
    ALONE.contains(&name) || name.starts_with("CARGO_PROFILE_") || name.starts_with("CARGO_BUILD_")
}

/// Lists what each program is made of (CycloneDX), as `PROGRAM.cdx.json`.
fn list_parts(list: &mut Command, source: &Path, out: &Path) -> anyhow::Result<()> {
    let _ = list.args(["cyclonedx", "--format", "json", "--spec-version", CYCLONEDX, "--describe", "binaries"]);
    let _ = list.args(["--quiet", "--manifest-path"]).arg(source.join("Cargo.toml"));
    run(list)?;
    let place = source.display().to_string();
    for (program, crate_name) in PROGRAMS {
        let listed = source.join(crate_name).join(format!("{program}_bin.cdx.json"));
        let text = fs::read_to_string(&listed).with_context(|| format!("read {}", listed.display()))?;
        // It names our own crates by where they lay.
        fs::write(out.join(format!("{program}.cdx.json")), text.replace(&place, "/steno")).context("write a list")?;
    }
    Ok(())
}

/// The files of `directory`, by name.
fn names(directory: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(|| format!("read {}", directory.display()))?;
    names.sort();
    Ok(names)
}

/// Where two files cease to be the same.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    (same < one.len().max(other.len())).then_some(same)
}

fn git(arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    let _ = git.arg("-C").arg(root()).args(arguments);
    git
}

/// The line that a program prints.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {program}"))?;
    ensure!(output.status.success(), "run {program}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).context("read what it says")?.trim().to_owned())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "run {program}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found_where_it_begins_and_where_one_ends() {
        for (one, other, at) in [
            (&b"abc"[..], &b"abc"[..], None),
            (b"abc", b"abd", Some(2)),
            (b"abc", b"ab", Some(2)),
            (b"", b"a", Some(0)),
            (b"", b"", None),
        ] {
            assert_eq!(first_difference(one, other), at, "{one:?} {other:?}");
            assert_eq!(first_difference(other, one), at, "{other:?} {one:?}");
        }
    }

    #[test]
    fn every_place_has_a_name_of_its_own_for_both_compilers() {
        let named = |(place, name): (&str, &'static str)| (PathBuf::from(place), name);
        let places = [("/a b/c", "/steno"), ("/d", "/build")];
        let (places, c_places) =
            (Places(places.map(named).to_vec()), Places(places[1..].iter().copied().map(named).collect()));
        assert_eq!(places.rust_flags(), "--remap-path-prefix=/a b/c=/steno\u{1f}--remap-path-prefix=/d=/build");
        assert_eq!(c_places.c_flags(), "-ffile-prefix-map=/d=/build");
    }

    #[test]
    fn what_a_shell_has_set_does_not_get_through() {
        for name in ["RUSTFLAGS", "CARGO_PROFILE_RELEASE_LTO", "CARGO_BUILD_TARGET", "LDFLAGS"] {
            assert!(is_setting(name), "{name}");
        }
        for name in ["PATH", "CARGO_HOME", "CARGO_NET_OFFLINE", "RUSTUP_HOME"] {
            assert!(!is_setting(name), "{name}");
        }
    }

    #[test]
    fn what_is_committed_is_taken_and_nothing_else() {
        let work = tempfile::tempdir().unwrap();
        let source = work.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("left over"), "").unwrap();
        if git(&["rev-parse", "HEAD"]).output().is_ok_and(|output| output.status.success()) {
            check_out("HEAD", &source).unwrap();
            assert!(source.join("Cargo.lock").is_file() && !source.join("target").exists());
            assert!(!source.join("left over").exists());
        }
    }
}
