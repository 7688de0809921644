//! Serves one connection: waits for its first byte, and then serves its requests up to the last
//! response.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderValue, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::write_timeout::WriteTimeoutStream;
use crate::http::admission::ConnectionPermit;
use crate::http::api::events::body::EventStreamMark;
use crate::http::auth::PeerAddress;
use crate::http::middleware::ApiService;

const CONNECTION_CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Time that a client that has just connected has to send its first byte once `stop` is cancelled.
/// Its request may be on the way and would be lost with the connection.
pub(super) const SHUTDOWN_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// Maximum time to send the end of a stream of events once `stop` is cancelled.
const STREAM_END_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves requests until the client or the server closes the connection. Once `stop` is cancelled,
/// the request in flight is the last one. While too many connections are open, every request is the
/// last one of its connection.
pub(super) async fn serve_connection<I>(
    io: I,
    peer: PeerAddress,
    permit: ConnectionPermit,
    service: Arc<ApiService>,
    stop: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let limits = service.limits;
    let (permit, peer, service) = (&permit, &peer, service.as_ref());
    let first_request = &Notify::new();
    let is_stream = &AtomicBool::new(false);
    let handler = service_fn(|request| async move {
        first_request.notify_one();
        permit.record_request();
        let mut response = service.handle_request(peer, permit, request).await;
        if response.extensions().get::<EventStreamMark>().is_some() {
            permit.record_stream();
            is_stream.store(true, Ordering::Relaxed);
            response.headers_mut().insert(header::CONNECTION, CONNECTION_CLOSE);
        } else if permit.should_close_after_response() {
            response.headers_mut().insert(header::CONNECTION, CONNECTION_CLOSE);
        }
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // This also bounds the wait for the next request, because hyper starts the timer after a
        // response.
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.max_head_bytes)
        .serve_connection(TokioIo::new(WriteTimeoutStream::new(io, limits.write_timeout)), handler);
    let mut connection = pin!(connection);
    let shutdown = async {
        stop.cancelled().await;
        // hyper immediately closes a connection whose first request it has not read yet.
        let _ = timeout(SHUTDOWN_GRACE_PERIOD, first_request.notified()).await;
    };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shutdown => {
            connection.as_mut().graceful_shutdown();
            if is_stream.load(Ordering::Relaxed) {
                // Its body has ended. A client that does not read it must not delay the stop.
                timeout(STREAM_END_TIMEOUT, connection).await.unwrap_or(Ok(()))
            } else {
                connection.await
            }
        }
    };
    if let Err(error) = result {
        debug!(%peer, error = %error, "connection failed");
    }
}

/// Returns true if the client sends a byte within `limit`, and at most [`SHUTDOWN_GRACE_PERIOD`]
/// after `stop` is cancelled. Until then the connection has no buffers and uses almost no memory.
pub(super) async fn wait_for_first_byte(
    tcp: &TcpStream,
    limit: Duration,
    stop: &CancellationToken,
) -> bool {
    // `readable` may report a new socket as ready before it has data.
    let mut buffer = [0];
    tokio::select! {
        biased;
        peeked = timeout(limit, tcp.peek(&mut buffer)) => matches!(peeked, Ok(Ok(1))),
        () = shutdown_grace_elapsed(stop) => false,
    }
}

/// Waits until [`SHUTDOWN_GRACE_PERIOD`] has passed since `stop` was cancelled. Data that was on
/// the way at that time has arrived by then.
pub(crate) async fn shutdown_grace_elapsed(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(SHUTDOWN_GRACE_PERIOD).await;
}
