//! The host key check: a pure decision over the key that the server offers. It never remembers a
//! key. The caller pins the key that a check returns.

use russh::keys::{HashAlg, PublicKey, PublicKeyBase64 as _};

use crate::model::{Fault, HostKey, Reason};
use crate::settings::HostKeyPolicy;

/// The host key that the store expects of its server.
#[derive(Clone, Debug)]
pub(crate) struct HostKeyCheck {
    pub(crate) policy: HostKeyPolicy,
    pub(crate) pinned: Option<HostKey>,
    pub(crate) given_fingerprints: Vec<String>,
}

impl HostKeyCheck {
    /// Accepts or rejects `offered`.
    ///
    /// A pinned key is the only accepted one, even if fingerprints were given with the store.
    /// Accepting a new key must end the trust in the old one. Before the first pin,
    /// fingerprints given with the store bind under both policies that check keys.
    ///
    /// # Errors
    /// Returns `host_key_changed` or `host_key_unknown` with the full offered key, so that an
    /// operator can accept it.
    pub(crate) fn check_key(&self, offered: &HostKey) -> Result<(), Fault> {
        let given = &self.given_fingerprints;
        match (self.policy, &self.pinned) {
            (HostKeyPolicy::AcceptAny, _) => Ok(()),
            (_, Some(pinned)) if pinned.blob == offered.blob => Ok(()),
            (_, Some(pinned)) => Err(key_changed_fault(pinned, offered)),
            (HostKeyPolicy::PinOnFirstUse, None) if given.is_empty() => Ok(()),
            (_, None)
                if given.iter().any(|known| fingerprints_match(known, &offered.fingerprint)) =>
            {
                Ok(())
            }
            (_, None) => Err(key_unknown_fault(given, offered)),
        }
    }

    /// Returns the rejected key if another key of the same server may match a given fingerprint.
    /// The type of a pinned key was requested first, so no other key can match it.
    pub(crate) fn other_key_may_match<'a>(&self, fault: &'a Fault) -> Option<&'a HostKey> {
        if fault.reason() != Reason::HostKeyUnknown || self.given_fingerprints.is_empty() {
            return None;
        }
        fault.offered_host_key()
    }
}

/// Converts the key to the form in which it is pinned, compared and shown. This form excludes the
/// comment and the hash of the exchange's signature.
pub(crate) fn host_key(key: &PublicKey) -> HostKey {
    HostKey {
        algorithm: key.algorithm().to_string(),
        blob: key.public_key_base64(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    }
}

/// Returns true if the fingerprints are equal without the base64 padding that some tools print.
fn fingerprints_match(given: &str, fingerprint: &str) -> bool {
    given.trim().trim_end_matches('=') == fingerprint
}

fn key_changed_fault(pinned: &HostKey, offered: &HostKey) -> Fault {
    let details = format!(
        "the server's host key is {} {}, but the pinned key is {} {}",
        offered.algorithm, offered.fingerprint, pinned.algorithm, pinned.fingerprint
    );
    Fault::new(Reason::HostKeyChanged, details)
        .with_offered_host_key(offered.clone())
        .with_detail("expectedFingerprint", pinned.fingerprint.as_str())
        .with_detail("expectedKeyType", pinned.algorithm.as_str())
}

fn key_unknown_fault(given: &[String], offered: &HostKey) -> Fault {
    let key = format!("{} {}", offered.algorithm, offered.fingerprint);
    let details = if given.is_empty() {
        format!("the server's host key is {key}, and no fingerprint was given with the store")
    } else {
        format!("the server's host key is {key}, which matches no fingerprint given with the store")
    };
    Fault::new(Reason::HostKeyUnknown, details)
        .with_offered_host_key(offered.clone())
        .with_detail("expectedFingerprints", given.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AttemptFailure, Fact};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(name: &str) -> HostKey {
        HostKey {
            algorithm: "ssh-ed25519".into(),
            blob: format!("blob-{name}"),
            fingerprint: format!("SHA256:{name}"),
        }
    }

    fn check(
        policy: HostKeyPolicy,
        pinned: Option<&str>,
        given: &[&str],
        offered: &str,
    ) -> Option<Reason> {
        let expected = HostKeyCheck {
            policy,
            pinned: pinned.map(key),
            given_fingerprints: given.iter().map(|&given| given.to_owned()).collect(),
        };
        expected.check_key(&key(offered)).err().map(|fault| fault.reason())
    }

    #[test]
    fn each_policy_accepts_its_keys() {
        use HostKeyPolicy::{AcceptAny, PinOnFirstUse, Strict};
        let (changed, unknown) = (Some(Reason::HostKeyChanged), Some(Reason::HostKeyUnknown));
        for (policy, pinned, given, expected) in [
            (PinOnFirstUse, None, &[][..], None),
            (PinOnFirstUse, Some("a"), &[], None),
            (PinOnFirstUse, Some("b"), &[], changed),
            (PinOnFirstUse, None, &["SHA256:a"], None),
            (PinOnFirstUse, None, &["SHA256:b"], unknown),
            (Strict, None, &[], unknown),
            (Strict, None, &["SHA256:b"], unknown),
            (Strict, None, &["SHA256:b", " SHA256:a="], None),
            (Strict, Some("a"), &[], None),
            (Strict, Some("b"), &["SHA256:a"], changed),
            (AcceptAny, Some("b"), &["SHA256:b"], None),
        ] {
            assert_eq!(
                check(policy, pinned, given, "a"),
                expected,
                "{policy:?} {pinned:?} {given:?}"
            );
        }
    }

    #[test]
    fn a_rejected_key_is_recorded_for_its_acceptance() {
        let expected = HostKeyCheck {
            policy: HostKeyPolicy::PinOnFirstUse,
            pinned: Some(key("old")),
            given_fingerprints: Vec::new(),
        };
        let fault = expected.check_key(&key("new")).unwrap_err();
        let fact = |name: &str| fault.facts().get(name).cloned();
        assert_eq!(fact("offeredKey"), Some(Fact::from("ssh-ed25519 blob-new")));
        assert_eq!(fact("offeredFingerprint"), Some(Fact::from("SHA256:new")));
        assert_eq!(fact("expectedFingerprint"), Some(Fact::from("SHA256:old")));
        let login_lost = Fault::new(Reason::IoError, "x");
        let failure = AttemptFailure::from_faults([login_lost.clone(), fault]).unwrap();
        assert_eq!(failure.offered_host_key(), Some(&key("new")));
        assert_eq!(AttemptFailure::from_fault(login_lost).offered_host_key(), None);
    }

    #[test]
    fn a_key_is_kept_as_openssh_writes_it() {
        let key = host_key(&PublicKey::from_openssh(&format!("{KEY} a comment")).unwrap());
        assert_eq!(format!("{} {}", key.algorithm, key.blob), KEY);
        assert!(key.fingerprint.starts_with("SHA256:") && !key.fingerprint.ends_with('='));
    }
}
