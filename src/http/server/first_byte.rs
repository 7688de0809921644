//! Waits for the first byte of a connection, also while the daemon stops.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Time that a client that has just connected has to send its first byte once `stop` is cancelled.
/// Its request may be on the way and would be lost with the connection.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Returns true if the client sends a byte within `limit`, and at most [`SHUTDOWN_GRACE`] after
/// `stop` is cancelled. Until then the connection has no buffers and uses almost no memory.
pub(super) async fn wait_for_first_byte(
    tcp: &TcpStream,
    limit: Duration,
    stop: &CancellationToken,
) -> bool {
    // `readable` may report a new socket as ready before it has data.
    let mut first = [0];
    tokio::select! {
        biased;
        begun = timeout(limit, tcp.peek(&mut first)) => matches!(begun, Ok(Ok(1))),
        () = shutdown_grace_elapsed(stop) => false,
    }
}

/// Waits until [`SHUTDOWN_GRACE`] has passed since `stop` was cancelled. Data that was on the way
/// at that time has arrived by then.
pub(crate) async fn shutdown_grace_elapsed(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(SHUTDOWN_GRACE).await;
}
