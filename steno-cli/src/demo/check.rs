//! Compares what was sent with what was found: rebuilds each conversation from stored frames.
//!
//! It reads the headers itself, from the bytes, and asks neither the index nor steno-core's decoder:
//! a fault of theirs shows here instead of cancelling out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::traffic::{Conversation, Transport};

/// What the frames of one answer hold of a conversation.
#[derive(Debug)]
pub(super) struct Rebuilt<'a> {
    conversation: &'a Conversation,
    to_server: Stream,
    to_client: Stream,
    strangers: u64,
}

/// One direction, put together again.
#[derive(Debug, Default)]
struct Stream {
    packets: u64,
    /// TCP: sequence number of the first payload byte, known from the SYN.
    start: Option<u32>,
    bytes: Vec<u8>,
    /// Which of `bytes` were seen.
    seen: Vec<bool>,
}

impl<'a> Rebuilt<'a> {
    pub(super) fn new(conversation: &'a Conversation) -> Self {
        Self { conversation, to_server: Stream::default(), to_client: Stream::default(), strangers: 0 }
    }

    /// Takes one frame of the answer, in order of arrival.
    pub(super) fn take(&mut self, frame: &[u8]) {
        let Some(segment) = segment(frame) else {
            self.strangers += 1;
            return;
        };
        let Conversation { transport, client, server, to_server, to_client, .. } = self.conversation;
        let ends = (segment.transport, segment.from, segment.to);
        if ends == (*transport, *client, *server) {
            self.to_server.take(&segment, to_server.len());
        } else if ends == (*transport, *server, *client) {
            self.to_client.take(&segment, to_client.len());
        } else {
            self.strangers += 1;
        }
    }

    /// What is wrong, in words; nothing where every byte of both directions was found in its place.
    pub(super) fn faults(&self) -> Vec<String> {
        let Conversation { what, to_server, to_client, .. } = self.conversation;
        let mut faults = Vec::new();
        if self.strangers > 0 {
            faults.push(format!("{what}: {} packets of the answer do not belong to it", self.strangers));
        }
        for (direction, stream, sent) in
            [("to the server", &self.to_server, to_server), ("to the client", &self.to_client, to_client)]
        {
            if let Some(fault) = stream.fault(sent) {
                faults.push(format!("{what}: {direction} {fault}"));
            }
        }
        faults
    }

    /// Packets to the server and to the client.
    pub(super) fn packets(&self) -> (u64, u64) {
        (self.to_server.packets, self.to_client.packets)
    }
}

impl Stream {
    /// `limit_bytes`: what was sent; nothing beyond is kept.
    fn take(&mut self, segment: &Segment<'_>, limit_bytes: usize) {
        self.packets += 1;
        let at = match segment.sequence {
            // Datagrams follow each other in the order of their arrival.
            None => self.bytes.len(),
            Some(Sequence { number, is_syn: true }) => {
                self.start = Some(number.wrapping_add(1));
                return;
            }
            Some(Sequence { number, is_syn: false }) => {
                let Some(start) = self.start else { return };
                usize::try_from(number.wrapping_sub(start)).unwrap_or(usize::MAX)
            }
        };
        for (index, byte) in (at..limit_bytes.saturating_add(1)).zip(segment.payload) {
            if self.bytes.len() <= index {
                self.bytes.resize(index + 1, 0);
                self.seen.resize(index + 1, false);
            }
            if let (Some(to), Some(seen)) = (self.bytes.get_mut(index), self.seen.get_mut(index)) {
                *to = *byte;
                *seen = true;
            }
        }
    }

    fn fault(&self, sent: &[u8]) -> Option<String> {
        let found = self.seen.iter().filter(|seen| **seen).count();
        if self.packets == 0 {
            Some("no packet was found".to_owned())
        } else if found != sent.len() {
            Some(format!("{found} bytes were found of {} sent", sent.len()))
        } else {
            let place = self.bytes.iter().zip(sent).position(|(found, sent)| found != sent);
            place.map(|place| format!("byte {place} differs from what was sent"))
        }
    }
}

/// One TCP segment or UDP datagram.
#[derive(Debug, PartialEq, Eq)]
struct Segment<'a> {
    transport: Transport,
    from: SocketAddr,
    to: SocketAddr,
    /// TCP only.
    sequence: Option<Sequence>,
    payload: &'a [u8],
}

#[derive(Debug, PartialEq, Eq)]
struct Sequence {
    number: u32,
    is_syn: bool,
}

/// Reads an untagged Ethernet frame with unfragmented IPv4 (RFC 791), or IPv6 without extension headers
/// (RFC 8200), and TCP (RFC 9293) or UDP (RFC 768): what the demo's sockets send. `None` for anything else.
fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(14..)?;
    let (source, destination, protocol, body) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
            let total_bytes = usize::from(u16_at(packet, 2)?);
            let source = Ipv4Addr::from(array_at::<4>(packet, 12)?);
            let destination = Ipv4Addr::from(array_at::<4>(packet, 16)?);
            let body = packet.get(header_bytes..total_bytes)?;
            (IpAddr::V4(source), IpAddr::V4(destination), *packet.get(9)?, body)
        }
        [0x86, 0xdd] => {
            let payload_bytes = usize::from(u16_at(packet, 4)?);
            let source = Ipv6Addr::from(array_at::<16>(packet, 8)?);
            let destination = Ipv6Addr::from(array_at::<16>(packet, 24)?);
            let body = packet.get(40..)?.get(..payload_bytes)?;
            (IpAddr::V6(source), IpAddr::V6(destination), *packet.get(6)?, body)
        }
        _ => return None,
    };
    let from = SocketAddr::new(source, u16_at(body, 0)?);
    let to = SocketAddr::new(destination, u16_at(body, 2)?);
    let (transport, sequence, payload) = match protocol {
        6 => {
            let number = array_at(body, 4).map(u32::from_be_bytes)?;
            let header_bytes = usize::from(body.get(12)? >> 4) * 4;
            let is_syn = body.get(13)? & 0x02 != 0;
            (Transport::Tcp, Some(Sequence { number, is_syn }), body.get(header_bytes..)?)
        }
        17 => (Transport::Udp, None, body.get(8..)?),
        _ => return None,
    };
    Some(Segment { transport, from, to, sequence, payload })
}

