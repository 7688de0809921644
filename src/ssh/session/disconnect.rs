//! Sends the disconnects after the logins. Each runs in its own task, so that no caller of a check
//! waits for the server to end the session.
//!
//! # Guarantees
//! - A disconnect ends within [`DISCONNECT_DELAY`] and [`DISCONNECT_TIMEOUT`].
//! - An interrupted disconnect closes its connection.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::handshake::{DISCONNECT_TIMEOUT, SshSession};

/// Time from the end of a login to its disconnect. At the disconnect sshd ends processes. They
/// would take processor time from the commit and the reply that a caller waits for.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`). On two processors a reconnect takes 1.12 times the login without
/// this delay and the `LOGIN_HEAD_START` of an attempt. With both it takes 1.07 to 1.09 times the
/// login.
const DISCONNECT_DELAY: Duration = Duration::from_millis(5);

/// The pending disconnects of one verifier.
#[derive(Debug, Default)]
pub(crate) struct PendingDisconnects {
    tasks: TaskTracker,
}

impl PendingDisconnects {
    /// Sends a disconnect after [`DISCONNECT_DELAY`] and closes the connection.
    pub(crate) fn schedule_disconnect(&self, session: SshSession) {
        self.tasks.spawn(async {
            sleep(DISCONNECT_DELAY).await;
            session.close_session().await;
        });
    }

    /// Waits until every scheduled disconnect has ended, at most for the maximum duration of one.
    ///
    /// # Cancel safety
    /// The disconnects continue without this future.
    pub(crate) async fn finish_all(&self) {
        // A closed tracker still accepts tasks. Closing it only lets `wait` return once no task is
        // left.
        self.tasks.close();
        let _ = timeout(DISCONNECT_DELAY + DISCONNECT_TIMEOUT, self.tasks.wait()).await;
    }
}
