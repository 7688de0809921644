//! Trial logins with credentials that are not stored yet: those of `add`, and of `update` with
//! another address, user or secret. Rejections are counted per server, user and secret, with the
//! same limit as for stored credentials. They survive a restart of the daemon.
//!
//! All names and addresses of this host are one server, because its accounts are the same under
//! each of them. Another host counts under its first address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ring::hmac;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::SAVE_TIMEOUT;
use super::lockout::{LockoutGuard, REJECTION_WINDOW};
use crate::agent::{AgentContext, faults};
use crate::common::{Timestamp, lock_unpoisoned};
use crate::ledger::LedgerChange;
use crate::model::{
    Fault, LoginDigest, LoginRejections, MAX_TRIAL_LOGINS, Secret, SshAddress, TrialRejections,
};
use crate::ssh::{LoginRequest, LoginServer};

/// Remembers the rejections of trial logins. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrialLogins(Arc<TrialLoginsInner>);

#[derive(Debug)]
struct TrialLoginsInner {
    /// The key of the digests. They are stored, and reveal nothing of a login without it.
    digest_key: hmac::Key,
    entries: Mutex<HashMap<LoginDigest, TrialEntry>>,
}

/// The rejections of one login. The lock is held during a login, so that the next one with the same
/// secrets sees its outcome.
type TrialEntry = Arc<tokio::sync::Mutex<TrialState>>;

#[derive(Debug, Default)]
struct TrialState {
    lockout: LockoutGuard,
    /// True if the ledger does not have the recorded rejections.
    is_unsaved: bool,
}

/// The right to the only running trial of a login. Dropping it releases it.
#[derive(Debug)]
pub(crate) struct TrialPermit {
    digest: LoginDigest,
    address: SshAddress,
    state: OwnedMutexGuard<TrialState>,
}

impl TrialPermit {
    /// Returns the last rejection of the server if no login is permitted now.
    pub(crate) fn cached_rejection(&mut self, now: Instant) -> Option<Fault> {
        let rejection = self.state.lockout.cached_rejection(now)?;
        // Earlier logins may have used another name of the server.
        let host = self.address.hostname.as_str();
        Some(rejection.with_detail("host", host).with_detail("port", self.address.port.get()))
    }

    /// Records the end of the login. `fault` is `None` if it succeeded. A rejection is durable when
    /// this returns, unless the state disk does not accept it within [`SAVE_TIMEOUT`].
    pub(crate) async fn record_outcome(&mut self, context: &AgentContext, fault: Option<&Fault>) {
        let (wall, now) = (context.daemon.clock.now(), Instant::now());
        let Some(change) = self.record_and_change(fault, wall, now) else { return };
        let saved = timeout(SAVE_TIMEOUT, context.daemon.ledger.commit(change)).await;
        if !matches!(saved, Ok(Ok(()))) {
            self.state.is_unsaved = true;
            warn!("rejected trial logins not saved");
        }
    }

    /// Records the end of the login, and returns the change that the ledger needs.
    fn record_and_change(
        &mut self,
        fault: Option<&Fault>,
        wall: Timestamp,
        now: Instant,
    ) -> Option<LedgerChange> {
        let TrialState { lockout, is_unsaved } = &mut *self.state;
        let before = lockout.rejection_count();
        lockout.record_outcome(fault, now);
        if !std::mem::take(is_unsaved) && lockout.rejection_count() == before {
            return None;
        }
        let stored =
            lockout.to_rejections(wall, now).map(|LoginRejections { rejected_at, last }| {
                TrialRejections { rejected_at, reason: last.reason() }
            });
        let window = i64::try_from(REJECTION_WINDOW.as_millis()).unwrap_or(i64::MAX);
        let expired = Timestamp(wall.0.saturating_sub(window));
        Some(LedgerChange::new().save_trial_rejections(self.digest, stored, expired))
    }
}

