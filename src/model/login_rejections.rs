//! The rejected logins that a restart must not forget: those of a store, and trial logins with
//! credentials that are not stored.

use super::{Fault, Reason};
use crate::common::Timestamp;

/// Maximum number of trial logins whose rejections are remembered, in memory and in the ledger. The
/// oldest are forgotten first. An operator is unlikely to mistype 256 passwords within the window
/// of 15 minutes.
pub const MAX_TRIAL_LOGINS: u16 = 256;

/// The recent logins that the server of a store has rejected, with the present login of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRejections {
    /// The time of each rejection, oldest first.
    pub rejected_at: Vec<Timestamp>,
    /// The last rejection. It contains no secret.
    pub last: Fault,
}

/// Keyed digest of a trial login: of its server, its user and its secrets. Without the key it
/// reveals none of them, and says nothing about a guess of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoginDigest(pub [u8; 32]);

/// The recent trial logins with one digest that the server has rejected. They contain no text of
/// the server, which may repeat the name of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRejections {
    /// The time of each rejection, oldest first.
    pub rejected_at: Vec<Timestamp>,
    /// The reason of the last rejection.
    pub reason: Reason,
}
