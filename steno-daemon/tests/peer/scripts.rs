//! 1.0.1's `stenoread` and `stenocurl`, as Debian has them, print the same of either daemon, and end the same.

use std::{path::Path, process::Stdio};

use super::{
    bench::Bench,
    captured::{Asked, MIXED, prepare},
    daemon::{Plan, Whose, steno_keys},
    universe::Universe,
};

/// A command line, what it printed, and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Printed {
    pub(crate) line: Vec<String>,
    out: Vec<u8>,
    status: Option<i32>,
}

/// Command lines whose output is the same whether the outer VLAN tag is in the frames or not: there is none in them.
pub(crate) fn invocations(universe: &Universe, asked: &[Asked]) -> Vec<Vec<String>> {
    let is_untagged = |asked: &&Asked| {
        let tagged = |number: &u32| universe.packets[*number as usize].stripped.is_some();
        !asked.query.has_time() && !asked.query.has_vlan() && !asked.theirs.iter().any(tagged)
    };
    let mut untagged: Vec<&Asked> = asked.iter().filter(is_untagged).filter(|a| a.theirs.len() < 2_000).collect();
    untagged.sort_by_key(|asked| std::cmp::Reverse(asked.theirs.len()));
    let queries: Vec<String> = untagged.iter().take(4).map(|asked| asked.query.to_string()).collect();
    let q = &queries[0];
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for query in &queries {
        lines.push(vec!["stenoread", query, "-nn", "-tt"]);
        lines.push(vec!["stenocurl", "/query", "-d", query, "--silent"]);
    }
    lines.extend([
        vec!["stenoread", "--limit-packets", "7", q, "-nn", "-tt", "-e"],
        vec!["stenoread", "--limit-bytes", "1000", q, "-nn", "-tt"],
        vec!["stenoread", "--limit-bytes", "2000", "--limit-packets", "3", q, "-nn", "-tt", "-X"],
        vec!["stenoread", q, "-nn", "-tt", "-c", "5", "greater 60"],
        vec!["stenoread", q, "-w", "-"],
        vec!["stenoread", "host 192.0.2.77", "-nn"],
        vec!["stenoread", "port bogus", "-nn"],
        vec!["stenoread", "", "-nn"],
        vec!["stenoread", "--limit-packets", "many", q],
        vec!["stenoread", q, "-nn", "no such filter"],
        vec!["stenoread"],
        vec!["stenocurl", "/query", "--header", "Steno-Limit-Packets: 3", "-d", q, "--silent", "--http1.1"],
        vec![
            "stenocurl",
            "/query",
            "--header",
            "Steno-Limit-Bytes: 0",
            "-d",
            q,
            "--silent",
            "-w",
            "%{http_code} %{content_type}",
        ],
        vec!["stenocurl", "/query", "-d", "port bogus", "--silent", "--fail"],
        vec!["stenocurl", "/query", "-d", "tcp and", "--silent", "-o", "/dev/null", "-w", "%{http_code}"],
        vec![
            "stenocurl",
            "/query",
            "--header",
            "Steno-Limit-Bytes: x",
            "-d",
            q,
            "--silent",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ],
        vec!["stenocurl", "/debug/stats", "--silent", "--fail", "-o", "/dev/null", "-w", "%{http_code}"],
        vec!["stenocurl", "/nothing", "--silent", "-o", "/dev/null", "-w", "%{http_code}"],
        vec!["stenocurl", "query"],
    ]);
    lines.into_iter().map(|line| line.into_iter().map(str::to_owned).collect()).collect()
}

/// Runs one on a bench, with the daemon that this configuration names.
pub(crate) fn print(bench: &Bench, config: &Path, line: Vec<String>) -> Printed {
    let mut command = bench.command(&line[0]);
    let _ = command.args(&line[1..]).env("STENOGRAPHER_CONFIG", config).env("TZ", "UTC").stdin(Stdio::null());
    let output = command.output().unwrap();
    Printed { line, out: output.stdout, status: output.status.code() }
}

/// Starts ours on what 1.0.1 captured, and has all printed again.
fn prints_the_same(own_certificates: bool) {
    if !prepare() {
        return;
    }
    let bench = Bench::new();
    MIXED.copy_to(&bench);
    let certs = if own_certificates {
        steno_keys(&bench, "certs");
        bench.path("certs")
    } else {
        MIXED.certs.clone()
    };
    let daemon = Plan::new(&bench, "ours", Whose::Ours, Whose::Ours, &certs).start(&bench);
    for theirs in &MIXED.printed {
        let ours = print(&bench, &daemon.config, theirs.line.clone());
        let text =
            |printed: &Printed| String::from_utf8_lossy(&printed.out[..printed.out.len().min(2_000)]).into_owned();
        assert!(
            ours == *theirs,
            "{:?}: {:?} and {:?}, {} and {} bytes\n{}\n{}",
            theirs.line,
            ours.status,
            theirs.status,
            ours.out.len(),
            theirs.out.len(),
            text(&ours),
            text(theirs)
        );
    }
    assert!(MIXED.printed.iter().filter(|printed| printed.out.len() > 1_000).count() > 8);
}

#[test]
fn with_certificates_of_stenokeys_the_scripts_print_the_same() {
    prints_the_same(false);
}

#[test]
fn with_certificates_of_steno_keys_the_scripts_print_the_same() {
    prints_the_same(true);
}
