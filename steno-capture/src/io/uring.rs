//! Many writes at a time by io_uring(7).

use std::{collections::VecDeque, io, os::fd::BorrowedFd, sync::Arc, time::Duration};

use super::{BlockSink, BlockWrite, Ended, sink::Progress};
use crate::sys::{Operation, RingMemory, Uring};

/// Writes blocks by an io_uring of the calling thread's own.
pub(crate) struct UringSink {
    uring: Uring<Progress>,
    /// Blocks that could not even be started.
    refused: VecDeque<Ended>,
}

/// An io_uring that is made, while there are privileges to make it with, and that no thread uses yet.
pub(crate) struct MadeUring(Uring<Progress>);

impl MadeUring {
    /// For at most `depth` writes at a time. The memory of `ring` is registered where the limits allow it.
    ///
    /// # Errors
    /// Where the kernel, a sysctl or a sandbox forbids io_uring.
    pub(crate) fn new(depth: u32, ring: Option<&Arc<RingMemory>>) -> io::Result<Self> {
        Ok(Self(Uring::new(depth, ring)?))
    }

    /// Is the calling thread's from now on.
    ///
    /// # Errors
    /// Where the kernel cannot be kept to writes.
    pub(crate) fn begin(self) -> io::Result<UringSink> {
        self.0.enable()?;
        Ok(UringSink { uring: self.0, refused: VecDeque::new() })
    }
}

impl UringSink {
    /// Whether writes of ring memory spare the kernel the mapping of its pages.
    pub(crate) fn is_registered(&self) -> bool {
        self.uring.is_registered()
    }

    fn submit(&mut self, operation: Operation, progress: Progress) {
        if let Err((operation, progress, error)) = self.uring.start(operation, progress) {
            self.refused.push_back(progress.end(operation.memory, Err(error)));
        }
    }
}

impl BlockSink for UringSink {
    fn start(&mut self, write: BlockWrite) {
        let (operation, progress) = Progress::begin(write);
        self.submit(operation, progress);
    }

    fn in_flight(&self) -> usize {
        self.uring.in_flight() + self.refused.len()
    }

    fn wait(&mut self, most: Option<Duration>) {
        self.uring.wait(if self.refused.is_empty() { most } else { None });
    }

    fn wakes(&self) -> Option<BorrowedFd<'_>> {
        self.uring.wakes()
    }

    fn ended(&mut self) -> Option<Ended> {
        while let Some((operation, progress, result)) = self.uring.ended() {
            match progress.go_on(operation.memory, result) {
                Ok((operation, progress)) => self.submit(operation, progress),
                Err(ended) => return Some(ended),
            }
        }
        self.refused.pop_front()
    }
}

/// Whether io_uring is to be had here.
///
/// # Errors
/// Why not.
pub(crate) fn probe_uring() -> io::Result<()> {
    Uring::<()>::new(1, None).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::{
        io::{PacketFile, SyncSink, Ticket},
        sys::{AlignedBuffer, BlockMemory},
    };

    /// Writes blocks of 1, 2, 3 used pages and reads the file back.
    fn round_trip(sink: &mut dyn BlockSink, through_cache: bool) {
        const BLOCK: usize = 1 << 16;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = Arc::new(PacketFile::create(&path).unwrap());
        if through_cache {
            file.go_through_cache().unwrap();
        }
        for block in 0..3u8 {
            let mut memory = AlignedBuffer::new(BLOCK);
            memory.bytes_mut().fill(block + 1);
            let len_bytes = 4096 * (usize::from(block) + 1);
            let (memory, offset_bytes) = (BlockMemory::Copy(memory), u64::from(block) * BLOCK as u64);
            let ticket = Ticket { segment: 0, block: block.into(), again: false };
            sink.start(BlockWrite { ticket, file: Arc::clone(&file), memory, len_bytes, offset_bytes });
        }
        assert_eq!(sink.in_flight(), 3);
        let mut seen = Vec::new();
        while sink.in_flight() > 0 {
            sink.wait(Some(Duration::from_secs(10)));
            let ended = sink.ended().expect("a write ends within 10 s");
            ended.result.unwrap();
            seen.push(ended.ticket.block);
        }
        assert!(sink.ended().is_none());
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        file.set_len(3 * BLOCK as u64).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 3 * BLOCK);
        for (block, bytes) in (0u8..).zip(bytes.chunks(BLOCK)) {
            let (used, hole) = bytes.split_at(4096 * (usize::from(block) + 1));
            assert!(used.iter().all(|&b| b == block + 1), "block {block}");
            assert!(hole.iter().all(|&b| b == 0), "behind block {block}");
        }
        assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 6 * 4096 + 8192, "what is not used takes no disk");
    }

    #[test]
    fn each_way_writes_the_same_file() {
        for through_cache in [false, true] {
            round_trip(&mut SyncSink::default(), through_cache);
            if steno_core::testkit::need(probe_uring().is_ok(), "io_uring") {
                let mut sink = MadeUring::new(8, None).unwrap().begin().unwrap();
                assert!(!sink.is_registered());
                round_trip(&mut sink, through_cache);
            }
        }
    }

    #[test]
    fn writes_to_a_full_device_fail_and_come_back() {
        let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else { return };
        drop(full);
        let sinks: [Option<Box<dyn BlockSink>>; 2] = [
            Some(Box::new(SyncSink::default())),
            MadeUring::new(4, None).and_then(MadeUring::begin).ok().map(|s| Box::new(s) as Box<dyn BlockSink>),
        ];
        for mut sink in sinks.into_iter().flatten() {
            let file = Arc::new(PacketFile::existing(std::path::Path::new("/dev/full")));
            let memory = BlockMemory::Copy(AlignedBuffer::new(4096));
            let ticket = Ticket { segment: 9, block: 0, again: false };
            sink.start(BlockWrite { ticket, file, memory, len_bytes: 4096, offset_bytes: 0 });
            sink.wait(Some(Duration::from_secs(10)));
            let ended = sink.ended().unwrap();
            assert_eq!(ended.result.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
            assert_eq!(ended.memory.bytes().len(), 4096, "the block comes back");
        }
    }
}
