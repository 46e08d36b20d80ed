//! The bytes of a connection, seen from the side of who sends them: whether the client takes any.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use super::flight::Flights;

/// A stream that tells since when nothing of what is sent is taken, and whose end waits for the client's, but not for one that is silent
/// or does not come to it.
pub(super) struct Watched<S> {
    stream: S,
    flights: Flights,
    /// Once nothing more is sent.
    ending: Option<Ending>,
}

/// What is done about a client that has not come to its end yet.
struct Ending {
    /// How long its end is waited for.
    patience: Pin<Box<Sleep>>,
    /// How long it is not listened to.
    pause: Option<Pin<Box<Sleep>>>,
    unread_bytes: usize,
}

/// How long the client's end is waited for after ours, and after whatever else it says meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// After something that it says: who talks on is heard by the buffer and not by the word, and no faster than that.
const PAUSE: Duration = Duration::from_millis(10);
/// Who says more than this after our end does not come to its own: it is more than any request that was on its way.
const MOST_UNREAD_BYTES: usize = 256 << 10;

impl<S> Watched<S> {
    pub(super) fn new(stream: S, flights: Flights) -> Self {
        Self { stream, flights, ending: None }
    }

    fn told<T>(&self, sent: Poll<T>) -> Poll<T> {
        self.flights.is_blocked(sent.is_pending());
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        all: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, all);
        self.told(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = Pin::new(&mut self.stream).poll_flush(cx);
        self.told(sent)
    }

    /// Sends the end, and waits for the client's. A socket that is closed while something that has come was not read, as the client's
    /// word that it has room again, resets the connection, and what was sent and is still on its way is lost (RFC 9293, section
    /// 3.10.4; RFC 9112, section 9.6). Who says nothing any more is not waited for, nor who does not cease to.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ending = match &mut this.ending {
            Some(ending) => ending,
            none => {
                let sent = Pin::new(&mut this.stream).poll_shutdown(cx);
                this.flights.is_blocked(sent.is_pending());
                ready!(sent)?;
                none.insert(Ending { patience: Box::pin(sleep(PATIENCE)), pause: None, unread_bytes: 0 })
            }
        };
        let mut unread = [0; 4096];
        while ending.unread_bytes <= MOST_UNREAD_BYTES {
            if let Some(pause) = &mut ending.pause {
                ready!(pause.as_mut().poll(cx));
                ending.pause = None;
            }
            let mut unread = ReadBuf::new(&mut unread);
            match Pin::new(&mut this.stream).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {
                    ending.unread_bytes += unread.filled().len();
                    ending.patience.as_mut().reset(Instant::now() + PATIENCE);
                    ending.pause = Some(Box::pin(sleep(PAUSE)));
                }
                // Where the client has gone without a word there is nothing to wait for, either.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return ending.patience.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_sent_is_taken_before_the_socket_is_closed() {
        const ANSWER_BYTES: usize = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            // What nobody reads.
            client.write_all(&[1; 100]).await.unwrap();
            let (mut taken, mut chunk) = (0, vec![0; 1 << 18]);
            loop {
                match client.read(&mut chunk).await {
                    Ok(0) => return Ok(taken),
                    Ok(read) => taken += read,
                    Err(e) => return Err((taken, e)),
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = Watched::new(stream, Flights::new());
        stream.write_all(&vec![2; ANSWER_BYTES]).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        assert_eq!(client.await.unwrap().map_err(|(taken, e)| format!("{e} after {taken} bytes")), Ok(ANSWER_BYTES));
    }

    #[tokio::test]
    async fn who_talks_on_is_heard_slowly_and_not_for_ever() {
        let (mut client, stream) = tokio::io::duplex(4096);
        let talking = tokio::spawn(async move {
            let mut said = 0;
            while client.write_all(&[3; 128]).await.is_ok() {
                said += 128;
            }
            said
        });
        let mut stream = Watched::new(stream, Flights::new());
        let begun = Instant::now();
        tokio::time::timeout(Duration::from_secs(60), stream.shutdown()).await.unwrap().unwrap();
        drop(stream);
        let said = talking.await.unwrap();
        // What it says last lies in the buffer.
        assert!((MOST_UNREAD_BYTES..=MOST_UNREAD_BYTES + (12 << 10)).contains(&said), "{said}");
        let least = PAUSE * u32::try_from(MOST_UNREAD_BYTES / 4096).unwrap();
        assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    }
}
