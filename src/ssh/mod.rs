//! Layer 5. The login check: verifies the store's SSH server, logs in as the store's user, and
//! checks that the host behind the server is this node.
//!
//! # Guarantees
//! - Every phase (resolve, connect, handshake, authentication) has its own deadline within the
//!   caller's deadline.
//! - Waiting for a permit is not the server's time: a timeout of a phase whose time a wait
//!   shortened is `agent_busy`.
//! - Only addresses of this host or of `ssh.allowed_targets` are dialled, and the address that was
//!   checked is the one that is dialled.
//! - No user name and no credential is sent to a server before its host key has been accepted.
//! - Dropping a check closes its connection and ends the task that russh started for it.
//! - The disconnect after a login delays no caller, and [`Verifier`] tracks the task that sends it.
//!
//! # Never
//! - It never opens more than one channel, and uses that channel only to read over SFTP.
//! - It never runs a command, writes a file, or remembers anything of the server between checks.
//! - It never shows a secret in a fault, a log line or `Debug`.

mod auth;
mod deadline;
mod encoding;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod host;
mod limit;
mod mask;
mod phase;
mod prepared;
mod session;
mod verifier;

pub use auth::method::AuthMethod;
pub use deadline::LoginDeadline;
pub use host::MarkerLocation;
pub use limit::{LoginClass, ServerPermit};
pub use phase::PhaseDurations;
pub use prepared::{LoginServer, PreparedLogin, ResolvedLogin};
#[cfg(test)]
pub(crate) use session::host_key::HostKeyCheck;
pub use verifier::{EvidenceScope, LoginRequest, VerifiedLogin, Verifier};

/// The library of the SSH protocol, with its version.
pub const SSH_LIBRARY: &str = "russh 0.65.1";

#[cfg(test)]
mod tests {
    use super::SSH_LIBRARY;

    #[test]
    fn the_library_is_named_with_the_version_of_the_build() {
        let (name, version) = SSH_LIBRARY.split_once(' ').unwrap();
        let package = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        assert!(include_str!("../../Cargo.lock").contains(&package), "{package}");
    }
}
