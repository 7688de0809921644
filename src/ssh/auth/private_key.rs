//! Parser for a store's private key. A fault never quotes the text and never gives a position in
//! it.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::{Algorithm, Error, PrivateKey, decode_secret_key, ssh_key};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::common::{BlockingError, run_blocking};
use crate::model::{Fault, Reason, Remedy, Secret};

use super::key_error::{KeyError, MIN_RSA_BITS, unrecognized_text};
use super::key_format::{EncodedKey, KeyFormat, oid_name};
use crate::ssh::deadline::{LoginDeadline, is_wait};
use crate::ssh::encoding::{MAX_RSA_BITS, bit_length};

/// Maximum number of keys that are opened at the same time. An unencrypted key takes less than a
/// millisecond. Encrypted keys keep at most this number of threads busy.
pub(crate) const MAX_CONCURRENT_KEY_OPENINGS: usize = 4;

/// Parses an ed25519, ecdsa or rsa key in the OpenSSH format or in PEM.
///
/// The cost of opening an encrypted key is chosen when it is encrypted, and it is all computation.
/// A limit is checked first. The work runs on the runtime's blocking pool. Work that still runs at
/// the deadline is left to finish there, and it keeps its permit of `permits` until then.
///
/// Returns the key, and the time that the work took without the wait for a permit and a thread.
///
/// # Errors
/// Returns `key_unusable` for an unusable key, and `agent_busy` if no permit or no thread was free
/// by the deadline, or if a wait for them left too little time to open the key.
pub(crate) async fn open_key(
    text: &Secret,
    passphrase: Option<&Secret>,
    permits: &Arc<Semaphore>,
    deadline: LoginDeadline,
) -> Result<(Arc<PrivateKey>, Duration), Fault> {
    let until = deadline.at();
    let Ok(Ok(permit)) = timeout_at(until, Arc::clone(permits).acquire_owned()).await else {
        let details = "too many private keys are being opened";
        return Err(Fault::new(Reason::AgentBusy, details)
            .with_detail("running", MAX_CONCURRENT_KEY_OPENINGS));
    };
    let waited = deadline.waited(Instant::now(), Duration::ZERO);
    let (text, passphrase) = (text.clone(), passphrase.cloned());
    // bcrypt takes a tenth of a second or more, and no other task should wait for it.
    let parsing = run_blocking(until, move || {
        let _permit = permit;
        let start = Instant::now();
        read_key(&text, passphrase.as_ref()).map(|key| (key, start.elapsed()))
    });
    match parsing.await {
        Ok(Ok((key, duration))) => Ok((Arc::new(key), duration)),
        Ok(Err(error)) => Err(error.into_fault()),
        // The key made the parser panic.
        Err(BlockingError::Panicked) => Err(KeyError::Damaged.into_fault()),
        Err(BlockingError::TimedOut) if is_wait(waited) => {
            let details = "the wait for other logins left too little time to open the private key";
            Err(Fault::new(Reason::AgentBusy, details)
                .with_detail("waitedMilliseconds", waited.as_millis()))
        }
        Err(BlockingError::TimedOut) => Err(KeyError::TooSlow.into_fault()),
        Err(error @ BlockingError::NotStarted) => {
            let details = format!("the private key was not opened: {error}");
            Err(Fault::new(Reason::AgentBusy, details).with_remedy(Remedy::CheckServiceLimits))
        }
    }
}

pub(crate) fn read_key(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, KeyError> {
    let text = text.expose_secret();
    let encoded_key = EncodedKey::from_text(text).ok_or_else(|| unrecognized_text(text))?;
    let key = open_encoded_key(&encoded_key, passphrase);
    // Only a key that cannot be read needs an END line.
    key.map_err(|error| match error {
        KeyError::Damaged | KeyError::WrongPassphrase if !encoded_key.has_end => {
            KeyError::Truncated
        }
        error => error,
    })
}

fn open_encoded_key(
    encoded_key: &EncodedKey,
    passphrase: Option<&Secret>,
) -> Result<PrivateKey, KeyError> {
    encoded_key.check_support()?;
    let passphrase = match (&encoded_key.format, passphrase) {
        // With a passphrase russh treats any PKCS#8 key as encrypted.
        (KeyFormat::Plain, _) => None,
        (KeyFormat::Pkcs8 | KeyFormat::Traditional, None) => return Err(KeyError::NoPassphrase),
        (_, passphrase) => passphrase,
    };
    if passphrase.is_some() {
        encoded_key.check_kdf_cost().map_err(KeyError::TooExpensive)?;
    }
    let key = decode_secret_key(&encoded_key.lines, passphrase.map(Secret::expose_secret));
    let key = key.map_err(|error| decode_error(&error, encoded_key))?;
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Ok(key),
        // A key of another size is read, but cannot sign.
        Algorithm::Rsa { .. } if has_supported_size(&key) => Ok(key),
        Algorithm::Rsa { .. } => Err(KeyError::UnsupportedRsa),
        other => Err(KeyError::UnsupportedType(other.to_string())),
    }
}

