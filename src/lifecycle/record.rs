//! A store's whole health.

use std::time::Duration;

use super::checks::Checks;
use super::retry::Retry;
use super::schedule::Agenda;
use super::{Attempt, LastAttempt, Standing};
use crate::model::{Proof, Written};

/// A store's whole health: the durable standing and what is known since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The durable part.
    pub standing: Standing,
    /// The running attempt.
    pub running: Option<Attempt>,
    /// The newest attempt that has ended since the daemon started.
    pub last_attempt: Option<LastAttempt>,
    /// Each check by itself.
    pub checks: Checks,
    /// What the newest good login has shown of the host.
    pub proof: Option<Proof>,
    /// Whether the host, too, has shown something where the marker lies.
    pub(super) host_had_it: bool,
    /// Whether a login has shown another disk out there, which the next probe is to decide upon.
    pub(super) suspected: bool,
    /// What the newest write probe met.
    pub(super) written: Option<Written>,
    /// When the figures were last kept in the history, as uptime.
    pub(super) sampled: Option<Duration>,
    pub(super) retry: Retry,
    pub(super) agenda: Agenda,
}

impl Record {
    /// A record around what the ledger holds. Feed it [`Input::Started`](super::Input::Started) first.
    pub fn new(standing: Standing) -> Self {
        Self {
            standing,
            running: None,
            last_attempt: None,
            checks: Checks::default(),
            proof: None,
            host_had_it: false,
            suspected: false,
            written: None,
            sampled: None,
            retry: Retry::default(),
            agenda: Agenda::default(),
        }
    }

    /// Forgets what the server has shown: from now on it may be another one.
    pub fn logs_in_elsewhere(&mut self) {
        (self.host_had_it, self.suspected) = (false, false);
    }

    /// Whether a probe or an attempt has ended since the daemon started.
    pub fn is_verified(&self) -> bool {
        self.checks.examine.last.is_some()
    }
}
