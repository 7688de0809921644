//! All stores of this daemon, as others speak to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::add::{AddError, AddReply};
use super::redefinition::Redefinition;
use super::update;
use super::{AcceptError, StoreHandle, StoreView, Tools, TryOuts, faults};
use crate::ledger::Ledger;
use crate::lifecycle::History;
use crate::model::{AddStore, Failure, Reason, StoreUpdate, StoreUuid, Tags};
use crate::ssh::Verifier;

/// Requests that may wait for the registry, which takes one within microseconds.
pub(super) const INBOX: usize = 64;
/// A person who looks at a history does not wait longer for it.
const READ: Duration = Duration::from_secs(2);

pub(super) type Stores = Arc<BTreeMap<StoreUuid, StoreHandle>>;
pub(super) type RemoveReply = oneshot::Sender<Result<bool, Failure>>;

/// What the registry is asked.
#[derive(Debug)]
pub(super) enum Command {
    Add { asked: Box<AddStore>, reply: AddReply },
    Remove { store: StoreUuid, reply: RemoveReply },
}

/// The stores, as others see them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inbox: mpsc::Sender<Command>,
    stores: watch::Receiver<Stores>,
    ledger: Ledger,
    verifier: Verifier,
    try_outs: TryOuts,
    attempt_deadline: Duration,
    stop: CancellationToken,
}

impl Registry {
    pub(super) fn new(
        inbox: mpsc::Sender<Command>,
        stores: watch::Receiver<Stores>,
        tools: &Tools,
        stop: CancellationToken,
    ) -> Self {
        let (ledger, verifier) = (tools.ledger.clone(), tools.verifier.clone());
        let try_outs = tools.try_outs.clone();
        let attempt_deadline = tools.attempt_deadline;
        Self { inbox, stores, ledger, verifier, try_outs, attempt_deadline, stop }
    }

    /// The stores served now, by uuid.
    pub fn stores(&self) -> Stores {
        Arc::clone(&self.stores.borrow())
    }

    /// One store.
    pub fn store(&self, uuid: StoreUuid) -> Option<StoreHandle> {
        self.stores.borrow().get(&uuid).cloned()
    }

    /// The newest lines of a store's history, and how many are gone; none when the state disk does not
    /// give them within two seconds.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn history(&self, store: StoreUuid, lines: u32) -> Option<History> {
        let read = timeout(READ, self.ledger.history(store, lines)).await.ok()?;
        read.inspect_err(|error| warn!(%store, %error, "the history cannot be read")).ok()
    }

    /// Proves a store usable anew, as [`StoreHandle::reconnect`] does; none when there is no such store,
    /// or when it is removed meanwhile.
    ///
    /// # Errors
    /// Those of [`StoreHandle::reconnect`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the attempt goes on.
    pub async fn reconnect(
        &self,
        uuid: StoreUuid,
        tags: Tags,
        force: bool,
    ) -> Option<Result<Arc<StoreView>, Failure>> {
        let store = self.store(uuid)?;
        let answer = store.reconnect(tags, force).await;
        let removed = self.is_removed(uuid, &store, answer.as_ref().err()).await;
        (!removed).then_some(answer)
    }

    /// Pins the host key that a store's last failed attempt recorded, as
    /// [`StoreHandle::accept_host_key`] does; none when there is no such store, or when it is removed
    /// meanwhile.
    ///
    /// # Errors
    /// Those of [`StoreHandle::accept_host_key`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: what was asked goes on.
    pub async fn accept_host_key(
        &self,
        uuid: StoreUuid,
        fingerprint: &str,
        tags: Tags,
    ) -> Option<Result<Arc<StoreView>, AcceptError>> {
        let store = self.store(uuid)?;
        let answer = store.accept_host_key(fingerprint, tags).await;
        let failure = match &answer {
            Err(AcceptError::Failed(failure)) => Some(failure),
            _ => None,
        };
        let removed = self.is_removed(uuid, &store, failure).await;
        (!removed).then_some(answer)
    }

    /// Changes a store's definition. A new login is proven first, and the old one stays in force when that
    /// fails; a reconnect follows it, whose outcome is the answer. None as above.
    ///
    /// # Errors
    /// Why the new login fails; `agent_busy` when the store is changed meanwhile; or those of
    /// [`StoreHandle::reconnect`].
    ///
    /// # Cancel safety
    /// Until the new login is proven nothing changes; after that what was asked goes on.
    pub async fn update(
        &self,
        uuid: StoreUuid,
        asked: StoreUpdate,
    ) -> Option<Result<Arc<StoreView>, Failure>> {
        let store = self.store(uuid)?;
        let tags = asked.tags.clone();
        let proving = async {
            let before = &store.at_rest().await.store;
            let deadline = Instant::now() + self.attempt_deadline;
            let Self { verifier, try_outs, ledger, .. } = self;
            let means = update::Means { verifier, try_outs, ledger };
            means.prove(before, store.logins(), asked, deadline).await
        };
        let proven = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(faults::stopping().into()),
            proven = proving => proven,
        };
        let answer = match proven {
            Ok(proven) => store.redefine(Redefinition::Update(Box::new(proven)), tags).await,
            Err(failure) => Err(failure),
        };
        let removed = self.is_removed(uuid, &store, answer.as_ref().err()).await;
        (!removed).then_some(answer)
    }

    /// Whether a request failed because its store has been removed.
    async fn is_removed(
        &self,
        uuid: StoreUuid,
        store: &StoreHandle,
        failure: Option<&Failure>,
    ) -> bool {
        let ended = failure.is_some_and(|why| why.root().reason() == Reason::AgentStopping);
        ended && store.is_over() && self.has_forgotten(uuid).await
    }

    /// Waits for what the end of a store's task means: that it is off the list, or that all ends.
    async fn has_forgotten(&self, uuid: StoreUuid) -> bool {
        let mut stores = self.stores.clone();
        let forgotten =
            stores.wait_for(|stores| stores.get(&uuid).is_none_or(|store| !store.is_over()));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            forgotten = forgotten => forgotten.is_ok(),
        }
    }

    /// Serves one more store, once its first attempt has succeeded.
    ///
    /// # Errors
    /// [`AddError`]; then nothing of it is left.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the add goes on.
    pub async fn add(&self, asked: AddStore) -> Result<Arc<StoreView>, AddError> {
        let (reply, answer) = oneshot::channel();
        let asked = Box::new(asked);
        self.ask(Command::Add { asked, reply }).map_err(AddError::Failed)?;
        answer.await.unwrap_or_else(|_| Err(AddError::Failed(faults::stopping().into())))
    }

    /// Forgets a store; false when there is none. Its marker stays in the directory.
    ///
    /// # Errors
    /// `state_disk_trouble` when that could not be recorded; then it is still served.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the removal goes on.
    pub async fn remove(&self, store: StoreUuid) -> Result<bool, Failure> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Remove { store, reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::stopping().into()))
    }

    fn ask(&self, command: Command) -> Result<(), Failure> {
        self.inbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => faults::too_many_requests(INBOX).into(),
            mpsc::error::TrySendError::Closed(_) => faults::stopping().into(),
        })
    }
}
