//! The login of a store, in two parts: what the daemon needs for it, and the login itself.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{LoginResult, marker_location};
use crate::agent::login::secret_scope::check_secret_scope;
use crate::agent::login::{LoginPermit, StoreLogins};
use crate::agent::{AgentContext, faults};
use crate::model::{Check, Fault, Store, StoreUuid};
use crate::ssh::{LoginClass, LoginDeadline, LoginRequest, PreparedLogin};

/// Maximum time for reading the credentials. The read takes less than a millisecond, so 10 s mean
/// that the state disk hangs.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);

/// A login that holds the permits of its store and of its server.
#[derive(Debug)]
pub(crate) struct PreparedStoreLogin {
    /// The login, or the fault of the store that prevents it.
    login: Result<PreparedLogin, Fault>,
    store: StoreUuid,
    _permit: LoginPermit,
}

/// Prepares a login with the credentials of the ledger. If the server has rejected the credentials
/// too often, the cached rejection is the fault of the login.
///
/// # Errors
/// A fault of the daemon, such as a ledger that does not return the credentials by `deadline`, or
/// other logins on the server that do not end by then.
pub(super) async fn prepare_login(
    context: &AgentContext,
    store: &Store,
    logins: &StoreLogins,
    class: LoginClass,
    permit: LoginPermit,
    deadline: LoginDeadline,
) -> Result<PreparedStoreLogin, Fault> {
    let rejection = logins.lock().cached_rejection(Instant::now());
    if let Some(fault) = rejection {
        return Ok(PreparedStoreLogin { login: Err(fault), store: store.uuid, _permit: permit });
    }
    if let Err(fault) = check_secret_scope(store, context.host_key_policy) {
        return Ok(PreparedStoreLogin { login: Err(fault), store: store.uuid, _permit: permit });
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
            Ok(context.verifier.prepare_login(login, class, deadline).await?)
        }
        Err(fault) if fault.reason().failed_check() == Check::Agent => return Err(fault),
        Err(fault) => Err(fault),
    };
    Ok(PreparedStoreLogin { login, store: store.uuid, _permit: permit })
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
