//! The task that owns the tasks of all stores: what is added, what is removed, and what ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span};

use super::add;
use super::add::{AddError, AddReply, Added, Caller};
use super::{Command, INBOX, RemoveReply, Stores};
use crate::agent::checks::running::{slot_with, stuck_in};
use crate::agent::store::handle::Removed;
use crate::agent::store::task::StoreTask;
use crate::agent::{AgentContext, Registry, StoreHandle, StoreView, faults};
use crate::ledger::{LoadedStore, StuckWorker};
use crate::lifecycle::StoreRecord;
use crate::model::{AddStore, AttemptFailure, ImageDir, StoreUuid};
use crate::probe::OrphanedWorkers;

/// Adds that may run at once: each is a login and a worker process.
const ADDS: usize = 32;

/// A task of the registry broke off: a fault of ours, after which nothing can be promised.
#[derive(Debug, thiserror::Error)]
#[error("a task of the registry broke off")]
pub struct BrokenOff(#[source] JoinError);

/// What ended beside the registry.
enum Ended {
    Store {
        uuid: StoreUuid,
        removed: Option<Removed>,
    },
    Add {
        uuid: StoreUuid,
        result: Box<Result<Added, AttemptFailure>>,
        stuck: Option<StuckWorker>,
        caller: Caller,
    },
    Remove {
        uuid: StoreUuid,
        result: Result<(), AttemptFailure>,
    },
}

/// Owns the tasks of all stores.
pub struct RegistryTask {
    context: Arc<AgentContext>,
    inbox: mpsc::Receiver<Command>,
    stores: watch::Sender<Stores>,
    /// What runs adds hold, so that two of them cannot race for one uuid or one directory.
    adding: BTreeMap<StoreUuid, ImageDir>,
    removing: BTreeMap<StoreUuid, Vec<RemoveReply>>,
    /// Workers that adds and removed stores have left in directories that hang: the next add of such a
    /// directory sends no second one after it. No more of them than there are processes that hang.
    left_behind: BTreeMap<ImageDir, StuckWorker>,
    tasks: JoinSet<Ended>,
    stop: CancellationToken,
}

impl RegistryTask {
    /// A registry of what the ledger holds. `stop` ends it and every store's task.
    pub fn new(
        context: Arc<AgentContext>,
        loaded: Vec<LoadedStore>,
        stop: CancellationToken,
    ) -> (Registry, Self) {
        let (asks, inbox) = mpsc::channel(INBOX);
        let (stores, seen) = watch::channel(Stores::default());
        let registry = Registry::new(asks, seen, Arc::clone(&context), stop.clone());
        let mut task = Self {
            context,
            inbox,
            stores,
            adding: BTreeMap::new(),
            removing: BTreeMap::new(),
            left_behind: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop,
        };
        // Only where there may be one: looking costs a read for each process of the machine.
        let orphans = if loaded.is_empty() {
            OrphanedWorkers::default()
        } else {
            OrphanedWorkers::find_all()
        };
        for LoadedStore { store, standing, stuck_worker } in loaded {
            let orphan = orphans.for_directory(&store.image_dir);
            let orphan = orphan.map(|(pid, start_time)| StuckWorker { pid, start_time });
            let record = StoreRecord::new(standing);
            let (context, stop) = (Arc::clone(&task.context), task.stop.clone());
            let (handle, store_task) =
                StoreTask::new(context, store, record, orphan.or(stuck_worker), stop);
            task.serve(handle, store_task);
        }
        (registry, task)
    }

    /// Runs until the token is cancelled, every task has ended, and the SSH servers have got their
    /// disconnects. What is asked meanwhile is answered with `agent_stopping`.
    ///
    /// # Errors
    /// [`BrokenOff`] when a task panicked: the daemon is to end and be started anew.
    ///
    /// # Cancel safety
    /// Dropping the future aborts all tasks; what was committed stays.
    pub async fn run(mut self) -> Result<(), BrokenOff> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.tasks.join_next() => self.ended(ended)?,
                command = self.inbox.recv() => match command {
                    Some(Command::Add { asked, reply }) => self.add(*asked, reply),
                    Some(Command::Remove { store, reply }) => self.remove(store, reply),
                    None => break,
                },
            }
        }
        self.stop.cancel();
        self.inbox.close();
        while let Some(ended) = self.tasks.join_next().await {
            self.ended(ended)?;
        }
        self.context.verifier.finish_disconnects().await;
        Ok(())
    }

    fn serve(&mut self, handle: StoreHandle, task: Box<StoreTask>) {
        let uuid = handle.view().store.uuid;
        self.tasks.spawn(async move {
            let removed = task.run().await;
            Ended::Store { uuid, removed }
        });
        self.stores.send_modify(|stores| {
            Arc::make_mut(stores).insert(uuid, handle);
        });
    }

    fn add(&mut self, asked: AddStore, reply: AddReply) {
        let uuid =
            asked.uuid.unwrap_or_else(|| StoreUuid::new_random(self.context.random.bytes16()));
        if let Err(error) = self.free(uuid, &asked.image_dir) {
            let _ = reply.send(Err(error));
            return;
        }
        self.adding.insert(uuid, asked.image_dir.clone());
        let known: BTreeSet<StoreUuid> = self.stores.borrow().keys().copied().collect();
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let span = info_span!("attempt", store = %uuid, attempt = 1);
        let slot = Mutex::new(slot_with(self.left_behind.get(&asked.image_dir).copied()));
        let add = async move {
            let mut caller = Caller::new(reply);
            let added = add::add(&context, uuid, asked, known, &slot, &stop, &mut caller).await;
            let stuck = stuck_in(&slot.into_inner());
            Ended::Add { uuid, result: Box::new(added), stuck, caller }
        };
        self.tasks.spawn(add.instrument(span));
    }

    /// Whether uuid and directory may be added now.
    fn free(&self, uuid: StoreUuid, dir: &ImageDir) -> Result<(), AddError> {
        let stores = self.stores.borrow();
        if stores.contains_key(&uuid) || self.adding.contains_key(&uuid) {
            return Err(AddError::Refused(faults::duplicate_uuid(uuid)));
        }
        let served = stores.values().map(StoreHandle::view).find(|v| v.store.image_dir == *dir);
        let taken = served.map(|view| view.store.uuid).or_else(|| {
            let mut adding = self.adding.iter();
            adding.find(|(_, taken)| *taken == dir).map(|(uuid, _)| *uuid)
        });
        if let Some(other) = taken {
            return Err(AddError::Refused(faults::duplicate_directory(dir, other)));
        }
        if self.adding.len() >= ADDS {
            return Err(AddError::Failed(faults::too_many_adds(ADDS).into()));
        }
        Ok(())
    }

    fn remove(&mut self, uuid: StoreUuid, reply: RemoveReply) {
        if let Some(waiting) = self.removing.get_mut(&uuid) {
            waiting.push(reply);
            return;
        }
        let Some(handle) = self.stores.borrow().get(&uuid).cloned() else {
            let _ = reply.send(Ok(false));
            return;
        };
        self.removing.insert(uuid, vec![reply]);
        self.tasks.spawn(async move { Ended::Remove { uuid, result: handle.remove().await } });
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) -> Result<(), BrokenOff> {
        match ended.map_err(BrokenOff)? {
            Ended::Store { uuid, removed } => {
                let answer =
                    removed.is_some().then_some(true).ok_or_else(|| faults::stopping().into());
                if let Some(Removed { dir, stuck }) = removed {
                    self.leave(dir, stuck);
                    self.forget(uuid);
                }
                self.answer_removal(uuid, &answer);
            }
            Ended::Add { uuid, result, stuck, caller } => {
                if let Some(dir) = self.adding.remove(&uuid) {
                    self.leave(dir, stuck);
                }
                caller.answer(result.map(|added| self.adopt(added)).map_err(AddError::Failed));
            }
            // The end of its task is the answer, and comes when it has not come yet.
            Ended::Remove { result: Ok(()), .. } => {}
            Ended::Remove { uuid, .. } if self.is_over(uuid) => {}
            Ended::Remove { uuid, result: Err(failure) } => {
                self.answer_removal(uuid, &Err(failure));
            }
        }
        Ok(())
    }

    /// Keeps in mind what holds a directory that nobody serves now.
    fn leave(&mut self, dir: ImageDir, stuck: Option<StuckWorker>) {
        match stuck {
            Some(worker) => self.left_behind.insert(dir, worker),
            None => self.left_behind.remove(&dir),
        };
    }

    fn forget(&mut self, uuid: StoreUuid) {
        self.stores.send_modify(|stores| {
            Arc::make_mut(stores).remove(&uuid);
        });
    }

    fn is_over(&self, uuid: StoreUuid) -> bool {
        self.stores.borrow().get(&uuid).is_some_and(StoreHandle::is_over)
    }

    fn answer_removal(&mut self, uuid: StoreUuid, answer: &Result<bool, AttemptFailure>) {
        for reply in self.removing.remove(&uuid).into_iter().flatten() {
            let _ = reply.send(answer.clone());
        }
    }

    fn adopt(&mut self, Added { store, record }: Added) -> Arc<StoreView> {
        let uuid = store.uuid;
        let (context, stop) = (Arc::clone(&self.context), self.stop.clone());
        let (handle, task) = StoreTask::new(context, store, record, None, stop);
        let view = handle.view();
        self.serve(handle, task);
        if let Some(moved) = &self.context.outbox {
            moved(uuid);
        }
        view
    }
}
