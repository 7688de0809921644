//! Public host keys, as they are pinned and displayed.

use std::fmt;

/// A server's public host key.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKey {
    /// The key's type as in `authorized_keys(5)`, such as `ssh-ed25519`.
    pub algorithm: String,
    /// The key blob in base64: the second field of an OpenSSH public key line.
    pub blob: String,
    /// `SHA256:` and the unpadded base64 of the blob's SHA-256, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostKey({} {})", self.algorithm, self.fingerprint)
    }
}
