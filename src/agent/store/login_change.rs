//! The decision about an update: the definition after it, and the secrets that its login uses.
//! Pure functions.
//!
//! # Guarantees
//! - An update to another hostname or port sends the stored secrets only to a server that shows the
//!   pinned key, or to the hostname and port that they were given for.
//! - Only an admin decides which key an unknown server must have.

use crate::agent::login::secret_scope::check_secret_scope;
use crate::common::Timestamp;
use crate::model::{SshAddress, SshCredentials, Store, StoreUpdate};
use crate::settings::HostKeyPolicy;

/// An update that is permitted.
#[derive(Clone, Debug)]
pub(crate) struct LoginChange {
    /// The definition after the update. Its login expects the pinned key of this definition.
    pub(crate) after: Store,
    /// The secrets of the login that verifies the update.
    pub(crate) secrets: UpdateSecrets,
    /// True if the hostname or the port changes.
    pub(crate) moves: bool,
}

/// The secrets of the login that verifies an update.
#[derive(Clone, Debug)]
pub(crate) enum UpdateSecrets {
    /// Those that the ledger has.
    Stored,
    /// Those that the update brings.
    Given(SshCredentials),
}

/// The reason why an update is refused before any login. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateRefusal {
    /// The update needs a password or a private key, because the stored secrets are not for this
    /// server, and no pinned key identifies it.
    SecretsRequired,
    /// The update names a fingerprint that decides which key is accepted. Only an admin may do
    /// that.
    AdminRequired,
    /// The update names another image directory. The directory of a store never changes.
    UrlIsFixed,
}

