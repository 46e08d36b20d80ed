//! Delivers the packets of an answer into a capture file, or to standard output.

use std::{
    iter,
    panic::resume_unwind,
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use super::{
    CommandError,
    deliver::Answering,
    output::{Output, Reader},
    turns::in_turns,
};

/// Chunks that may wait to be written.
const AHEAD: usize = 16;
/// Chunks that are written by one call, at the most.
const TOGETHER: usize = 8;

/// What is found in a store into a file, or standard output for `-`, and all of it into `digest`. Two threads are at it.
///
/// They take turns where the output is a file, which never has them wait. Before a pipe, whose reader does, one of them writes
/// and the other gets ahead of it: writer and reader then stay on one processor, which takes half as long.
pub(super) fn found_to_file<A: Answering + Send>(
    answer: &mut A,
    path: &Path,
    digest: &mut blake3::Hasher,
) -> Result<Reader, CommandError> {
    let output = Output::open(path)?;
    // What is looked up of each segment is made and freed all the while, and a chunk that another thread is to write.
    steno_core::keep_freed_memory();
    if output.is_regular_file() { in_turns(answer, output, digest) } else { ahead(answer, output, Some(digest)) }
}

/// What comes from a sensor into a file, or standard output for `-`, each message as soon as it is there.
pub(super) fn received_to_file<A: Answering>(answer: &mut A, path: &Path) -> Result<Reader, CommandError> {
    let output = Output::open(path)?;
    steno_core::keep_freed_memory();
    ahead(answer, output, None)
}

/// What comes next is found, or received, while another thread puts chunks into the digest and writes them.
fn ahead<A: Answering>(
    answer: &mut A,
    output: Output,
    digest: Option<&mut blake3::Hasher>,
) -> Result<Reader, CommandError> {
    let (give, take) = sync_channel(AHEAD);
    thread::scope(|scope| {
        let writer = thread::Builder::new().name("writer".to_owned());
        let writer = writer.spawn_scoped(scope, move || write_behind(output, &take, digest));
        let writer = writer.map_err(|e| CommandError::Program(format!("cannot start a thread that writes: {e}")))?;
        let found = give_all(answer, &give);
        drop(give);
        match writer.join().unwrap_or_else(|panic| resume_unwind(panic)) {
            Ok(Reader::There) => found.map(|()| Reader::There),
            // Whatever became of the answer after that.
            ended => ended,
        }
    })
}

/// Gives away all chunks, as long as somebody takes them.
fn give_all<A: Answering>(answer: &mut A, give: &SyncSender<A::Chunk>) -> Result<(), CommandError> {
    loop {
        let mut chunk = A::Chunk::default();
        if !answer.next_chunk(&mut chunk)? || give.send(chunk).is_err() {
            return Ok(());
        }
    }
}

/// Writes what is given, as long as it can.
fn write_behind(
    mut output: Output,
    given: &Receiver<impl AsRef<[u8]>>,
    mut digest: Option<&mut blake3::Hasher>,
) -> Result<Reader, CommandError> {
    while let Ok(first) = given.recv() {
        let chunks: Vec<_> = iter::once(first).chain(given.try_iter().take(TOGETHER - 1)).collect();
        if let Some(digest) = &mut digest {
            for chunk in &chunks {
                let _same = digest.update(chunk.as_ref());
            }
        }
        if output.write(&chunks)? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// The same for an answer that goes on with what is captured: each chunk is written before the next is waited for, so that a reader
/// that is gone is noticed.
pub(super) fn follow_to_file<A: Answering>(answer: &mut A, path: &Path) -> Result<Reader, CommandError> {
    let mut output = Output::open(path)?;
    let mut chunk = A::Chunk::default();
    while answer.next_chunk(&mut chunk)? {
        if output.write(&[&chunk])? == Reader::Gone {
            return Ok(Reader::Gone);
        }
    }
    Ok(Reader::There)
}

/// So many chunks, each of its number, and then an end or a failure. Each takes so long to be found, and so many are of one block.
#[cfg(test)]
pub(super) struct Fake {
    chunks: u8,
    given: u8,
    fails: bool,
    pub(super) takes: std::time::Duration,
    pub(super) block_chunks: u8,
}

#[cfg(test)]
impl Fake {
    pub(super) fn new(chunks: u8, fails: bool) -> Self {
        Self { chunks, given: 0, fails, takes: std::time::Duration::ZERO, block_chunks: 1 }
    }
}

#[cfg(test)]
impl Answering for Fake {
    type Chunk = Vec<u8>;

    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, CommandError> {
        thread::sleep(self.takes);
        chunk.clear();
        if self.given < self.chunks {
            self.given += 1;
            chunk.resize(1000, self.given);
            return Ok(true);
        }
        if self.fails { Err(CommandError::Program("broken off".to_owned())) } else { Ok(false) }
    }

    fn is_between_blocks(&self) -> bool {
        self.given.is_multiple_of(self.block_chunks)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    type ToFile = fn(&mut Fake, Output, &mut blake3::Hasher) -> Result<Reader, CommandError>;

    const WAYS: [(&str, ToFile); 2] =
        [("in turns", in_turns), ("ahead", |answer, output, digest| ahead(answer, output, Some(digest)))];

    #[test]
    fn all_that_came_is_written_in_order_whatever_comes_after() {
        let dir = tempfile::tempdir().unwrap();
        for (way, to_file) in WAYS {
            // None, the sum of some turns, and many.
            for (chunks, fails) in [(0, false), (0, true), (31, false), (200, false), (200, true)] {
                let name = format!("{way}, {chunks}, {fails}");
                let path = dir.path().join(&name);
                let expected: Vec<u8> = (1..=chunks).flat_map(|n| [n; 1000]).collect();
                let mut digest = blake3::Hasher::new();
                let output = Output::open(&path).unwrap();
                assert!(output.is_regular_file());
                let ended = to_file(&mut Fake::new(chunks, fails), output, &mut digest);
                assert_eq!(digest.finalize(), blake3::hash(&expected), "{name}");
                match fails {
                    false => assert!(matches!(ended, Ok(Reader::There))),
                    true => assert_eq!(ended.err().unwrap().to_string(), "broken off"),
                }
                assert!(fs::read(&path).unwrap() == expected, "{name}");
            }
        }
    }

    #[test]
    fn what_cannot_be_written_ends_an_answer_and_is_told_before_what_came_after() {
        let open = || Output::open(Path::new("/dev/full")).unwrap();
        assert!(!open().is_regular_file());
        for (way, to_file) in WAYS {
            let mut answer = Fake::new(200, true);
            let error = to_file(&mut answer, open(), &mut blake3::Hasher::new()).err().unwrap();
            assert!(matches!(&error, CommandError::Cut { whole_bytes: 0, .. }), "{way}: {error}");
            assert!(answer.given <= 32, "{way}: {} chunks were found for nothing", answer.given);
        }
        let mut answer = Fake::new(200, true);
        let error = follow_to_file(&mut answer, Path::new("/dev/full")).err().unwrap();
        assert!(matches!(&error, CommandError::Cut { whole_bytes: 0, .. }), "{error}");
        assert_eq!(answer.given, 1);
    }
}
