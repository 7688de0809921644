//! The signals that stop the program.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Installs handlers for SIGTERM and SIGINT that only cancel `stop`. Needs a runtime. Dropping the
/// returned tasks ends the cancellation, but the handlers stay installed.
///
/// # Errors
/// Returns the error of the system if it does not install a handler.
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
