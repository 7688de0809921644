//! Changes the definition of a store. A new login is verified before it replaces the present one,
//! which stays in force if the verification fails.
//!
//! The verification takes seconds and runs outside the store task. The task must stay free to run
//! the checks of the present login and to accept other requests. This is optimistic concurrency
//! control.
//!
//! [`verify_update`] works on a snapshot of the store and takes no lock on it. The store task calls
//! [`VerifiedUpdate::apply_update`], which compares the login of the snapshot with the present
//! login of the store. If they differ, another update or another host key was committed in the
//! meantime. The verified login may then belong to a server that the store no longer has, so that
//! the update fails with `agent_busy`. Nothing is changed then, and the caller can read the store
//! and repeat the update.
//!
//! The comparison includes `changed`, because secrets are not part of the definition. An update
//! that replaced only the password differs in nothing else.

use tokio::time::{Instant, timeout_at};

use crate::agent::checks::marker_location;
use crate::agent::login::StoreLogins;
use crate::agent::{AgentContext, faults};
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::HistoryEvent;
use crate::model::{AttemptFailure, Fault, HostKey, SshAddress, Store, StoreUpdate};
use crate::ssh::{EvidenceScope, LoginClass, LoginRequest, VerifiedLogin};

/// An update whose new login, if there is one, was verified.
#[derive(Debug)]
pub(crate) struct VerifiedUpdate {
    update: StoreUpdate,
    /// The definition that the login was verified with.
    before: Store,
    /// The host key of the server, or `None` if the login does not change.
    host_key: Option<HostKey>,
}

/// Verifies the login that the store would have after the update. It holds the login permit of the
/// store and changes nothing yet.
///
/// # Errors
/// The fault of the login, or of reading its secrets.
pub(crate) async fn verify_update(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    update: StoreUpdate,
) -> Result<VerifiedUpdate, AttemptFailure> {
    let deadline = Instant::now() + context.attempt_timeout;
    let mut verified_update = VerifiedUpdate { update, before: store.clone(), host_key: None };
    if verified_update.changes_login() {
        let credentials = match &verified_update.update.credentials {
            Some(credentials) => credentials.clone(),
            None => {
                let stored =
                    timeout_at(deadline, context.daemon.ledger.credentials(store.uuid)).await;
                stored.unwrap_or_else(|_| Err(faults::no_credentials()))?
            }
        };
        let after = updated_definition(store, &verified_update.update, store.changed);
        let evidence = EvidenceScope::Full(
            logins.lock().marker_to_request(marker_location(store), Instant::now()),
        );
        let login = LoginRequest {
            address: after.address,
            username: after.username,
            credentials,
            pinned: after.pinned_key,
            given_fingerprints: after.given_fingerprints,
            evidence,
        };
        let force = verified_update.update.force;
        let verify = async {
            let trial = LoginClass::Trial;
            let prepared = context.verifier.prepare_login(login.clone(), trial, deadline).await?;
            context.verifier.verify(prepared, deadline).await
        };
        let is_current_login = verified_update.update.credentials.is_none()
            && login.username == store.username
            && login.address == store.address;
        let verified = if is_current_login {
            logins.run_preemptible(deadline, login_with_current(logins, force, verify)).await
        } else {
            let logging_in = logins.run_preemptible(deadline, verify);
            context.trial_logins.log_in(&login, force, deadline, logging_in).await
        };
        verified_update.host_key = Some(verified?.host_key);
    }
    Ok(verified_update)
}

/// Runs a login as the same user with the same secrets at the same address. Its outcome counts
/// among those of the store.
async fn login_with_current(
    logins: &StoreLogins,
    force: bool,
    logging_in: impl Future<Output = Result<VerifiedLogin, Fault>>,
) -> Result<VerifiedLogin, Fault> {
    if force {
        logins.lock().reset();
    }
    if let Some(fault) = logins.lock().cached_rejection(Instant::now()) {
        return Err(fault);
    }
    let verified = logging_in.await;
    logins
        .lock()
        .record_outcome(verified.as_ref().map(|verified| &verified.host_identity), Instant::now());
    verified
}

impl VerifiedUpdate {
    /// Returns true if anything but the name and the description changes.
    pub(crate) fn changes_login(&self) -> bool {
        self.update.changes_login()
    }

