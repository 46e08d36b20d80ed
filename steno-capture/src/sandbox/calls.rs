//! The system calls that each kind of thread may make, and why: data, which `steno-sandbox` makes programs of.
//!
//! A call that is in no list ends the process. So the lists have more than is made today: what another C library, or the
//! next release of this one, makes instead of a call that is here, as long as it grants nothing more. And what a C library
//! opens now and then without being asked fails, as it does where there is no such file, in threads that open none.

use steno_sandbox::{Call, Only, call};

use crate::sys::SIOCETHTOOL;

/// Kinds of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The first thread, once it has started all others.
    Watch,
    /// Prints the log.
    Console,
    /// Does what signals say.
    Signals,
    /// From a ring to packet files.
    Packet,
    /// Makes indexes and publishes.
    Index,
    /// Recovers what an earlier capture left.
    Recovery,
    /// Counts what nobody captured.
    Ledger,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Watch, Self::Console, Self::Signals, Self::Packet, Self::Index, Self::Recovery, Self::Ledger];

    /// Whether it opens files.
    fn has_files(self) -> bool {
        matches!(self, Self::Packet | Self::Index | Self::Recovery | Self::Ledger)
    }

    /// The lists of what it may do.
    pub(super) fn lists(self) -> &'static [&'static [Call]] {
        match self {
            Self::Watch => &[EVERY, TALK, NETLINK, SOCKET, QUEUES, CALL_DAEMON, OPEN],
            Self::Console => &[EVERY, OPEN],
            Self::Signals => &[EVERY, TALK, WAIT, OPEN],
            Self::Packet => &[EVERY, TALK, WAIT, OPEN, FILES, SOCKET, WRITE_BLOCKS, SHARE_LOG],
            Self::Index => &[EVERY, TALK, OPEN, FILES],
            Self::Recovery => &[EVERY, TALK, OPEN, FILES, RECOVER],
            Self::Ledger => &[EVERY, NETLINK, SOCKET, OPEN, FILES],
        }
    }
}

const EXEC: Only = Only::Without(2, libc::PROT_EXEC as u64);

/// Every thread: memory, locks, time, its end, and the end of the process.
pub(super) const EVERY: &[Call] = &[
    call!(SYS_futex, "locks and channels wait"),
    call!(SYS_futex_waitv, "the same, of newer C libraries"),
    call!(SYS_mmap, EXEC, "memory; none that can be run"),
    call!(SYS_mprotect, EXEC, "the heap of a thread grows; nothing becomes code"),
    call!(SYS_munmap, "memory goes back"),
    call!(SYS_mremap, "a large buffer grows"),
    call!(SYS_madvise, "unused memory goes back"),
    call!(SYS_brk, "the heap grows"),
    call!(SYS_write, "the log, where no thread prints it; wake-ups; files that are open"),
    call!(SYS_writev, "the same, of other C libraries"),
    call!(SYS_close, "what is not needed any more"),
    call!(SYS_getrandom, "seeds of hash tables"),
    call!(SYS_clock_gettime, "the time, where the kernel gives it by a call only"),
    call!(SYS_gettimeofday, "the same, of older C libraries"),
    call!(SYS_clock_getres, "how exact it is"),
    call!(SYS_clock_nanosleep, "waits"),
    call!(SYS_nanosleep, "the same, of other C libraries"),
    call!(SYS_restart_syscall, "a wait that a signal came into goes on"),
    call!(SYS_sched_yield, "a lock that is taken soon"),
    call!(SYS_sched_getaffinity, "how many processors there are"),
    call!(SYS_getcpu, "which one this is"),
    call!(SYS_rt_sigprocmask, "signals wait while a thread ends"),
    call!(SYS_rt_sigaction, "the end by SIGABRT"),
    call!(SYS_rt_sigreturn, "a signal was handled"),
    call!(SYS_sigaltstack, "the stack on which an overflow is told, as a thread ends"),
    call!(SYS_sendto, Only::Null(4), "a signal is passed on, over a socket that is connected: any thread may get one"),
    call!(SYS_getpid, "the end by SIGABRT"),
    call!(SYS_gettid, "the same; locks"),
    call!(SYS_tgkill, Only::Own(0), "the same: a signal to this process"),
    call!(SYS_fstat, "what an open file is"),
    call!(SYS_lseek, "where in it one is"),
    call!(SYS_exit, "a thread ends"),
    call!(SYS_exit_group, "the process ends"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_time, "the time, in seconds"),
];

