//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::caller::Peer;
use super::front::Front;
use super::timely::Timely;

/// Whether there is room for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Served,
    TurnedAway,
}

/// Serves requests until either side has had enough. Once `stop` is cancelled the request in flight
/// is the last.
pub(super) async fn serve<I>(
    io: I,
    peer: Peer,
    welcome: Welcome,
    front: Arc<Front>,
    stop: CancellationToken,
) where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let limits = front.limits;
    let shown = peer.to_string();
    let service = service_fn(move |request| {
        let (front, peer) = (Arc::clone(&front), peer.clone());
        async move {
            let answer = match welcome {
                Welcome::Served => front.answer(&peer, request).await,
                Welcome::TurnedAway => front.turn_away(&peer, request).await,
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Also bounds the wait for the next request: hyper starts it with the end of an answer.
        .header_read_timeout(limits.head_deadline)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Timely::new(io, limits.write_deadline)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(peer = shown, error = %error, "connection broke off");
    }
}
