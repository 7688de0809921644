//! The task that owns the tasks of all stores. It also runs adds and removals.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::add;
use super::add::{AddError, AddedStore, PendingReply};
use super::add_preparation::AddWorkers;
use super::left_workers::LeftWorkers;
use super::{MAX_QUEUED_REQUESTS, RegistryCommand, RemoveReply, ServedStores};
use crate::agent::checks::worker::StoreWorker;
use crate::agent::outcome::OptionalRecorder;
use crate::agent::store::RemovedStore;
use crate::agent::store::task::StoreTask;
use crate::agent::{AgentContext, Registry, StoreHandle, StoreSnapshot, faults};
use crate::common::observe_phases;
use crate::ledger::LoadedStore;
use crate::lifecycle::StoreRecord;
use crate::model::{AddStore, AttemptFailure, AttemptId, ImageDir, ProcessId, StoreUuid};
use crate::probe::{KnownStores, OrphanedWorkers};

/// Maximum number of concurrent adds. Each of them is a login and a worker process.
const MAX_CONCURRENT_ADDS: usize = 32;

/// A task of the registry panicked. This is an internal error, after which there are no guarantees.
#[derive(Debug, thiserror::Error)]
#[error("a task of the registry panicked")]
pub struct RegistryTaskPanicked(#[source] JoinError);

/// A task that ended.
enum FinishedTask {
    Store {
        uuid: StoreUuid,
        removed: Option<RemovedStore>,
    },
    Add {
        uuid: StoreUuid,
        result: Box<Result<AddedStore, AttemptFailure>>,
        stuck: Option<ProcessId>,
        pending_reply: PendingReply,
    },
    Remove {
        uuid: StoreUuid,
        result: Result<(), AttemptFailure>,
    },
}

/// The task that owns the tasks of all stores.
pub struct RegistryTask {
    context: Arc<AgentContext>,
    commands: mpsc::Receiver<RegistryCommand>,
    stores: watch::Sender<ServedStores>,
    /// The store in each directory. An add looks its directory up here, and not in all stores.
    directories: BTreeMap<ImageDir, StoreUuid>,
    /// The uuids and directories of running adds. They prevent two adds from racing for one of
    /// them.
    running_adds: BTreeMap<StoreUuid, ImageDir>,
    running_removals: BTreeMap<StoreUuid, Vec<RemoveReply>>,
    left_workers: LeftWorkers,
    tasks: JoinSet<FinishedTask>,
    stop: CancellationToken,
}

impl RegistryTask {
    /// Creates a registry of the stores in the ledger. `stop` ends it and the tasks of all stores.
    pub fn new(
        context: Arc<AgentContext>,
        loaded: Vec<LoadedStore>,
        stop: CancellationToken,
    ) -> (Registry, Self) {
        let (command_sender, commands) = mpsc::channel(MAX_QUEUED_REQUESTS);
        let (stores, store_receiver) = watch::channel(ServedStores::default());
        let registry = Registry {
            commands: command_sender,
            stores: store_receiver,
            left_workers: LeftWorkers::default(),
            context: Arc::clone(&context),
            stop: stop.clone(),
            recorder: None,
        };
        let mut task = Self {
            context,
            commands,
            stores,
            directories: BTreeMap::new(),
            running_adds: BTreeMap::new(),
            running_removals: BTreeMap::new(),
            left_workers: registry.left_workers.clone(),
            tasks: JoinSet::new(),
            stop,
        };
        // The search costs a read for each process of the machine, so it is skipped if there are no
        // stores.
        let orphans = if loaded.is_empty() {
            OrphanedWorkers::default()
        } else {
            OrphanedWorkers::find_all()
        };
        for LoadedStore { store, durable, stuck_worker, rejections } in loaded {
            let orphan = orphans.for_directory(&store.image_dir);
            let record = StoreRecord::new(durable);
            let (context, stop) = (Arc::clone(&task.context), task.stop.clone());
            let (handle, store_task) =
                StoreTask::new(context, store, record, orphan.or(stuck_worker), rejections, stop);
            task.spawn_store_task(handle, store_task);
        }
        (registry, task)
    }

    /// Runs until the token is cancelled, every task has ended, and the SSH disconnects are sent.
    /// Requests that arrive in the meantime fail with `agent_stopping`.
    ///
    /// # Errors
    /// [`RegistryTaskPanicked`] if a task panicked. The daemon must then exit and be restarted.
    ///
    /// # Cancel safety
    /// Dropping the future aborts all tasks. Changes that were committed stay.
    pub async fn run(mut self) -> Result<(), RegistryTaskPanicked> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.on_task_finished(ended)?,
                command = self.commands.recv() => match command {
                    Some(RegistryCommand::Add { request, reply }) => self.start_add(*request, reply),
                    Some(RegistryCommand::Remove { store, reply, recorder }) => {
                        self.start_removal(store, reply, recorder);
                    }
                    None => break,
                },
            }
        }
        self.stop.cancel();
        self.commands.close();
        while let Some(ended) = self.tasks.join_next().await {
            self.on_task_finished(ended)?;
        }
        self.context.verifier.finish_disconnects().await;
        Ok(())
    }

    fn spawn_store_task(&mut self, handle: StoreHandle, task: Box<StoreTask>) {
        let store = Arc::clone(&handle.snapshot().store);
        let uuid = store.uuid;
        self.directories.insert(store.image_dir.clone(), uuid);
        self.context.spaces.insert(uuid, &store.mount);
        self.tasks.spawn(async move {
            let removed = task.run_until_stopped().await;
            FinishedTask::Store { uuid, removed }
        });
        self.stores.send_modify(|stores| {
            Arc::make_mut(stores).insert(uuid, handle);
        });
    }

    fn start_add(&mut self, request: AddStore, reply: PendingReply) {
        let uuid = request
            .uuid
            .unwrap_or_else(|| StoreUuid::new_random(self.context.daemon.random.bytes16()));
        if let Err(error) = self.ensure_available(uuid, &request.image_dir) {
            reply.send_reply(Err(error));
            return;
        }
        self.running_adds.insert(uuid, request.image_dir.clone());
        let stores = self.stores.subscribe();
        let known = KnownStores::new(move |uuid| stores.borrow().contains_key(&uuid));
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let span = info_span!("attempt", store = %uuid, attempt = 1);
        let stuck = self.left_workers.in_directory(&request.image_dir);
        let workers = AddWorkers { probe: StoreWorker::new(stuck), marker: StoreWorker::default() };
        let add = async move {
            let mut pending_reply = reply;
            let added =
                add::add_store(&context, uuid, request, known, &workers, &stop, &mut pending_reply)
                    .await;
            let stuck = workers.stuck_worker().await;
            FinishedTask::Add { uuid, result: Box::new(added), stuck, pending_reply }
        };
        let observer = self.context.observe_attempt(uuid, AttemptId::default().next_id());
        self.tasks.spawn(observe_phases(observer, add).instrument(span));
    }

    /// Checks that the uuid and the directory are available, and that another add may run.
    fn ensure_available(&self, uuid: StoreUuid, dir: &ImageDir) -> Result<(), AddError> {
        let stores = self.stores.borrow();
        if stores.contains_key(&uuid) || self.running_adds.contains_key(&uuid) {
            return Err(AddError::Duplicate(faults::duplicate_uuid(uuid)));
        }
        let owner = self.directories.get(dir).copied().or_else(|| {
            let mut running_adds = self.running_adds.iter();
            running_adds.find(|(_, owner)| *owner == dir).map(|(uuid, _)| *uuid)
        });
        if let Some(other) = owner {
            return Err(AddError::Duplicate(faults::duplicate_directory(dir, other)));
        }
        if self.running_adds.len() >= MAX_CONCURRENT_ADDS {
            return Err(AddError::Failed(faults::too_many_adds(MAX_CONCURRENT_ADDS).into()));
        }
        Ok(())
    }

    fn start_removal(&mut self, uuid: StoreUuid, reply: RemoveReply, recorder: OptionalRecorder) {
        if let Some(waiting) = self.running_removals.get_mut(&uuid) {
            waiting.push(reply);
            return;
        }
        let Some(handle) = self.stores.borrow().get(&uuid).cloned() else {
            let _ = reply.send(Ok(false));
            return;
        };
        self.running_removals.insert(uuid, vec![reply]);
        self.tasks.spawn(async move {
            let handle = handle.recorded_by(recorder);
            FinishedTask::Remove { uuid, result: handle.remove_store().await }
        });
    }

    fn on_task_finished(
        &mut self,
        ended: Result<FinishedTask, JoinError>,
    ) -> Result<(), RegistryTaskPanicked> {
        match ended.map_err(RegistryTaskPanicked)? {
            FinishedTask::Store { uuid, removed } => {
                let result = removed
                    .is_some()
                    .then_some(true)
                    .ok_or_else(|| faults::agent_stopping().into());
                if let Some(RemovedStore { dir, stuck }) = removed {
                    self.directories.remove(&dir);
                    self.left_workers.record(dir, stuck);
                    self.remove_entry(uuid);
                }
                self.reply_to_removal(uuid, &result);
            }
            FinishedTask::Add { uuid, result, stuck, pending_reply } => {
                if let Some(dir) = self.running_adds.remove(&uuid) {
                    self.left_workers.record(dir, stuck);
                }
                pending_reply.send_reply(
                    result.map(|added| self.start_added(added)).map_err(AddError::Failed),
                );
            }
            // The end of the store task sends the reply, even if it comes later.
            FinishedTask::Remove { result: Ok(()), .. } => {}
            FinishedTask::Remove { uuid, .. } if self.is_closed(uuid) => {}
            FinishedTask::Remove { uuid, result: Err(failure) } => {
                self.reply_to_removal(uuid, &Err(failure));
            }
        }
        Ok(())
    }

    /// Takes a store off the list. Its task has ended, so that its mount stays the same.
    fn remove_entry(&mut self, uuid: StoreUuid) {
        if let Some(handle) = self.stores.borrow().get(&uuid) {
            self.context.spaces.remove(uuid, &handle.snapshot().store.mount);
        }
        self.stores.send_modify(|stores| {
            Arc::make_mut(stores).remove(&uuid);
        });
    }

    fn is_closed(&self, uuid: StoreUuid) -> bool {
        self.stores.borrow().get(&uuid).is_some_and(StoreHandle::is_closed)
    }

    fn reply_to_removal(&mut self, uuid: StoreUuid, result: &Result<bool, AttemptFailure>) {
        for reply in self.running_removals.remove(&uuid).into_iter().flatten() {
            let _ = reply.send(result.clone());
        }
    }

    fn start_added(&mut self, AddedStore { store, record }: AddedStore) -> Arc<StoreSnapshot> {
        let uuid = store.uuid;
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let (handle, task) = StoreTask::new(context, store, record, None, None, stop);
        let snapshot = handle.snapshot();
        let signal = self.context.outbox_signal.clone();
        signal.iter().for_each(|signal| signal.mark_pending(uuid));
        self.spawn_store_task(handle, task);
        signal.iter().for_each(|signal| signal.notify_changed(uuid));
        snapshot
    }
}