/// The daemon is told over a socket that is there.
const TALK: &[Call] = &[
    call!(SYS_sendmsg, "messages, and the log of the open file beside one"),
    call!(SYS_fcntl, DESCRIPTORS, "that log's descriptor is kept for the next daemon"),
];
const DESCRIPTORS: Only = Only::OneOf(1, &[libc::F_DUPFD_CLOEXEC as u64, libc::F_GETFD as u64, libc::F_SETFD as u64]);

/// Descriptors are waited for.
const WAIT: &[Call] = &[
    call!(SYS_ppoll, "packets, writes, a stop, signals"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_poll, "the same"),
    call!(SYS_recvfrom, "the byte that says that a signal came"),
    call!(SYS_read, "the same"),
    call!(SYS_recvmsg, "the same, of other releases"),
];

/// The next daemon is called.
const CALL_DAEMON: &[Call] = &[
    call!(SYS_socket, Only::OneOf(0, &[libc::AF_UNIX as u64]), "the daemon's socket, and of no other family"),
    call!(SYS_connect, "to where it listens"),
];

/// The interface is asked for what it counts, over a socket that is open.
const NETLINK: &[Call] = &[
    call!(SYS_recvfrom, "the answer; the question is a sendto"),
    call!(SYS_sendmsg, "the question, of other releases"),
    call!(SYS_recvmsg, "the answer, of other releases"),
];

/// What the sockets that packets come from tell.
const SOCKET: &[Call] = &[call!(SYS_getsockopt, "what was dropped; whether the link is down")];

/// The driver is asked, over a socket that is open. What would change anything takes a capability that the process has not.
const QUEUES: &[Call] = &[call!(SYS_ioctl, Only::OneOf(1, &[SIOCETHTOOL as u64]), "how many queues the interface has")];

/// Files are opened: those of the capture, and by a C library what tells it how many processors there are, or how a panic came
/// about. Threads that have no files get an error instead.
const OPEN: &[Call] = &[
    call!(SYS_openat, "opens and creates them"),
    call!(SYS_openat2, "the same, of newer C libraries"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_open, "the same, of other C libraries"),
];

/// Files in the directories of the capture. Which ones those are is not a matter of calls: see `files`.
const FILES: &[Call] = &[
    call!(SYS_read, "reads them"),
    call!(SYS_pread64, "reads them"),
    call!(SYS_readv, "reads them, of other C libraries"),
    call!(SYS_pwrite64, "writes them"),
    call!(SYS_pwritev, "the same, of newer releases"),
    call!(SYS_fsync, "brings them to the disk"),
    call!(SYS_fdatasync, "the same"),
    call!(SYS_ftruncate, "cuts them to length"),
    call!(SYS_fallocate, "sets space aside"),
    call!(SYS_statx, "looks at them"),
    call!(SYS_newfstatat, "the same"),
    call!(SYS_faccessat, "whether one is there"),
    call!(SYS_faccessat2, "the same, by the rights that the process has"),
    call!(SYS_getdents64, "lists them"),
    call!(SYS_renameat2, "publishes them"),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    call!(SYS_renameat, "the same"),
    call!(SYS_linkat, "keeps a damaged index beside the new one"),
    call!(SYS_unlinkat, "removes those that are empty"),
    call!(SYS_utimensat, "when one was renamed"),
    call!(SYS_flock, "nobody else recovers what is being written"),
    call!(SYS_fsetxattr, "marks a file as ours"),
    call!(SYS_fgetxattr, "whether it is"),
    call!(SYS_fadvise64, "how it is read"),
    call!(SYS_fcntl, FILE_FLAGS, "past the page cache or through it"),
    call!(SYS_umask, "asked for where a file is made, by some C libraries"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_stat, "the call before newfstatat"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_lstat, "the call before newfstatat"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_access, "the call before faccessat"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rename, "the call before renameat"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_link, "the call before linkat"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_unlink, "the call before unlinkat"),
];
const FILE_FLAGS: Only = Only::OneOf(1, &[libc::F_GETFL as u64, libc::F_SETFL as u64, libc::F_GETFD as u64]);

