//! A stream that fails a write if the peer does not accept it in time.
//!
//! # Guarantees
//!
//! - Each write that makes no progress within the limit fails with `TimedOut`.
//! - Each progress restarts the limit, so that a slow peer can read a long response.
//!
//! # Never
//!
//! - It never fails a read, because requests have deadlines of their own.
//!
//! It is not `tokio_io_timeout::TimeoutStream`, which contains its timers and therefore is not
//! `Unpin`. hyper requires an `Unpin` stream, so each connection would need one more allocation,
//! with the timers of both directions. Here a timer exists only while a write waits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails a write without progress within `limit`. A Unix socket has no such limit.
/// The limit of TCP only covers a peer that does not acknowledge.
pub(super) struct WriteTimeoutStream<I> {
    io: I,
    limit: Duration,
    /// The end of the limit, or `None` while no write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<I> WriteTimeoutStream<I> {
    pub(super) fn new(io: I, limit: Duration) -> Self {
        Self { io, limit, deadline: None }
    }

    /// Returns the result of a write, or `TimedOut` if it is pending and its limit is over.
    fn poll_with_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        deadline.as_mut().poll(cx).map(|()| {
            Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response"))
        })
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.poll_with_timeout(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.poll_with_timeout(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.poll_with_timeout(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.poll_with_timeout(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    /// A peer whose buffer takes four bytes, and a writer that has filled it.
    async fn filled(limit: Duration) -> (WriteTimeoutStream<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(4);
        let mut stream = WriteTimeoutStream::new(near, limit);
        assert_eq!(stream.write(b"taken").await.unwrap(), 4);
        (stream, far)
    }

    fn poll_once(stream: &mut WriteTimeoutStream<DuplexStream>) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(stream).poll_write(&mut cx, b"more")
    }

    #[tokio::test]
    async fn a_write_without_progress_fails_plain_and_vectored() {
        let limit = Duration::from_millis(1);
        let (mut stream, _far) = filled(limit).await;
        assert_eq!(stream.write(b"x").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut stream, _far) = filled(limit).await;
        assert!(stream.is_write_vectored());
        let slices = [IoSlice::new(b"x"), IoSlice::new(b"y")];
        let error = stream.write_vectored(&slices).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_flush_and_a_shutdown_without_progress_fail() {
        struct Stuck;
        impl AsyncWrite for Stuck {
            fn poll_write(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
                _: &[u8],
            ) -> Poll<io::Result<usize>> {
                Poll::Pending
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Pending
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Pending
            }
        }
        let stuck = || WriteTimeoutStream::new(Stuck, Duration::from_millis(1));
        assert_eq!(stuck().flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(stuck().shutdown().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_progress_restarts_the_limit() {
        let (mut stream, mut far) = filled(NEVER).await;
        assert!(stream.deadline.is_none());
        assert!(poll_once(&mut stream).is_pending());
        let first = stream.deadline.as_ref().unwrap().deadline();
        assert!(poll_once(&mut stream).is_pending());
        let deadline = stream.deadline.as_ref().unwrap().deadline();
        assert_eq!(deadline, first, "a write that waits has one limit");
        far.read_exact(&mut [0; 4]).await.unwrap();
        assert!(poll_once(&mut stream).is_ready());
        assert!(stream.deadline.is_none());
        assert!(poll_once(&mut stream).is_pending());
        assert!(stream.deadline.as_ref().unwrap().deadline() > first);
    }

    #[tokio::test]
    async fn a_read_has_no_limit() {
        let (near, _far) = duplex(4);
        let mut stream = WriteTimeoutStream::new(near, Duration::ZERO);
        let mut buf = [0; 4];
        let read = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut ReadBuf::new(&mut buf)));
        assert!(timeout(Duration::from_millis(10), read).await.is_err());
        assert!(stream.deadline.is_none());
    }
}
