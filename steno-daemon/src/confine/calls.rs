//! The system calls of the daemon, and why each is made: data, which `steno-sandbox` makes programs of.

use steno_sandbox::{Call, Only, call, libc};

/// Answered as by a kernel that has none.
pub(super) const CLONE3: &[Call] = &[call!(SYS_clone3, "its flags lie in memory, which a filter does not see")];

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
const FAMILY: Only = Only::OneOf(0, &[libc::AF_UNIX as u64]);
/// FIONBIO, FIOCLEX (asm-generic/ioctls.h); libc has them as another number for each C library.
const DESCRIPTORS: Only = Only::OneOf(1, &[0x5421, 0x5451]);
const NAMES: Only =
    Only::OneOf(0, &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_SET_VMA as u64, PR_GET_AUXV]);
/// linux/prctl.h
const PR_GET_AUXV: u64 = 0x4155_5856;

/// What a daemon that serves has a use for.
pub(super) const CALLS: &[Call] = &[
    call!(SYS_mmap, NO_CODE, "memory; none that can be run"),
    call!(SYS_mprotect, NO_CODE, "the heap of a thread grows; nothing becomes code"),
    call!(SYS_clone, NO_NAMESPACE, "threads are started"),
    call!(SYS_clone3, "answered by another program, that it is not there"),
    call!(SYS_prctl, NAMES, "threads are named"),
    call!(SYS_prlimit64, Only::Null(2), "how large a stack may be; no limit is set"),
    call!(SYS_tgkill, Only::Own(0), "the end by SIGABRT"),
    call!(SYS_socket, FAMILY, "the log and the service manager; no other is made once the ports are bound"),
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
    call!(SYS_utimensat, "files are made, named and removed"),
    call!(SYS_fsetxattr, "files are made, named and removed"),
    call!(SYS_inotify_init1, "directories are watched"),
    call!(SYS_inotify_add_watch, "directories are watched"),
    call!(SYS_inotify_rm_watch, "directories are watched"),
    call!(SYS_accept, "clients are served"),
    call!(SYS_accept4, "clients are served"),
    call!(SYS_connect, "the log is written to"),
    call!(SYS_getsockname, "clients are served"),
    call!(SYS_getpeername, "clients are served"),
    call!(SYS_getsockopt, "clients are served"),
    call!(SYS_setsockopt, "clients are served"),
    call!(SYS_sendto, "clients are served, and the service manager told"),
    call!(SYS_recvfrom, "clients are served"),
    call!(SYS_sendmsg, "clients are served, and stenotype is heard and started"),
    call!(SYS_recvmsg, "clients are served, and stenotype is heard and started"),
    call!(SYS_sendmmsg, "clients are served"),
    call!(SYS_recvmmsg, "clients are served"),
    call!(SYS_shutdown, "clients are served"),
    call!(SYS_socketpair, "signals, and the control socket of stenotype"),
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
    call!(SYS_rmdir, "the same, by older calls"),
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

/// What neither a launcher nor anything that captures, nor a script around that, has a use for.
pub(super) const NOT_TO_START_WITH: &[Call] = &[
    call!(SYS_ptrace, "looks into other processes"),
    call!(SYS_process_vm_readv, "looks into other processes"),
    call!(SYS_process_vm_writev, "writes into other processes"),
    call!(SYS_pidfd_getfd, "takes what others have open"),
    call!(SYS_listen, "serves somebody"),
    call!(SYS_accept, "serves somebody"),
    call!(SYS_accept4, "serves somebody"),
    call!(SYS_open_by_handle_at, "passes directories by"),
    call!(SYS_kexec_load, "changes the kernel"),
    call!(SYS_init_module, "changes the kernel"),
    call!(SYS_finit_module, "changes the kernel"),
    call!(SYS_delete_module, "changes the kernel"),
    call!(SYS_reboot, "ends the machine"),
    call!(SYS_swapon, "changes the machine"),
    call!(SYS_swapoff, "changes the machine"),
    call!(SYS_acct, "changes the machine"),
    call!(SYS_settimeofday, "sets the clock"),
    call!(SYS_clock_settime, "sets the clock"),
    call!(SYS_add_key, "keys of the kernel"),
    call!(SYS_request_key, "keys of the kernel"),
    call!(SYS_keyctl, "keys of the kernel"),
    call!(SYS_userfaultfd, "memory whose pages others fill"),
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
            libc::SYS_pidfd_send_signal,
            libc::SYS_bind,
            libc::SYS_listen,
            libc::SYS_symlinkat,
            libc::SYS_mknodat,
            libc::SYS_fchownat,
        ] {
            assert!(numbers.binary_search(&never).is_err(), "{never}");
        }
    }
}