/// Blocks are taken from the ring, and written.
const WRITE_BLOCKS: &[Call] = &[
    call!(SYS_io_uring_enter, "writes of the ring that is there; it takes nothing but writes"),
    call!(SYS_setsockopt, Only::OneOf(1, &[libc::SOL_SOCKET as u64]), "a filter that lets nothing in ends the capture"),
    call!(SYS_membarrier, "until nothing is being received on any core"),
    call!(SYS_ioctl, Only::OneOf(1, &[SIOCGIFNAME]), "whether the interface is still there"),
];

/// Asks for the name of an interface (linux/sockios.h); libc has it as another number for each C library.
const SIOCGIFNAME: u64 = 0x8910;

/// The log of the open file is shared with the daemon.
const SHARE_LOG: &[Call] = &[
    call!(SYS_memfd_create, "its memory"),
    call!(SYS_fcntl, Only::OneOf(1, &[libc::F_ADD_SEALS as u64, libc::F_GET_SEALS as u64]), "which nobody cuts"),
];

/// What a killed capture left is recovered.
const RECOVER: &[Call] = &[call!(
    SYS_fcntl,
    Only::OneOf(1, &[libc::F_SETLEASE as u64, libc::F_GETLEASE as u64]),
    "whether anybody writes it"
)];

/// The first thread starts the others, and each of them gets ready.
pub(super) const START: &[Call] = &[
    call!(SYS_clone3, "starts threads"),
    call!(SYS_clone, "the same, of other C libraries"),
    call!(SYS_rseq, "a thread is registered with the kernel"),
    call!(SYS_set_robust_list, "the same"),
    call!(SYS_set_tid_address, "the same"),
    call!(SYS_prctl, NAMES, "threads are named; filters are added"),
    call!(SYS_seccomp, "filters are added; one that is there stays"),
    call!(SYS_sched_setaffinity, "a packet thread keeps to its processor"),
    call!(SYS_sched_getparam, "the stack of a thread is measured"),
    call!(SYS_sched_getscheduler, "the same"),
    call!(SYS_setpriority, "indexes and recovery stay below the capture"),
    call!(SYS_getpriority, "the same"),
    call!(SYS_prlimit64, Only::Null(2), "how large a stack may be; no limit is set"),
    call!(SYS_uname, "indexes say which host and kernel they are of"),
    call!(SYS_io_uring_register, "a packet thread begins with the io_uring that was made for it"),
    call!(SYS_geteuid, "who the process is"),
    call!(SYS_getegid, "the same"),
];
const NAMES: Only = Only::OneOf(
    0,
    &[
        libc::PR_SET_NAME as u64,
        libc::PR_GET_NAME as u64,
        libc::PR_SET_VMA as u64,
        libc::PR_SET_NO_NEW_PRIVS as u64,
        libc::PR_GET_NO_NEW_PRIVS as u64,
    ],
);

/// What the process may do at all, each thread until it is narrowed.
pub(super) fn base() -> impl Iterator<Item = &'static Call> {
    Role::ALL.into_iter().flat_map(calls).chain(START)
}

/// What a kind of thread may do.
pub(super) fn calls(role: Role) -> impl Iterator<Item = &'static Call> {
    role.lists().iter().copied().flatten()
}

/// What fails in a kind of thread, without an end.
pub(super) fn refused(role: Role) -> &'static [Call] {
    if role.has_files() { &[] } else { OPEN }
}

