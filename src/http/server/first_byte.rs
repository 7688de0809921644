//! The first byte of a connection, also when the daemon is about to stop.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long a client that has just connected may begin to speak once `stop` is cancelled: its request is
/// on the way, and would be lost to it with the connection.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Whether the client says anything, within `limit` and hardly later than `stop`. Until it does, a
/// connection has no buffers and costs next to nothing.
pub(super) async fn wait_for_first_byte(
    tcp: &TcpStream,
    limit: Duration,
    stop: &CancellationToken,
) -> bool {
    // `readable` may say so of a new socket unseen.
    let mut first = [0];
    tokio::select! {
        biased;
        begun = timeout(limit, tcp.peek(&mut first)) => matches!(begun, Ok(Ok(1))),
        () = shutdown_grace_elapsed(stop) => false,
    }
}

/// Ends when what was on the way at `stop` must have come.
pub(crate) async fn shutdown_grace_elapsed(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(SHUTDOWN_GRACE).await;
}
