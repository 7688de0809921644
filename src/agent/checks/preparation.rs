//! The preparation of an attempt: acquires all that it needs of the daemon, before the status of
//! the store changes. A daemon that lacks something therefore answers with `agent_busy`, and the
//! store stays as it is.

use super::login::PreparedStoreLogin;
use super::permits::{SharedPermit, acquire_together};
use super::worker::{PreparedWorker, StoreWorker};
use super::{check_thread, login};
use crate::agent::AgentContext;
use crate::agent::login::StoreLogins;
use crate::model::{Fault, Store};
use crate::ssh::{LoginClass, LoginDeadline};

/// All that an attempt needs of the daemon. Dropping it releases everything.
#[derive(Debug)]
pub(crate) struct PreparedAttempt {
    /// `None` if a worker is stuck. The attempt then fails in any case, so it is not worth a wait.
    pub(super) login: Option<PreparedStoreLogin>,
    pub(super) worker: PreparedWorker,
}

/// Acquires the permits of the login and of the worker, starts the worker, and checks that there is
/// a thread. Ends by `deadline`.
///
/// The process comes last, so that it does not wait for a permit.
///
/// # Errors
/// A fault of the daemon. A fault of the store is part of the prepared attempt.
pub(super) async fn prepare_attempt(
    context: &AgentContext,
    store: &Store,
    worker: &StoreWorker,
    logins: &StoreLogins,
    deadline: LoginDeadline,
) -> Result<PreparedAttempt, Fault> {
    if worker.is_stuck().await {
        return Ok(PreparedAttempt { login: None, worker: PreparedWorker::default() });
    }
    check_thread(deadline.at()).await?;
    let permit = logins.acquire_for_attempt(deadline.at()).await?;
    let login = login::resolve_login(context, store, logins, permit, deadline).await?;
    let first = SharedPermit::likely_taken(worker.has_hung());
    let (server_permit, worker_permit) = acquire_together(
        first,
        |until| login.acquire_permit(context, LoginClass::Attempt, until),
        |until| worker.acquire_permit(context, until),
        deadline.at(),
    )
    .await?;
    let worker = worker.start(context, &store.image_dir, worker_permit).await?;
    Ok(PreparedAttempt { login: Some(login.with_permit(server_permit)), worker })
}
