//! The registry: the handle through which other modules reach all stores of this daemon.

pub(super) mod add;
mod add_preparation;
mod left_workers;
pub(super) mod task;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::outcome::{OptionalRecorder, OutcomeRecorder};
use super::store::check_callers::CheckRefusal;
use super::store::definition::DefinitionChange;
use add::{AddError, PendingReply};
use left_workers::LeftWorkers;

use super::{
    AcceptError, AgentContext, AgentStats, AttemptWatch, CapacityHistory, CheckError,
    ReconnectError, SpaceSharers, StoreHandle, StoreService, StoreSnapshot, UpdateError, faults,
};
use crate::common::observe_phases;
use crate::lifecycle::{RequestedCheck, StoreHistory};
use crate::model::{
    AddStore, AttemptFailure, PlacementChange, Reason, StoreUpdate, StoreUuid, Tags, UtcDay,
};

/// Maximum number of queued requests to the registry. It takes one within microseconds, so that 64
/// suffice.
pub(super) const MAX_QUEUED_REQUESTS: usize = 64;
/// Maximum duration of a history read. 2 s is as long as an operator should wait for it.
const HISTORY_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Time that a requested check may exceed its deadline before its caller gets an answer without its
/// result. A check that does not wait for its turn ends within it.
const CHECK_GRACE: Duration = Duration::from_secs(2);

pub(super) type ServedStores = Arc<BTreeMap<StoreUuid, StoreHandle>>;
pub(super) type RemoveReply = oneshot::Sender<Result<bool, AttemptFailure>>;

/// A command to the registry task.
#[derive(Debug)]
pub(super) enum RegistryCommand {
    Add { request: Box<AddStore>, reply: PendingReply },
    Remove { store: StoreUuid, reply: RemoveReply, recorder: OptionalRecorder },
}

/// Handle to the registry of all stores. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    commands: mpsc::Sender<RegistryCommand>,
    stores: watch::Receiver<ServedStores>,
    left_workers: LeftWorkers,
    context: Arc<AgentContext>,
    stop: CancellationToken,
    /// The recorder of the next operation.
    recorder: OptionalRecorder,
}

impl Registry {
    /// Returns the counts of attempts, transitions and checks.
    pub fn stats(&self) -> &Arc<AgentStats> {
        &self.context.stats
    }

    /// Returns the handle of one store, or `None` if no such store is served.
    fn find_store(&self, uuid: StoreUuid) -> Option<StoreHandle> {
        let store = self.stores.borrow().get(&uuid).cloned();
        store.map(|store| store.recorded_by(self.recorder.clone()))
    }

    /// Converts the failure of a request into [`ReconnectError::UnknownStore`] if the request
    /// failed because its store was removed.
    async fn request_error(
        &self,
        uuid: StoreUuid,
        store: &StoreHandle,
        failure: AttemptFailure,
    ) -> ReconnectError {
        let is_removed = match failure.root_fault().reason() {
            // The removal has been committed, also if the daemon stops now.
            Reason::StoreRemoved => {
                self.wait_until_removed(uuid).await;
                true
            }
            Reason::AgentStopping => store.is_closed() && self.wait_until_removed(uuid).await,
            _ => false,
        };
        match is_removed {
            true => ReconnectError::UnknownStore(uuid),
            false => ReconnectError::Failed(failure),
        }
    }

    /// Waits until a store whose task ended is off the list, or the daemon stops. Returns true if
    /// the store was removed.
    async fn wait_until_removed(&self, uuid: StoreUuid) -> bool {
        let mut stores = self.stores.clone();
        let removed =
            stores.wait_for(|stores| stores.get(&uuid).is_none_or(|store| !store.is_closed()));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            removed = removed => removed.is_ok(),
        }
    }

    fn send_command(&self, command: RegistryCommand) -> Result<(), AttemptFailure> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                faults::too_many_requests(MAX_QUEUED_REQUESTS).into()
            }
            mpsc::error::TrySendError::Closed(_) => faults::agent_stopping().into(),
        })
    }
}

impl StoreService for Registry {
    fn snapshots(&self) -> Vec<Arc<StoreSnapshot>> {
        self.stores.borrow().values().map(StoreHandle::snapshot).collect()
    }

    fn snapshot(&self, uuid: StoreUuid) -> Option<Arc<StoreSnapshot>> {
        self.find_store(uuid).map(|store| store.snapshot())
    }

    fn left_workers(&self) -> usize {
        self.left_workers.count_running()
    }

    fn watch_attempts(&self, uuid: StoreUuid) -> Option<AttemptWatch> {
        self.find_store(uuid).map(|store| store.watch_attempts())
    }

    fn space_sharers(&self, snapshot: &StoreSnapshot) -> SpaceSharers {
        self.context.spaces.sharers_of(snapshot)
    }

    async fn history(&self, uuid: StoreUuid, lines: u32) -> Option<StoreHistory> {
        let read = timeout(HISTORY_READ_TIMEOUT, self.context.daemon.ledger.history(uuid, lines))
            .await
            .ok()?;
        read.inspect_err(|error| warn!(store = %uuid, %error, "history read failed")).ok()
    }

