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
use crate::agent::store::login_change::{LoginChange, UpdateSecrets, decide_update};
use crate::agent::{AgentContext, UpdateError, faults};
use crate::common::Timestamp;
use crate::ledger::LedgerChange;
use crate::lifecycle::HistoryEvent;
use crate::model::{AttemptFailure, Fault, HostKey, Reason, Remedy, Store, StoreUpdate};
use crate::settings::HostKeyPolicy;
use crate::ssh::{EvidenceScope, LoginClass, LoginDeadline, LoginRequest, VerifiedLogin};

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
/// [`UpdateError`]: the update is refused, or the fault of the login, or of reading its secrets.
pub(crate) async fn verify_update(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    update: StoreUpdate,
) -> Result<VerifiedUpdate, UpdateError> {
    let preparation = LoginDeadline::for_attempt(context.attempt_timeout);
    let policy = context.host_key_policy;
    let LoginChange { after, secrets, moves } =
        decide_update(policy, store, &update, store.changed).map_err(UpdateError::Refused)?;
    let mut verified_update = VerifiedUpdate { update, before: store.clone(), host_key: None };
    if !verified_update.changes_login() {
        return Ok(verified_update);
    }
    let uses_stored = matches!(secrets, UpdateSecrets::Stored);
    let credentials = match secrets {
        UpdateSecrets::Given(credentials) => credentials,
        UpdateSecrets::Stored => {
            let stored =
                timeout_at(preparation.at(), context.daemon.ledger.credentials(store)).await;
            stored.unwrap_or_else(|_| Err(faults::no_credentials()))?
        }
    };
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
    let until = preparation.at();
    let is_current_login = uses_stored && login.username == store.username && !moves;
    // Boxed, because each of the futures around it holds a copy of it on the stack of a thread.
    let verify = Box::pin(async {
        let resolved = context.verifier.resolve_login(login.clone(), preparation).await?;
        // The rejections of the present login count for the store.
        let server = resolved.server().filter(|_| !is_current_login);
        let mut trial = context.trial_logins.acquire(server, &login, force, until).await?;
        let rejection = trial.as_mut().and_then(|trial| trial.cached_rejection(Instant::now()));
        if let Some(rejection) = rejection {
            return Err(rejection);
        }
        let permit = context.verifier.acquire_permit(&resolved, LoginClass::Trial, until).await?;
        let prepared = resolved.with_permit(permit);
        // The waits before this do not count.
        let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
        let outcome = context.verifier.verify(prepared, deadline).await;
        if let Some(trial) = &mut trial {
            trial.record_outcome(context, outcome.as_ref().err()).await;
        }
        outcome
    });
    let verified = if is_current_login {
        logins
            .run_preemptible(until, login_with_current(context, store, logins, force, verify))
            .await
    } else {
        logins.run_preemptible(until, verify).await
    };
    let verified = verified.map_err(|fault| match fault.reason() {
        Reason::HostKeyChanged if moves && uses_stored => {
            fault.with_remedy(Remedy::CheckNewAddress)
        }
        // The update brings secrets, and the strict policy knows only the pinned key.
        Reason::HostKeyChanged if moves => fault.with_remedy(Remedy::SendFingerprint),
        _ => fault,
    })?;
    verified_update.host_key = Some(verified.host_key);
    Ok(verified_update)
}

/// Runs a login as the same user with the same secrets at the same address. Its outcome counts
/// among those of the store.
async fn login_with_current(
    context: &AgentContext,
    store: &Store,
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
    logins.save_rejections(context, store.uuid).await;
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
        policy: HostKeyPolicy,
        at: Timestamp,
    ) -> Result<(Store, LedgerChange, HistoryEvent), AttemptFailure> {
        if store.changed != self.before.changed || !store.has_same_login(&self.before) {
            return Err(faults::store_changed().into());
        }
        // The same login leads to the same decision.
        let decided = decide_update(policy, store, &self.update, at);
        let Ok(LoginChange { mut after, .. }) = decided else {
            return Err(faults::store_changed().into());
        };
        if let Some(key) = self.host_key.filter(|_| policy != HostKeyPolicy::AcceptAny) {
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