#[cfg(test)]
mod tests {
    use steno_sandbox::{Filter, Otherwise};

    use super::*;

    /// What no capture has a use for, and whoever has taken one over would look for first.
    const NEVER: &[(i64, &str)] = &[
        (libc::SYS_execve, "execve"),
        (libc::SYS_execveat, "execveat"),
        (libc::SYS_ptrace, "ptrace"),
        (libc::SYS_process_vm_readv, "process_vm_readv"),
        (libc::SYS_process_vm_writev, "process_vm_writev"),
        (libc::SYS_bpf, "bpf"),
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_keyctl, "keyctl"),
        (libc::SYS_add_key, "add_key"),
        (libc::SYS_mount, "mount"),
        (libc::SYS_move_mount, "move_mount"),
        (libc::SYS_setns, "setns"),
        (libc::SYS_unshare, "unshare"),
        (libc::SYS_kexec_load, "kexec_load"),
        (libc::SYS_init_module, "init_module"),
        (libc::SYS_finit_module, "finit_module"),
        (libc::SYS_open_by_handle_at, "open_by_handle_at"),
        (libc::SYS_name_to_handle_at, "name_to_handle_at"),
        (libc::SYS_perf_event_open, "perf_event_open"),
        (libc::SYS_userfaultfd, "userfaultfd"),
        (libc::SYS_pidfd_getfd, "pidfd_getfd"),
        (libc::SYS_kill, "kill"),
        (libc::SYS_bind, "bind"),
        (libc::SYS_listen, "listen"),
        (libc::SYS_accept4, "accept4"),
        (libc::SYS_setuid, "setuid"),
        (libc::SYS_setresuid, "setresuid"),
        (libc::SYS_capset, "capset"),
        (libc::SYS_chroot, "chroot"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchmodat, "fchmodat"),
        (libc::SYS_fchownat, "fchownat"),
        (libc::SYS_symlinkat, "symlinkat"),
        (libc::SYS_mknodat, "mknodat"),
        (libc::SYS_pkey_mprotect, "pkey_mprotect"),
    ];

    #[test]
    fn every_call_has_a_reason_and_those_that_break_out_are_in_no_list() {
        for call in base() {
            assert!(!call.why.is_empty() && call.name.starts_with("SYS_"), "{call:?}");
            assert!(!NEVER.iter().any(|(number, _)| *number == call.number), "{}", call.name);
        }
    }

    #[test]
    fn no_list_has_a_call_twice() {
        for role in Role::ALL {
            for list in role.lists() {
                let mut numbers: Vec<_> = list.iter().map(|call| call.number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                assert_eq!(numbers.len(), list.len(), "{role:?}");
            }
        }
    }

    #[test]
    fn threads_are_narrower_than_the_process() {
        let may = |role: Role, number: i64| calls(role).any(|call| call.number == number);
        for role in Role::ALL {
            for number in
                [libc::SYS_clone, libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_seccomp, libc::SYS_prctl]
            {
                assert!(!may(role, number), "{role:?} {number}");
            }
            let calls_out = [Role::Watch].contains(&role);
            assert_eq!(may(role, libc::SYS_socket), calls_out, "{role:?}");
            let opens = [Role::Packet, Role::Index, Role::Recovery, Role::Ledger].contains(&role);
            assert_eq!(refused(role).is_empty(), opens, "{role:?}");
            assert_eq!(may(role, libc::SYS_unlinkat), opens, "{role:?}");
        }
    }

    #[test]
    fn every_kind_of_thread_has_a_program_that_fits_into_the_kernel() {
        // BPF_MAXINSNS (linux/bpf_common.h).
        const MOST: usize = 4096;
        let base = Filter::allow(base(), Otherwise::Kill).unwrap().instructions();
        assert!(base < MOST, "{base}");
        for role in Role::ALL {
            let of_role = Filter::allow(calls(role), Otherwise::Kill).unwrap().instructions();
            assert!(of_role > 0 && of_role < base, "{role:?}: {of_role}");
        }
    }
}
