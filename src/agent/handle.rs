//! How others speak to a store's task.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::StoreView;
use crate::model::{Failure, Fault, Reason, Tags};

/// The answer to everyone who waits for an attempt.
pub(super) type Answer = Result<Arc<StoreView>, Failure>;

/// The answer to who has a store removed: a success is told by the end of the store's task as well.
pub(super) type RemovalReply = oneshot::Sender<Result<(), Failure>>;

/// Requests that may wait for a store's task. It takes one within microseconds unless the state disk
/// is slow, so that more in the queue than this means that callers are better told to come back.
pub(super) const INBOX: usize = 256;

/// What a store's task is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Connect, or join the attempt that is running.
    Reconnect { tags: Tags, reply: oneshot::Sender<Answer> },
    /// Forget the store and end.
    Remove { reply: RemovalReply },
}

/// A served store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreHandle {
    inbox: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<StoreView>>,
}

impl StoreHandle {
    pub(super) fn new(inbox: mpsc::Sender<Command>, view: watch::Receiver<Arc<StoreView>>) -> Self {
        Self { inbox, view }
    }

    /// The store as it was after its last commit.
    pub fn view(&self) -> Arc<StoreView> {
        Arc::clone(&self.view.borrow())
    }

    /// Whether its task has ended or is about to, so that nothing can be asked of it any more.
    pub(super) fn is_over(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Proves the store usable anew. Overlapping calls share one attempt and one answer.
    ///
    /// # Errors
    /// What failed: the checks of the attempt, or `agent_busy`, `agent_stopping` or
    /// `state_disk_trouble` when there was none.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the attempt goes on.
    pub async fn reconnect(&self, tags: Tags) -> Result<Arc<StoreView>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Reconnect { tags, reply })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Forgets the store; its marker stays in the directory.
    pub(super) async fn remove(&self) -> Result<(), Failure> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::Remove { reply })?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn ask(&self, command: Command) -> Result<(), Failure> {
        self.inbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::of(
                Fault::new(Reason::AgentBusy, "too many requests wait for this store")
                    .fact("waiting", INBOX),
            ),
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }
}

/// The answer of a task that has ended.
pub(super) fn stopping() -> Failure {
    Failure::of(Fault::new(Reason::AgentStopping, "the daemon is stopping"))
}