fn has_supported_size(key: &PrivateKey) -> bool {
    let modulus = key.public_key().key_data().rsa().map(|rsa| rsa.n().as_bytes());
    modulus.and_then(bit_length).is_some_and(|bits| (MIN_RSA_BITS..=MAX_RSA_BITS).contains(&bits))
}

fn decode_error(error: &Error, encoded_key: &EncodedKey) -> KeyError {
    match error {
        Error::KeyIsEncrypted => KeyError::NoPassphrase,
        Error::UnknownAlgorithm(oid) => KeyError::UnsupportedType(oid_name(&oid.to_string())),
        Error::Pkcs8(pkcs8::Error::EncryptedPrivateKey(
            pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid }
            | pkcs8::pkcs5::Error::AlgorithmParametersInvalid { oid },
        )) => KeyError::UnsupportedPkcs8Cipher(oid_name(&oid.to_string())),
        Error::SshKey(ssh_key::Error::AlgorithmUnsupported { algorithm }) => {
            KeyError::UnsupportedType(algorithm.to_string())
        }
        // The numbers of the key are complete, but outside of the limits of the `rsa` crate.
        Error::Rsa(_) => KeyError::UnsupportedRsa,
        Error::Pkcs1(_) if encoded_key.is_unsupported_rsa() => KeyError::UnsupportedRsa,
        // Neither depends on the passphrase.
        Error::Decode(_) | Error::CouldNotReadKey => KeyError::Damaged,
        _ if encoded_key.is_encrypted_and_intact() => KeyError::WrongPassphrase,
        _ => KeyError::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use pkcs8::EncryptedPrivateKeyInfoRef;
    use pkcs8::der::Encode as _;
    use pkcs8::der::asn1::OctetStringRef;
    use pkcs8::pkcs5::pbes2;

    use super::*;

    /// RFC 8410 section 10.3, a published example.
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    fn read(text: &str, passphrase: Option<&str>) -> Result<Algorithm, KeyError> {
        let passphrase = passphrase.map(|text| Secret::new(text.into()));
        super::read_key(&Secret::new(text.into()), passphrase.as_ref()).map(|key| key.algorithm())
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
    fn each_unusable_text_has_its_error() {
        let encrypted = PKCS8.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE");
        let openssh =
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----";
        for (text, passphrase, expected) in [
            ("", None, KeyError::NotAKey),
            ("hunter2", None, KeyError::NotAKey),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", None, KeyError::PublicKey),
            (&PKCS8[..60], None, KeyError::Truncated),
            (openssh, None, KeyError::Damaged),
            (&encrypted, None, KeyError::NoPassphrase),
            // It is not encrypted at all.
            (&encrypted, Some("x"), KeyError::Damaged),
        ] {
            assert_eq!(read(text, passphrase), Err(expected), "{text}");
        }
    }

    /// Returns the text of an RSA key in the OpenSSH format without encryption, with a modulus of
    /// this size. The numbers belong to no key.
    fn openssh_rsa(bits: usize) -> String {
        let string =
            |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let modulus = string(&[&[0][..], &vec![0xff; bits / 8]].concat());
        let exponent = string(&[1, 0, 1]);
        let public = [string(b"ssh-rsa"), exponent.clone(), modulus.clone()].concat();
        let numbers = vec![string(&[3]); 4].concat();
        let mut private =
            [vec![7; 8], string(b"ssh-rsa"), modulus, exponent, numbers, string(b"")].concat();
        let padding = (8 - private.len() % 8) % 8;
        private.extend((1..=padding).map(|n| u8::try_from(n).unwrap()));
        let header = [string(b"none"), string(b"none"), string(b""), vec![0, 0, 0, 1]].concat();
        let key =
            [b"openssh-key-v1\0".to_vec(), header, string(&public), string(&private)].concat();
        let lines = data_encoding::BASE64.encode(&key);
        let lines: Vec<&str> =
            lines.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            lines.join("\n")
        )
    }

    #[test]
    fn an_rsa_key_is_used_up_to_the_limit_of_this_daemon() {
        for (bits, is_used) in
            [(512, false), (1016, false), (1024, true), (8192, true), (8200, false), (16384, false)]
        {
            let outcome = read(&openssh_rsa(bits), None);
            let expected = if is_used {
                Ok(Algorithm::Rsa { hash: None })
            } else {
                Err(KeyError::UnsupportedRsa)
            };
            assert_eq!(outcome, expected, "{bits}");
        }
    }

    fn permits(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    /// Returns the lines of an encrypted PKCS#8 key with the key derivation `kdf`. No passphrase
    /// opens it.
    fn pkcs8(kdf: impl Into<pbes2::Kdf>) -> String {
        let encryption = pbes2::EncryptionScheme::Aes256Cbc { iv: [0; 16] };
        let scheme = pbes2::Parameters { kdf: kdf.into(), encryption };
        let data = OctetStringRef::new(&[0; 48]).unwrap();
        let info = EncryptedPrivateKeyInfoRef {
            encryption_algorithm: scheme.into(),
            encrypted_data: data,
        };
        let der = data_encoding::BASE64.encode(&info.to_der().unwrap());
        format!(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{der}\n-----END ENCRYPTED PRIVATE KEY-----\n"
        )
    }

    #[test]
    fn a_key_with_excessive_kdf_cost_is_rejected() {
        let salt = || pbes2::Salt::new([7; 8]).unwrap();
        let pbkdf2 = |iteration_count| pbes2::Pbkdf2Params {
            salt: salt(),
            iteration_count,
            key_length: None,
            prf: pbes2::Pbkdf2Prf::HmacWithSha256,
        };
        let scrypt = |cost_parameter, block_size| pbes2::ScryptParams {
            salt: salt(),
            cost_parameter,
            block_size,
            parallelization: 1,
            key_length: None,
        };
        let cost = |text: &str| match read(text, Some("x")) {
            Err(KeyError::TooExpensive(cost)) => Some((cost.unit, cost.required)),
            other => {
                assert_eq!(other, Err(KeyError::WrongPassphrase));
                None
            }
        };
        assert_eq!(cost(&pkcs8(pbkdf2(2048))), None);
        assert_eq!(cost(&pkcs8(pbkdf2(u32::MAX))), Some(("rounds", u32::MAX.into())));
        assert_eq!(cost(&pkcs8(scrypt(1 << 14, 8))), None);
        assert_eq!(cost(&pkcs8(scrypt(1 << 40, 8))), Some(("bytes", 1 << 50)));
        // A line that is passed over on the way to the key hides nothing, nor do other clothes.
        let text = pkcs8(pbkdf2(u32::MAX));
        assert!(cost(&text.replacen('\n', "\n: passed over\n", 1)).is_some());
        let plain = text.replace("BEGIN ENCRYPTED", "BEGIN");
        let dressed = plain.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n", 1);
        for text in [&plain, &dressed] {
            assert!(matches!(
                read(text, Some("x")),
                Err(KeyError::Damaged | KeyError::WrongPassphrase)
            ));
        }
    }

    #[tokio::test]
    async fn a_key_that_is_still_being_opened_keeps_its_permit() {
        let permits = permits(1);
        let permit = Arc::clone(&permits).acquire_owned().await.unwrap();
        let text = Secret::new(PKCS8.into());
        let none = LoginDeadline::for_attempt(Duration::ZERO);
        let fault = open_key(&text, None, &permits, none).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::AgentBusy);
        drop(permit);
        let later = LoginDeadline::for_attempt(Duration::from_secs(10));
        assert!(open_key(&text, None, &permits, later).await.is_ok());
    }

    #[tokio::test]
    async fn a_fault_never_quotes_the_key() {
        let text = Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2\n".into());
        let deadline = LoginDeadline::for_attempt(Duration::from_secs(10));
        let fault = open_key(&text, None, &permits(1), deadline).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::KeyUnusable);
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
}
