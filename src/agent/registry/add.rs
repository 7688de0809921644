//! Adds a store. The ledger holds nothing of it until its first attempt has succeeded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::add_preparation::{AddWorkers, PreparedAdd, prepare_add};
use crate::agent::checks::worker::ProbeLimit;
use crate::agent::checks::{CheckResults, LoginResult, VerifiedStore};
use crate::agent::outcome::{OperationOutcome, OptionalRecorder};
use crate::agent::store::persist;
use crate::agent::store::snapshot::inventory_of;
use crate::agent::{AgentContext, StoreSnapshot, faults};
use crate::common::crash_point;
use crate::ledger::{CommitError, LedgerChange};
use crate::lifecycle::{
    Cause, DurableRecord, HistoryEntry, HistoryEvent, RunningAttempt, StepInput, StoreRecord, step,
};
use crate::model::{
    AddStore, AttemptFailure, Epoch, Fault, ImageDir, MarkerId, State, Store, StoreUuid,
};
use crate::probe::{AddLeftovers, KnownStores, MarkerClaim, ProbeExpectation};
use crate::ssh::LoginDeadline;

/// Maximum duration of the cleanup after a failed add. It bounds the delay of a stop to 2 s.
const CLEAN_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// The cause of the first attempt of a store.
const ADD_CAUSE: Cause = Cause::User;

/// The reason why a store was not added.
#[derive(Clone, Debug)]
pub enum AddError {
    /// `duplicate_uuid` or `duplicate_directory`. The request must be corrected, and nothing was
    /// touched.
    Duplicate(Fault),
    /// The first attempt failed or could not be recorded. Nothing of the store is left.
    Failed(AttemptFailure),
}

pub(super) type AddReplySender = oneshot::Sender<Result<Arc<StoreSnapshot>, AddError>>;

/// The reply channel of an add, until the reply is sent, and the recorder of its outcome.
#[derive(Debug)]
pub(in crate::agent) struct PendingReply {
    reply: Option<AddReplySender>,
    recorder: OptionalRecorder,
}

impl PendingReply {
    pub(super) fn new(reply: AddReplySender, recorder: OptionalRecorder) -> Self {
        Self { reply: Some(reply), recorder }
    }

    /// Sends the reply, unless one was sent before. A caller that disconnected needs none.
    pub(super) fn send_reply(mut self, answer: Result<Arc<StoreSnapshot>, AddError>) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(answer);
        }
    }

    /// Sends a failure before the outcome is known. The add continues to its end.
    fn reply_early(&mut self, failure: AttemptFailure) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(AddError::Failed(failure)));
        }
    }
}

/// A store that was added and is in the ledger.
pub(super) struct AddedStore {
    pub(super) store: Store,
    pub(super) record: StoreRecord,
}

/// Acquires what the add needs of the daemon, runs the first attempt, writes the marker, and
/// commits the store with its first notice. If the marker or the commit fails, the directory is
/// restored to its earlier state.
///
/// A crash between marker and commit leaves a marker with the id of this node and a uuid that is in
/// no ledger. The next add of the directory adopts it.
pub(super) async fn add_store(
    context: &AgentContext,
    uuid: StoreUuid,
    request: AddStore,
    known: KnownStores,
    workers: &AddWorkers,
    stop: &CancellationToken,
    pending_reply: &mut PendingReply,
) -> Result<AddedStore, AttemptFailure> {
    let prepared = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(faults::agent_stopping().into()),
        prepared = prepare_add(context, &request, workers) => prepared?,
    };
    let connecting =
        connect_store(context, uuid, request, known, workers, prepared, stop, pending_reply);
    let added = connecting.await;
    if let Err(failure) = &added {
        // The commit of a success has counted it.
        context.stats.count_attempt(ADD_CAUSE, Some(failure));
    }
    added
}