    async fn capacity_history(
        &self,
        snapshot: &StoreSnapshot,
        days: u32,
    ) -> Option<CapacityHistory> {
        let (uuid, context) = (snapshot.store.uuid, &self.context);
        let today = UtcDay::of(context.daemon.clock.now());
        let since = today.plus(1_i64.saturating_sub(days.into()));
        let first = CapacityHistory::first_day(since, today);
        let read = context.daemon.ledger.capacity_days(uuid, first);
        let days = timeout(HISTORY_READ_TIMEOUT, read).await.ok()?;
        let days = days
            .inspect_err(|error| warn!(store = %uuid, %error, "capacity history read failed"))
            .ok()?;
        Some(CapacityHistory::new(days, since, today, snapshot, context.policy.space))
    }

    fn recorded_by(&self, recorder: Arc<dyn OutcomeRecorder>) -> Self {
        Self { recorder: Some(recorder), ..self.clone() }
    }

    async fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        force: bool,
    ) -> Result<Arc<StoreSnapshot>, ReconnectError> {
        let store = self.find_store(uuid).ok_or(ReconnectError::UnknownStore(uuid))?;
        match store.reconnect(tags, force).await {
            Ok(snapshot) => Ok(snapshot),
            Err(failure) => Err(self.request_error(uuid, &store, failure).await),
        }
    }

    async fn run_check(
        &self,
        uuid: StoreUuid,
        check: RequestedCheck,
    ) -> Result<Arc<StoreSnapshot>, CheckError> {
        let store = self.find_store(uuid).ok_or(CheckError::UnknownStore(uuid))?;
        let own = match check {
            RequestedCheck::Probe => self.context.probe_timeout,
            RequestedCheck::Login => self.context.attempt_timeout,
        };
        match store.run_check(check, own.saturating_add(CHECK_GRACE)).await {
            Ok(snapshot) => Ok(snapshot),
            Err(CheckRefusal::TooSoon(wait)) => Err(CheckError::TooSoon(wait)),
            Err(CheckRefusal::Failed(failure)) => {
                Err(match self.request_error(uuid, &store, failure).await {
                    ReconnectError::UnknownStore(uuid) => CheckError::UnknownStore(uuid),
                    ReconnectError::Failed(failure) => CheckError::Failed(failure),
                })
            }
        }
    }

    fn rejections_left(&self, uuid: StoreUuid) -> Option<usize> {
        Some(self.find_store(uuid)?.logins().lock().rejections_left(Instant::now()))
    }

    async fn update(
        &self,
        uuid: StoreUuid,
        update: StoreUpdate,
    ) -> Result<Arc<StoreSnapshot>, UpdateError> {
        let store = self.find_store(uuid).ok_or(UpdateError::UnknownStore(uuid))?;
        let tags = update.tags.clone();
        // Boxed, because a request holds this future inside of its own.
        let verification = Box::pin(observe_phases(self.context.observe_checks(), async {
            let before = &store.wait_until_idle().await.store;
            super::store::update::verify_update(&self.context, before, store.logins(), update).await
        }));
        let verified = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(UpdateError::from(faults::agent_stopping())),
            verified = verification => verified,
        };
        let updated = match verified {
            Ok(verified) => store
                .change_definition(DefinitionChange::Update(Box::new(verified)), tags)
                .await
                .map_err(UpdateError::Failed),
            Err(error) => Err(error),
        };
        match updated {
            Err(UpdateError::Failed(failure)) => {
                Err(self.request_error(uuid, &store, failure).await.into())
            }
            result => result,
        }
    }

    async fn change_placement(
        &self,
        uuid: StoreUuid,
        change: PlacementChange,
    ) -> Result<Arc<StoreSnapshot>, ReconnectError> {
        let store = self.find_store(uuid).ok_or(ReconnectError::UnknownStore(uuid))?;
        let change = DefinitionChange::Placement(change);
        match store.change_definition(change, Tags::default()).await {
            Ok(snapshot) => Ok(snapshot),
            Err(failure) => Err(self.request_error(uuid, &store, failure).await),
        }
    }

    async fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: &str,
        tags: Tags,
    ) -> Result<Arc<StoreSnapshot>, AcceptError> {
        let store = self.find_store(uuid).ok_or(AcceptError::UnknownStore(uuid))?;
        match store.accept_host_key(fingerprint, tags).await {
            Err(AcceptError::Failed(failure)) => {
                Err(self.request_error(uuid, &store, failure).await.into())
            }
            result => result,
        }
    }

    async fn add(&self, store: AddStore) -> Result<Arc<StoreSnapshot>, AddError> {
        let (reply, added) = oneshot::channel();
        let request = Box::new(store);
        let reply = PendingReply::new(reply, self.recorder.clone());
        self.send_command(RegistryCommand::Add { request, reply }).map_err(AddError::Failed)?;
        added.await.unwrap_or_else(|_| Err(AddError::Failed(faults::agent_stopping().into())))
    }

    async fn remove(&self, uuid: StoreUuid) -> Result<bool, AttemptFailure> {
        let (reply, removed) = oneshot::channel();
        let recorder = self.recorder.clone();
        self.send_command(RegistryCommand::Remove { store: uuid, reply, recorder })?;
        removed.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }
}
