//! The logins that one server did not answer last time. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::{Fault, Reason};

/// Maximum number of users of one server whose unanswered login is remembered. The oldest is
/// forgotten first, and its next login may hold a permit of its own.
const MAX_UNANSWERED_USERS: usize = 64;

/// The end of a login, as far as it tells about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginEnd {
    /// The server accepted or rejected the login, or the connection to it.
    Answered,
    /// The server did not answer before the authentication.
    ServerSilent,
    /// The server did not answer the authentication of this user.
    UserSilent,
    /// Nothing is known: the login was aborted, or failed on this side.
    Unknown,
}

impl LoginEnd {
    /// Returns the end of a login that failed with this fault.
    pub(crate) fn of_fault(fault: &Fault) -> Self {
        match fault.reason() {
            Reason::ConnectTimeout | Reason::BannerTimeout | Reason::HandshakeTimeout => {
                Self::ServerSilent
            }
            Reason::AuthTimeout => Self::UserSilent,
            Reason::AgentBusy => Self::Unknown,
            _ => Self::Answered,
        }
    }
}

/// The last logins on one server that had no answer.
#[derive(Debug, Default)]
pub(super) struct ServerSilence {
    /// True if the server did not answer the last login before the authentication.
    before_authentication: bool,
    /// The users whose last authentication had no answer, the oldest first.
    users: VecDeque<Arc<str>>,
}

impl ServerSilence {
    /// Records the end of a login of this user.
    pub(super) fn record_end(&mut self, username: Arc<str>, end: LoginEnd) {
        match end {
            LoginEnd::Unknown => return,
            LoginEnd::ServerSilent => {
                self.before_authentication = true;
                return;
            }
            LoginEnd::Answered | LoginEnd::UserSilent => self.before_authentication = false,
        }
        self.users.retain(|silent| *silent != username);
        if end == LoginEnd::UserSilent {
            if self.users.len() >= MAX_UNANSWERED_USERS {
                self.users.pop_front();
            }
            self.users.push_back(username);
        }
    }

    /// Returns true if the server did not answer the last login before the authentication.
    pub(super) fn is_of_server(&self) -> bool {
        self.before_authentication
    }

    /// Returns true if the last authentication of this user had no answer.
    pub(super) fn is_of_user(&self, username: &str) -> bool {
        self.users.iter().any(|silent| **silent == *username)
    }

    /// Returns the users whose last authentication had no answer.
    pub(super) fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.users.iter()
    }

    /// Returns true if the server answered all logins that are remembered.
    pub(super) fn is_none(&self) -> bool {
        !self.before_authentication && self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_remembered_users_is_bounded() {
        let mut silence = ServerSilence::default();
        for number in 0..1000 {
            silence.record_end(number.to_string().into(), LoginEnd::UserSilent);
        }
        assert_eq!(silence.users().count(), MAX_UNANSWERED_USERS);
        assert!(silence.is_of_user("999") && !silence.is_of_user("0"));
    }

    #[test]
    fn an_answer_ends_the_silence_of_its_user_and_of_the_server() {
        let mut silence = ServerSilence::default();
        silence.record_end("a".into(), LoginEnd::UserSilent);
        silence.record_end("b".into(), LoginEnd::UserSilent);
        silence.record_end("c".into(), LoginEnd::ServerSilent);
        silence.record_end("c".into(), LoginEnd::Unknown);
        assert!(silence.is_of_server() && !silence.is_of_user("c"));
        silence.record_end("a".into(), LoginEnd::Answered);
        assert!(!silence.is_of_server() && !silence.is_of_user("a") && silence.is_of_user("b"));
        silence.record_end("b".into(), LoginEnd::Answered);
        assert!(silence.is_none());
    }
}
