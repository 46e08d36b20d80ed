//! One write at a time by pwrite(2): for kernels and sandboxes without io_uring. The ring of blocks takes up what comes
//! meanwhile.

use std::{collections::VecDeque, io, os::unix::fs::FileExt, time::Duration};

use super::{BlockSink, BlockWrite, Ended, sink::Progress};
use crate::sys::Operation;

/// Writes each block when it is started.
#[derive(Debug, Default)]
pub(crate) struct SyncSink {
    ended: VecDeque<Ended>,
}

impl BlockSink for SyncSink {
    fn start(&mut self, write: BlockWrite) {
        let (mut operation, mut progress) = Progress::begin(write);
        let ended = loop {
            let result = attempt(&operation);
            match progress.go_on(operation.memory, result) {
                Ok(next) => (operation, progress) = next,
                Err(ended) => break ended,
            }
        };
        self.ended.push_back(ended);
    }

    fn in_flight(&self) -> usize {
        self.ended.len()
    }

    fn wait(&mut self, _most: Option<Duration>) {}

    fn ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }
}

fn attempt(operation: &Operation) -> io::Result<usize> {
    let bytes = operation.memory.bytes().get(operation.from..operation.until);
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    operation.file.write_at(bytes, operation.offset_bytes)
}
