//! Sends the disconnects after the logins. Each runs in its own task, so that no caller of a check
//! waits for the server to end the session.
//!
//! # Guarantees
//! - A disconnect ends within [`DISCONNECT_DELAY`] and [`DISCONNECT_TIMEOUT`].
//! - An interrupted disconnect closes its connection.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::SshSession;
use russh::Disconnect;

/// Time from the end of a login to its disconnect. At the disconnect sshd ends processes. They
/// would take processor time from the commit and the reply that a caller waits for.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`). On two processors a reconnect takes 1.12 times the login without
/// this delay and the `LOGIN_HEAD_START` of an attempt. With both it takes 1.07 to 1.09 times the
/// login.
const DISCONNECT_DELAY: Duration = Duration::from_millis(5);

/// Maximum duration of a disconnect. It consists of one packet into an empty socket buffer, and the
/// end of the session by the server.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(250);

/// The pending disconnects of one verifier.
#[derive(Debug, Default)]
pub(crate) struct PendingDisconnects {
    tasks: TaskTracker,
}

impl PendingDisconnects {
    /// Sends a disconnect after [`DISCONNECT_DELAY`] and closes the connection.
    pub(crate) fn schedule(&self, session: SshSession) {
        self.tasks.spawn(async {
            sleep(DISCONNECT_DELAY).await;
            session.disconnect().await;
        });
    }

    /// Waits until every scheduled disconnect has ended, at most for the maximum duration of one.
    ///
    /// # Cancel safety
    /// The disconnects continue without this future.
    pub(crate) async fn wait_all(&self) {
        // A closed tracker still accepts tasks. Closing it only lets `wait` return once no task is
        // left.
        self.tasks.close();
        let _ = timeout(DISCONNECT_DELAY + DISCONNECT_TIMEOUT, self.tasks.wait()).await;
    }
}

impl SshSession {
    /// Sends a disconnect and closes the connection. The server then logs the end of a session
    /// instead of a lost connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    async fn disconnect(mut self) {
        if self.closed {
            return;
        }
        let disconnect = async {
            let reason = Disconnect::ByApplication;
            if self.handle.disconnect(reason, "login checked", "en").await.is_ok() {
                let _ = Pin::new(&mut self.handle).await;
            }
        };
        // If the disconnect was not sent in time, the drop that follows closes the connection.
        let _ = timeout(DISCONNECT_TIMEOUT, disconnect).await;
    }
}
