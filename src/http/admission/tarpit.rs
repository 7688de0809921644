//! The tarpit: sockets of connections that were closed for newer ones. They are no longer served,
//! and are closed with a delay.
//!
//! A client that opens a connection as soon as one is closed gets as many new connections as the
//! daemon closes. Thousands of such clients would use all of its processor time and fill the queue
//! of connections that wait to be accepted. A socket in the tarpit costs a descriptor and no work.
//!
//! # Guarantees
//!
//! - Sockets are closed in their order, at most [`CLOSES_PER_TICK`] in each [`TICK`].
//! - A socket that does not fit closes the oldest one at once, and a lack of descriptors closes all
//!   of them.

use std::collections::VecDeque;
use std::io;
use std::net;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::common::lock_unpoisoned;

/// Maximum number of sockets. Each has about 4 KiB in the kernel.
const MAX_SOCKETS: u64 = 8192;
/// Number of descriptors that are left for everything else: all connections, and as many again.
const RESERVED_DESCRIPTORS: u64 = 2560;
/// Interval of closing.
const TICK: Duration = Duration::from_millis(20);
/// Maximum number of sockets that are closed in each tick, 500 a second. As many handshakes are a
/// small part of one processor.
const CLOSES_PER_TICK: usize = 10;

/// The sockets that wait to be closed. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tarpit(Arc<TarpitQueue>);

#[derive(Debug)]
struct TarpitQueue {
    sockets: Mutex<VecDeque<net::TcpStream>>,
    capacity: usize,
    /// Signals that the queue is no longer empty.
    filled: Notify,
}

impl Tarpit {
    /// Creates a tarpit for the descriptors that the process may open. With few of them it holds
    /// nothing, and sockets are closed at once.
    pub(crate) fn for_process() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
        let capacity = limit.saturating_sub(RESERVED_DESCRIPTORS).min(MAX_SOCKETS);
        Self::with_capacity(usize::try_from(capacity).unwrap_or_default())
    }

    fn with_capacity(capacity: usize) -> Self {
        let sockets = Mutex::default();
        Self(Arc::new(TarpitQueue { sockets, capacity, filled: Notify::new() }))
    }

    /// Closes every socket at once, because their descriptors are needed.
    pub(crate) fn close_all(&self) {
        let sockets = std::mem::take(&mut *lock_unpoisoned(&self.0.sockets));
        drop(sockets);
    }

    /// Closes the sockets at their pace until `stop` is cancelled, and then all of them.
    pub(crate) async fn run_closer(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let next = async {
                if lock_unpoisoned(&self.0.sockets).is_empty() {
                    self.0.filled.notified().await;
                }
                sleep(TICK).await;
            };
            tokio::select! {
                () = next => self.close_some(),
                () = stop.cancelled() => {}
            }
        }
        self.close_all();
    }

    fn close_some(&self) {
        let mut sockets = lock_unpoisoned(&self.0.sockets);
        let count = sockets.len().min(CLOSES_PER_TICK);
        let closed: Vec<_> = sockets.drain(..count).collect();
        // Closing needs no lock.
        drop(sockets);
        drop(closed);
    }

    fn push(&self, socket: net::TcpStream) {
        let mut sockets = lock_unpoisoned(&self.0.sockets);
        sockets.push_back(socket);
        let oldest = (sockets.len() > self.0.capacity).then(|| sockets.pop_front());
        drop(sockets);
        drop(oldest);
        self.0.filled.notify_one();
    }
}

/// The mark of a connection that is closed for a newer one.
#[derive(Clone, Debug, Default)]
pub(crate) struct EvictionMark(Arc<AtomicBool>);

impl EvictionMark {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A stream that goes to the tarpit when it is dropped, if its connection has the mark.
#[derive(Debug)]
pub(crate) struct EvictableStream {
    /// `None` only while it is dropped.
    tcp: Option<TcpStream>,
    mark: EvictionMark,
    tarpit: Tarpit,
}

impl EvictableStream {
    pub(crate) fn new(tcp: TcpStream, mark: EvictionMark, tarpit: Tarpit) -> Self {
        Self { tcp: Some(tcp), mark, tarpit }
    }

    /// Returns the socket.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        self.tcp.as_ref()
    }

    fn poll_with<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.tcp {
            Some(tcp) => poll(Pin::new(tcp)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for EvictableStream {
    fn drop(&mut self) {
        if self.mark.is_set()
            && let Some(tcp) = self.tcp.take()
            && let Ok(socket) = tcp.into_std()
        {
            self.tarpit.push(socket);
        }
    }
}

impl AsyncRead for EvictableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_with(|tcp| tcp.poll_read(cx, buf))
    }
}

impl AsyncWrite for EvictableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(|tcp| tcp.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(|tcp| tcp.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(|tcp| tcp.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with(|tcp| tcp.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream as StdStream};

    use super::*;

    /// Returns the accepted side of a connection, and its client.
    fn connection() -> (StdStream, StdStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (listener.accept().unwrap().0, client)
    }

    fn is_open(client: &StdStream) -> bool {
        client.set_nonblocking(true).unwrap();
        let read = (&*client).read(&mut [0]);
        client.set_nonblocking(false).unwrap();
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    #[test]
    fn a_full_tarpit_closes_its_oldest_socket_and_a_shortage_all_of_them() {
        let tarpit = Tarpit::with_capacity(2);
        let mut clients = Vec::new();
        for _ in 0..3 {
            let (socket, client) = connection();
            tarpit.push(socket);
            clients.push(client);
        }
        assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
        assert!(is_open(&clients[1]) && is_open(&clients[2]));
        tarpit.close_all();
        assert_eq!(clients[2].read(&mut [0]).unwrap(), 0);
        let (socket, mut client) = connection();
        Tarpit::with_capacity(0).push(socket);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn each_tick_closes_the_oldest_sockets() {
        let tarpit = Tarpit::with_capacity(100);
        let mut clients = Vec::new();
        for _ in 0..12 {
            let (socket, client) = connection();
            tarpit.push(socket);
            clients.push(client);
        }
        tarpit.close_some();
        assert!(clients[..10].iter_mut().all(|client| client.read(&mut [0]).unwrap() == 0));
        assert!(clients[10..].iter().all(is_open));
        tarpit.close_some();
        assert_eq!(clients[11].read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn only_a_stream_with_the_mark_goes_to_the_tarpit() {
        for is_evicted in [false, true] {
            let (socket, mut client) = connection();
            socket.set_nonblocking(true).unwrap();
            let (mark, tarpit) = (EvictionMark::default(), Tarpit::with_capacity(9));
            let tcp = TcpStream::from_std(socket).unwrap();
            let stream = EvictableStream::new(tcp, mark.clone(), tarpit.clone());
            if is_evicted {
                mark.set();
            }
            drop(stream);
            assert_eq!(is_open(&client), is_evicted);
            let stop = CancellationToken::new();
            stop.cancel();
            tarpit.run_closer(&stop).await;
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        }
    }
}
