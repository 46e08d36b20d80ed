//! `cargo xtask fuzz`: builds the targets of `fuzz/` with coverage and AddressSanitizer, writes their
//! seeds, and runs each for some seconds.
//!
//! It needs no cargo-fuzz. The instrumentation flags are unstable: they are accepted by a nightly
//! toolchain, which is used where rustup has one, and by the pinned toolchain with
//! `RUSTC_BOOTSTRAP=1` otherwise.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::workspace::{cargo, named_target_dir, root};

/// What libFuzzer needs to see which code an input reaches (the flags of cargo-fuzz), and
/// AddressSanitizer. `cfg(fuzzing)` is the convention of libfuzzer-sys.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing -Zsanitizer=address -Ccodegen-units=16";

/// One input that takes longer is a finding.
const INPUT_TIMEOUT_S: u32 = 10;
/// More memory than this is a finding: hostile bytes must not make a reader allocate without bound.
const MEMORY_LIMIT_MIB: u32 = 2048;
/// A target that has not ended so long after its time is killed.
const GRACE: Duration = Duration::from_secs(60);

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    seconds: u32,
    target: Option<String>,
}

impl Request {
    /// `SECONDS [TARGET]`.
    pub(crate) fn parse(arguments: &[OsString]) -> Option<Self> {
        let (seconds, target) = match arguments {
            [seconds] => (seconds, None),
            [seconds, target] => (seconds, Some(target.to_str()?.to_owned())),
            _ => return None,
        };
        let seconds = seconds.to_str()?.parse().ok().filter(|seconds| *seconds > 0)?;
        Some(Self { seconds, target })
    }
}

