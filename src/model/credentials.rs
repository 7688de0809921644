//! Credentials of an SSH login.

use super::Secret;

/// Credentials of an SSH login. At least one of password and private key is set.
#[derive(Clone, Debug)]
pub struct SshCredentials {
    /// The account's password.
    pub password: Option<Secret>,
    /// A private key as text (OpenSSH or PEM).
    pub private_key: Option<Secret>,
    /// The passphrase of `private_key`.
    pub passphrase: Option<Secret>,
}

impl SshCredentials {
    /// Creates credentials from a password.
    pub fn password(password: Secret) -> Self {
        Self { password: Some(password), private_key: None, passphrase: None }
    }

    /// Returns true if there is neither a password nor a key.
    pub fn is_empty(&self) -> bool {
        self.password.is_none() && self.private_key.is_none()
    }
}
