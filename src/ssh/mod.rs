//! Layer 5. The login check: is the store's SSH server the right one, does it let the store's user in,
//! and is the host behind it this node.
//!
//! Promises: every phase (resolve, connect, handshake, authentication) has a deadline of its own
//! within the caller's; only addresses of this host or of `ssh.allowed_targets` are dialled, and the
//! address that was checked is the one that is dialled; nothing is sent to a server before its host
//! key has been judged; dropping a check closes its connection and ends what russh had started for it;
//! the disconnect after a login delays no caller, and [`Verifier`] tracks the task that sends it.
//! Never: opens more than one channel, or one for anything but to read over SFTP; runs a command, writes a file, remembers anything between checks, shows a
//! secret in a fault, a log line or `Debug`.

mod auth;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod phase;
mod session;
mod verifier;

pub use auth::method::AuthMethod;
pub use host::identity::MarkerLocation;
pub use phase::PhaseDurations;
pub use verifier::{EvidenceWanted, LoginRequest, VerifiedLogin, Verifier};
