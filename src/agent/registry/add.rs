//! Adding a store: the first attempt, during which nothing is in the ledger.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::checks::attempt;
use crate::agent::checks::attempt::{Checked, LoggedIn, Proven};
use crate::agent::store::persist;
use crate::agent::{AgentContext, StoreView, commit_timeout, faults};
use crate::common::crash_point;
use crate::ledger::{CommitError, LedgerChange};
use crate::lifecycle::{
    Cause, DurableRecord, HistoryEntry, HistoryEvent, RunningAttempt, StepInput, StoreRecord, step,
};
use crate::model::{
    AddStore, AttemptFailure, Epoch, Fault, ImageDir, MarkerId, State, Store, StoreUuid,
};
use crate::probe::{AddLeftovers, MarkerClaim, ProbeExpectation, WorkerSlot};
use crate::ssh::{EvidenceWanted, LoginRequest};

/// A stop waits this long for a folder to be taken away again.
const RELEASE: Duration = Duration::from_secs(2);

/// Why a store was not added.
#[derive(Clone, Debug)]
pub enum AddError {
    /// `duplicate_uuid` or `duplicate_directory`: correct the request; nothing was touched.
    Refused(Fault),
    /// The first attempt failed or could not be recorded; nothing is left of it.
    Failed(AttemptFailure),
}

pub(super) type AddReply = oneshot::Sender<Result<Arc<StoreView>, AddError>>;

/// Who asked for an add, until the answer.
pub(super) struct Caller(Option<AddReply>);

impl Caller {
    pub(super) fn new(reply: AddReply) -> Self {
        Self(Some(reply))
    }

    /// Answers, if no answer was given yet. A caller that hung up misses nothing.
    pub(super) fn answer(mut self, answer: Result<Arc<StoreView>, AddError>) {
        if let Some(reply) = self.0.take() {
            let _ = reply.send(answer);
        }
    }

    /// Answers before the outcome is known, which is seen through all the same.
    fn answer_early(&mut self, failure: AttemptFailure) {
        if let Some(reply) = self.0.take() {
            let _ = reply.send(Err(AddError::Failed(failure)));
        }
    }
}

/// A store that has been added and is in the ledger.
pub(super) struct Added {
    pub(super) store: Store,
    pub(super) record: StoreRecord,
}

/// Runs the first attempt, writes the marker last, and commits the store with its one notice. When the
/// marker or the commit fails the directory is as it was before.
///
/// A crash between marker and commit leaves a marker with this node's id and a uuid that is in no
/// ledger; the next add of the directory adopts it.
pub(super) async fn add(
    context: &AgentContext,
    uuid: StoreUuid,
    asked: AddStore,
    known: BTreeSet<StoreUuid>,
    slot: &Mutex<WorkerSlot>,
    stop: &CancellationToken,
    caller: &mut Caller,
) -> Result<Added, AttemptFailure> {
    let purpose = ProbeExpectation::Add { store: uuid, known, take_over: asked.take_over };
    let deadline = Instant::now() + context.attempt_deadline;
    let proven = tokio::select! {
        biased;
        () = stop.cancelled() => {
            // The dropped probe may have made its folder.
            release(context, slot, &asked.image_dir, &AddLeftovers { folder: true, claim: None }).await;
            return Err(faults::stopping().into());
        }
        proven = prove(context, &asked, &purpose, slot, deadline) => proven?,
    };
    let dir = asked.image_dir.clone();
    let (claim, left) = claim_of(context, uuid, &proven);
    let adding = async {
        // A ledger that refuses is met before the directory is touched.
        let epoch = commit_timeout::answered(context.ledger.next_epoch(claim.created)).await?;
        let epoch = epoch.map_err(|error| AttemptFailure::from(faults::commit_failed(&error)))?;
        claimed(context, &dir, &purpose, &claim, slot, stop, caller).await?;
        crash_point("claim.after");
        let store = store(context, &claim, &asked, &proven);
        commit(context, store, asked, &proven, epoch, stop, caller).await
    };
    let added = adding.await;
    if added.is_err() {
        release(context, slot, &dir, &left).await;
    }
    added
}

/// Both checks, side by side; a folder that the probe made is taken away again when either failed.
async fn prove(
    context: &AgentContext,
    asked: &AddStore,
    purpose: &ProbeExpectation,
    slot: &Mutex<WorkerSlot>,
    deadline: Instant,
) -> Result<Proven, AttemptFailure> {
    let login = LoginRequest {
        address: asked.address.clone(),
        username: asked.username.clone(),
        credentials: asked.credentials.clone(),
        pinned: None,
        given_fingerprints: asked.given_fingerprints.clone(),
        // What marker the directory has, if any, is being found out meanwhile.
        asked: EvidenceWanted::Full(None),
    };
    let probe = attempt::examine(context, &asked.image_dir, slot, purpose, deadline);
    let begun = Instant::now();
    let verify = async {
        let verifying = context.verifier.verify(&login, deadline);
        let verified = context.try_outs.log_in(&login, asked.force, deadline, verifying).await;
        LoggedIn { verified, took: begun.elapsed() }
    };
    let (probed, login) = tokio::join!(probe, verify);
    let folder = probed.examined.as_ref().is_ok_and(|examined| examined.created_folder);
    let proven = Checked { probed, login }.proven();
    if proven.is_err() && folder {
        release(context, slot, &asked.image_dir, &AddLeftovers { folder, claim: None }).await;
    }
    proven
}

