//! The servers: bound in the caller's network namespace, each on a thread until stopped.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{PATIENCE, dns, echo, web};

/// How soon a server notices that it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// Running servers; they end some moments after this is dropped.
#[derive(Debug)]
pub(in super::super) struct Servers {
    stop: Arc<AtomicBool>,
}

impl Servers {
    /// Serves names, pages and echoes on these sockets.
    ///
    /// # Errors
    /// A time-out that cannot be set, a thread that cannot be started.
    pub(in super::super) fn start(names: UdpSocket, pages: TcpListener, echoes: TcpListener) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let servers = Self { stop: Arc::clone(&stop) };
        names.set_read_timeout(Some(STOP_WITHIN))?;
        run("demo-dns", Arc::clone(&stop), move || dns::serve_one(&names))?;
        serve_streams("demo-web", pages, Arc::clone(&stop), web::serve)?;
        serve_streams("demo-echo", echoes, stop, echo::serve)?;
        Ok(servers)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whether a socket call ended by its time-out, or by a signal.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn serve_streams(
    name: &str,
    listener: TcpListener,
    stop: Arc<AtomicBool>,
    serve: fn(TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    // SO_RCVTIMEO bounds accept(2) too: socket(7).
    set_socket_timeout(&listener, Timeout::Recv, Some(STOP_WITHIN))?;
    run(name, stop, move || match listener.accept() {
        Ok((stream, _)) => {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            serve(stream)
        }
        Err(error) if is_timeout(&error) => Ok(()),
        Err(error) => Err(error),
    })
}

/// Runs `turn` on a thread again and again. An error ends a turn only: the client at the other end of
/// it sees a closed connection or no answer, and that is what the demo reports.
fn run(name: &str, stop: Arc<AtomicBool>, turn: impl Fn() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let server = move || {
        while !stop.load(Ordering::Relaxed) {
            if turn().is_err() {
                thread::sleep(STOP_WITHIN);
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(server).map(drop)
}

#[cfg(test)]
mod tests {
    use super::Servers;
    use crate::demo::traffic::{dns, echo, web};
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn clients_hear_what_the_servers_say() {
        let names = UdpSocket::bind("127.0.0.1:0").unwrap();
        let pages = TcpListener::bind("127.0.0.1:0").unwrap();
        let echoes = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = (names.local_addr().unwrap(), pages.local_addr().unwrap(), echoes.local_addr().unwrap());
        let servers = Servers::start(names, pages, echoes).unwrap();
        let looked_up = dns::look_up(at.0, "www.example.org", 9).unwrap();
        assert!(looked_up.to_client.ends_with(&[192, 0, 2, 1]));
        let page = web::get(at.1, "/report.txt").unwrap();
        assert!(page.to_client.len() > 65_536);
        assert!(web::get(at.1, "/none").is_err());
        let echo = echo::exchange(at.2, 3).unwrap();
        assert_eq!(echo.to_server.len(), 3 * 16_384);
        assert_eq!(echo.to_server, echo.to_client);
        drop(servers);
        let stopped = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            TcpListener::bind(at.1).is_ok()
        });
        assert!(stopped, "the web server still holds its port");
    }
}
