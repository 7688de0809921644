//! Terms of an SSH login: the address of the server, its host key, and the credentials.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};

/// An error for a text that is neither an IP address nor an RFC 1123 host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither an IP address nor a host name of at most 255 characters (RFC 1123)")]
pub struct InvalidHostname;

/// An IPv4 or IPv6 address, or an RFC 1123 host name of at most 255 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// Returns the text as it was given, but an IPv6 address without brackets.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hostname {
    type Err = InvalidHostname;

    fn from_str(text: &str) -> Result<Self, InvalidHostname> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Some(v6) = bare {
            return match v6.parse::<std::net::Ipv6Addr>() {
                Ok(_) => Ok(Self(v6.to_owned())),
                Err(_) => Err(InvalidHostname),
            };
        }
        if text.parse::<IpAddr>().is_ok() || is_rfc1123(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidHostname)
    }
}

fn is_rfc1123(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    // A name of only digits and dots is a mistyped address, never a host.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !numeric && name.len() <= 255 && name.split('.').all(label)
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host and the port that its SSH server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAddress {
    /// The host.
    pub hostname: Hostname,
    /// The port, 1 to 65535. The default is 22.
    pub port: NonZeroU16,
}

impl fmt::Display for SshAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hostname.as_str().contains(':') {
            write!(f, "[{}]:{}", self.hostname, self.port)
        } else {
            write!(f, "{}:{}", self.hostname, self.port)
        }
    }
}

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

/// A password, key or passphrase. It is zeroed on drop, redacted in `Debug`, and has no `Display`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a text. The caller must clear its own copies.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// Returns the text, for code that passes it to a peer or a cipher.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_taken_and_nonsense_is_not() {
        for good in ["10.0.0.1", "::1", "[fe80::1]", "node-1", "a.b.example.", "3com.example"] {
            assert!(good.parse::<Hostname>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", " ", "10.0.0.256", "1.2.3", "-a", "a-", "a..b", "a_b", "h\n", "[::1", &long]
        {
            assert_eq!(bad.parse::<Hostname>(), Err(InvalidHostname), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_address_is_bracketed_before_its_port() {
        let port = NonZeroU16::new(22).unwrap();
        let hostname: Hostname = "[::1]".parse().unwrap();
        assert_eq!(SshAddress { hostname, port }.to_string(), "[::1]:22");
    }

    #[test]
    fn debug_never_shows_the_text() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(***)");
    }
}
