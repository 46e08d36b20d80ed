//! What a thread that serves, or reads what was captured, may still do: files, sockets, and no more.
//!
//! Clients write requests, queries and certificates, and senders of packets what indexes are of; these threads parse all that. One that is ever made to do something else
//! finds no capability that a query does not need, no program that it can start, no packet socket, and no call into the parts
//! of the kernel that a server has no use for. It is not alone in its process: those that start and watch stenotype, which
//! needs capabilities as it starts, keep theirs, and never see what a client sends.
//!
//! A call that is not in the table fails with EPERM, as under the service manager's own filter (systemd.exec(5),
//! `SystemCallFilter=`): TLS, names and the runtime of tasks come from many hands, and where one of them asks for something
//! more, it has to be answered, not the sensor ended.

use std::sync::Once;

use rustix::{
    process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit},
    thread::set_no_new_privs,
};
use steno_sandbox::{Call, CapabilitySet, Filter, Only, Otherwise, call, give_up, libc};
use tracing::{debug, warn};

/// Keys are in the memory of this process: it leaves no core file, and no other process of its user looks into it.
pub fn hide() {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(e) = no_core.and(set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        warn!("this process is not hidden from others of its user: {e}");
    }
}

/// Confines the calling thread, and those that it starts. Never fails: what the system does not offer is told in the log, once,
/// and goes without.
pub fn serve_only() {
    static SAID: Once = Once::new();
    let confined = set_no_new_privs(true)
        .map_err(Into::into)
        .and_then(|()| give_up(what_is_needed))
        // C libraries then start threads by clone, whose flags can be looked at.
        .and_then(|_kept| Filter::refuse(CLONE3.iter(), Otherwise::Fail(libc::ENOSYS))?.apply())
        .and_then(|()| Filter::allow(CALLS.iter(), Otherwise::Fail(libc::EPERM))?.apply());
    SAID.call_once(|| match confined {
        Ok(()) => debug!("threads that serve are confined to what a server does"),
        Err(e) => warn!("threads that serve are not confined to what a server does: {e}"),
    });
}

/// As root, whose stenotype is another user, the files of that one are read and removed. Nobody else has such a need.
fn what_is_needed() -> CapabilitySet {
    if geteuid().is_root() { CapabilitySet::DAC_OVERRIDE | CapabilitySet::LEASE } else { CapabilitySet::empty() }
}

const CLONE3: &[Call] = &[call!(SYS_clone3, "its flags lie in memory, which a filter does not see")];

const NO_CODE: Only = Only::Without(2, libc::PROT_EXEC as u64);
/// Threads, and no processes in namespaces of their own, in which they would be root.
const NO_NAMESPACE: Only = Only::Without(0, NAMESPACES);
const NAMESPACES: u64 = (libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u64;
const FAMILIES: Only =
    Only::OneOf(0, &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64]);
/// FIONBIO, FIOCLEX (asm-generic/ioctls.h); libc has them as another number for each C library.
const DESCRIPTORS: Only = Only::OneOf(1, &[0x5421, 0x5451]);
const NAMES: Only =
    Only::OneOf(0, &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_SET_VMA as u64, PR_GET_AUXV]);
/// linux/prctl.h
const PR_GET_AUXV: u64 = 0x4155_5856;

