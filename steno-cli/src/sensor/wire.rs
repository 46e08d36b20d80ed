//! The bytes of a connection on their way: remembers how they ended, which the layers above forget.
//!
//! In TLS 1.3 the client's part of the handshake is over before the sensor has looked at the client's certificate. That it was
//! refused comes as an alert in the midst of HTTP/2, which makes "broken pipe" of it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What became of a connection. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Something came from the sensor after the handshake.
    answered: AtomicBool,
    alert: OnceLock<AlertDescription>,
    ended: OnceLock<String>,
}

impl Fate {
    /// Whether the sensor has said anything but an alert.
    pub(super) fn has_answered(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// The alert that ended it.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        self.0.alert.get().copied()
    }

    /// How it ended, where it has.
    pub(super) fn ended(&self) -> Option<&str> {
        self.0.ended.get().map(String::as_str)
    }

    fn failed(&self, error: &io::Error) {
        if let Some(alert) = alert_of(error) {
            let _first = self.0.alert.set(alert);
        }
        let why = match error.kind() {
            // What rustls says of it is for programmers.
            io::ErrorKind::UnexpectedEof => "the sensor died, or something on the way cut it".to_owned(),
            _ => error.to_string(),
        };
        let _first = self.0.ended.set(why);
    }
}

/// The alert that an error of TLS stands for.
fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// A stream that tells a [`Fate`].
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    fate: Fate,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, fate: Fate) -> Self {
        Self { stream, fate }
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| self.fate.failed(error))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        if read.is_ok() {
            if buf.filled().len() > before {
                this.fate.0.answered.store(true, Ordering::Relaxed);
            } else {
                let _first = this.fate.0.ended.set("it was closed by the sensor".to_owned());
            }
        }
        Poll::Ready(this.note(read))
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Nobody reads from a connection that cannot be written to any more; the alert that says why may be there to be read.
    fn look_for_alert(&mut self, cx: &mut Context<'_>) {
        let mut scratch = [0; 64];
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut scratch)) {
            self.fate.failed(&error);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        if written.is_err() {
            this.look_for_alert(cx);
        }
        Poll::Ready(this.note(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        if flushed.is_err() {
            this.look_for_alert(cx);
        }
        Poll::Ready(this.note(flushed))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that takes nothing, and on which an alert waits.
    struct Refused;

    impl AsyncRead for Refused {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let alert = rustls::Error::AlertReceived(AlertDescription::UnknownCA);
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, alert)))
        }
    }

    impl AsyncWrite for Refused {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn an_alert_that_nobody_would_read_is_found() {
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let (one, other) = (Fate::default(), Fate::default());
        let written = Pin::new(&mut Wire::new(Refused, one.clone())).poll_write(cx, b"x");
        let flushed = Pin::new(&mut Wire::new(Refused, other.clone())).poll_flush(cx);
        assert!(matches!(written, Poll::Ready(Err(_))) && matches!(flushed, Poll::Ready(Err(_))));
        assert_eq!([one.alert(), other.alert()], [Some(AlertDescription::UnknownCA); 2]);
    }

    #[test]
    fn an_alert_is_remembered_whatever_comes_after() {
        let fate = Fate::default();
        fate.failed(&io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::AlertReceived(AlertDescription::CertificateRevoked),
        ));
        fate.failed(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(fate.alert(), Some(AlertDescription::CertificateRevoked));
        assert!(fate.ended().unwrap().contains("CertificateRevoked") && !fate.has_answered());
        assert_eq!(alert_of(&io::ErrorKind::BrokenPipe.into()), None);
    }
}
