//! Signatures of Standard Webhooks 1.0
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
//! Each is an HMAC-SHA256 over `id.timestamp.body` in base64. An event has one for each current
//! secret.

use std::sync::{Arc, RwLock};

use data_encoding::BASE64;
use ring::hmac;
use zeroize::Zeroizing;

use crate::common::{ignore_poison, parse_lines};

const SECRET_PREFIX: &str = "whsec_";
/// Permitted length of a decoded secret, in bytes. Standard Webhooks prescribes 24 to 64.
const SECRET_LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The error text for a line that is not a secret.
pub(super) const INVALID_SECRET: &str = "not \"whsec_\" followed by the base64 of 24 to 64 bytes";

/// The reason why the secrets cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// These lines are not secrets. Line numbers begin at 1.
    #[error("lines {0:?}: {INVALID_SECRET}")]
    InvalidLines(Vec<usize>),
    /// The text contains no secret.
    #[error("the file contains no secret")]
    Empty,
}

/// Signs events with one or more secrets. The signatures have the order of the secrets.
pub struct EventSigner {
    keys: Vec<hmac::Key>,
}

impl std::fmt::Debug for EventSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventSigner({} secrets)", self.keys.len())
    }
}

impl EventSigner {
    /// Parses secrets, one per line. Empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// [`SecretsError`] gives the numbers of the invalid lines and does not quote them.
    pub fn parse_secrets(text: &str) -> Result<Self, SecretsError> {
        let keys = parse_lines(text, |line| decode_key(line).ok_or(())).map_err(|invalid| {
            SecretsError::InvalidLines(invalid.into_iter().map(|(line, ())| line).collect())
        })?;
        if keys.is_empty() { Err(SecretsError::Empty) } else { Ok(Self { keys }) }
    }

    /// Returns the value of `webhook-signature`. `timestamp` is in Unix seconds.
    pub fn sign_event(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signed = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", BASE64.encode(context.sign().as_ref()))
        };
        self.keys.iter().map(signed).collect::<Vec<_>>().join(" ")
    }

    /// Returns true if the header contains a valid signature by one of the secrets. Each comparison
    /// takes constant time.
    pub fn verify_signature(&self, id: &str, timestamp: i64, body: &[u8], header: &str) -> bool {
        let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        let given = header.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        let tags: Vec<Vec<u8>> =
            given.filter_map(|text| BASE64.decode(text.as_bytes()).ok()).collect();
        self.keys.iter().any(|key| tags.iter().any(|tag| hmac::verify(key, &signed, tag).is_ok()))
    }
}

/// The signer that all posts of the daemon share. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SharedSigner(Arc<RwLock<Option<EventSigner>>>);

impl SharedSigner {
    /// Creates the shared signer. With `None`, posts are not signed.
    pub fn new(signer: Option<EventSigner>) -> Self {
        Self(Arc::new(RwLock::new(signer)))
    }

    /// Replaces the signer, beginning with the next post.
    pub fn replace(&self, signer: Option<EventSigner>) {
        *ignore_poison(self.0.write()) = signer;
    }

    /// Returns the value of `webhook-signature`, or `None` if posts are not signed.
    pub(super) fn sign_event(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let signer = ignore_poison(self.0.read());
        signer.as_ref().map(|signer| signer.sign_event(id, timestamp, body))
    }
}

fn decode_key(line: &str) -> Option<hmac::Key> {
    let bytes = Zeroizing::new(BASE64.decode(line.strip_prefix(SECRET_PREFIX)?.as_bytes()).ok()?);
    SECRET_LENGTHS.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_reference_example_is_met() {
        let signer = EventSigner::parse_secrets(SECRET).unwrap();
        let header = signer.sign_event(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_secret_signs_and_either_verifies_during_a_rotation() {
        let other = format!("whsec_{}", BASE64.encode(&[7; 32]));
        let both = EventSigner::parse_secrets(&format!("# new\n{other}\n\n{SECRET}\n")).unwrap();
        let header = both.sign_event("id", 1, b"body");
        assert_eq!(header.split(' ').count(), 2);
        for one in [SECRET, &other] {
            let receiver = EventSigner::parse_secrets(one).unwrap();
            assert!(receiver.verify_signature("id", 1, b"body", &header));
            assert!(!receiver.verify_signature("id", 2, b"body", &header));
            assert!(!receiver.verify_signature("id", 1, b"bodY", &header));
        }
        let stranger =
            EventSigner::parse_secrets(&format!("whsec_{}", BASE64.encode(&[8; 32]))).unwrap();
        assert!(!stranger.verify_signature("id", 1, b"body", &header));
        assert!(!stranger.verify_signature("id", 1, b"body", "v1,!!! v2,x"));
    }

    #[test]
    fn what_is_no_secret_is_named_by_its_line_and_not_shown() {
        let short = format!("whsec_{}", BASE64.encode(&[1; 23]));
        for (text, expected) in [
            (String::new(), SecretsError::Empty),
            ("# none\n".to_owned(), SecretsError::Empty),
            (format!("{SECRET}\n{short}"), SecretsError::InvalidLines(vec![2])),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), SecretsError::InvalidLines(vec![1])),
            (format!("whsec_???\n{SECRET}\nMfKQ"), SecretsError::InvalidLines(vec![1, 3])),
        ] {
            let error = EventSigner::parse_secrets(&text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("MfKQ"));
        }
        assert!(!format!("{:?}", EventSigner::parse_secrets(SECRET).unwrap()).contains("MfKQ"));
    }
}
