//! The servers that the stored secrets of a store may be sent to. Pure functions.
//!
//! # Guarantees
//! - A stored secret is sent only to a server that shows the pinned key. Without a pinned key, and
//!   under the policy `accept-any`, it is sent only to the hostname and port that it was given for.

use crate::agent::faults;
use crate::model::{Fault, Store};
use crate::settings::HostKeyPolicy;

/// Checks that a login with the stored secrets of this definition may be made. The login expects
/// the pinned key, unless the policy accepts any key.
///
/// # Errors
/// `credentials_out_of_scope` if the secrets were given for another server, and no key identifies
/// the present one.
pub(crate) fn check_secret_scope(store: &Store, policy: HostKeyPolicy) -> Result<(), Fault> {
    if expects_pinned_key(store, policy) || store.address == store.credentials_address {
        return Ok(());
    }
    Err(faults::credentials_out_of_scope(store))
}

/// Returns true if a login of this definition succeeds only with the pinned key.
fn expects_pinned_key(store: &Store, policy: HostKeyPolicy) -> bool {
    policy != HostKeyPolicy::AcceptAny && store.pinned_key.is_some()
}