/// What is to be written into the marker, and what is left of it if the add fails after all.
fn claim_of(
    context: &AgentContext,
    store: StoreUuid,
    proven: &Proven,
) -> (MarkerClaim, AddLeftovers) {
    let examined = &proven.examined;
    let fresh = MarkerId::from_u128(u128::from_be_bytes(context.random.bytes16()));
    let claim = MarkerClaim {
        store,
        marker: examined.marker.unwrap_or(fresh),
        created: context.clock.now(),
        place: examined.place.clone(),
        before: examined.before.clone(),
    };
    let left = AddLeftovers { folder: examined.created_folder, claim: Some(claim.clone()) };
    (claim, left)
}

/// Writes the marker. Seen through also when the daemon stops, so that it is known what stands in the
/// directory; who asked is answered then.
async fn claimed(
    context: &AgentContext,
    dir: &ImageDir,
    purpose: &ProbeExpectation,
    claim: &MarkerClaim,
    slot: &Mutex<WorkerSlot>,
    stop: &CancellationToken,
    caller: &mut Caller,
) -> Result<(), AttemptFailure> {
    let deadline = Instant::now() + context.probe_deadline;
    let claiming = async {
        let mut slot = slot.lock().await;
        context.prober.write_marker(&mut slot, dir, purpose, claim, deadline).await
    };
    tokio::pin!(claiming);
    let claimed = tokio::select! {
        claimed = &mut claiming => claimed,
        () = stop.cancelled() => {
            caller.answer_early(faults::stopping().into());
            claiming.await
        }
    };
    claimed.map_err(AttemptFailure::from_fault)
}

/// Takes away what the add may have left. What cannot be taken away harms nobody and is adopted by the
/// next add.
async fn release(
    context: &AgentContext,
    slot: &Mutex<WorkerSlot>,
    dir: &ImageDir,
    left: &AddLeftovers,
) {
    let deadline = Instant::now() + context.probe_deadline.min(RELEASE);
    let mut slot = slot.lock().await;
    if let Err(fault) = context.prober.clean_up(&mut slot, dir, left, deadline).await {
        warn!(path = %dir, fault.code = %fault.reason(), "something of an add that failed is left behind");
    }
}

fn store(context: &AgentContext, claim: &MarkerClaim, asked: &AddStore, proven: &Proven) -> Store {
    Store {
        uuid: claim.store,
        name: asked.name.clone(),
        description: asked.description.clone(),
        image_dir: asked.image_dir.clone(),
        address: asked.address.clone(),
        username: asked.username.clone(),
        state: State::Enabled,
        zone_uuids: Vec::new(),
        created: claim.created,
        changed: claim.created,
        marker: claim.marker,
        mount: proven.examined.place.clone(),
        had_registry: proven.examined.has_registry,
        pinned_key: context.pins_host_keys.then(|| proven.verified.host_key.clone()),
        given_fingerprints: asked.given_fingerprints.clone(),
    }
}

/// The status machine decides the first transition like every other: out of a Connecting that nobody
/// was told of. An epoch of its own keeps its positions above those of an earlier store of this uuid.
async fn commit(
    context: &AgentContext,
    store: Store,
    asked: AddStore,
    proven: &Proven,
    epoch: Epoch,
    stop: &CancellationToken,
    caller: &mut Caller,
) -> Result<Added, AttemptFailure> {
    let recorded = |error: CommitError| AttemptFailure::from(faults::commit_failed(&error));
    let now = context.now();
    let mut record = StoreRecord::new(DurableRecord::new_connecting(epoch, now.wall));
    let attempt = record.standing.attempt;
    let cause = Cause::User;
    let began = HistoryEvent::AttemptBegan { cause, tags: asked.tags.clone() };
    record.running = Some(RunningAttempt { id: attempt, cause, tags: asked.tags });
    let before = record.standing.clone();
    let outcome = Ok(proven.outcome.clone());
    let ended = StepInput::AttemptEnded { attempt, outcome };
    let (record, effects) = step(record, ended, &context.policy, now);
    let change = LedgerChange::new()
        .add_store(store.clone(), asked.credentials, before.clone())
        .add_history(store.uuid, HistoryEntry { at: now.wall, attempt, event: began });
    let notified = context.outbox.is_some();
    let change =
        persist::record_step(change, &store, &before, &record, &effects, notified, now.wall);
    let early = |failure| caller.answer_early(failure);
    commit_timeout::commit(&context.ledger, change, stop, early).await.map_err(recorded)?;
    info!(name = %store.name, path = %store.image_dir, status = %record.standing.status, "store added");
    Ok(Added { store, record })
}
