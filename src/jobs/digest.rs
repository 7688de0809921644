//! Keyed digests of callers and requests. A body may contain a secret, so that neither it nor a
//! plain digest of it is kept.

use ring::hmac;

use crate::model::{JOB_DIGEST_BYTES, JobDigest};

/// Creates the digests under one key.
pub struct JobDigests(hmac::Key);

impl JobDigests {
    /// Creates digests under `key`, which must be that of the ledger.
    pub fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// Returns the digest of these parts. The length of each part precedes it, so that no two lists
    /// of parts have the same encoding.
    pub fn digest_parts(&self, parts: &[&[u8]]) -> JobDigest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            context.update(&length.to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; JOB_DIGEST_BYTES];
        for (to, from) in digest.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_the_key_and_on_the_border_of_each_part() {
        let digests = |key: &[u8]| JobDigests::new(hmac::Key::new(hmac::HMAC_SHA256, key));
        let digest = digests(b"a").digest_parts(&[b"PUT", b"/x", b"{}"]);
        assert_eq!(digests(b"a").digest_parts(&[b"PUT", b"/x", b"{}"]), digest);
        for (key, parts) in [
            (&b"b"[..], [&b"PUT"[..], b"/x", b"{}"]),
            (b"a", [b"PUT", b"/x{", b"}"]),
            (b"a", [b"PUT/", b"x", b"{}"]),
            (b"a", [b"PUT", b"/x", b"{ }"]),
        ] {
            assert_ne!(digests(key).digest_parts(&parts), digest, "{parts:?}");
        }
    }
}
