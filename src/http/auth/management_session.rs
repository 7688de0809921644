//! Callers with a session of the management node, which is asked whether the session is valid.
//!
//! # Guarantees
//! - A source that has sent too many unknown sessions causes no further question, and a session
//!   that is in use is accepted all the same.
//! - A question never causes another question, even if the URL leads back to a daemon.

use std::sync::Mutex;

use axum::http::HeaderMap;

use super::rate_limit::{RequestSource, SourceCounter};
use super::{CallerKind, Principal, Role};
use crate::http::error::ApiError;
use crate::management::{CandidateSession, SessionAnswer, SessionChecker, SessionKnowledge};
use crate::wire::headers::SESSION_QUESTION;

/// The check of sessions of the management node.
pub struct SessionCheck {
    /// Asks the management node, and remembers the answers.
    pub checker: SessionChecker,
    /// The role of a caller with a valid session.
    pub role: Role,
}

impl SessionCheck {
    /// Checks that the request is no question of this daemon.
    ///
    /// # Errors
    /// [`ApiError::OwnQuestion`].
    pub(super) fn reject_own_question(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let number = headers.get(SESSION_QUESTION);
        if number.is_some_and(|number| self.checker.is_own_question(number)) {
            return Err(ApiError::OwnQuestion);
        }
        Ok(())
    }

    /// Returns the session if the daemon may ask about it: it has the form of one, and the request
    /// is no question of a daemon.
    pub(super) fn candidate<'a>(
        &self,
        session: &'a str,
        headers: &HeaderMap,
    ) -> Option<CandidateSession<'a>> {
        let is_question = headers.contains_key(SESSION_QUESTION);
        CandidateSession::parse(session).filter(|_| !is_question)
    }

    /// Returns the caller with this session. An unknown session counts in `auth_failures`, unless
    /// it turns out to be valid.
    ///
    /// # Errors
    /// [`ApiError::UnknownSession`], [`ApiError::TooManyAuthFailures`] or
    /// [`ApiError::SessionUnchecked`].
    ///
    /// # Cancel safety
    /// Cancel safe. The session stays counted.
    pub(super) async fn authenticate(
        &self,
        session: CandidateSession<'_>,
        source: RequestSource,
        auth_failures: &Mutex<SourceCounter>,
    ) -> Result<Principal, ApiError> {
        let knowledge = self.checker.find_answer(&session);
        // The callers that wait for one question count only if its answer is a refusal. A session
        // that was in use does not count before that either, so that a flood from its source does
        // not lock it out.
        let is_counted = match knowledge {
            SessionKnowledge::Valid => return Ok(self.caller(&session)),
            SessionKnowledge::Refused | SessionKnowledge::Unknown => true,
            SessionKnowledge::Outdated | SessionKnowledge::Asked => false,
        };
        let refusal = is_counted.then(|| source.record_unknown_session(auth_failures));
        match refusal {
            Some(error @ ApiError::TooManyAuthFailures { .. }) => return Err(error),
            Some(error) if knowledge == SessionKnowledge::Refused => return Err(error),
            _ => {}
        }
        let answer = self.checker.ask(&session, source.network()).await;
        if is_counted && !matches!(answer, SessionAnswer::Refused) {
            source.forget_event(auth_failures);
        }
        match answer {
            SessionAnswer::Valid => Ok(self.caller(&session)),
            SessionAnswer::Unanswered(fault) => Err(ApiError::SessionUnchecked(fault)),
            SessionAnswer::Refused => {
                let count = || source.record_unknown_session(auth_failures);
                Err(if is_counted { ApiError::UnknownSession } else { count() })
            }
        }
    }

    fn caller(&self, session: &CandidateSession<'_>) -> Principal {
        Principal::new(CallerKind::ManagementSession, &session.name(), self.role)
    }
}