/// Big-endian.
fn u16_at(bytes: &[u8], offset_bytes: usize) -> Option<u16> {
    array_at(bytes, offset_bytes).map(u16::from_be_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], offset_bytes: usize) -> Option<[u8; N]> {
    bytes.get(offset_bytes..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::{Conversation, Rebuilt, Transport, segment};

    const CLIENT: &str = "192.0.2.10:4000";
    const SERVER: &str = "192.0.2.1:80";

    fn conversation(transport: Transport) -> Conversation {
        Conversation {
            what: "talk".to_owned(),
            transport,
            client: CLIENT.parse().unwrap(),
            server: SERVER.parse().unwrap(),
            to_server: b"hello".to_vec(),
            to_client: b"goodbye".to_vec(),
        }
    }

    /// An IPv4 frame from the client (or the server), with Ethernet padding after the payload.
    fn frame(transport: Transport, from_client: bool, sequence: u32, syn: bool, payload: &[u8]) -> Vec<u8> {
        let (client, server) = (([192, 0, 2, 10], 4000u16), ([192, 0, 2, 1], 80u16));
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        let mut body = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        let protocol = match transport {
            Transport::Tcp => {
                body.extend(sequence.to_be_bytes());
                body.extend([0, 0, 0, 0, 0x50, if syn { 2 } else { 0x10 }, 0, 0, 0, 0, 0, 0]);
                6
            }
            Transport::Udp => {
                body.extend([0, 0, 0, 0]);
                17
            }
        };
        body.extend(payload);
        let total = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend(from.0);
        frame.extend(to.0);
        frame.extend(body);
        frame.extend([0xee; 6]);
        frame
    }

    /// A whole TCP conversation: repeated, out of order, and across the wrap of the sequence number.
    fn tcp_frames() -> Vec<Vec<u8>> {
        let tcp = Transport::Tcp;
        vec![
            frame(tcp, true, u32::MAX - 2, true, b""),
            frame(tcp, false, 99, true, b""),
            frame(tcp, true, 1, false, b"lo"),
            frame(tcp, true, u32::MAX - 1, false, b"hel"),
            frame(tcp, false, 100, false, b"good"),
            frame(tcp, false, 100, false, b"goodbye"),
        ]
    }

    fn faults(conversation: &Conversation, frames: &[Vec<u8>]) -> Vec<String> {
        let mut rebuilt = Rebuilt::new(conversation);
        for frame in frames {
            rebuilt.take(frame);
        }
        rebuilt.faults()
    }

    #[test]
    fn whole_conversations_have_no_fault() {
        let tcp = conversation(Transport::Tcp);
        assert_eq!(faults(&tcp, &tcp_frames()), Vec::<String>::new());
        let mut rebuilt = Rebuilt::new(&tcp);
        tcp_frames().iter().for_each(|frame| rebuilt.take(frame));
        assert_eq!(rebuilt.packets(), (3, 3));
        let frames = [
            frame(Transport::Udp, true, 0, false, b"hello"),
            frame(Transport::Udp, false, 0, false, b"good"),
            frame(Transport::Udp, false, 0, false, b"bye"),
        ];
        assert_eq!(faults(&conversation(Transport::Udp), &frames), Vec::<String>::new());
    }

    #[test]
    fn a_missing_a_wrong_and_a_strange_packet_are_faults() {
        let tcp = conversation(Transport::Tcp);
        let mut missing = tcp_frames();
        let _ = missing.remove(2);
        assert_eq!(faults(&tcp, &missing), ["talk: to the server 3 bytes were found of 5 sent"]);
        let mut wrong = tcp_frames();
        let place = wrong[5].len() - 6 - 7;
        wrong[5][place] ^= 1;
        assert_eq!(faults(&tcp, &wrong), ["talk: to the client byte 0 differs from what was sent"]);
        let mut longer = tcp_frames();
        longer.push(frame(Transport::Tcp, true, 3, false, b"!!!"));
        assert_eq!(faults(&tcp, &longer), ["talk: to the server 6 bytes were found of 5 sent"]);
        let mut strange = tcp_frames();
        strange.push(frame(Transport::Udp, true, 0, false, b"x"));
        strange.push(vec![0; 60]);
        assert_eq!(faults(&tcp, &strange), ["talk: 2 packets of the answer do not belong to it"]);
        assert_eq!(
            faults(&tcp, &[]),
            ["talk: to the server no packet was found", "talk: to the client no packet was found"]
        );
    }

    #[test]
    fn cut_frames_are_not_segments() {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut whole = frame(transport, true, 7, false, b"hello");
            whole.truncate(whole.len() - 6);
            assert_eq!(segment(&whole).unwrap().payload, b"hello");
            for cut in 0..whole.len() {
                assert_eq!(segment(&whole[..cut]), None, "cut at {cut}");
            }
        }
    }
}