/// What a thread that serves has a use for.
const CALLS: &[Call] = &[
    call!(SYS_mmap, NO_CODE, "memory; none that can be run"),
    call!(SYS_mprotect, NO_CODE, "the heap of a thread grows; nothing becomes code"),
    call!(SYS_clone, NO_NAMESPACE, "threads are started"),
    call!(SYS_clone3, "answered by another program, that it is not there"),
    call!(SYS_prctl, NAMES, "threads are named"),
    call!(SYS_prlimit64, Only::Null(2), "how large a stack may be; no limit is set"),
    call!(SYS_tgkill, Only::Own(0), "the end by SIGABRT"),
    call!(SYS_socket, FAMILIES, "clients, names, the log and the service manager"),
    call!(SYS_ioctl, DESCRIPTORS, "sockets do not wait, and are closed in programs"),
    call!(SYS_futex, "locks and channels"),
    call!(SYS_futex_waitv, "locks and channels"),
    call!(SYS_set_robust_list, "locks and channels"),
    call!(SYS_get_robust_list, "locks and channels"),
    call!(SYS_membarrier, "locks and channels"),
    call!(SYS_munmap, "memory"),
    call!(SYS_mremap, "memory"),
    call!(SYS_madvise, "memory"),
    call!(SYS_brk, "memory"),
    call!(SYS_mincore, "memory"),
    call!(SYS_exit, "threads start and end"),
    call!(SYS_exit_group, "threads start and end"),
    call!(SYS_rseq, "threads start and end"),
    call!(SYS_set_tid_address, "threads start and end"),
    call!(SYS_sigaltstack, "threads start and end"),
    call!(SYS_sched_yield, "threads start and end"),
    call!(SYS_sched_getaffinity, "threads start and end"),
    call!(SYS_getcpu, "threads start and end"),
    call!(SYS_clock_gettime, "the time, and waits"),
    call!(SYS_clock_getres, "the time, and waits"),
    call!(SYS_gettimeofday, "the time, and waits"),
    call!(SYS_clock_nanosleep, "the time, and waits"),
    call!(SYS_nanosleep, "the time, and waits"),
    call!(SYS_restart_syscall, "the time, and waits"),
    call!(SYS_timerfd_create, "the time, and waits"),
    call!(SYS_timerfd_settime, "the time, and waits"),
    call!(SYS_timerfd_gettime, "the time, and waits"),
    call!(SYS_rt_sigprocmask, "signals are handled"),
    call!(SYS_rt_sigaction, "signals are handled"),
    call!(SYS_rt_sigreturn, "signals are handled"),
    call!(SYS_rt_sigtimedwait, "signals are handled"),
    call!(SYS_getpid, "who and where the process is"),
    call!(SYS_gettid, "who and where the process is"),
    call!(SYS_getppid, "who and where the process is"),
    call!(SYS_getuid, "who and where the process is"),
    call!(SYS_geteuid, "who and where the process is"),
    call!(SYS_getgid, "who and where the process is"),
    call!(SYS_getegid, "who and where the process is"),
    call!(SYS_getgroups, "who and where the process is"),
    call!(SYS_uname, "who and where the process is"),
    call!(SYS_sysinfo, "who and where the process is"),
    call!(SYS_getrusage, "who and where the process is"),
    call!(SYS_times, "who and where the process is"),
    call!(SYS_getrandom, "who and where the process is"),
    call!(SYS_setpriority, "queries stay below capture"),
    call!(SYS_getpriority, "queries stay below capture"),
    call!(SYS_ioprio_set, "queries stay below capture"),
    call!(SYS_ioprio_get, "queries stay below capture"),
    call!(SYS_sched_getparam, "queries stay below capture"),
    call!(SYS_sched_getscheduler, "queries stay below capture"),
    call!(SYS_openat, "files are read"),
    call!(SYS_openat2, "files are read"),
    call!(SYS_read, "files are read"),
    call!(SYS_readv, "files are read"),
    call!(SYS_pread64, "files are read"),
    call!(SYS_preadv, "files are read"),
    call!(SYS_preadv2, "files are read"),
    call!(SYS_lseek, "files are read"),
    call!(SYS_close, "files are read"),
    call!(SYS_close_range, "files are read"),
    call!(SYS_fstat, "files are read"),
    call!(SYS_newfstatat, "files are read"),
    call!(SYS_statx, "files are read"),
    call!(SYS_statfs, "files are read"),
    call!(SYS_fstatfs, "files are read"),
    call!(SYS_getdents64, "files are read"),
    call!(SYS_readlinkat, "files are read"),
    call!(SYS_faccessat, "files are read"),
    call!(SYS_faccessat2, "files are read"),
    call!(SYS_fadvise64, "files are read"),
    call!(SYS_getcwd, "files are read"),
    call!(SYS_fgetxattr, "files are read"),
    call!(SYS_getxattr, "files are read"),
    call!(SYS_readahead, "files are read"),
    call!(SYS_write, "files are written"),
    call!(SYS_writev, "files are written"),
    call!(SYS_pwrite64, "files are written"),
    call!(SYS_pwritev, "files are written"),
    call!(SYS_pwritev2, "files are written"),
    call!(SYS_ftruncate, "files are written"),
    call!(SYS_fallocate, "files are written"),
    call!(SYS_fsync, "files are written"),
    call!(SYS_fdatasync, "files are written"),
    call!(SYS_sync_file_range, "files are written"),
    call!(SYS_copy_file_range, "files are written"),
    call!(SYS_sendfile, "files are written"),
    call!(SYS_splice, "files are written"),
    call!(SYS_flock, "files are written"),
    call!(SYS_fcntl, "files are written"),
    call!(SYS_dup, "files are written"),
    call!(SYS_dup3, "files are written"),
    call!(SYS_umask, "files are written"),
    call!(SYS_unlinkat, "files are made, named and removed"),
    call!(SYS_renameat2, "files are made, named and removed"),
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    call!(SYS_renameat, "files are made, named and removed"),
    call!(SYS_fchmod, "files are made, named and removed"),
    call!(SYS_linkat, "files are made, named and removed"),
    call!(SYS_mkdirat, "files are made, named and removed"),
    call!(SYS_symlinkat, "files are made, named and removed"),
    call!(SYS_utimensat, "files are made, named and removed"),
    call!(SYS_fsetxattr, "files are made, named and removed"),
    call!(SYS_inotify_init1, "directories are watched"),
    call!(SYS_inotify_add_watch, "directories are watched"),
    call!(SYS_inotify_rm_watch, "directories are watched"),
    call!(SYS_bind, "clients are served, and names looked up"),
    call!(SYS_listen, "clients are served, and names looked up"),
    call!(SYS_accept, "clients are served, and names looked up"),
    call!(SYS_accept4, "clients are served, and names looked up"),
    call!(SYS_connect, "clients are served, and names looked up"),
    call!(SYS_getsockname, "clients are served, and names looked up"),
    call!(SYS_getpeername, "clients are served, and names looked up"),
    call!(SYS_getsockopt, "clients are served, and names looked up"),
    call!(SYS_setsockopt, "clients are served, and names looked up"),
    call!(SYS_sendto, "clients are served, and names looked up"),
    call!(SYS_recvfrom, "clients are served, and names looked up"),
    call!(SYS_sendmsg, "clients are served, and names looked up"),
    call!(SYS_recvmsg, "clients are served, and names looked up"),
    call!(SYS_sendmmsg, "clients are served, and names looked up"),
    call!(SYS_recvmmsg, "clients are served, and names looked up"),
    call!(SYS_shutdown, "clients are served, and names looked up"),
    call!(SYS_socketpair, "clients are served, and names looked up"),
    call!(SYS_epoll_create1, "many descriptors are waited for"),
    call!(SYS_epoll_ctl, "many descriptors are waited for"),
    call!(SYS_epoll_pwait, "many descriptors are waited for"),
    call!(SYS_epoll_pwait2, "many descriptors are waited for"),
    call!(SYS_ppoll, "many descriptors are waited for"),
    call!(SYS_pselect6, "many descriptors are waited for"),
    call!(SYS_eventfd2, "many descriptors are waited for"),
    call!(SYS_pipe2, "many descriptors are waited for"),
    call!(SYS_signalfd4, "many descriptors are waited for"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_open, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_stat, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_lstat, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_access, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_unlink, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rename, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_link, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_mkdir, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_rmdir, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_symlink, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_readlink, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_poll, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_select, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_epoll_wait, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_epoll_create, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_dup2, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_pipe, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_time, "the same, by older calls"),
    #[cfg(target_arch = "x86_64")]
    call!(SYS_arch_prctl, "the same, by older calls"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_there_twice_and_none_that_starts_programs_or_looks_into_others() {
        let mut numbers: Vec<_> = CALLS.iter().map(|call| call.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CALLS.len());
        for never in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_fork,
            libc::SYS_vfork,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_kill,
            libc::SYS_bpf,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
            libc::SYS_setresuid,
            libc::SYS_capset,
            libc::SYS_keyctl,
            libc::SYS_io_uring_setup,
            libc::SYS_userfaultfd,
            libc::SYS_perf_event_open,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
        ] {
            assert!(numbers.binary_search(&never).is_err(), "{never}");
        }
    }
}
