//! Small files of the real stenotype 1.0.1, where it is installed: made of the same packets, in a network of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Captures a capture file, and keeps each index that comes of it under 64 KiB. Loud about nothing: where a step is not
/// possible, there are no such files.
const SCRIPT: &str = r#"
set -e
ip link add v0 type veth peer name v1
for i in v0 v1; do sysctl -qw net.ipv6.conf.$i.disable_ipv6=1; ip link set $i arp off up; done
mkdir PKT0 IDX0
/usr/sbin/stenotype --iface=v1 --dir="$PWD" --blocks=16 --aiops=8 --fileage_sec=2 --blockage_sec=1 --no_watchdogs \
  --seccomp=none --uid=root --gid=root >log 2>&1 &
for _ in $(seq 50); do ls PKT0/.[0-9]* >/dev/null 2>&1 && break; sleep 0.1; done
tcpreplay -q -i v0 packets.pcap >/dev/null 2>&1
for _ in $(seq 80); do find IDX0 -name '[0-9]*' -size +0 | grep -q . && sleep 2.5 && break; sleep 0.1; done
kill -9 $! 2>/dev/null
"#;

/// The index files, which may be none.
pub(crate) fn indexes(capture: &[u8]) -> Vec<Vec<u8>> {
    let dir = std::env::temp_dir().join(format!("steno-seeds-{}", std::process::id()));
    let made = made(&dir, capture);
    // What is left of it is in the way of nothing.
    let _ = fs::remove_dir_all(&dir);
    if made.is_empty() {
        eprintln!("seeds: no files of stenotype 1.0.1: it takes the program, root, ip(8), unshare(1) and tcpreplay(1)");
    }
    made
}

fn made(dir: &Path, capture: &[u8]) -> Vec<Vec<u8>> {
    let written = fs::create_dir_all(dir).and_then(|()| fs::write(dir.join("packets.pcap"), capture));
    if written.is_err() || !Path::new("/usr/sbin/stenotype").exists() {
        return Vec::new();
    }
    let mut command = Command::new("unshare");
    let _ = command.args(["--net", "--kill-child", "--fork", "--pid", "bash", "-c", SCRIPT]).current_dir(dir);
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let entries = fs::read_dir(dir.join("IDX0")).into_iter().flatten().flatten();
    let mut files: Vec<Vec<u8>> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .filter_map(|entry| fs::read(entry.path()).ok())
        .filter(|bytes| !bytes.is_empty() && bytes.len() < 64 << 10)
        .collect();
    files.sort();
    files.dedup();
    files
}
