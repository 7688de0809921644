//! The end of a visit: what was to be found out is known, and the server is still to be told.

use std::fmt;

use super::handshake::Session;

/// A goodbye that is owed. Waiting for it takes as long as the server takes to end the session, a few
/// milliseconds and at most 250, which nobody who waits for the outcome of the login needs to spend.
/// Dropping it ends the connection without a word.
#[must_use = "a server that is left without a word logs a lost connection"]
pub struct Goodbye(Option<Session>);

impl Goodbye {
    /// To a server that has heard nothing from us, or too little to miss us.
    pub(crate) const fn to_nobody() -> Self {
        Self(None)
    }

    /// To the server at the other end.
    pub(super) const fn to(session: Session) -> Self {
        Self(Some(session))
    }

    /// Whether there is somebody to say it to.
    pub(crate) const fn is_owed(&self) -> bool {
        self.0.is_some()
    }

    /// Says it, and closes the connection.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection at once.
    pub async fn say(self) {
        if let Some(session) = self.0 {
            session.close().await;
        }
    }
}

impl fmt::Debug for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_owed() { "Goodbye(owed)" } else { "Goodbye(to nobody)" })
    }
}
