//! The bytes of rtnetlink messages: netlink(7), rtnetlink(7).
//!
//! Owns building requests and reading replies; it opens no socket. All integers are in host byte
//! order, every part is padded to 4 bytes.
//!
//! A message is a header of 16 bytes (length, type u16, flags u16, sequence, port id), a fixed part
//! that depends on the type, and attributes: length u16 (its own 4 bytes included, padding not),
//! kind u16, payload.

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `NLMSG_ERROR`: a reply whose first word is a negated errno, 0 for "done".
const TYPE_ERROR: u16 = 2;

/// A request under construction.
#[derive(Debug)]
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a message with its header and fixed part.
    pub(super) fn new(kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes()); // length, by finish
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes()); // port id: the kernel fills it in
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes };
        request.pad();
        request
    }

    /// Appends one attribute.
    pub(super) fn attribute(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.nest(kind, |inner| inner.bytes.extend_from_slice(payload))
    }

    /// Appends an attribute whose payload `fill` writes: bytes, or attributes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes()); // length, below
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        // Only constants and names of some bytes go in: the length fits.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX).to_ne_bytes();
        if let Some(field) = self.bytes.get_mut(start..start + length.len()) {
            field.copy_from_slice(&length);
        }
        self.pad();
        self
    }

    /// Appends bytes that are neither header nor attribute: the fixed part of a nested message.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Writes the length and hands the message out.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX).to_ne_bytes();
        if let Some(field) = self.bytes.get_mut(..length.len()) {
            field.copy_from_slice(&length);
        }
        self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message of the kernel's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// The request with this sequence number is done.
    Done,
    /// It failed, with this errno.
    Failed(i32),
    /// What was asked for: message type and the bytes after the header.
    Data(u16, &'a [u8]),
}

/// The messages in `datagram` that answer the request `sequence`; stops at the first that is cut.
pub(super) fn replies(datagram: &[u8], sequence: u32) -> impl Iterator<Item = Reply<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        loop {
            let length = usize::try_from(u32_at(rest, 0)?).ok()?;
            let message = rest.get(..length)?;
            let body = message.get(HEADER_BYTES..)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u32_at(message, 8)? != sequence {
                continue;
            }
            let kind = message.get(4..6)?.try_into().map(u16::from_ne_bytes).ok()?;
            return Some(match kind {
                TYPE_ERROR => match u32_at(body, 0)?.cast_signed() {
                    0 => Reply::Done,
                    errno => Reply::Failed(errno.saturating_neg()),
                },
                kind => Reply::Data(kind, body),
            });
        }
    })
}

/// The word at `offset_bytes`, host byte order.
pub(super) fn u32_at(bytes: &[u8], offset_bytes: usize) -> Option<u32> {
    let word = bytes.get(offset_bytes..)?.get(..4)?;
    word.try_into().map(u32::from_ne_bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Reply, Request, replies};

    #[test]
    fn attributes_carry_their_length_and_are_padded() {
        let mut request = Request::new(16, 5, 7, &[9; 2]);
        let _ = request.attribute(3, b"ab\0").nest(18, |inner| {
            let _ = inner.attribute(1, b"veth");
        });
        let bytes = request.finish();
        let mut expected = Vec::new();
        expected.extend_from_slice(&40u32.to_ne_bytes());
        expected.extend_from_slice(&16u16.to_ne_bytes());
        expected.extend_from_slice(&5u16.to_ne_bytes());
        expected.extend_from_slice(&7u32.to_ne_bytes());
        expected.extend_from_slice(&0u32.to_ne_bytes());
        expected.extend_from_slice(&[9, 9, 0, 0]);
        expected.extend_from_slice(&7u16.to_ne_bytes());
        expected.extend_from_slice(&3u16.to_ne_bytes());
        expected.extend_from_slice(b"ab\0\0");
        expected.extend_from_slice(&12u16.to_ne_bytes());
        expected.extend_from_slice(&18u16.to_ne_bytes());
        expected.extend_from_slice(&8u16.to_ne_bytes());
        expected.extend_from_slice(&1u16.to_ne_bytes());
        expected.extend_from_slice(b"veth");
        assert_eq!(bytes, expected);
    }

    fn answer(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        Request::new(kind, 0, sequence, body).finish()
    }

    #[test]
    fn replies_to_other_requests_are_passed_over() {
        let mut datagram = answer(16, 6, &[1; 4]);
        datagram.extend(answer(16, 7, &[2; 4]));
        datagram.extend(answer(2, 7, &(-17i32).to_ne_bytes()));
        datagram.extend(answer(2, 7, &0i32.to_ne_bytes()));
        let all: Vec<_> = replies(&datagram, 7).collect();
        assert_eq!(all, [Reply::Data(16, &[2; 4]), Reply::Failed(17), Reply::Done]);
    }

    #[test]
    fn cut_and_hostile_lengths_end_the_walk() {
        let whole = answer(2, 7, &0i32.to_ne_bytes());
        for cut in 0..whole.len() {
            assert_eq!(replies(&whole[..cut], 7).count(), 0, "cut at {cut}");
        }
        for length in [0u32, 1, 15, 21, u32::MAX] {
            let mut bad = whole.clone();
            bad[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(replies(&bad, 7).count(), 0, "length {length}");
        }
    }
}
