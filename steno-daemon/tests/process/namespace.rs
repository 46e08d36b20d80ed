//! A network namespace of the test's own, with the veth pair v0 -> v1: what is sent to 10.9.0.2 leaves v0 and is captured on
//! v1, where nobody answers it.

use std::{
    fs::File,
    os::fd::AsFd,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread::JoinHandle,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use steno_core::testkit::need;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Removed when it goes out of scope.
pub(crate) struct Namespace(String);

impl Namespace {
    /// None where none can be made: the test is skipped.
    pub(crate) fn new() -> Option<Self> {
        let there = rustix::process::geteuid().is_root() && Command::new("ip").arg("-V").output().is_ok();
        if !need(there, "root and iproute2") {
            return None;
        }
        let name = format!("stenoproc{}x{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let space = Self(name);
        space.ip(&["link", "set", "lo", "up"]);
        space.ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        for link in ["v0", "v1"] {
            // No neighbour discovery among the packets.
            let off = format!("net.ipv6.conf.{link}.disable_ipv6=1");
            let set = Command::new("ip").args(["netns", "exec", &space.0, "sysctl", "-qw", &off]).status().unwrap();
            assert!(set.success());
            space.ip(&["link", "set", link, "up"]);
        }
        space.ip(&["address", "add", "10.9.0.1/24", "dev", "v0"]);
        space.ip(&["neighbour", "add", "10.9.0.2", "lladdr", "02:00:00:00:00:02", "dev", "v0"]);
        Some(space)
    }

    /// What a command line inside begins with.
    pub(crate) fn before(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.0].map(str::to_owned).to_vec()
    }

    /// Has `work` done on a thread inside. The sockets that it makes are of the namespace.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let space = File::open(format!("/run/netns/{}", self.0)).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
