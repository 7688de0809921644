//! The login of a store, in two parts: what the daemon needs for it, and the login itself.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{LoginResult, marker_location};
use crate::agent::login::secret_scope::check_secret_scope;
use crate::agent::login::{LoginPermit, StoreLogins};
use crate::agent::{AgentContext, faults};
use crate::model::{Check, Fault, Store, StoreUuid};
use crate::ssh::{
    LoginClass, LoginDeadline, LoginRequest, PreparedLogin, ResolvedLogin, ServerPermit,
};

/// Maximum time for reading the credentials. The read takes less than a millisecond, so 10 s mean
/// that the state disk hangs.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// A login that holds the permit of its store, and still needs that of its server.
#[derive(Debug)]
pub(super) struct ResolvedStoreLogin {
    /// The login, or the fault of the store that prevents it.
    login: Result<ResolvedLogin, Fault>,
    store: StoreUuid,
    permit: LoginPermit,
}

/// A login that holds the permits of its store and of its server.
#[derive(Debug)]
pub(crate) struct PreparedStoreLogin {
    login: Result<PreparedLogin, Fault>,
    store: StoreUuid,
    _permit: LoginPermit,
}

impl ResolvedStoreLogin {
    /// Waits for the permit for the server as [`Verifier::acquire_permit`] does.
    ///
    /// # Errors
    /// Those of [`Verifier::acquire_permit`].
    ///
    /// [`Verifier::acquire_permit`]: crate::ssh::Verifier::acquire_permit
    pub(super) async fn acquire_permit(
        &self,
        context: &AgentContext,
        class: LoginClass,
        until: Instant,
    ) -> Result<Option<ServerPermit>, Fault> {
        match &self.login {
            Ok(login) => context.verifier.acquire_permit(login, class, until).await,
            Err(_) => Ok(None),
        }
    }

    /// Adds the permit that [`ResolvedStoreLogin::acquire_permit`] returned for this login.
    pub(super) fn with_permit(self, server: Option<ServerPermit>) -> PreparedStoreLogin {
        let Self { login, store, permit } = self;
        let login = login.map(|login| login.with_permit(server));
        PreparedStoreLogin { login, store, _permit: permit }
    }
}

/// Resolves a login as [`resolve_login`] does, and acquires the permit for its server.
///
/// # Errors
/// Those of [`resolve_login`]. `agent_busy` if other logins on the server do not end by `deadline`.
pub(super) async fn prepare_login(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    class: LoginClass,
    permit: LoginPermit,
    deadline: LoginDeadline,
) -> Result<PreparedStoreLogin, Fault> {
    let resolved = resolve_login(context, store, logins, permit, deadline).await?;
    let server = resolved.acquire_permit(context, class, deadline.at()).await?;
    Ok(resolved.with_permit(server))
}

/// Resolves a login with the credentials of the ledger. If the server has rejected the credentials
/// too often, the cached rejection is the fault of the login.
///
/// # Errors
/// A fault of the daemon, such as a ledger that does not return the credentials by `deadline`.
pub(super) async fn resolve_login(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    permit: LoginPermit,
    deadline: LoginDeadline,
) -> Result<ResolvedStoreLogin, Fault> {
    let rejection = logins.lock().cached_rejection(Instant::now());
    if let Some(fault) = rejection {
        return Ok(ResolvedStoreLogin { login: Err(fault), store: store.uuid, permit });
    }
    if let Err(fault) = check_secret_scope(store, context.host_key_policy) {
        return Ok(ResolvedStoreLogin { login: Err(fault), store: store.uuid, permit });
    }
    let until = deadline.at().min(Instant::now() + CREDENTIALS_TIMEOUT);
    let credentials = timeout_at(until, context.daemon.ledger.credentials(store)).await;
    let login = match credentials.unwrap_or_else(|_| Err(faults::no_credentials())) {
        Ok(credentials) => {
            let login = LoginRequest {
                address: store.address.clone(),
                username: store.username.clone(),
                credentials,
                pinned: store.pinned_key.clone(),
                given_fingerprints: store.given_fingerprints.clone(),
                evidence: logins.lock().evidence_wanted(marker_location(store), Instant::now()),
            };
            Ok(context.verifier.resolve_login(login, deadline).await?)
        }
        Err(fault) if fault.reason().failed_check() == Check::Agent => return Err(fault),
        Err(fault) => Err(fault),
    };
    Ok(ResolvedStoreLogin { login, store: store.uuid, permit })
}

/// Logs in once, and records the outcome. A rejection is durable before the result is returned. A
/// deadline that began before the preparation includes its waits.
pub(super) async fn log_in(
    context: &AgentContext,
    logins: &StoreLogins,
    prepared: Result<PreparedStoreLogin, Fault>,
    deadline: LoginDeadline,
) -> LoginResult {
    let started_at = Instant::now();
    let failed = |fault| LoginResult { verified: Err(fault), took: started_at.elapsed() };
    let PreparedStoreLogin { login, store, _permit } = match prepared {
        Ok(prepared) => prepared,
        Err(fault) => return failed(fault),
    };
    let login = match login {
        Ok(login) => login,
        Err(fault) => return failed(fault),
    };
    let verified = context.verifier.verify(login, deadline).await;
    logins
        .lock()
        .record_outcome(verified.as_ref().map(|verified| &verified.host_identity), Instant::now());
    let took = started_at.elapsed();
    logins.save_rejections(context, store).await;
    LoginResult { verified, took }
}
