//! The echo service over TCP: what a client sends comes back (RFC 862).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Conversation, PATIENCE, Transport};

/// The port that the server listens on.
pub(in super::super) const PORT: u16 = 7;

/// Sent and awaited back before the next piece: small enough that neither side's socket buffer fills
/// while the other side is not reading.
const PIECE_BYTES: usize = 16 << 10;

/// Sends `pieces` pieces of bytes without a pattern to `server` and hears each back.
///
/// # Errors
/// Those of the socket; an echo that differs.
pub(in super::super) fn exchange(server: SocketAddr, pieces: u32) -> io::Result<Conversation> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..pieces {
        let piece = noise(&mut state);
        stream.write_all(&piece)?;
        let mut echo = vec![0; piece.len()];
        stream.read_exact(&mut echo)?;
        if echo != piece {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo differs from what was sent"));
        }
        said.extend(piece);
        heard.extend(echo);
    }
    Ok(Conversation {
        what: "echo".to_owned(),
        transport: Transport::Tcp,
        client: stream.local_addr()?,
        server,
        to_server: said,
        to_client: heard,
    })
}

/// Sends back what comes until the client closes.
///
/// # Errors
/// Those of the socket.
pub(super) fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            length => stream.write_all(piece.get(..length).unwrap_or_default())?,
        }
    }
}

/// The next piece of a xorshift sequence (Marsaglia, "Xorshift RNGs", 2003).
fn noise(state: &mut u64) -> Vec<u8> {
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    while piece.len() < PIECE_BYTES {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        piece.extend_from_slice(&state.to_le_bytes());
    }
    piece
}
