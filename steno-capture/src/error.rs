//! Why a capture does not start, or does not end well: sentences that say what to do, and the exit status of each.

use std::{io, path::PathBuf};

/// What the system calls an error, without the number that Rust adds, to go on a sentence with.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Why a capture failed. All of them are the operator's or the system's; exit status 1. (What the command line can't mean is
/// a [`clap::Error`], exit status 2.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A flag that is understood, and asks for what there is not.
    #[error("{what} {instead}")]
    NotSupported {
        /// The flag, and that it is not supported.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// There is no such interface.
    #[error("there is no interface {interface:?}: name one that `ip link` lists with --iface")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The interface is no Ethernet.
    #[error(
        "{interface} does not carry Ethernet frames (its ARPHRD type is {hardware_type}): \
         capture from the Ethernet interface below it"
    )]
    NotEthernet {
        /// Its name.
        interface: String,
        /// ARPHRD_ value (linux/if_arp.h).
        hardware_type: u16,
    },
    /// The interface went away while it was captured from.
    #[error("{interface} was removed; everything that came before is kept. Start again when it is back")]
    InterfaceGone {
        /// Its name.
        interface: String,
    },
    /// The interface has got receive queues that nothing is captured from.
    #[error(
        "{interface} has {queues} receive queues now, and sockets for {sockets} of them: what comes by the others is not captured. Ending, so \
         that the capture can be started anew, with all of them"
    )]
    MoreQueues {
        /// Its name.
        interface: String,
        /// How many it has.
        queues: u32,
        /// Those that are captured from.
        sockets: u32,
    },
    /// No privilege to capture.
    #[error(
        "no permission to capture packets: start as root, or give the program CAP_NET_RAW \
         (setcap cap_net_raw+ep stenotype), or start it in a network namespace of your own (unshare -rn)"
    )]
    NoPermission,
    /// The kernel gave no ring.
    #[error(
        "failed to get a ring of {blocks} blocks of {block_kib} KiB for thread {thread}: {}; \
         ask for less memory with --blocks",
        words(.source)
    )]
    Ring {
        /// Blocks asked for.
        blocks: u32,
        /// KiB of each.
        block_kib: u32,
        /// The thread that it is for.
        thread: u16,
        /// What the kernel says.
        source: io::Error,
    },
    /// A step of opening the interface.
    #[error("failed to {what} on {interface}: {}", words(.source))]
    Socket {
        /// What was tried.
        what: &'static str,
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The sockets of several threads can't share packets.
    #[error("failed to share the packets of {interface} by fan-out type {kind}: {}{hint}", words(.source))]
    Fanout {
        /// The interface.
        interface: String,
        /// PACKET_FANOUT_ value, flags included.
        kind: u16,
        /// What the kernel says.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A filter that can't be used.
    #[error("failed to use the filter {text:?}: {why}")]
    Filter {
        /// The filter as it was given.
        text: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// There is no such user or group.
    #[error("{flag}={name}: there is no such {kind} on this machine")]
    NoAccount {
        /// The flag that names it.
        flag: &'static str,
        /// Its name.
        name: String,
        /// User or group.
        kind: &'static str,
    },
    /// Becoming another user failed.
    #[error(
        "failed to become user {uid} and group {gid}: {}; start as root, or give the --uid and --gid that you have",
        words(.source)
    )]
    Become {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// What the kernel says.
        source: io::Error,
    },
    /// A directory that can't be used.
    #[error("failed to {what} {}: {}; {hint}", .path.display(), words(.source))]
    Directory {
        /// What was tried.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What to do.
        hint: String,
    },
    /// A directory is another one than when the capture started.
    #[error(
        "{} is another directory than the one that the capture began with, and out of its reach (Landlock); start again, to \
         write into the new one",
        .path.display()
    )]
    Replaced {
        /// Its path.
        path: PathBuf,
    },
    /// io_uring was asked for, and is not to be had.
    #[error("io_uring is not to be had here: {}; leave --io out, or give --io=sync", words(.source))]
    NoUring {
        /// What the kernel says.
        source: io::Error,
    },
    /// The system gave no signal handler, thread or descriptor.
    #[error("failed to {what}: {}", words(.source))]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A thread of the program died: a bug.
    #[error("thread {name} has died, which is a bug in stenotype: please report the lines above")]
    ThreadDied {
        /// Its name.
        name: String,
    },
    /// Some files are not published.
    #[error("{segments} files could not be published and stay hidden; the lines above say why")]
    Unpublished {
        /// How many.
        segments: u64,
    },
}
