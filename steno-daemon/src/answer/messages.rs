//! A capture file cut into the messages of 1.0.1's `RetrievePcap`.
//!
//! As observed on 1.0.1: every message but the last has just `chunk_size` bytes, wherever packets begin; and the answer ends
//! with the message by which it has `max_size` bytes, or more. The end may so be in the middle of a packet, which tells a
//! client that there is more. An answer without packets has no message.

use bytes::{Bytes, BytesMut};
use steno_core::pcap::FILE_HEADER_BYTES;

/// Bytes of a message, whatever is asked for: a client may not have 1.0.1 hold more of its answer in memory than this.
const MOST_BYTES: u64 = 1 << 20;

/// What is on its way to the client.
#[derive(Debug)]
pub(super) struct Messages {
    /// Bytes of a message.
    message_bytes: usize,
    /// Where the answer ends.
    end: Option<u64>,
    /// That is earlier than the client wants.
    is_capped: bool,
    /// Whether there was more than that.
    is_cut: bool,
    sent: u64,
    has_packets: bool,
    /// Less than a message, before `next`.
    begun: BytesMut,
    next: Bytes,
}

impl Messages {
    /// Messages of `chunk_bytes`, until there are `max_bytes`, or `server_max_bytes` whatever is asked for.
    pub(super) fn new(chunk_bytes: u64, max_bytes: Option<u64>, server_max_bytes: Option<u64>) -> Self {
        let chunk_bytes = chunk_bytes.max(1);
        let end = |bytes: u64| bytes.div_ceil(chunk_bytes).max(1).saturating_mul(chunk_bytes);
        let (wanted, most) = (max_bytes.map(end), server_max_bytes.map(end));
        let capped = most.filter(|most| wanted.is_none_or(|wanted| *most < wanted));
        Self {
            // At most MOST_BYTES, which fit.
            message_bytes: usize::try_from(chunk_bytes.min(MOST_BYTES)).unwrap_or(1),
            end: capped.or(wanted),
            is_capped: capped.is_some(),
            is_cut: false,
            sent: 0,
            has_packets: false,
            begun: BytesMut::new(),
            next: Bytes::new(),
        }
    }

    /// A bound for the query, counted as 1.0.1 does, with which it finds out whether there is more than fits. Its count lacks
    /// 8 bytes of the file's header.
    pub(super) fn ask_bytes(&self) -> Option<u64> {
        self.end.map(|end| end.saturating_add(1))
    }

    /// Whether there was more than the answer holds.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether the server's bound is the one that counts.
    pub(super) fn is_capped(&self) -> bool {
        self.is_capped
    }

    /// Takes the next bytes of the file; [`Self::next`] must have given all that it had.
    pub(super) fn push(&mut self, bytes: Bytes) {
        // At the beginning the header of the file may come alone, and nothing after it.
        let there = self.begun.len() + self.next.len() + bytes.len();
        self.has_packets |= there > FILE_HEADER_BYTES as usize;
        self.is_cut |= self.left() == 0 && !bytes.is_empty();
        self.begun.extend_from_slice(&self.next);
        self.next = if self.is_cut { Bytes::new() } else { bytes };
    }

    /// The next message; the rest, too, where `at_end` says that nothing more comes.
    pub(super) fn next(&mut self, at_end: bool) -> Option<Bytes> {
        if !self.has_packets || self.is_cut {
            return None;
        }
        let there = self.begun.len() + self.next.len();
        let size = usize::try_from(self.left()).unwrap_or(usize::MAX).min(self.message_bytes);
        if size == 0 {
            self.is_cut = there > 0;
            return None;
        }
        if there < size && !(at_end && there > 0) {
            return None;
        }
        let size = size.min(there);
        let message = if self.begun.is_empty() {
            self.next.split_to(size)
        } else {
            let missing = size.saturating_sub(self.begun.len()).min(self.next.len());
            self.begun.extend_from_slice(&self.next.split_to(missing));
            self.begun.split_to(size.min(self.begun.len())).freeze()
        };
        self.sent = self.sent.saturating_add(message.len() as u64);
        Some(message)
    }