/// Builds and runs. Every target is run even where one finds something.
pub(crate) fn run(request: &Request) -> anyhow::Result<ExitCode> {
    let dir = root().join("fuzz");
    let mut targets = targets_in(&dir.join("fuzz_targets"))?;
    if let Some(wanted) = &request.target {
        targets.retain(|target| target == wanted);
        if targets.is_empty() {
            bail!("find the fuzz target {wanted}: fuzz/fuzz_targets/ holds no {wanted}.rs");
        }
    }
    let programs = build(&dir)?;
    write_seeds(&programs, &dir)?;
    let mut passed = 0;
    for target in &targets {
        if run_target(&programs, &dir, target, request.seconds)? {
            passed += 1;
        }
    }
    eprintln!("fuzz: {} of {} targets ran {} s each without a finding", passed, targets.len(), request.seconds);
    Ok(if passed == targets.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of the targets: the stems of the source files.
fn targets_in(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    targets.sort();
    Ok(targets)
}

/// Builds all targets and the seed writer; returns the folder of the programs.
fn build(dir: &Path) -> anyhow::Result<PathBuf> {
    let target_dir = named_target_dir().map_or_else(|| dir.join("target"), |dir| dir.join("fuzz"));
    let host = host_triple()?;
    let mut command = toolchain();
    // With --target the flags do not reach build scripts and procedural macros, which cannot be run
    // with a sanitizer's runtime.
    let _ = command
        .args(["build", "--release", "--locked", "--bins", "--target", &host, "--target-dir"])
        .arg(&target_dir)
        .arg("--manifest-path")
        .arg(dir.join("Cargo.toml"))
        .env("RUSTFLAGS", RUSTFLAGS);
    if !command.status().context("start cargo for the fuzz targets")?.success() {
        bail!("build the fuzz targets");
    }
    Ok(target_dir.join(host).join("release"))
}

/// A cargo that takes unstable flags.
fn toolchain() -> Command {
    let mut nightly = Command::new("rustup");
    let _ = nightly.args(["run", "nightly", "rustc", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if nightly.status().is_ok_and(|status| status.success()) {
        let mut command = Command::new("rustup");
        // These name the toolchain that runs this program, and would win over the one asked for.
        let _ = command.args(["run", "nightly", "cargo"]).env_remove("CARGO").env_remove("RUSTC");
        command
    } else {
        let mut command = cargo();
        let _ = command.env("RUSTC_BOOTSTRAP", "1");
        command
    }
}

/// The machine that programs are built for by default, as rustc names it.
fn host_triple() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("read the host from `rustc -vV`")
}

/// Writes the starting inputs of every target into `fuzz/corpus/TARGET/`.
fn write_seeds(programs: &Path, dir: &Path) -> anyhow::Result<()> {
    let status =
        Command::new(programs.join("seeds")).arg(dir.join("corpus")).status().context("start the seed writer")?;
    if !status.success() {
        bail!("write the seeds");
    }
    Ok(())
}

/// Runs one target; `false` where it found something.
fn run_target(programs: &Path, dir: &Path, target: &str, seconds: u32) -> anyhow::Result<bool> {
    let corpus = dir.join("corpus").join(target);
    let artifacts = dir.join("artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let mut command = Command::new(programs.join(target));
    let _ = command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_TIMEOUT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .arg("-print_final_stats=1")
        // Leaks are looked for by ptrace, which containers forbid; safe code that leaks is not the aim here.
        .arg("-detect_leaks=0")
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = dir.join("dictionaries").join(format!("{target}.dict"));
    if dictionary.is_file() {
        let _ = command.arg(format!("-dict={}", dictionary.display()));
    }
    eprintln!("fuzz: {target} for {seconds} s");
    let child = command.arg(&corpus).spawn().with_context(|| format!("start the fuzz target {target}"))?;
    let found_nothing = wait(child, Duration::from_secs(seconds.into()) + GRACE)?;
    if !found_nothing {
        eprintln!("fuzz: {target}: FINDING, see above; the input is in {}", artifacts.display());
    }
    Ok(found_nothing)
}

/// Waits for the end of a child, and kills it at `limit`: `true` where it ended by itself with success.
fn wait(mut child: Child, limit: Duration) -> anyhow::Result<bool> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait for a fuzz target")? {
            return Ok(status.success());
        }
        if started.elapsed() > limit {
            child.kill().context("kill a fuzz target")?;
            let _ = child.wait().context("wait for a fuzz target")?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::{Request, fs, targets_in, wait};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn the_command_line_is_seconds_and_perhaps_a_target() {
        let parse = |words: &[&str]| Request::parse(&words.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(parse(&["20"]), Some(Request { seconds: 20, target: None }));
        assert_eq!(parse(&["20", "index"]), Some(Request { seconds: 20, target: Some("index".to_owned()) }));
        for bad in [&[][..], &["0"], &["-1"], &["index"], &["1", "a", "b"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn there_is_a_target_for_each_reader_of_foreign_bytes() {
        let targets = targets_in(&crate::workspace::root().join("fuzz/fuzz_targets")).unwrap();
        assert_eq!(
            targets,
            [
                "capture_filter",
                "capture_import",
                "capture_output",
                "catalogue",
                "client_certificate",
                "configuration",
                "control_message",
                "grpc_request",
                "http_query",
                "index",
                "ledger",
                "open_log",
                "packet_decode",
                "packet_file",
                "query_text",
                "sensor_answer",
                "version2_index",
            ]
        );
    }

    #[test]
    fn every_target_is_built_and_described_and_every_dictionary_is_one_of_a_target() {
        let root = crate::workspace::root();
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        let (manifest, page) = (read("fuzz/Cargo.toml"), read("docs/FUZZING.md"));
        let targets = targets_in(&root.join("fuzz/fuzz_targets")).unwrap();
        for target in &targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "fuzz/Cargo.toml does not build {target}");
            assert!(page.contains(&format!("| `{target}` |")), "docs/FUZZING.md does not tell of {target}");
        }
        for entry in fs::read_dir(root.join("fuzz/dictionaries")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let target = name.strip_suffix(".dict").unwrap_or(&name);
            assert!(targets.iter().any(|known| known == target), "{name} is the dictionary of no target");
        }
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let sleeper = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!wait(sleeper, Duration::ZERO).unwrap());
        assert!(wait(Command::new("true").spawn().unwrap(), Duration::from_secs(30)).unwrap());
        assert!(!wait(Command::new("false").spawn().unwrap(), Duration::from_secs(30)).unwrap());
    }
}