impl TrialLogins {
    /// Restores the rejections of an earlier run of the daemon. `digest_key` is the key of their
    /// digests.
    pub fn new(
        digest_key: hmac::Key,
        saved: Vec<(LoginDigest, TrialRejections)>,
        wall: Timestamp,
    ) -> Self {
        let now = Instant::now();
        let restore = |(digest, TrialRejections { rejected_at, reason })| {
            let details = "the server rejected this login before the daemon was restarted";
            let rejections = LoginRejections { rejected_at, last: Fault::new(reason, details) };
            let lockout = LockoutGuard::restore(Some(rejections), wall, now);
            let state = TrialState { lockout, is_unsaved: false };
            (digest, Arc::new(tokio::sync::Mutex::new(state)))
        };
        let entries = Mutex::new(saved.into_iter().map(restore).collect());
        Self(Arc::new(TrialLoginsInner { digest_key, entries }))
    }

    /// Waits until no other trial of the same login is running. `force` clears the recorded
    /// rejections. Returns `None` without a server, because such a login reaches none.
    ///
    /// # Errors
    /// `agent_busy` if the other trial did not end by `deadline`.
    pub(crate) async fn acquire(
        &self,
        server: Option<LoginServer>,
        login: &LoginRequest,
        force: bool,
        deadline: Instant,
    ) -> Result<Option<TrialPermit>, Fault> {
        let Some(server) = server else { return Ok(None) };
        let digest = self.digest_of(server, login);
        let entry = self.entry_for(digest, Instant::now());
        let state = timeout_at(deadline, entry.lock_owned()).await;
        let mut state = state.map_err(|_| faults::trial_login_busy())?;
        if force {
            let is_unsaved = state.is_unsaved || state.lockout.rejection_count() > 0;
            *state = TrialState { lockout: LockoutGuard::default(), is_unsaved };
        }
        Ok(Some(TrialPermit { digest, address: login.address.clone(), state }))
    }

    /// Returns the digest of a login. The length of each part precedes it, so that no two logins
    /// have the same input.
    fn digest_of(&self, server: LoginServer, login: &LoginRequest) -> LoginDigest {
        let LoginServer { other_host, port } = server;
        let host = other_host.map_or_else(String::new, |ip| ip.to_string());
        let credentials = &login.credentials;
        let secrets = [&credentials.password, &credentials.private_key, &credentials.passphrase]
            .map(|secret| secret.as_ref().map(Secret::expose_secret));
        let mut context = hmac::Context::with_key(&self.0.digest_key);
        context.update(&port.to_be_bytes());
        for part in [Some(host.as_str()), Some(login.username.as_str())].into_iter().chain(secrets)
        {
            // No part is as long as the number that stands for its absence.
            let length = part.map_or(u64::MAX, |part| u64::try_from(part.len()).unwrap_or(0));
            context.update(&length.to_be_bytes());
            context.update(part.unwrap_or_default().as_bytes());
        }
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        LoginDigest(digest)
    }

