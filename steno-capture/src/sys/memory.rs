//! Memory that blocks are written from: of the ring, or a copy of our own.

use super::RingBlock;

/// What direct I/O never asks more than: a page (statx(2), `stx_dio_mem_align`).
const ALIGN_BYTES: usize = 4096;

/// Zeroed memory that starts at a page boundary, so that direct I/O takes it.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGN_BYTES].into_boxed_slice();
        let start = memory.as_ptr().align_offset(ALIGN_BYTES).min(ALIGN_BYTES);
        Self { memory, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.len).unwrap_or_default()
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// A block on its way to the disk. Its bytes stay where they are, whoever holds it.
#[derive(Debug)]
pub(crate) enum BlockMemory {
    /// A block of the ring, which goes back to the kernel when this is dropped.
    Ring(RingBlock),
    /// A copy.
    Copy(AlignedBuffer),
}

impl BlockMemory {
    /// All bytes of the block, the unused ones too.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Ring(block) => block.bytes(),
            Self::Copy(buffer) => buffer.bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_page() {
        for len in [4096, 8192, 1 << 20] {
            let mut buffer = AlignedBuffer::new(len);
            assert_eq!(buffer.bytes().as_ptr().addr() % ALIGN_BYTES, 0);
            assert_eq!(buffer.bytes().len(), len);
            buffer.bytes_mut()[len - 1] = 7;
            assert_eq!(buffer.bytes()[len - 1], 7);
        }
    }
}
