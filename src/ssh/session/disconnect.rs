//! Sends the disconnects that follow the logins, each in a task of its own, so that no caller of a check
//! waits for the server to end the session.
//!
//! Guarantees: a disconnect ends within [`DISCONNECT_DELAY`] and [`DISCONNECT_TIMEOUT`], and one that is
//! interrupted closes its connection.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::handshake::{DISCONNECT_TIMEOUT, SshSession};

/// Time from the end of a login to its disconnect. At the disconnect sshd ends processes, which would
/// take the processor from the commit and the reply that a caller waits for.
///
/// `make bench` shows it as "reconnect over HTTP (password) beside a bare russh login"
/// (`benches/agent/login.rs`): on two processors, 1.12 times the login without this delay and the
/// `LOGIN_HEAD_START` of an attempt, 1.07 to 1.09 times with both.
const DISCONNECT_DELAY: Duration = Duration::from_millis(5);

/// The disconnects of one verifier that are not sent yet.
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

    /// Waits until every scheduled disconnect has ended, at most for the longest that one may take.
    ///
    /// # Cancel safety
    /// The disconnects go on without this future.
    pub(crate) async fn finish_all(&self) {
        // A closed tracker still takes tasks: it only lets `wait` return when there are none.
        self.tasks.close();
        let _ = timeout(DISCONNECT_DELAY + DISCONNECT_TIMEOUT, self.tasks.wait()).await;
    }
}
