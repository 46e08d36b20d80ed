//! What the allocator keeps of freed memory, and how a program that runs for months gives it back.

/// Gives freed memory back to the operating system, as far as whole pages of it are free.
///
/// glibc keeps what was freed for the thread pool that freed it (mallopt(3), `M_ARENA_MAX`, `M_TRIM_THRESHOLD`): after a burst
/// of work on many threads a process stays larger than what it holds, by tens of MiB. `malloc_trim(3)` looks through all
/// of its pools. It takes some milliseconds and stops the threads that allocate meanwhile, so call it when little runs.
/// Other C libraries give memory back by themselves; there it does nothing.
pub fn give_back_memory() {
    // SAFETY: malloc_trim(3) takes a number of bytes to leave at the top of the heap, may be called by any thread at any time
    // (it is marked MT-Safe), and touches free memory only.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate wraps malloc_trim(3)")]
    unsafe {
        let _ = libc::malloc_trim(0);
    }
}

/// Has the allocator keep up to 16 MiB of freed memory, and take no piece below 4 MiB from the system by itself: for a program that
/// lives briefly, and makes and frees large buffers all the while, each of which would come as pages that the kernel has to clear.
///
/// It sets `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` (mallopt(3)) of glibc; with other C libraries it does nothing.
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (what, bytes) in [(libc::M_TRIM_THRESHOLD, 16 << 20), (libc::M_MMAP_THRESHOLD, 4 << 20)] {
        // SAFETY: mallopt(3) sets a number, under the lock of the main pool; what it says of threads (MT-Unsafe init) is about the
        // first allocation of a process, which is long over when Rust code runs.
        #[expect(unsafe_code, reason = "no crate wraps mallopt(3)")]
        unsafe {
            let _ = libc::mallopt(what, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    use super::*;

    #[cfg(target_env = "gnu")]
    fn resident_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Blocks below the size that is mapped by itself, with one that stays at the end so that the heap cannot just end earlier.
    #[cfg(target_env = "gnu")]
    #[test]
    fn what_was_freed_in_the_midst_goes_back() {
        let mut blocks: Vec<_> = (0..2_000).map(|_| vec![1u8; 64 << 10]).collect();
        let last = blocks.pop();
        let full = resident_kib();
        drop(blocks);
        let freed = resident_kib();
        give_back_memory();
        let given_back = resident_kib();
        assert!(given_back + (64 << 10) < full, "{full} KiB, {freed} freed, {given_back} after");
        drop(last);
    }
}
