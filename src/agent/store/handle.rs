//! Handle to a store task: sends commands to it and reads its latest snapshot.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::definition::DefinitionChange;
use super::host_key_acceptance;
use super::waiters::{AttemptResult, Waiters};
use crate::agent::login::limiter::StoreLogins;
use crate::agent::{AcceptError, StoreSnapshot, faults};
use crate::model::{AttemptFailure, ImageDir, ProcessId, Status, Tags};

/// The answer to who has a store removed: a success is told by the end of the store's task as well.
pub(super) type RemovalReply = oneshot::Sender<Result<(), AttemptFailure>>;

/// Requests that may wait for a store's task. It takes one within microseconds unless the state disk
/// is slow, so that more in the queue than this means that callers are better told to come back.
pub(super) const MAX_QUEUED_COMMANDS: usize = 256;

/// What a removed store leaves behind.
#[derive(Debug)]
pub(crate) struct RemovedStore {
    pub(crate) dir: ImageDir,
    /// The worker that will not die: the next add of the directory is to send no second one after it.
    pub(crate) stuck: Option<ProcessId>,
}

/// What a store's task is asked. Boxed where it is large: a store's inbox has room for 32 of the largest
/// from the start.
#[derive(Debug)]
pub(super) enum StoreCommand {
    /// Connect, or join the attempt that is running.
    Reconnect { tags: Box<Tags>, force: bool, reply: oneshot::Sender<AttemptResult> },
    /// Change the definition, and connect if the login is another.
    Redefine { what: Box<DefinitionChange>, tags: Box<Tags>, reply: oneshot::Sender<AttemptResult> },
    /// Forget the store and end.
    Remove { reply: RemovalReply },
}

/// A served store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    inbox: mpsc::Sender<StoreCommand>,
    view: watch::Receiver<Arc<StoreSnapshot>>,
    logins: StoreLogins,
}

impl StoreHandle {
    pub(super) fn new(
        inbox: mpsc::Sender<StoreCommand>,
        view: watch::Receiver<Arc<StoreSnapshot>>,
        logins: StoreLogins,
    ) -> Self {
        Self { inbox, view, logins }
    }

    /// The logins of the store, of which one is under way at a time.
    pub(crate) fn logins(&self) -> &StoreLogins {
        &self.logins
    }

    /// The store as it was after its last commit.
    pub(crate) fn snapshot(&self) -> Arc<StoreSnapshot> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether its task has ended or is about to, so that nothing can be asked of it any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Starts an attempt, or joins the one that runs, and waits for its outcome.
    pub(crate) async fn reconnect(&self, tags: Tags, force: bool) -> AttemptResult {
        let (reply, answer) = oneshot::channel();
        self.send_command(StoreCommand::Reconnect { tags: Box::new(tags), force, reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    /// Pins the host key that the last failed attempt recorded, and reconnects.
    pub(crate) async fn accept_host_key(
        &self,
        fingerprint: &str,
        tags: Tags,
    ) -> Result<Arc<StoreSnapshot>, AcceptError> {
        let key =
            host_key_acceptance::offered_key_matching(&self.snapshot().standing, fingerprint)?;
        self.change_definition(DefinitionChange::HostKey(key), tags)
            .await
            .map_err(AcceptError::Failed)
    }

    /// Changes the definition, and reconnects when the login is another.
    pub(crate) async fn change_definition(
        &self,
        what: DefinitionChange,
        tags: Tags,
    ) -> AttemptResult {
        let (reply, answer) = oneshot::channel();
        let (what, tags) = (Box::new(what), Box::new(tags));
        self.send_command(StoreCommand::Redefine { what, tags, reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    /// The store once no attempt runs.
    pub(crate) async fn wait_until_idle(&self) -> Arc<StoreSnapshot> {
        let mut view = self.view.clone();
        let at_rest = |view: &Arc<StoreSnapshot>| view.standing.status != Status::Connecting;
        match view.wait_for(at_rest).await {
            Ok(view) => Arc::clone(&view),
            // Its task has ended.
            Err(_) => self.snapshot(),
        }
    }

    /// Forgets the store; its marker stays in the directory.
    pub(crate) async fn remove_store(&self) -> Result<(), AttemptFailure> {
        let (reply, answer) = oneshot::channel();
        self.send_command(StoreCommand::Remove { reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    fn send_command(&self, command: StoreCommand) -> Result<(), AttemptFailure> {
        self.inbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                faults::too_many_store_requests(MAX_QUEUED_COMMANDS).into()
            }
            mpsc::error::TrySendError::Closed(_) => faults::agent_stopping().into(),
        })
    }
}

/// What still waits for a task that will not do it any more.
pub(super) fn drain_commands(
    inbox: &mut mpsc::Receiver<StoreCommand>,
) -> (Waiters, Vec<RemovalReply>) {
    inbox.close();
    let (mut callers, mut removals) = (Waiters::default(), Vec::new());
    while let Ok(command) = inbox.try_recv() {
        match command {
            StoreCommand::Reconnect { reply, .. } | StoreCommand::Redefine { reply, .. } => {
                callers.add_waiter(reply, &Waiters::default());
            }
            StoreCommand::Remove { reply } => removals.push(reply),
        }
    }
    (callers, removals)
}
