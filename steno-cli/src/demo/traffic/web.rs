//! Web pages over TCP: HTTP/1.1, one request a connection (RFC 9112).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Conversation, PATIENCE, Transport};

/// The port that the server listens on.
pub(in super::super) const PORT: u16 = 80;

/// The pages that the demo's server has, with their sizes in bytes.
pub(in super::super) const PAGES: [(&str, usize); 3] =
    [("/index.html", 2_048), ("/report.txt", 65_536), ("/archive.txt", 262_144)];

/// A request of these clients has some hundred bytes.
const REQUEST_LIMIT_BYTES: usize = 8 << 10;
/// No page with its header is larger.
const RESPONSE_LIMIT_BYTES: u64 = 1 << 20;

/// Gets `path` from `server`.
///
/// # Errors
/// Those of the socket; an answer that is not "200 OK".
pub(in super::super) fn get(server: SocketAddr, path: &str) -> io::Result<Conversation> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: steno-demo\r\nConnection: close\r\n\r\n");
    (&stream).write_all(request.as_bytes())?;
    let mut response = Vec::new();
    let _ = (&stream).take(RESPONSE_LIMIT_BYTES).read_to_end(&mut response)?;
    if !response.starts_with(b"HTTP/1.1 200 OK\r\n") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the web server has no page {path}")));
    }
    Ok(Conversation {
        what: format!("web page {path}"),
        transport: Transport::Tcp,
        client: stream.local_addr()?,
        server,
        to_server: request.into_bytes(),
        to_client: response,
    })
}

/// Answers the one request of a connection.
///
/// # Errors
/// Those of the socket.
pub(super) fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") && request.len() < REQUEST_LIMIT_BYTES {
        match stream.read(&mut piece)? {
            0 => break,
            length => request.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
    stream.write_all(&response(&request))
}

/// The bytes that answer a request.
fn response(request: &[u8]) -> Vec<u8> {
    let path = request.strip_prefix(b"GET ").and_then(|rest| rest.split(|byte| *byte == b' ').next());
    let page = PAGES.iter().find(|(known, _)| path == Some(known.as_bytes()));
    let (status, body) = match page {
        Some((path, size_bytes)) => ("200 OK", text(path, *size_bytes)),
        None => ("404 Not Found", Vec::new()),
    };
    let length_bytes = body.len();
    let mut message = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length_bytes}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    message.extend_from_slice(&body);
    message
}

/// A page of numbered lines, no two alike: a piece that is missing or misplaced cannot go unnoticed.
fn text(path: &str, size_bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(size_bytes + 64);
    for line in 1.. {
        if body.len() >= size_bytes {
            break;
        }
        body.extend_from_slice(format!("{path} line {line}: real bytes over a real socket\n").as_bytes());
    }
    body.truncate(size_bytes);
    body
}

#[cfg(test)]
mod tests {
    use super::{PAGES, response};

    #[test]
    fn pages_have_their_size_and_others_do_not_exist() {
        for (path, size_bytes) in PAGES {
            let answer = response(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(answer.len() - head, size_bytes);
        }
        assert!(response(b"GET /other HTTP/1.1\r\n\r\n").starts_with(b"HTTP/1.1 404 "));
        assert!(response(b"").starts_with(b"HTTP/1.1 404 "));
    }
}