/// Runs the first attempt, writes the marker, and commits the store.
#[expect(clippy::too_many_arguments, reason = "an add is one operation with these parts")]
async fn connect_store(
    context: &AgentContext,
    uuid: StoreUuid,
    request: AddStore,
    known: KnownStores,
    workers: &AddWorkers,
    prepared: PreparedAdd,
    stop: &CancellationToken,
    pending_reply: &mut PendingReply,
) -> Result<AddedStore, AttemptFailure> {
    let expectation = ProbeExpectation::Add { store: uuid, known, take_over: request.take_over };
    let dir = request.image_dir.clone();
    let verified = tokio::select! {
        biased;
        () = stop.cancelled() => {
            // The aborted probe may have created the folder.
            clean_up(context, workers, &dir, &AddLeftovers { folder: true, claim: None }).await;
            return Err(faults::agent_stopping().into());
        }
        verified = verify_store(context, &dir, &expectation, workers, prepared) => verified?,
    };
    let (claim, leftovers) = new_claim(context, uuid, &verified);
    let adding = async {
        // A ledger that rejects requests is detected before the directory is touched.
        let epoch =
            persist::read_with_timeout(context.daemon.ledger.next_epoch(claim.created)).await?;
        let epoch = epoch.map_err(|error| AttemptFailure::from(faults::commit_failed(&error)))?;
        write_marker(context, &dir, &expectation, &claim, workers, stop, pending_reply).await?;
        crash_point("claim.after");
        let store = new_store(context, &claim, &request, &verified);
        commit_store(context, store, request, &verified, epoch, stop, pending_reply).await
    };
    let result = adding.await;
    if result.is_err() {
        clean_up(context, workers, &dir, &leftovers).await;
    }
    result
}

/// Runs both checks concurrently. A folder that the probe created is removed if either check fails.
async fn verify_store(
    context: &AgentContext,
    dir: &ImageDir,
    expectation: &ProbeExpectation,
    workers: &AddWorkers,
    prepared: PreparedAdd,
) -> Result<VerifiedStore, AttemptFailure> {
    // The waits of the preparation do not count.
    let deadline = LoginDeadline::for_attempt(context.attempt_timeout);
    let limit = ProbeLimit::Attempt(deadline.at());
    let (worker, logging_in) = prepared.start(context, deadline);
    let probe = workers.probe.probe(context, dir, worker, expectation, limit);
    let started_at = Instant::now();
    let login = async {
        let verified = logging_in.await;
        LoginResult { verified, took: started_at.elapsed() }
    };
    let (probed, login) = tokio::join!(probe, login);
    let folder = probed.inspection.as_ref().is_ok_and(|examined| examined.created_folder);
    let verified = CheckResults { probed, login }.into_verified();
    if verified.is_err() && folder {
        clean_up(context, workers, dir, &AddLeftovers { folder, claim: None }).await;
    }
    verified
}

/// Returns the content of the marker, and what the add leaves behind if it fails later.
fn new_claim(
    context: &AgentContext,
    store: StoreUuid,
    verified: &VerifiedStore,
) -> (MarkerClaim, AddLeftovers) {
    let examined = &verified.examined;
    let fresh = MarkerId::from_u128(u128::from_be_bytes(context.daemon.random.bytes16()));
    let claim = MarkerClaim {
        store,
        marker: examined.marker.unwrap_or(fresh),
        created: context.daemon.clock.now(),
        place: examined.place.clone(),
        previous_marker: examined.previous_marker.clone(),
    };
    let leftovers = AddLeftovers { folder: examined.created_folder, claim: Some(claim.clone()) };
    (claim, leftovers)
}

/// Writes the marker. If the daemon stops, the caller gets an early reply. The write still runs to
/// its end, so that the content of the directory is known.
async fn write_marker(
    context: &AgentContext,
    dir: &ImageDir,
    expectation: &ProbeExpectation,
    claim: &MarkerClaim,
    workers: &AddWorkers,
    stop: &CancellationToken,
    pending_reply: &mut PendingReply,
) -> Result<(), AttemptFailure> {
    let claiming = async {
        let limit = Instant::now() + context.attempt_timeout;
        let _permit = context.prober.limiter().acquire_until(false, limit).await?;
        // The wait for a permit is not the time of the disk.
        let deadline = Instant::now() + context.probe_timeout;
        let mut slot = workers.marker.slot().lock().await;
        context.prober.write_marker(&mut slot, dir, expectation, claim, deadline).await
    };
    tokio::pin!(claiming);
    let claimed = tokio::select! {
        claimed = &mut claiming => claimed,
        () = stop.cancelled() => {
            pending_reply.reply_early(faults::agent_stopping().into());
            claiming.await
        }
    };
    claimed.map_err(AttemptFailure::from_fault)
}

