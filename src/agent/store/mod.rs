//! One store, as the rest of the agent uses it: the handle, which sends commands to the store task
//! and reads the latest snapshot, and the callers that wait for the result of an attempt.

pub(super) mod check_callers;
pub(super) mod definition;
#[cfg(test)]
mod example;
mod growth;
pub(super) mod login_change;
mod pending;
pub(super) mod persist;
mod placement;
pub(super) mod snapshot;
pub(super) mod task;
pub(super) mod update;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::agent::login::StoreLogins;
use crate::agent::outcome::{OperationOutcome, OptionalRecorder};
use crate::agent::{AcceptError, AttemptWatch, StoreSnapshot, faults};
use crate::ledger::LedgerChange;
use crate::lifecycle::RequestedCheck;
use crate::model::{AttemptFailure, ImageDir, ProcessId, Status, Tags};
use check_callers::{CheckRefusal, CheckReply, RequestedCheckResult};
use definition::DefinitionChange;

/// The reply channel of a removal. The end of the store task signals a success as well.
pub(super) type RemovalReply = oneshot::Sender<Result<(), AttemptFailure>>;

/// Maximum number of queued requests to a store task. The task takes one within microseconds,
/// unless the state disk is slow. If 256 are queued, callers should retry later.
pub(super) const MAX_QUEUED_COMMANDS: usize = 256;

/// The remains of a removed store.
#[derive(Debug)]
pub(crate) struct RemovedStore {
    pub(crate) dir: ImageDir,
    /// The worker that cannot be killed. The next add of the directory must not start a second one.
    pub(crate) stuck: Option<ProcessId>,
}

/// A command to a store task. Large variants are boxed, because the channel of each store allocates
/// room for 32 commands at the start.
#[derive(Debug)]
pub(super) enum StoreCommand {
    /// Start an attempt, or join the running one.
    Reconnect { origin: Box<RequestOrigin>, force: bool, reply: oneshot::Sender<AttemptResult> },
    /// Change the definition, and reconnect if the login or the host key changes.
    ChangeDefinition {
        change: Box<DefinitionChange>,
        origin: Box<RequestOrigin>,
        reply: oneshot::Sender<AttemptResult>,
    },
    /// Start a check of the monitor, or join the running one.
    RunCheck { check: RequestedCheck, reply: CheckReply },
    /// Remove the store and end the task.
    Remove { reply: RemovalReply, recorder: OptionalRecorder },
}

/// The caller's part of a request.
#[derive(Debug)]
pub(super) struct RequestOrigin {
    pub(super) tags: Tags,
    pub(super) recorder: OptionalRecorder,
}

/// Handle to a served store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct StoreHandle {
    commands: mpsc::Sender<StoreCommand>,
    snapshot: watch::Receiver<Arc<StoreSnapshot>>,
    logins: StoreLogins,
    /// The recorder of the next request.
    recorder: OptionalRecorder,
}

impl StoreHandle {
    pub(super) fn new(
        commands: mpsc::Sender<StoreCommand>,
        snapshot: watch::Receiver<Arc<StoreSnapshot>>,
        logins: StoreLogins,
    ) -> Self {
        Self { commands, snapshot, logins, recorder: None }
    }

    /// Returns the handle with the recorder of its next request.
    #[must_use]
    pub(crate) fn recorded_by(self, recorder: OptionalRecorder) -> Self {
        Self { recorder, ..self }
    }

    fn request_origin(&self, tags: Tags) -> Box<RequestOrigin> {
        Box::new(RequestOrigin { tags, recorder: self.recorder.clone() })
    }

    /// Returns the logins of the store, of which one runs at a time.
    pub(crate) fn logins(&self) -> &StoreLogins {
        &self.logins
    }

    /// Returns the store as of its last commit.
    pub(crate) fn snapshot(&self) -> Arc<StoreSnapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Watches the attempts of the store.
    pub(crate) fn watch_attempts(&self) -> AttemptWatch {
        AttemptWatch::new(self.snapshot.clone())
    }