    /// Bytes until the end.
    fn left(&self) -> u64 {
        self.end.map_or(u64::MAX, |end| end.saturating_sub(self.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the messages of a file of `bytes`, that comes in pieces of `piece`; whether it was cut, and capped.
    fn sizes(mut messages: Messages, bytes: usize, piece: usize) -> (Vec<usize>, bool, bool) {
        let file: Vec<u8> = (0..bytes).map(|i| (i % 251).to_le_bytes()[0]).collect();
        let mut got = Vec::new();
        for piece in file.chunks(piece) {
            messages.push(Bytes::copy_from_slice(piece));
            while let Some(message) = messages.next(false) {
                got.push(message);
            }
        }
        while let Some(message) = messages.next(true) {
            got.push(message);
        }
        assert_eq!(got.concat(), file[..got.concat().len()]);
        (got.iter().map(Bytes::len).collect(), messages.is_cut(), messages.is_capped())
    }

    /// What the daemon of 1.0.1 was seen to send, with `ServerPcapMaxSize` 1,000,000, `ClientPcapChunkSize` 1,000 and
    /// `ClientPcapMaxSize` 500,000: for a file of 227,277 bytes and for one of more than 1,048,576.
    #[test]
    fn messages_are_those_of_1_0_1() {
        let (dns, tcp) = (227_277, 1_500_000);
        for (file, chunk, max, n, last, total) in [
            (dns, 1_000, 500_000, 228, 277, dns),
            (dns, 100, 500_000, 2_273, 77, dns),
            (dns, 10, 500_000, 22_728, 7, dns),
            (dns, 24, 500_000, 9_470, 21, dns),
            (dns, 1 << 20, 500_000, 1, dns, dns),
            (dns, 1_000, 1, 1, 1_000, 1_000),
            (dns, 1_000, 24, 1, 1_000, 1_000),
            (dns, 1_000, 25, 1, 1_000, 1_000),
            (dns, 1_000, 1_000, 1, 1_000, 1_000),
            (dns, 300, 1_000, 4, 300, 1_200),
            (dns, 5_000, 1_000, 1, 5_000, 5_000),
            (tcp, 1_000, 500_000, 500, 1_000, 500_000),
            (tcp, 1_000, 2_000_000, 1_000, 1_000, 1_000_000),
            (tcp, 65_536, 2_000_000, 16, 65_536, 1_048_576),
            (tcp, 1 << 20, 999_999, 1, 1 << 20, 1 << 20),
            (tcp, 1 << 20, 1_000_001, 1, 1 << 20, 1 << 20),
        ] {
            for piece in [1, 777, 4_096, 300_000].into_iter().filter(|piece| file / piece < 400_000) {
                let (got, cut, capped) = sizes(Messages::new(chunk, Some(max), Some(1_000_000)), file, piece);
                assert_eq!((got.len(), got.last()), (n, Some(&last)), "{chunk} {max} {piece}");
                assert_eq!(got.iter().sum::<usize>(), total);
                assert!(got[..n - 1].iter().all(|size| *size as u64 == chunk));
                assert_eq!(cut, total < file, "{chunk} {max}");
                assert_eq!(capped, max == 2_000_000, "whose bound it is: {chunk} {max}");
            }
        }
    }

    #[test]
    fn a_file_without_packets_has_no_message() {
        for piece in [1, 10, 24] {
            assert_eq!(sizes(Messages::new(10, None, None), 24, piece), (vec![], false, false));
        }
        assert_eq!(sizes(Messages::new(10, None, None), 25, 24).0, [10, 10, 5]);
        assert_eq!(sizes(Messages::new(10, Some(24), None), 24, 24), (vec![], false, false));
    }

    #[test]
    fn an_answer_that_just_fits_is_not_cut() {
        for (bytes, cut) in [(999, false), (1_000, false), (1_001, true)] {
            for piece in [1, 999, 1_000, 5_000] {
                let messages = Messages::new(100, None, Some(950));
                assert_eq!(messages.ask_bytes(), Some(1_001));
                let (sizes, is_cut, capped) = sizes(messages, bytes, piece);
                assert_eq!((sizes.iter().sum::<usize>(), is_cut, capped), (bytes.min(1_000), cut, true), "{piece}");
            }
        }
    }

    #[test]
    fn no_message_is_larger_than_there_is_memory_for() {
        let (got, cut, _) = sizes(Messages::new(5 << 20, Some(1), None), 6 << 20, 100_000);
        assert_eq!((got, cut), (vec![1 << 20; 5], true), "the end is where one of that size would have ended");
        let (got, ..) = sizes(Messages::new(u64::MAX, Some(u64::MAX), None), 3 << 19, 100_000);
        assert_eq!(got, [1 << 20, 1 << 19]);
        assert_eq!(sizes(Messages::new(0, None, None), 30, 30).0, [1; 30]);
    }
}
