//! The rejected logins of a store that a restart must not forget.

use super::Fault;
use crate::common::Timestamp;

/// The recent logins that the server of a store has rejected, with the present login of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginRejections {
    /// The time of each rejection, oldest first.
    pub rejected_at: Vec<Timestamp>,
    /// The last rejection. It contains no secret.
    pub last: Fault,
}
