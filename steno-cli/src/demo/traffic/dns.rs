//! Name look-ups over UDP: RFC 1035, as much of it as one question and one answer need.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{Conversation, PATIENCE, Transport};

/// The port that the servers listen on.
pub(in super::super) const PORT: u16 = 53;

/// The names that the demo's server knows.
pub(in super::super) const NAMES: [(&str, Ipv4Addr); 6] = [
    ("www.example.org", Ipv4Addr::new(192, 0, 2, 1)),
    ("mail.example.org", Ipv4Addr::new(192, 0, 2, 25)),
    ("time.example.org", Ipv4Addr::new(192, 0, 2, 123)),
    ("updates.example.org", Ipv4Addr::new(192, 0, 2, 80)),
    ("printer.example.org", Ipv4Addr::new(192, 0, 2, 91)),
    ("sensor.example.org", Ipv4Addr::new(192, 0, 2, 7)),
];

/// Bytes of the fixed header.
const HEADER_BYTES: usize = 12;
/// Type A, class IN, at the end of a question.
const TYPE_A_CLASS_IN: [u8; 4] = [0, 1, 0, 1];
/// A datagram of these servers is far smaller: RFC 1035 section 4.2.1 allows 512.
const DATAGRAM_BYTES: usize = 512;

/// Asks `server` for the address of `name`, from a socket of its own as a resolver does.
///
/// # Errors
/// Those of the socket; an answer that is not the one to this question.
pub(in super::super) fn look_up(server: SocketAddr, name: &str, id: u16) -> io::Result<Conversation> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(server)?;
    let question = question(name, id);
    let _ = socket.send(&question)?;
    let mut buffer = [0; DATAGRAM_BYTES];
    let length = socket.recv(&mut buffer)?;
    let answer = buffer.get(..length).unwrap_or_default();
    if answer.get(..2) != question.get(..2) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the name server answered another question"));
    }
    Ok(Conversation {
        what: format!("look-up of {name}"),
        transport: Transport::Udp,
        client: socket.local_addr()?,
        server,
        to_server: question,
        to_client: answer.to_vec(),
    })
}

/// Answers one question that arrives at `socket` before its time-out, which is no error.
///
/// # Errors
/// Those of the socket.
pub(super) fn serve_one(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM_BYTES];
    let (length, client) = match socket.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) if super::servers::is_timeout(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Some(answer) = buffer.get(..length).and_then(answer) {
        let _ = socket.send_to(&answer, client)?;
    }
    Ok(())
}

/// A standard query with recursion desired: one question for an A record.
fn question(name: &str, id: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend_from_slice(&id.to_be_bytes());
    message.extend_from_slice(&[0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&encoded(name));
    message.extend_from_slice(&TYPE_A_CLASS_IN);
    message
}

/// The answer to a question made by [`question`]: the address, or "no such name"; `None` for anything else.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let id = question.get(..2)?;
    let asked = question.get(HEADER_BYTES..)?;
    let name = asked.strip_suffix(&TYPE_A_CLASS_IN)?;
    let found = NAMES.iter().find(|(known, _)| encoded(known) == name).map(|(_, address)| *address);
    let mut message = id.to_vec();
    // Response, authoritative, recursion desired; code 3 is "no such name". One question, 0 or 1 answers.
    let (code, answers) = if found.is_some() { (0, 1) } else { (3, 0) };
    message.extend_from_slice(&[0x85, code, 0, 1, 0, answers, 0, 0, 0, 0]);
    message.extend_from_slice(asked);
    if let Some(address) = found {
        // The name by reference to offset 12, A, IN, 300 seconds, 4 bytes of address.
        message.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0x01, 0x2c, 0, 4]);
        message.extend_from_slice(&address.octets());
    }
    Some(message)
}

/// A name as length-prefixed labels with an empty one at the end.
fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        // Labels are at most 63 bytes: those of NAMES are.
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{answer, question};

    #[test]
    fn a_known_name_is_answered_with_its_address() {
        let question = question("www.example.org", 0x1234);
        let mut expected = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(b"\x03www\x07example\x03org\x00\x00\x01\x00\x01");
        assert_eq!(question, expected);
        let answer = answer(&question).unwrap();
        assert_eq!(answer[..8], [0x12, 0x34, 0x85, 0, 0, 1, 0, 1]);
        assert_eq!(answer[answer.len() - 6..], [0, 4, 192, 0, 2, 1]);
    }

    #[test]
    fn an_unknown_name_and_noise_are_not() {
        let unknown = answer(&question("no.example.org", 1)).unwrap();
        assert_eq!(unknown[..8], [0, 1, 0x85, 3, 0, 1, 0, 0]);
        let whole = question("www.example.org", 1);
        for cut in 0..whole.len() {
            assert_eq!(answer(&whole[..cut]), None, "cut at {cut}");
        }
    }
}
