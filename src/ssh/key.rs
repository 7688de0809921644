//! A store's private key, from its text. It never quotes the text, nor says where in it a fault lies.

use std::sync::Arc;

use russh::keys::{Algorithm, Error, PrivateKey, decode_secret_key};
use tokio::time::{Instant, timeout_at};

use crate::model::{Fault, Reason, Secret};

/// Reads an ed25519, ecdsa or rsa key in OpenSSH's form or in PEM.
///
/// Opening an encrypted key takes as long as whoever encrypted it wanted it to, all of it computing: it
/// runs on the runtime's blocking pool, where what is still running at `until` is left to end.
///
/// # Errors
/// `key_unusable`.
pub(super) async fn parse(
    text: &Secret,
    passphrase: Option<&Secret>,
    until: Instant,
) -> Result<Arc<PrivateKey>, Fault> {
    let (text, passphrase) = (text.clone(), passphrase.cloned());
    #[expect(
        clippy::disallowed_methods,
        reason = "bcrypt takes a tenth of a second and more, which no other task shall wait for"
    )]
    let parsing = tokio::task::spawn_blocking(move || read(&text, passphrase.as_ref()));
    match timeout_at(until, parsing).await {
        Ok(Ok(Ok(key))) => Ok(Arc::new(key)),
        Ok(Ok(Err(unusable))) => Err(fault(unusable)),
        // A key that makes the parser panic.
        Ok(Err(_)) => Err(fault(Unusable::Damaged)),
        Err(_) => Err(fault(Unusable::TooSlow)),
    }
}

/// Why a text is of no use as a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("the private key is encrypted and the store has no passphrase for it")]
    NoPassphrase,
    #[error("the passphrase does not open the private key, or its encryption is not supported")]
    WrongPassphrase,
    #[error("the text is not a private key in OpenSSH or PEM form")]
    NotAKey,
    #[error("the private key is damaged, or of a kind that is not supported")]
    Damaged,
    #[error("the private key's encryption took too long to open")]
    TooSlow,
}

fn fault(unusable: Unusable) -> Fault {
    let fault = Fault::new(Reason::KeyUnusable, unusable.to_string());
    match unusable {
        Unusable::TooSlow => {
            fault.remedied("encrypt the key with fewer rounds: ssh-keygen -p -a 16")
        }
        _ => fault,
    }
}

fn read(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, Unusable> {
    let text = text.expose().trim();
    let armour = Armour::of(text);
    let passphrase = match (armour, passphrase) {
        // With a passphrase russh takes any PKCS#8 key for an encrypted one.
        (Armour::Plain, _) => None,
        (Armour::Encrypted, None) => return Err(Unusable::NoPassphrase),
        (_, passphrase) => passphrase,
    };
    let key = decode_secret_key(text, passphrase.map(Secret::expose));
    let key = key.map_err(|error| unusable(&error, passphrase.is_some()))?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        _ => Err(Unusable::Damaged),
    }
}

fn unusable(error: &Error, opened: bool) -> Unusable {
    match error {
        Error::KeyIsEncrypted => Unusable::NoPassphrase,
        Error::CouldNotReadKey => Unusable::NotAKey,
        _ if opened => Unusable::WrongPassphrase,
        _ => Unusable::Damaged,
    }
}

/// What the lines around a key say of its encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Armour {
    /// Nothing: the key's own form tells (OpenSSH).
    Untold,
    /// Encrypted (PKCS#8, and RFC 1421 as OpenSSL writes it).
    Encrypted,
    /// Not encrypted.
    Plain,
}

impl Armour {
    fn of(text: &str) -> Self {
        let mut lines = text.lines();
        if lines.clone().any(|line| line.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")) {
            return Self::Untold;
        }
        let encrypted = |line: &str| {
            line.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----")
                || line.starts_with("Proc-Type: 4,ENCRYPTED")
        };
        if lines.any(encrypted) { Self::Encrypted } else { Self::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 section 10.3, a published example.
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    fn read(text: &str, passphrase: Option<&str>) -> Result<Algorithm, Unusable> {
        let passphrase = passphrase.map(|text| Secret::new(text.into()));
        super::read(&Secret::new(text.into()), passphrase.as_ref()).map(|key| key.algorithm())
    }

    #[test]
    fn a_plain_key_is_read_with_or_without_a_passphrase() {
        assert_eq!(read(PKCS8, None), Ok(Algorithm::Ed25519));
        assert_eq!(read(PKCS8, Some("superfluous")), Ok(Algorithm::Ed25519));
        assert_eq!(
            read(&format!("\r\n{}\r\n", PKCS8.replace('\n', "\r\n")), None),
            Ok(Algorithm::Ed25519)
        );
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let encrypted = PKCS8.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        let openssh =
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
        for (text, passphrase, expected) in [
            ("", None, Unusable::NotAKey),
            ("hunter2", None, Unusable::NotAKey),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", None, Unusable::NotAKey),
            (&PKCS8[..60], None, Unusable::Damaged),
            (openssh, None, Unusable::Damaged),
            (&encrypted, None, Unusable::NoPassphrase),
            (&encrypted, Some("x"), Unusable::WrongPassphrase),
        ] {
            assert_eq!(read(text, passphrase), Err(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn a_fault_never_quotes_the_key() {
        let text = Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2\n".into());
        let deadline = Instant::now() + std::time::Duration::from_secs(10);
        let fault = parse(&text, None, deadline).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::KeyUnusable);
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
}
