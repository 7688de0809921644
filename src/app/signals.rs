//! What tells the program to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// From here on SIGTERM and SIGINT cancel `stop` and do nothing else; needs a runtime. Dropping the
/// tasks ends the listening, not the handling.
///
/// # Errors
/// The system does not let us listen.
pub fn stop_at_signals(stop: &CancellationToken) -> io::Result<JoinSet<()>> {
    let mut listening = JoinSet::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, stop) = (signal(kind)?, stop.clone());
        listening.spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(listening)
}