/// Decides an update of a store.
///
/// # Errors
/// [`UpdateRefusal`]
pub(crate) fn decide_update(
    policy: HostKeyPolicy,
    before: &Store,
    update: &StoreUpdate,
    at: Timestamp,
) -> Result<LoginChange, UpdateRefusal> {
    if update.given_url.as_ref().is_some_and(|url| !before.image_dir.is_named(url)) {
        return Err(UpdateRefusal::UrlIsFixed);
    }
    let address = SshAddress {
        hostname: update.hostname.as_ref().unwrap_or(&before.address.hostname).clone(),
        port: update.port.unwrap_or(before.address.port),
    };
    let moves = address != before.address;
    let given = &update.given_fingerprints;
    let decides_key = moves || (before.pinned_key.is_none() && *given != before.given_fingerprints);
    if !given.is_empty() && decides_key && !update.by_admin {
        return Err(UpdateRefusal::AdminRequired);
    }
    let keeps_key = match &update.credentials {
        _ if !moves => true,
        // The stored secrets are for the server with the pinned key.
        None => true,
        // Without a fingerprint, a strict policy knows no other key of this store.
        Some(_) => policy == HostKeyPolicy::Strict && given.is_empty(),
    };
    let or = |given: &Option<String>, old: &String| given.as_ref().unwrap_or(old).clone();
    let fingerprints = match given.is_empty() && keeps_key {
        true => &before.given_fingerprints,
        false => given,
    };
    let credentials_address = match &update.credentials {
        Some(_) => &address,
        None => &before.credentials_address,
    };
    let after = Store {
        name: or(&update.name, &before.name),
        description: or(&update.description, &before.description),
        username: or(&update.username, &before.username),
        pinned_key: before.pinned_key.clone().filter(|_| keeps_key),
        given_fingerprints: fingerprints.clone(),
        credentials_address: credentials_address.clone(),
        address,
        changed: at,
        ..before.clone()
    };
    let secrets = match &update.credentials {
        Some(credentials) => UpdateSecrets::Given(credentials.clone()),
        None if !update.changes_login() => UpdateSecrets::Stored,
        None => match check_secret_scope(&after, policy) {
            Ok(()) => UpdateSecrets::Stored,
            Err(_) => return Err(UpdateRefusal::SecretsRequired),
        },
    };
    Ok(LoginChange { after, secrets, moves })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet, VecDeque};
    use std::num::NonZeroU16;

    use super::*;
    use crate::agent::store::example::example_store;
    use crate::model::{HostKey, Secret};
    use crate::settings::HostKeyPolicy::{AcceptAny, PinOnFirstUse, Strict};
    use crate::ssh::HostKeyCheck;

    const POLICIES: [HostKeyPolicy; 3] = [PinOnFirstUse, Strict, AcceptAny];

    fn key(name: &str) -> HostKey {
        HostKey { algorithm: "a".into(), blob: name.into(), fingerprint: format!("SHA256:{name}") }
    }

    fn address(host: &str) -> SshAddress {
        SshAddress { hostname: host.parse().unwrap(), port: NonZeroU16::MIN }
    }

    fn store(pinned: Option<&str>) -> Store {
        Store {
            description: "old".into(),
            address: address("one"),
            credentials_address: address("one"),
            pinned_key: pinned.map(key),
            ..example_store()
        }
    }

    fn nothing() -> StoreUpdate {
        StoreUpdate::default()
    }

    fn secrets() -> Option<SshCredentials> {
        Some(SshCredentials::password(Secret::new("s".into())))
    }

    #[test]
    fn an_update_may_name_the_url_of_the_store_and_no_other_one() {
        let before = store(Some("a"));
        let with_url = |url: &str| {
            let update = StoreUpdate {
                name: Some("new".to_owned()),
                given_url: Some(url.to_owned()),
                ..nothing()
            };
            decide_update(PinOnFirstUse, &before, &update, Timestamp(9))
        };
        // An add takes these texts as the same directory.
        for url in ["/srv/images", "/srv/images/", "//srv//images"] {
            let after = with_url(url).unwrap().after;
            assert_eq!((after.name.as_str(), &after.image_dir), ("new", &before.image_dir));
        }
        for url in ["/srv/images/.", "/srv/Images", "srv/images", "/srv", "/other", ""] {
            assert_eq!(with_url(url).unwrap_err(), UpdateRefusal::UrlIsFixed, "{url}");
        }
    }

    fn moved() -> StoreUpdate {
        StoreUpdate { hostname: Some("two".parse().unwrap()), ..nothing() }
    }

    /// Returns the pinned key that the login expects, and true if it uses the stored secrets.
    fn decided(
        policy: HostKeyPolicy,
        before: &Store,
        update: &StoreUpdate,
    ) -> Result<(Option<String>, bool), UpdateRefusal> {
        let change = decide_update(policy, before, update, Timestamp(9))?;
        let pinned = change.after.pinned_key.map(|key| key.blob);
        Ok((pinned, matches!(change.secrets, UpdateSecrets::Stored)))
    }

    #[test]
    fn a_field_that_is_not_given_stays() {
        for policy in POLICIES {
            let after = |update| decide_update(policy, &store(Some("k")), &update, Timestamp(9));
            let unchanged = Store { changed: Timestamp(9), ..store(Some("k")) };
            assert_eq!(after(nothing()).unwrap().after, unchanged);
            let same = StoreUpdate { hostname: Some("one".parse().unwrap()), ..nothing() };
            assert_eq!(after(same).unwrap().after, unchanged);
            let update = StoreUpdate { description: Some(String::new()), ..nothing() };
            assert_eq!(after(update).unwrap().after.description, "");
        }
    }

    #[test]
    fn a_moved_store_keeps_its_secrets_only_with_its_pinned_key() {
        let with_port = StoreUpdate { port: NonZeroU16::new(2), ..nothing() };
        for update in [moved(), with_port] {
            for (policy, pinned, expected) in [
                (PinOnFirstUse, Some("k"), Ok((Some("k".to_owned()), true))),
                (Strict, Some("k"), Ok((Some("k".to_owned()), true))),
                (AcceptAny, Some("k"), Err(UpdateRefusal::SecretsRequired)),
                (PinOnFirstUse, None, Err(UpdateRefusal::SecretsRequired)),
                (Strict, None, Err(UpdateRefusal::SecretsRequired)),
                (AcceptAny, None, Err(UpdateRefusal::SecretsRequired)),
            ] {
                let found = decided(policy, &store(pinned), &update);
                assert_eq!(found, expected, "{policy:?} {pinned:?}");
            }
            // An admin cannot redirect them either.
            let fingerprints = vec!["SHA256:rogue".to_owned()];
            let by_admin =
                StoreUpdate { given_fingerprints: fingerprints, by_admin: true, ..update.clone() };
            let found = decided(Strict, &store(Some("k")), &by_admin);
            assert_eq!(found, Ok((Some("k".to_owned()), true)));
            let given = StoreUpdate { credentials: secrets(), ..update };
            for (policy, expected) in
                [(PinOnFirstUse, None), (AcceptAny, None), (Strict, Some("k"))]
            {
                let change =
                    decide_update(policy, &store(Some("k")), &given, Timestamp(9)).unwrap();
                assert_eq!(change.after.pinned_key, expected.map(key), "{policy:?}");
                assert_eq!(change.after.credentials_address, change.after.address);
                assert!(matches!(change.secrets, UpdateSecrets::Given(_)));
            }
        }
    }

    #[test]
    fn a_store_returns_with_its_secrets_to_the_server_that_they_were_given_for() {
        let back = StoreUpdate { hostname: Some("one".parse().unwrap()), ..nothing() };
        let given = StoreUpdate { credentials: secrets(), ..nothing() };
        for policy in POLICIES {
            for pinned in [Some("k"), None] {
                let away = Store { address: address("two"), ..store(pinned) };
                let found = decided(policy, &away, &back);
                assert_eq!(found, Ok((pinned.map(str::to_owned), true)), "{policy:?}");
                // Secrets that replaced the first ones were given for the second server.
                let replaced = decide_update(policy, &away, &given, Timestamp(9)).unwrap().after;
                let found = decided(AcceptAny, &replaced, &back);
                assert_eq!(found, Err(UpdateRefusal::SecretsRequired), "{policy:?}");
            }
        }
    }

    #[test]
    fn only_an_admin_decides_which_key_is_accepted() {
        let fingerprint =
            |update| StoreUpdate { given_fingerprints: vec!["SHA256:rogue".to_owned()], ..update };
        let refused = Err(UpdateRefusal::AdminRequired);
        for policy in POLICIES {
            let with_secrets = StoreUpdate { credentials: secrets(), ..moved() };
            for (pinned, update, is_refused) in [
                (Some("k"), moved(), true),
                (Some("k"), with_secrets.clone(), true),
                (None, with_secrets, true),
                (None, nothing(), true),
                (None, StoreUpdate { credentials: secrets(), ..nothing() }, true),
                // The pinned key decides, so that the fingerprint has no effect.
                (Some("k"), nothing(), false),
            ] {
                let update = fingerprint(update);
                let found = decided(policy, &store(pinned), &update);
                assert_eq!(found == refused, is_refused, "{policy:?} {pinned:?} {update:?}");
                let by_admin = StoreUpdate { by_admin: true, ..update };
                assert_ne!(decided(policy, &store(pinned), &by_admin), refused);
            }
        }
    }

    #[test]
    fn secrets_out_of_their_scope_serve_no_login() {
        let elsewhere = |pinned| Store { address: address("two"), ..store(pinned) };
        let user = StoreUpdate { username: Some("other".into()), ..nothing() };
        for (policy, pinned, allowed) in [
            (PinOnFirstUse, Some("k"), true),
            (PinOnFirstUse, None, false),
            (Strict, None, false),
            (AcceptAny, Some("k"), false),
        ] {
            let store = elsewhere(pinned);
            assert_eq!(check_secret_scope(&store, policy).is_ok(), allowed, "{policy:?}");
            assert_eq!(decided(policy, &store, &user).is_ok(), allowed, "{policy:?}");
            let renamed = StoreUpdate { name: Some("new".into()), ..nothing() };
            assert!(decided(policy, &store, &renamed).is_ok());
            let given = StoreUpdate { credentials: secrets(), ..user.clone() };
            let change = decide_update(policy, &store, &given, Timestamp(9)).unwrap();
            assert!(check_secret_scope(&change.after, policy).is_ok());
        }
    }

    /// The servers of the model: a store's server, another host, and the store's server again at
    /// another address. The keys are those that they show.
    const SERVERS: [(&str, &str); 3] = [("one", "good"), ("two", "rogue"), ("three", "good")];

    /// A daemon with one store, and the facts by which its logins are judged.
    #[derive(Clone, Debug)]
    struct ModelState {
        policy: HostKeyPolicy,
        store: Store,
        /// The address that the secrets of the store were given for.
        given_for: SshAddress,
        /// The keys that the owner of the secrets trusts: those shown at the address that they were
        /// given for, and those that an admin named.
        trusted: BTreeSet<String>,
        /// True if the last update moved the store with its stored secrets, under the policy that
        /// accepts any key.
        returned: bool,
    }

    impl ModelState {
        /// Makes a login and returns true if it succeeded. Stored secrets must not reach a server
        /// that is neither at the address that they were given for nor shows a trusted key.
        fn log_in(&mut self, definition: &Store, stored: bool) -> bool {
            let host = definition.address.hostname.as_str();
            let shown = SERVERS.iter().find(|(name, _)| *name == host).unwrap().1;
            let check = HostKeyCheck {
                policy: self.policy,
                pinned: definition.pinned_key.clone(),
                given_fingerprints: definition.given_fingerprints.clone(),
            };
            if check.check_key(&key(shown)).is_err() {
                return false;
            }
            let at_scope = definition.address == self.given_for;
            let shows_pinned = self.policy != AcceptAny
                && definition.pinned_key.as_ref().is_some_and(|pinned| pinned.blob == shown);
            if stored {
                assert!(
                    at_scope || shows_pinned && self.trusted.contains(shown),
                    "sent to {host}: {self:?}"
                );
            }
            if at_scope {
                self.trusted.insert(shown.to_owned());
            }
            true
        }

        fn attempt(&mut self) {
            let store = self.store.clone();
            if check_secret_scope(&store, self.policy).is_err() || !self.log_in(&store, true) {
                return;
            }
            self.pin_first_key();
        }

        fn pin_first_key(&mut self) {
            if self.policy != AcceptAny && self.store.pinned_key.is_none() {
                let host = self.store.address.hostname.as_str();
                let shown = SERVERS.iter().find(|(name, _)| *name == host).unwrap().1;
                self.store.pinned_key = Some(key(shown));
            }
        }

        fn update(&mut self, update: &StoreUpdate) {
            let decided = decide_update(self.policy, &self.store, update, Timestamp(1));
            let hostname = update.hostname.as_ref().unwrap_or(&self.store.address.hostname);
            if decided.as_ref().err() == Some(&UpdateRefusal::SecretsRequired) {
                assert_ne!(*hostname, self.given_for.hostname, "{self:?} {update:?}");
            }
            let Ok(LoginChange { after, secrets, moves }) = decided else { return };
            let mut next = self.clone();
            let stored = matches!(secrets, UpdateSecrets::Stored);
            if !stored {
                next.given_for = after.address.clone();
                next.trusted = after.pinned_key.iter().map(|key| key.blob.clone()).collect();
            }
            if update.changes_login() && !next.log_in(&after, stored) {
                return;
            }
            *self = next;
            self.returned = stored && moves && self.policy == AcceptAny;
            self.store = after;
            self.pin_first_key();
        }

        /// The admin accepts the key that the server of the store shows.
        fn accept_key(&mut self) {
            let host = self.store.address.hostname.as_str();
            let shown = SERVERS.iter().find(|(name, _)| *name == host).unwrap().1;
            let is_rejected = self.policy != AcceptAny
                && self.store.pinned_key.as_ref().is_none_or(|pinned| pinned.blob != shown)
                && check_secret_scope(&self.store, self.policy).is_ok();
            if is_rejected {
                self.trusted.insert(shown.to_owned());
                self.store.pinned_key = Some(key(shown));
            }
        }
    }

    fn every_update() -> Vec<StoreUpdate> {
        let mut updates = Vec::new();
        for host in [None, Some("one"), Some("two"), Some("three")] {
            for given in [None, Some("good"), Some("rogue")] {
                for (has_secrets, by_admin, user) in (0..8).map(|n| (n & 1, n & 2, n & 4)) {
                    let update = StoreUpdate {
                        hostname: host.map(|host| host.parse().unwrap()),
                        given_fingerprints: given
                            .map(|key| format!("SHA256:{key}"))
                            .into_iter()
                            .collect(),
                        credentials: secrets().filter(|_| has_secrets != 0),
                        by_admin: by_admin != 0,
                        username: (user != 0).then(|| "other".to_owned()),
                        ..nothing()
                    };
                    updates.push(update);
                }
            }
        }
        updates
    }

    #[test]
    fn no_sequence_of_requests_and_restarts_sends_a_secret_elsewhere() {
        let mut queue = VecDeque::new();
        for policy in POLICIES {
            for given in [None, Some("good"), Some("rogue")] {
                let given_fingerprints =
                    given.map(|key| format!("SHA256:{key}")).into_iter().collect();
                let mut added = ModelState {
                    policy,
                    store: Store { given_fingerprints, ..store(None) },
                    given_for: address("one"),
                    trusted: BTreeSet::new(),
                    returned: false,
                };
                let definition = added.store.clone();
                if added.log_in(&definition, false) {
                    added.pin_first_key();
                    queue.push_back(added);
                }
            }
        }
        let updates = every_update();
        let mut seen = HashSet::new();
        let (mut moved_with_key, mut returned) = (false, false);
        while let Some(state) = queue.pop_front() {
            if !seen.insert(format!("{state:?}")) {
                continue;
            }
            moved_with_key |= state.store.address != state.given_for;
            if state.returned {
                assert_eq!(state.store.address, state.given_for, "{state:?}");
                returned = true;
            }
            let next = |change: &dyn Fn(&mut ModelState)| {
                let mut next = state.clone();
                change(&mut next);
                next
            };
            queue.extend(POLICIES.map(|policy| next(&|state| state.policy = policy)));
            queue.push_back(next(&ModelState::attempt));
            queue.push_back(next(&ModelState::accept_key));
            queue.extend(updates.iter().map(|update| next(&|state| state.update(update))));
        }
        assert!(moved_with_key && returned && seen.len() > 100, "{} states", seen.len());
    }
}
