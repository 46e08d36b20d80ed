//! Two threads that take turns at an answer, from finding it to writing it.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    CommandError,
    deliver::Answering,
    output::{Output, Reader},
};

/// Chunks of a turn, at the most, which are written by one call. For more than 2 MiB the kernel would look for huge pages, and those
/// that were used just before are hardly ever among them.
const TURN_CHUNKS: usize = 8;
/// A turn of so many chunks ends where a block does.
const LEAST_CHUNKS: usize = 4;
/// Once a turn has found for so long, it goes on with what it has: where packets are found slowly, they wait for no others.
const TURN: Duration = Duration::from_millis(10);

/// Writes all of an answer, and puts it into `digest`.
///
/// One thread finds chunks while the other puts its own into the digest or writes them. Each works in memory of
/// its own, from the block that is read to the file that is written: to take over what another processor has just written, or to
/// write where it has just read, takes several times as long as the copying itself where the two are far apart.
pub(super) fn in_turns<A: Answering + Send>(
    answer: &mut A,
    output: Output,
    digest: &mut blake3::Hasher,
) -> Result<Reader, CommandError> {
    let stations = Stations {
        found: Mutex::new(Found { answer, ended: None }),
        digest: Mutex::new(digest),
        written: Mutex::new(Written { output, ended: Ok(Reader::There) }),
    };
    thread::scope(|scope| {
        let other = thread::Builder::new().name("in turn".to_owned());
        // Where there can be no other thread, this one takes all turns.
        let _started = other.spawn_scoped(scope, || stations.take_turns());
        stations.take_turns();
    });
    let Stations { found, written, .. } = stations;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner).ended;
    match written.into_inner().unwrap_or_else(PoisonError::into_inner).ended {
        Ok(Reader::There) => found.unwrap_or(Ok(())).map(|()| Reader::There),
        // Whatever became of the answer after that.
        ended => ended,
    }
}

/// The stations of a turn. One is left when the next is entered, and not before: so all turns come to all of them in one order.
struct Stations<'a, A> {
    found: Mutex<Found<'a, A>>,
    digest: Mutex<&'a mut blake3::Hasher>,
    written: Mutex<Written>,
}

struct Found<'a, A> {
    answer: &'a mut A,
    /// How the answer came to its end.
    ended: Option<Result<(), CommandError>>,
}

struct Written {
    output: Output,
    /// How writing came to its end; that the reader is there, as long as it goes on.
    ended: Result<Reader, CommandError>,
}

impl<A: Answering> Stations<'_, A> {
    /// Takes one turn after the other, as long as there is something to be found, and somebody to take it. A lock that is
    /// poisoned is that of a thread that panics, which ends the program.
    fn take_turns(&self) {
        let mut memory: Vec<A::Chunk> = Vec::new();
        memory.resize_with(TURN_CHUNKS, A::Chunk::default);
        loop {
            let Ok(mut found) = self.found.lock() else { return };
            let chunks = found.next_chunks(&mut memory);
            if chunks.is_empty() {
                return;
            }
            let Ok(mut digest) = self.digest.lock() else { return };
            drop(found);
            for chunk in chunks {
                let _same = digest.update(chunk.as_ref());
            }
            let Ok(mut written) = self.written.lock() else { return };
            drop(digest);
            if !written.write(chunks) {
                return;
            }
        }
    }
}

impl<A: Answering> Found<'_, A> {
    /// Fills some of these, and none once the answer has ended.
    fn next_chunks<'m>(&mut self, memory: &'m mut [A::Chunk]) -> &'m [A::Chunk] {
        let (begun, mut chunks) = (Instant::now(), 0);
        for chunk in &mut *memory {
            let may_end = chunks >= LEAST_CHUNKS && self.answer.is_between_blocks();
            if self.ended.is_some() || may_end || chunks > 0 && begun.elapsed() > TURN {
                break;
            }
            match self.answer.next_chunk(chunk) {
                Ok(true) => chunks += 1,
                ended => self.ended = Some(ended.map(|_| ())),
            }
        }
        memory.get(..chunks).unwrap_or_default()
    }
}

impl Written {
    /// Writes these; nothing once writing has come to its end, as what was found behind a gap must not follow it. `false` then.
    fn write(&mut self, chunks: &[impl AsRef<[u8]>]) -> bool {
        if matches!(self.ended, Ok(Reader::There)) {
            self.ended = self.output.write(chunks);
        }
        matches!(self.ended, Ok(Reader::There))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::to_file::Fake, *};

    #[test]
    fn nothing_is_written_behind_what_could_not_be() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Output::open(file.path()).unwrap();
        let mut written = Written { output, ended: Ok(Reader::There) };
        assert!(written.write(&[[1; 10]]));
        written.ended = Err(CommandError::Program("full".to_owned()));
        assert!(!written.write(&[[2; 10]]));
        assert_eq!(written.ended.unwrap_err().to_string(), "full");
        assert_eq!(std::fs::read(file.path()).unwrap(), [1; 10]);
    }

    #[test]
    fn what_is_found_slowly_waits_for_no_other() {
        let mut slow = Fake::new(3, false);
        slow.takes = TURN + Duration::from_millis(1);
        let mut found = Found { answer: &mut slow, ended: None };
        let mut memory = vec![Vec::new(); TURN_CHUNKS];
        for n in 1..=3 {
            assert_eq!(found.next_chunks(&mut memory), [vec![n; 1000]]);
        }
        assert!(found.next_chunks(&mut memory).is_empty());
        assert!(matches!(found.ended, Some(Ok(()))));
    }

    #[test]
    fn a_turn_ends_where_a_block_does_and_is_never_too_large() {
        let (least, most) = (LEAST_CHUNKS, TURN_CHUNKS);
        for (block_chunks, expected) in [(1, [least, least]), (3, [6, 6]), (4, [4, 4]), (5, [5, 5]), (50, [most, most])]
        {
            let mut quick = Fake::new(u8::MAX, true);
            quick.block_chunks = block_chunks;
            let mut found = Found { answer: &mut quick, ended: None };
            let mut memory = vec![Vec::new(); TURN_CHUNKS];
            let turns = [(); 2].map(|()| found.next_chunks(&mut memory).len());
            assert_eq!(turns, expected, "blocks of {block_chunks} chunks");
        }
    }

    #[test]
    fn what_an_answer_ends_with_ends_the_last_turn() {
        let mut found = Found { answer: &mut Fake::new(10, true), ended: None };
        let mut memory = vec![Vec::new(); TURN_CHUNKS];
        assert_eq!([(); 5].map(|()| found.next_chunks(&mut memory).len()), [4, 4, 2, 0, 0]);
        assert_eq!(found.ended.unwrap().unwrap_err().to_string(), "broken off");
    }
}
