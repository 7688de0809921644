//! Trial logins with credentials that are not stored yet: those of `add`, and of `update` with
//! another address, user or secret. Rejections are counted per address, user and secret, with the
//! same limit as for stored credentials.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::lockout::LockoutGuard;
use crate::agent::faults;
use crate::common::lock_unpoisoned;
use crate::model::{Fault, Secret, SshCredentials};
use crate::ssh::{LoginRequest, VerifiedLogin};

/// Maximum number of logins whose rejections are remembered. An operator is unlikely to mistype 256
/// passwords within the window of 15 minutes.
const MAX_ENTRIES: usize = 256;

/// Remembers the rejections of trial logins. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrialLogins(Arc<TrialLoginsInner>);

#[derive(Debug, Default)]
struct TrialLoginsInner {
    /// The hasher has a random key in each process, so that the stored hashes do not reveal the
    /// secrets.
    hasher: RandomState,
    entries: Mutex<HashMap<u64, TrialEntry>>,
}

/// The rejections of one login. The lock is held during a login, so that the next one with the same
/// secrets sees its outcome.
type TrialEntry = Arc<tokio::sync::Mutex<LockoutGuard>>;

/// The right to the only running trial of a login. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct TrialPermit(OwnedMutexGuard<LockoutGuard>);

impl TrialPermit {
    /// Returns the last rejection of the server if no login is permitted now.
    pub(crate) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        self.0.cached_rejection(now)
    }

    /// Records the end of the login. `fault` is `None` if it succeeded.
    pub(crate) fn record_outcome(&mut self, fault: Option<&Fault>, now: Instant) {
        self.0.record_outcome(fault, now);
    }
}

impl TrialLogins {
    /// Logs in, unless the server has rejected this login too often. `force` clears the recorded
    /// rejections first.
    ///
    /// # Errors
    /// Those of the login, or the cached rejection. `agent_busy` if a trial of the same login did
    /// not end by `deadline`.
    pub(crate) async fn log_in(
        &self,
        login: &LoginRequest,
        force: bool,
        deadline: Instant,
        logging_in: impl Future<Output = Result<VerifiedLogin, Fault>>,
    ) -> Result<VerifiedLogin, Fault> {
        let mut permit = self.acquire(login, force, deadline).await?;
        if let Some(fault) = permit.cached_rejection(Instant::now()) {
            return Err(fault);
        }
        let outcome = logging_in.await;
        permit.record_outcome(outcome.as_ref().err(), Instant::now());
        outcome
    }

    /// Waits until no other trial of the same login is running. `force` clears the recorded
    /// rejections.
    ///
    /// # Errors
    /// `agent_busy` if the other trial did not end by `deadline`.
    pub(crate) async fn acquire(
        &self,
        login: &LoginRequest,
        force: bool,
        deadline: Instant,
    ) -> Result<TrialPermit, Fault> {
        let entry = self.entry_for(login, Instant::now());
        let lockout = timeout_at(deadline, entry.lock_owned()).await;
        let mut lockout = lockout.map_err(|_| faults::trial_login_busy())?;
        if force {
            *lockout = LockoutGuard::default();
        }
        Ok(TrialPermit(lockout))
    }

    fn entry_for(&self, login: &LoginRequest, now: Instant) -> TrialEntry {
        let LoginRequest { address, username, credentials, .. } = login;
        let SshCredentials { password, private_key, passphrase } = credentials;
        let secrets =
            [password, private_key, passphrase].map(|s| s.as_ref().map(Secret::expose_secret));
        let key =
            self.0.hasher.hash_one((address.hostname.as_str(), address.port, username, secrets));
        let mut entries = lock_unpoisoned(&self.0.entries);
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| {
                entry.try_lock().map_or(true, |lockout| !lockout.is_expired(now))
            });
        }
        if entries.len() >= MAX_ENTRIES {
            // Evict an arbitrary idle entry. At worst that login gets one extra try.
            let idle =
                entries.iter().find(|(_, entry)| entry.try_lock().is_ok()).map(|(key, _)| *key);
            idle.and_then(|key| entries.remove(&key));
        }
        Arc::clone(entries.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;
    use crate::model::{Reason, SshAddress};
    use crate::ssh::EvidenceScope;

    fn login(password: &str) -> LoginRequest {
        LoginRequest {
            address: SshAddress { hostname: "one".parse().unwrap(), port: NonZeroU16::MIN },
            username: "root".into(),
            credentials: SshCredentials::password(Secret::new(password.into())),
            pinned: None,
            given_fingerprints: Vec::new(),
            evidence: EvidenceScope::Full(None),
        }
    }

    async fn is_cached_rejection(tried: &TrialLogins, password: &str, force: bool) -> bool {
        let refusing = async { Err(Fault::new(Reason::CredentialsRefused, "no")) };
        let deadline = Instant::now() + Duration::from_secs(9);
        let fault = tried.log_in(&login(password), force, deadline, refusing).await.unwrap_err();
        fault.facts().contains_key("remembered")
    }

    #[tokio::test]
    async fn the_fourth_time_is_not_made_but_with_other_secrets_or_by_force() {
        let tried = TrialLogins::default();
        for again in [false, false, false, true, true] {
            assert_eq!(is_cached_rejection(&tried, "a", false).await, again);
        }
        assert!(!is_cached_rejection(&tried, "b", false).await);
        assert!(!is_cached_rejection(&tried, "a", true).await);
    }

    #[tokio::test]
    async fn overlapping_ones_of_one_login_are_counted_like_others() {
        let tried = TrialLogins::default();
        let mut all = JoinSet::new();
        for _ in 0..9 {
            let tried = tried.clone();
            all.spawn(async move { is_cached_rejection(&tried, "a", false).await });
        }
        let all = all.join_all().await;
        assert_eq!(all.iter().filter(|remembered| !**remembered).count(), 3);
    }

    #[tokio::test]
    async fn no_more_is_kept_than_is_needed() {
        let tried = TrialLogins::default();
        for n in 0..MAX_ENTRIES * 3 {
            is_cached_rejection(&tried, &n.to_string(), false).await;
        }
        let kept = || tried.0.entries.lock().unwrap().len();
        assert_eq!(kept(), MAX_ENTRIES);
        // In a quarter of an hour nothing of them counts, and the next one clears them away.
        tried.entry_for(&login("new"), Instant::now() + Duration::from_secs(15 * 60));
        assert_eq!(kept(), 1);
    }
}