/// Removes what the add may have left. Leftovers that cannot be removed are harmless, and the next
/// add of the directory adopts them.
async fn clean_up(
    context: &AgentContext,
    workers: &AddWorkers,
    dir: &ImageDir,
    leftovers: &AddLeftovers,
) {
    let deadline = Instant::now() + context.probe_timeout.min(CLEAN_UP_TIMEOUT);
    let cleaning = async {
        let _permit = context.prober.limiter().acquire_until(false, deadline).await?;
        let mut slot = workers.marker.slot().lock().await;
        context.prober.clean_up(&mut slot, dir, leftovers, deadline).await
    };
    if let Err(fault) = cleaning.await {
        warn!(path = %dir, fault.code = %fault.reason(), "could not clean up after failed add");
    }
}

fn new_store(
    context: &AgentContext,
    claim: &MarkerClaim,
    request: &AddStore,
    verified: &VerifiedStore,
) -> Store {
    Store {
        uuid: claim.store,
        name: request.name.clone(),
        description: request.description.clone(),
        image_dir: request.image_dir.clone(),
        address: request.address.clone(),
        username: request.username.clone(),
        state: State::Enabled,
        zone_uuids: Vec::new(),
        created: claim.created,
        changed: claim.created,
        marker: claim.marker,
        mount: verified.examined.place.clone(),
        had_registry: verified.examined.has_registry,
        pinned_key: context.pins_host_keys().then(|| verified.verified.host_key.clone()),
        given_fingerprints: request.given_fingerprints.clone(),
        credentials_address: request.address.clone(),
    }
}

/// Commits the new store. The status machine decides the first transition like every other, from a
/// Connecting status that was never reported. A new epoch keeps its positions above those of an
/// earlier store with the same uuid.
async fn commit_store(
    context: &AgentContext,
    store: Store,
    request: AddStore,
    verified: &VerifiedStore,
    epoch: Epoch,
    stop: &CancellationToken,
    pending_reply: &mut PendingReply,
) -> Result<AddedStore, AttemptFailure> {
    let commit_failure = |error: CommitError| AttemptFailure::from(faults::commit_failed(&error));
    let now = context.step_time();
    let mut record = StoreRecord::new(DurableRecord::new_connecting(epoch, now.wall));
    let attempt = record.durable.attempt;
    let cause = ADD_CAUSE;
    let added = HistoryEvent::StoreAdded { name: store.name.clone() };
    let began = HistoryEvent::AttemptStarted { cause, tags: request.tags.clone() };
    record.running = Some(RunningAttempt { id: attempt, cause, tags: request.tags });
    let before = record.durable.clone();
    let outcome = Ok(verified.outcome.clone());
    let ended = StepInput::AttemptEnded { attempt, outcome };
    let (record, effects) = step(record, ended, &context.policy, now);
    let change = LedgerChange::new()
        .add_store(store.clone(), request.credentials, before.clone())
        .add_history(store.uuid, HistoryEntry { at: now.wall, attempt, event: added })
        .add_history(store.uuid, HistoryEntry { at: now.wall, attempt, event: began });
    let has_outbox = context.outbox_signal.is_some();
    let change =
        persist::change_for_step(change, &store, &before, &record, &effects, has_outbox, now.wall);
    let change = match &pending_reply.recorder {
        Some(recorder) => {
            let inventory = inventory_of(&store, &record.durable);
            recorder.record_outcome(change, OperationOutcome::Store(&inventory))
        }
        None => change,
    };
    let early = |failure| pending_reply.reply_early(failure);
    persist::commit_with_timeout(&context.daemon.ledger, change, stop, early)
        .await
        .map_err(commit_failure)?;
    context.stats.count_effects(&effects, Some(cause));
    info!(name = %store.name, path = %store.image_dir, status = %record.durable.status, "store added");
    Ok(AddedStore { store, record })
}
