//! Floor 3. Client of the management node: posts events to its callback.
//!
//! Promises: every request ends within its deadline; the reply is read no further than its evidence
//! needs; what is sent is signed with each current secret (Standard Webhooks 1.0).
//! Never: follows a redirect, calls a URL that is not configured, shows a secret.

mod callback;
mod signature;
mod trust;

pub use callback::{CallbackClient, Limits};
pub use signature::{BadSecrets, Signer};
