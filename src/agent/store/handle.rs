//! Handle to a store task: sends commands to it and reads its latest snapshot.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::definition::Redefinition;
use super::host_key_acceptance;
use super::waiters::{Answer, Callers};
use crate::agent::login::limiter::Restrained;
use crate::agent::{AcceptError, StoreView, faults};
use crate::ledger::StuckWorker;
use crate::model::{AttemptFailure, ImageDir, Status, Tags};

/// The answer to who has a store removed: a success is told by the end of the store's task as well.
pub(super) type RemovalReply = oneshot::Sender<Result<(), AttemptFailure>>;

/// Requests that may wait for a store's task. It takes one within microseconds unless the state disk
/// is slow, so that more in the queue than this means that callers are better told to come back.
pub(super) const INBOX: usize = 256;

/// What a removed store leaves behind.
#[derive(Debug)]
pub(crate) struct Removed {
    pub(crate) dir: ImageDir,
    /// The worker that will not die: the next add of the directory is to send no second one after it.
    pub(crate) stuck: Option<StuckWorker>,
}

/// What a store's task is asked. Boxed where it is large: a store's inbox has room for 32 of the largest
/// from the start.
#[derive(Debug)]
pub(super) enum Command {
    /// Connect, or join the attempt that is running.
    Reconnect { tags: Box<Tags>, force: bool, reply: oneshot::Sender<Answer> },
    /// Change the definition, and connect if the login is another.
    Redefine { what: Box<Redefinition>, tags: Box<Tags>, reply: oneshot::Sender<Answer> },
    /// Forget the store and end.
    Remove { reply: RemovalReply },
}

/// A served store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    inbox: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<StoreView>>,
    logins: Restrained,
}

impl StoreHandle {
    pub(super) fn new(
        inbox: mpsc::Sender<Command>,
        view: watch::Receiver<Arc<StoreView>>,
        logins: Restrained,
    ) -> Self {
        Self { inbox, view, logins }
    }

    /// The logins of the store, of which one is under way at a time.
    pub(crate) fn logins(&self) -> &Restrained {
        &self.logins
    }

    /// The store as it was after its last commit.
    pub(crate) fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether its task has ended or is about to, so that nothing can be asked of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Starts an attempt, or joins the one that runs, and waits for its outcome.
    pub(crate) async fn reconnect(&self, tags: Tags, force: bool) -> Answer {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Reconnect { tags: Box::new(tags), force, reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::stopping().into()))
    }

    /// Pins the host key that the last failed attempt recorded, and reconnects.
    pub(crate) async fn accept_host_key(
        &self,
        fingerprint: &str,
        tags: Tags,
    ) -> Result<Arc<StoreView>, AcceptError> {
        let key = host_key_acceptance::offered(&self.view().standing, fingerprint)?;
        self.redefine(Redefinition::HostKey(key), tags).await.map_err(AcceptError::Failed)
    }

    /// Changes the definition, and reconnects when the login is another.
    pub(crate) async fn redefine(&self, what: Redefinition, tags: Tags) -> Answer {
        let (reply, answer) = oneshot::channel();
        let (what, tags) = (Box::new(what), Box::new(tags));
        self.ask(Command::Redefine { what, tags, reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::stopping().into()))
    }

    /// The store once no attempt runs.
    pub(crate) async fn at_rest(&self) -> Arc<StoreView> {
        let mut view = self.view.clone();
        let at_rest = |view: &Arc<StoreView>| view.standing.status != Status::Connecting;
        match view.wait_for(at_rest).await {
            Ok(view) => Arc::clone(&view),
            // Its task has ended.
            Err(_) => self.view(),
        }
    }

    /// Forgets the store; its marker stays in the directory.
    pub(crate) async fn remove(&self) -> Result<(), AttemptFailure> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Remove { reply })?;
        answer.await.unwrap_or_else(|_| Err(faults::stopping().into()))
    }

    fn ask(&self, command: Command) -> Result<(), AttemptFailure> {
        self.inbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => faults::too_many_store_requests(INBOX).into(),
            mpsc::error::TrySendError::Closed(_) => faults::stopping().into(),
        })
    }
}

/// What still waits for a task that will not do it any more.
pub(super) fn leftovers(inbox: &mut mpsc::Receiver<Command>) -> (Callers, Vec<RemovalReply>) {
    inbox.close();
    let (mut callers, mut removals) = (Callers::default(), Vec::new());
    while let Ok(command) = inbox.try_recv() {
        match command {
            Command::Reconnect { reply, .. } | Command::Redefine { reply, .. } => {
                callers.take(reply, &Callers::default());
            }
            Command::Remove { reply } => removals.push(reply),
        }
    }
    (callers, removals)
}