    /// Returns the updated store, the change for the ledger, and its history event.
    ///
    /// # Errors
    /// `agent_busy` if the store is no longer the one that the login was verified with.
    pub(crate) fn apply_update(
        self,
        store: &Store,
        pins_host_keys: bool,
        at: Timestamp,
    ) -> Result<(Store, LedgerChange, HistoryEvent), AttemptFailure> {
        let login = |store: &Store| {
            (store.address.clone(), store.username.clone(), store.pinned_key.clone(), store.changed)
        };
        if login(store) != login(&self.before) {
            return Err(faults::store_changed().into());
        }
        let mut after = updated_definition(store, &self.update, at);
        if let Some(key) = self.host_key.filter(|_| pins_host_keys) {
            after.pinned_key = Some(key);
        }
        let fields = self.update.changed_fields().into_iter().map(str::to_owned).collect();
        let mut change = LedgerChange::new().save_store(after.clone());
        if let Some(credentials) = self.update.credentials {
            change = change.replace_secrets(store.uuid, credentials);
        }
        Ok((after, change, HistoryEvent::DefinitionUpdated { fields }))
    }
}

/// Returns the store as it is after an update. Another address means another server with an unknown
/// host key. The fingerprints that were given with the old address then no longer apply.
fn updated_definition(before: &Store, update: &StoreUpdate, at: Timestamp) -> Store {
    let or = |given: &Option<String>, old: &String| given.as_ref().unwrap_or(old).clone();
    let address = SshAddress {
        hostname: update.hostname.as_ref().unwrap_or(&before.address.hostname).clone(),
        port: update.port.unwrap_or(before.address.port),
    };
    let address_changed = address != before.address;
    let fingerprints = match &update.given_fingerprints {
        none if none.is_empty() && !address_changed => &before.given_fingerprints,
        fingerprints => fingerprints,
    };
    Store {
        name: or(&update.name, &before.name),
        description: or(&update.description, &before.description),
        username: or(&update.username, &before.username),
        pinned_key: before.pinned_key.clone().filter(|_| !address_changed),
        given_fingerprints: fingerprints.clone(),
        address,
        changed: at,
        ..before.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::model::{ImageDir, MarkerId, MountLocation, State, StoreUuid};

    fn store() -> Store {
        let key = HostKey { algorithm: "a".into(), blob: "b".into(), fingerprint: "c".into() };
        Store {
            uuid: StoreUuid::from_u128(1),
            name: "images".into(),
            description: "old".into(),
            image_dir: ImageDir::parse("/images").unwrap(),
            address: SshAddress { hostname: "one".parse().unwrap(), port: NonZeroU16::MIN },
            username: "root".into(),
            state: State::Enabled,
            zone_uuids: Vec::new(),
            created: Timestamp(1),
            changed: Timestamp(1),
            marker: MarkerId::from_u128(2),
            mount: MountLocation {
                mount_point: "/images".into(),
                fs_type: "xfs".into(),
                device: "8:1".into(),
                on_root_disk: false,
            },
            had_registry: true,
            pinned_key: Some(key),
            given_fingerprints: vec!["SHA256:old".into()],
        }
    }

    fn nothing() -> StoreUpdate {
        StoreUpdate::default()
    }

    #[test]
    fn what_is_not_given_stays_as_it_is() {
        let after = updated_definition(&store(), &nothing(), Timestamp(9));
        assert_eq!(after, Store { changed: Timestamp(9), ..store() });
        let update = StoreUpdate { description: Some(String::new()), ..nothing() };
        assert_eq!(updated_definition(&store(), &update, Timestamp(1)).description, "");
    }

    #[test]
    fn at_another_address_there_is_another_server_with_another_key() {
        let elsewhere: [StoreUpdate; 2] = [
            StoreUpdate { hostname: Some("two".parse().unwrap()), ..nothing() },
            StoreUpdate { port: NonZeroU16::new(2), ..nothing() },
        ];
        for update in elsewhere {
            let after = updated_definition(&store(), &update, Timestamp(1));
            assert_eq!((&after.pinned_key, after.given_fingerprints.len()), (&None, 0));
            let fingerprints = vec!["SHA256:new".to_owned()];
            let update = StoreUpdate { given_fingerprints: fingerprints.clone(), ..update };
            assert_eq!(
                updated_definition(&store(), &update, Timestamp(1)).given_fingerprints,
                fingerprints
            );
        }
        // The same address given again is none other.
        let same_address = StoreUpdate { hostname: Some("one".parse().unwrap()), ..nothing() };
        assert_eq!(updated_definition(&store(), &same_address, Timestamp(1)), store());
    }
}