    fn entry_for(&self, digest: LoginDigest, now: Instant) -> TrialEntry {
        let mut entries = lock_unpoisoned(&self.0.entries);
        if let Some(entry) = entries.get(&digest) {
            return Arc::clone(entry);
        }
        if entries.len() >= MAX_TRIAL_LOGINS.into() {
            entries.retain(|_, entry| {
                entry.try_lock().map_or(true, |state| !state.lockout.is_expired(now))
            });
        }
        if entries.len() >= MAX_TRIAL_LOGINS.into() {
            // The ledger removes the same one. That login then has as many tries as a new one.
            let idle = entries.iter().filter_map(|(key, entry)| {
                entry.try_lock().ok().map(|state| (state.lockout.last_rejected_at(), *key))
            });
            let oldest = idle.min_by_key(|(rejected_at, _)| *rejected_at);
            oldest.and_then(|(_, key)| entries.remove(&key));
        }
        Arc::clone(entries.entry(digest).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;
    use crate::model::{Reason, SshCredentials};
    use crate::ssh::EvidenceScope;

    const WALL: Timestamp = Timestamp(1_700_000_000_000);
    const THIS_HOST: LoginServer = LoginServer { other_host: None, port: 22 };

    fn trial_logins(saved: Vec<(LoginDigest, TrialRejections)>) -> TrialLogins {
        TrialLogins::new(hmac::Key::new(hmac::HMAC_SHA256, b"key"), saved, WALL)
    }

    fn login(password: &str) -> LoginRequest {
        LoginRequest {
            address: SshAddress { hostname: "one".parse().unwrap(), port: 22.try_into().unwrap() },
            username: "root".into(),
            credentials: SshCredentials::password(Secret::new(password.into())),
            pinned: None,
            given_fingerprints: Vec::new(),
            evidence: EvidenceScope::Full(None),
        }
    }

    async fn acquire(trials: &TrialLogins, server: LoginServer, password: &str) -> TrialPermit {
        let deadline = Instant::now() + Duration::from_secs(9);
        trials.acquire(Some(server), &login(password), false, deadline).await.unwrap().unwrap()
    }

    fn refuse(permit: &mut TrialPermit) -> Option<LedgerChange> {
        let fault = Fault::new(Reason::CredentialsRefused, "no");
        permit.record_and_change(Some(&fault), WALL, Instant::now())
    }

    /// Logs in if that is permitted. Returns true if it is not.
    async fn is_suspended(trials: &TrialLogins, server: LoginServer, password: &str) -> bool {
        let mut permit = acquire(trials, server, password).await;
        let rejection = permit.cached_rejection(Instant::now());
        if rejection.is_none() {
            assert!(refuse(&mut permit).is_some(), "a rejection is saved");
        }
        rejection.is_some_and(|fault| fault.facts().contains_key("remembered"))
    }

    #[tokio::test]
    async fn the_fourth_time_is_not_made_but_with_other_secrets_or_by_force() {
        let trials = trial_logins(Vec::new());
        for again in [false, false, false, true, true] {
            assert_eq!(is_suspended(&trials, THIS_HOST, "a").await, again);
        }
        assert!(!is_suspended(&trials, THIS_HOST, "b").await);
        let deadline = Instant::now() + Duration::from_secs(9);
        let forced = trials.acquire(Some(THIS_HOST), &login("a"), true, deadline).await;
        let mut forced = forced.unwrap().unwrap();
        assert!(forced.cached_rejection(Instant::now()).is_none());
        // A success after it removes the row.
        assert!(forced.record_and_change(None, WALL, Instant::now()).is_some());
        assert!(forced.record_and_change(None, WALL, Instant::now()).is_none());
        assert!(trials.acquire(None, &login("a"), false, deadline).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_count_is_of_the_server_and_not_of_its_name() {
        let trials = trial_logins(Vec::new());
        let other = |ip: &str, port| LoginServer { other_host: ip.parse::<IpAddr>().ok(), port };
        let servers = [THIS_HOST, other("192.0.2.1", 22), other("192.0.2.2", 22), other("", 23)];
        for server in servers {
            for again in [false, false, false, true] {
                assert_eq!(is_suspended(&trials, server, "a").await, again, "{server:?}");
            }
        }
    }

    #[test]
    fn no_two_logins_have_the_same_digest() {
        let trials = trial_logins(Vec::new());
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let mut digests = Vec::new();
        for (username, password, private_key, passphrase) in [
            ("ab", "c", "d", "e"),
            ("a", "bc", "d", "e"),
            ("abc", "", "d", "e"),
            ("ab", "cd", "", "e"),
            ("ab", "c", "de", ""),
        ] {
            let credentials = SshCredentials {
                password: secret(password),
                private_key: secret(private_key),
                passphrase: secret(passphrase),
            };
            let request = LoginRequest { username: username.into(), credentials, ..login("x") };
            digests.push(trials.digest_of(THIS_HOST, &request));
        }
        digests.push(trials.digest_of(THIS_HOST, &login("")));
        let credentials = SshCredentials { password: None, private_key: None, passphrase: None };
        let none = LoginRequest { credentials, ..login("") };
        digests.push(trials.digest_of(THIS_HOST, &none));
        for (n, digest) in digests.iter().enumerate() {
            assert_eq!(digests.iter().position(|other| other == digest), Some(n));
        }
        let other_key = hmac::Key::new(hmac::HMAC_SHA256, b"another");
        let other_key = TrialLogins::new(other_key, Vec::new(), WALL);
        assert_ne!(other_key.digest_of(THIS_HOST, &none), trials.digest_of(THIS_HOST, &none));
    }

    #[tokio::test]
    async fn a_restart_restores_the_count_and_the_name_of_the_present_request() {
        let digest = trial_logins(Vec::new()).digest_of(THIS_HOST, &login("a"));
        let saved = |at: i64| TrialRejections {
            rejected_at: vec![Timestamp(WALL.0 - at); 3],
            reason: Reason::CredentialsRefused,
        };
        let trials = trial_logins(vec![(digest, saved(60_000))]);
        let rejection = acquire(&trials, THIS_HOST, "a").await.cached_rejection(Instant::now());
        let rejection = rejection.unwrap();
        assert_eq!(rejection.reason(), Reason::CredentialsRefused);
        assert_eq!(rejection.facts()["host"], "one".into());
        assert!(rejection.retry_after().unwrap() <= Duration::from_secs(14 * 60));
        assert!(!is_suspended(&trials, THIS_HOST, "b").await);
        let expired = trial_logins(vec![(digest, saved(15 * 60_000))]);
        assert!(!is_suspended(&expired, THIS_HOST, "a").await);
    }

    #[tokio::test]
    async fn overlapping_ones_of_one_login_are_counted_like_others() {
        let trials = trial_logins(Vec::new());
        let mut all = JoinSet::new();
        for _ in 0..9 {
            let trials = trials.clone();
            all.spawn(async move { is_suspended(&trials, THIS_HOST, "a").await });
        }
        let all = all.join_all().await;
        assert_eq!(all.iter().filter(|suspended| !**suspended).count(), 3);
    }

    #[tokio::test]
    async fn no_more_is_kept_than_is_needed() {
        let trials = trial_logins(Vec::new());
        for n in 0..MAX_TRIAL_LOGINS * 3 {
            is_suspended(&trials, THIS_HOST, &n.to_string()).await;
        }
        let kept = || trials.0.entries.lock().unwrap().len();
        assert_eq!(kept(), usize::from(MAX_TRIAL_LOGINS));
        // In a quarter of an hour nothing of them counts, and the next one clears them away.
        let digest = trials.digest_of(THIS_HOST, &login("new"));
        trials.entry_for(digest, Instant::now() + Duration::from_secs(15 * 60));
        assert_eq!(kept(), 1);
    }
    #[tokio::test]
    async fn the_login_with_the_oldest_rejection_is_forgotten_first() {
        let trials = trial_logins(Vec::new());
        for n in 0..MAX_TRIAL_LOGINS {
            assert!(!is_suspended(&trials, THIS_HOST, &n.to_string()).await);
        }
        // The login that was the second oldest is now the newest.
        for _ in 0..2 {
            assert!(!is_suspended(&trials, THIS_HOST, "1").await);
        }
        for n in 1..MAX_TRIAL_LOGINS {
            assert!(!is_suspended(&trials, THIS_HOST, &format!("new {n}")).await);
        }
        let is_kept = |password: &str| {
            let digest = trials.digest_of(THIS_HOST, &login(password));
            trials.0.entries.lock().unwrap().contains_key(&digest)
        };
        assert!(is_kept("1") && is_kept("new 1") && !is_kept("0") && !is_kept("255"));
        assert!(is_suspended(&trials, THIS_HOST, "1").await);
    }
}