    /// Returns true if the task has ended or is about to end, so that it takes no requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Starts an attempt or joins the running one, and waits for its outcome.
    pub(crate) async fn reconnect(&self, tags: Tags, force: bool) -> AttemptResult {
        let (reply, result) = oneshot::channel();
        let origin = self.request_origin(tags);
        self.send_command(StoreCommand::Reconnect { origin, force, reply })?;
        result.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    /// Pins the host key that the last failed attempt recorded, and reconnects the store.
    pub(crate) async fn accept_host_key(
        &self,
        fingerprint: &str,
        tags: Tags,
    ) -> Result<Arc<StoreSnapshot>, AcceptError> {
        let key = definition::offered_key_matching(&self.snapshot().durable, fingerprint)?;
        self.change_definition(DefinitionChange::HostKey(key), tags)
            .await
            .map_err(AcceptError::Failed)
    }

    /// Changes the definition, and reconnects the store if the login or the host key changes.
    pub(crate) async fn change_definition(
        &self,
        change: DefinitionChange,
        tags: Tags,
    ) -> AttemptResult {
        let (reply, result) = oneshot::channel();
        let (change, origin) = (Box::new(change), self.request_origin(tags));
        self.send_command(StoreCommand::ChangeDefinition { change, origin, reply })?;
        result.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    /// Starts a check of the monitor or joins the running one, and waits for its end, but at most
    /// for this time.
    pub(crate) async fn run_check(
        &self,
        check: RequestedCheck,
        limit: Duration,
    ) -> RequestedCheckResult {
        let (reply, result) = oneshot::channel();
        let command = StoreCommand::RunCheck { check, reply };
        self.send_command(command).map_err(CheckRefusal::Failed)?;
        match timeout(limit, result).await {
            Ok(result) => result.unwrap_or_else(|_| Err(faults::agent_stopping().into())),
            Err(_) => Err(faults::check_waiting(limit).into()),
        }
    }

    /// Waits until no attempt is running, and returns the store.
    pub(crate) async fn wait_until_idle(&self) -> Arc<StoreSnapshot> {
        let mut snapshot = self.snapshot.clone();
        let is_idle = |snapshot: &Arc<StoreSnapshot>| {
            snapshot.durable.status != Status::Connecting && !snapshot.has_attempt
        };
        match snapshot.wait_for(is_idle).await {
            Ok(snapshot) => Arc::clone(&snapshot),
            // The task has ended.
            Err(_) => self.snapshot(),
        }
    }

    /// Removes the store. Its marker stays in the directory.
    pub(crate) async fn remove_store(&self) -> Result<(), AttemptFailure> {
        let (reply, result) = oneshot::channel();
        let recorder = self.recorder.clone();
        self.send_command(StoreCommand::Remove { reply, recorder })?;
        result.await.unwrap_or_else(|_| Err(faults::agent_stopping().into()))
    }

    fn send_command(&self, command: StoreCommand) -> Result<(), AttemptFailure> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                faults::too_many_store_requests(MAX_QUEUED_COMMANDS).into()
            }
            mpsc::error::TrySendError::Closed(_) => faults::agent_stopping().into(),
        })
    }
}

/// Closes the queue, and returns the callers of all commands that the task will not process.
pub(super) fn drain_commands(
    commands: &mut mpsc::Receiver<StoreCommand>,
) -> (Waiters, Vec<RemovalReply>) {
    commands.close();
    let (mut waiters, mut removals) = (Waiters::default(), Vec::new());
    while let Ok(command) = commands.try_recv() {
        match command {
            StoreCommand::Reconnect { reply, .. }
            | StoreCommand::ChangeDefinition { reply, .. } => {
                waiters.add_waiter(Waiter { reply, recorder: None }, &Waiters::default());
            }
            // The handle of a caller without a reply finds that the store is gone.
            StoreCommand::RunCheck { .. } => {}
            StoreCommand::Remove { reply, .. } => removals.push(reply),
        }
    }
    (waiters, removals)
}

/// Maximum number of callers that wait for one attempt. 1024 is above the 512 TCP connections that
/// the HTTP server accepts by default.
const MAX_WAITERS: usize = 1024;

/// The result of an attempt, which every waiting caller receives.
pub(super) type AttemptResult = Result<Arc<StoreSnapshot>, AttemptFailure>;

/// A caller that waits, and the recorder of what it receives.
#[derive(Debug)]
pub(super) struct Waiter {
    reply: oneshot::Sender<AttemptResult>,
    recorder: OptionalRecorder,
}

impl Waiter {
    pub(super) fn new(
        reply: oneshot::Sender<AttemptResult>,
        origin: RequestOrigin,
    ) -> (Self, Tags) {
        (Self { reply, recorder: origin.recorder }, origin.tags)
    }
}

/// The callers that receive the same result.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waiter>);

impl Waiters {
    /// Adds a caller, and returns true. If there are too many, the caller gets a failure at once,
    /// and the result is false.
    pub(super) fn add_waiter(&mut self, waiter: Waiter, others: &Self) -> bool {
        if self.0.len() + others.0.len() < MAX_WAITERS {
            self.0.push(waiter);
            return true;
        }
        let _ = waiter.reply.send(Err(faults::too_many_callers(MAX_WAITERS).into()));
        false
    }

    /// Appends the callers of another value.
    pub(super) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Removes the callers that disconnected.
    pub(super) fn prune_closed(&mut self) {
        self.0.retain(|waiter| !waiter.reply.is_closed());
    }

    /// Sends the result to all callers, and removes them.
    pub(super) fn notify_all(&mut self, result: &AttemptResult) {
        for waiter in self.0.drain(..) {
            // A caller that disconnected has dropped its receiver and needs no result.
            let _ = waiter.reply.send(result.clone());
        }
    }

    /// Adds the outcome that all callers receive to the change that makes it durable.
    pub(super) fn record_outcome(
        &self,
        change: LedgerChange,
        outcome: OperationOutcome<'_>,
    ) -> LedgerChange {
        let recorders = self.0.iter().filter_map(|waiter| waiter.recorder.as_ref());
        recorders.fold(change, |change, recorder| recorder.record_outcome(change, outcome))
    }

    /// Adds the note that the operations of all callers change the definition and go on.
    pub(super) fn record_definition_change(&self, change: LedgerChange) -> LedgerChange {
        let recorders = self.0.iter().filter_map(|waiter| waiter.recorder.as_ref());
        recorders.fold(change, |change, recorder| recorder.record_definition_change(change))
    }
}
