//! The TCP stream that russh uses. It records the first bytes of the peer in the transcript, keeps
//! the peer's last message readable, and can be cancelled.
//!
//! It has no timeout: the caller sets the limits.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::transcript::PeerTranscript;

/// A connection to an SSH server.
///
/// russh runs a session in its own task. It does not end that task when the future that waits for
/// the key exchange is dropped. Cancelling this stream makes it fail, which ends the task and
/// closes the socket.
pub(super) struct RecordingStream {
    tcp: TcpStream,
    transcript: Arc<PeerTranscript>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl RecordingStream {
    pub(super) fn new(
        tcp: TcpStream,
        transcript: Arc<PeerTranscript>,
        cancel: CancellationToken,
    ) -> Self {
        Self { tcp, transcript, cancelled: Box::pin(cancel.cancelled_owned()) }
    }

    /// Returns an error once the stream is cancelled. Before that, the cancellation wakes the
    /// polling task.
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cancelled.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for RecordingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cancelled(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        self.transcript.record(buf.filled().get(before..).unwrap_or_default());
        // sshd holds back a small packet until the previous one is acknowledged (Nagle). The kernel
        // delays that acknowledgement by 40 ms on an interactive connection. The option does not
        // persist: tcp(7), TCP_QUICKACK. If it cannot be set, the connection is only slower.
        let _ = self.tcp.set_quickack(true);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordingStream {
    /// Writes bytes, and reports a failed write as complete. A peer that rejects the connection
    /// sends its reason and closes it. The first write then fails before the reason is read. The
    /// next read returns the reason, and then the end or the error.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cancelled(cx)?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf));
        self.transcript.record_write();
        Poll::Ready(Ok(written.unwrap_or(buf.len())))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TCP has no buffer in user space.
        Poll::Ready(Ok(()))
    }

    /// Shuts the stream down and never fails. russh reports the end of a session to its handler
    /// only after a successful shutdown. The shutdown of a connection that the peer has reset would
    /// fail.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = ready!(Pin::new(&mut self.tcp).poll_shutdown(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_the_cancellation() {
        let (near, _far) = pair().await;
        let cancel = CancellationToken::new();
        let mut stream = RecordingStream::new(near, Arc::default(), cancel.clone());
        let mut buffer = [0];
        let (read, ()) = tokio::join!(stream.read(&mut buffer), async { cancel.cancel() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert!(stream.write(b"x").await.is_err());
    }

    #[tokio::test]
    async fn the_last_message_is_read_after_a_failed_write() {
        let (near, mut far) = pair().await;
        let mut stream = RecordingStream::new(near, Arc::default(), CancellationToken::new());
        stream.write_all(b"never read by the peer").await.unwrap();
        far.write_all(b"go away\r\n").await.unwrap();
        far.readable().await.unwrap();
        // Closing with unread bytes resets the connection.
        drop(far);
        stream.tcp.writable().await.unwrap();
        for _ in 0..3 {
            stream.write_all(b"hello\r\n").await.unwrap();
        }
        let mut said = [0; 9];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"go away\r\n");
        assert_eq!(stream.transcript.first_line(), "go away");
    }
}
