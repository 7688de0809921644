//! All stores of this daemon: which there are, and the tasks that own them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info_span, warn};

use super::add::{self, AddAsked, AddError, AddReply, Added, Caller};
use super::handle::stopping;
use super::store_task::StoreTask;
use super::work::{slot_with, stuck_in};
use super::{StoreHandle, StoreView, Tools};
use crate::ledger::{Ledger, LoadedStore, StuckWorker};
use crate::lifecycle::{HistoryEntry, Record};
use crate::model::{Failure, Fault, ImageDir, Reason, StoreUuid};
use crate::probe::Orphans;

/// Requests that may wait for the registry, which takes one within microseconds.
const INBOX: usize = 64;
/// A person who looks at a history does not wait longer for it.
const READ: Duration = Duration::from_secs(2);
/// Adds that may run at once: each is a login and a worker process.
const ADDS: usize = 32;

type Stores = Arc<BTreeMap<StoreUuid, StoreHandle>>;
type RemoveReply = oneshot::Sender<Result<bool, Failure>>;

#[derive(Debug)]
enum Command {
    Add { asked: Box<AddAsked>, reply: AddReply },
    Remove { store: StoreUuid, reply: RemoveReply },
}

/// The stores, as others see them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inbox: mpsc::Sender<Command>,
    stores: watch::Receiver<Stores>,
    ledger: Ledger,
}

impl Registry {
    /// The stores served now, by uuid.
    pub fn stores(&self) -> Stores {
        Arc::clone(&self.stores.borrow())
    }

    /// One store.
    pub fn store(&self, uuid: StoreUuid) -> Option<StoreHandle> {
        self.stores.borrow().get(&uuid).cloned()
    }

    /// The newest lines of a store's history, newest first; none when the state disk does not give
    /// them within two seconds.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn history(&self, store: StoreUuid, lines: u32) -> Option<Vec<HistoryEntry>> {
        let read = timeout(READ, self.ledger.history(store, lines)).await.ok()?;
        read.inspect_err(|error| warn!(%store, %error, "the history cannot be read")).ok()
    }

    /// Serves one more store, once its first attempt has succeeded.
    ///
    /// # Errors
    /// [`AddError`]; then nothing of it is left.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the add goes on.
    pub async fn add(&self, asked: AddAsked) -> Result<Arc<StoreView>, AddError> {
        let (reply, answer) = oneshot::channel();
        let asked = Box::new(asked);
        self.ask(Command::Add { asked, reply }).map_err(AddError::Failed)?;
        answer.await.unwrap_or_else(|_| Err(AddError::Failed(stopping())))
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
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    fn ask(&self, command: Command) -> Result<(), Failure> {
        self.inbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let fault =
                    Fault::new(Reason::AgentBusy, "too many requests wait").fact("waiting", INBOX);
                Failure::of(fault)
            }
            mpsc::error::TrySendError::Closed(_) => stopping(),
        })
    }
}

/// A task of the registry broke off: a fault of ours, after which nothing can be promised.
#[derive(Debug, thiserror::Error)]
#[error("a task of the registry broke off")]
pub struct BrokenOff(#[source] JoinError);

/// What ended beside the registry.
enum Ended {
    Store {
        removed: Option<StoreUuid>,
    },
    Add {
        uuid: StoreUuid,
        result: Box<Result<Added, Failure>>,
        stuck: Option<StuckWorker>,
        caller: Caller,
    },
    Remove {
        uuid: StoreUuid,
        dir: ImageDir,
        result: Result<Option<StuckWorker>, Failure>,
    },
}

/// Owns the tasks of all stores.
pub struct RegistryTask {
    tools: Tools,
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
        tools: Tools,
        loaded: Vec<LoadedStore>,
        stop: CancellationToken,
    ) -> (Registry, Self) {
        let (asks, inbox) = mpsc::channel(INBOX);
        let (stores, seen) = watch::channel(Stores::default());
        let ledger = tools.ledger.clone();
        let mut task = Self {
            tools,
            inbox,
            stores,
            adding: BTreeMap::new(),
            removing: BTreeMap::new(),
            left_behind: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop,
        };
        // Only where there may be one: looking costs a read for each process of the machine.
        let orphans = if loaded.is_empty() { Orphans::default() } else { Orphans::find() };
        for LoadedStore { store, standing, stuck_worker } in loaded {
            let orphan = orphans.of(&store.image_dir);
            let orphan = orphan.map(|(pid, start_time)| StuckWorker { pid, start_time });
            let record = Record::new(standing);
            let (tools, stop) = (task.tools.clone(), task.stop.clone());
            let (handle, store_task) =
                StoreTask::new(tools, store, record, orphan.or(stuck_worker), stop);
            task.serve(handle, store_task);
        }
        (Registry { inbox: asks, stores: seen, ledger }, task)
    }

    /// Runs until the token is cancelled and every task has ended. What is asked meanwhile is answered
    /// with `agent_stopping`.
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
        Ok(())
    }

    fn serve(&mut self, handle: StoreHandle, task: Box<StoreTask>) {
        let uuid = handle.view().store.uuid;
        self.tasks.spawn(async move {
            let removed = task.run().await.then_some(uuid);
            Ended::Store { removed }
        });
        self.stores.send_modify(|stores| {
            Arc::make_mut(stores).insert(uuid, handle);
        });
    }

    fn add(&mut self, asked: AddAsked, reply: AddReply) {
        let uuid = asked.uuid.unwrap_or_else(|| StoreUuid::random(self.tools.entropy.bytes16()));
        if let Err(error) = self.free(uuid, &asked.image_dir) {
            let _ = reply.send(Err(error));
            return;
        }
        self.adding.insert(uuid, asked.image_dir.clone());
        let known: BTreeSet<StoreUuid> = self.stores.borrow().keys().copied().collect();
        let (tools, stop) = (self.tools.clone(), self.stop.clone());
        let span = info_span!("attempt", store = %uuid, attempt = 1);
        let slot = Mutex::new(slot_with(self.left_behind.get(&asked.image_dir).copied()));
        let add = async move {
            let mut caller = Caller::new(reply);
            let added = add::add(&tools, uuid, asked, known, &slot, &stop, &mut caller).await;
            let stuck = stuck_in(&slot.into_inner());
            Ended::Add { uuid, result: Box::new(added), stuck, caller }
        };
        self.tasks.spawn(add.instrument(span));
    }

    /// Whether uuid and directory may be added now.
    fn free(&self, uuid: StoreUuid, dir: &ImageDir) -> Result<(), AddError> {
        let stores = self.stores.borrow();
        if stores.contains_key(&uuid) || self.adding.contains_key(&uuid) {
            let fault = Fault::new(Reason::DuplicateUuid, format!("{uuid} is served already"));
            return Err(AddError::Refused(fault.fact("uuid", uuid.to_string())));
        }
        let served = stores.values().map(StoreHandle::view).find(|v| v.store.image_dir == *dir);
        let taken = served.map(|view| view.store.uuid).or_else(|| {
            let mut adding = self.adding.iter();
            adding.find(|(_, taken)| *taken == dir).map(|(uuid, _)| *uuid)
        });
        if let Some(other) = taken {
            let fault = Fault::new(Reason::DuplicateDirectory, format!("{dir} is served already"))
                .fact("path", dir.as_str())
                .fact("uuid", other.to_string());
            return Err(AddError::Refused(fault));
        }
        if self.adding.len() >= ADDS {
            let fault = Fault::new(Reason::AgentBusy, "too many stores are being added");
            return Err(AddError::Failed(Failure::of(fault.fact("running", ADDS))));
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
        let dir = handle.view().store.image_dir.clone();
        self.tasks.spawn(async move { Ended::Remove { uuid, dir, result: handle.remove().await } });
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) -> Result<(), BrokenOff> {
        match ended.map_err(BrokenOff)? {
            // Stopped with the daemon.
            Ended::Store { removed: None } => {}
            // Has its own message too, unless the state disk was too slow for who asked.
            Ended::Store { removed: Some(uuid) } => self.forget(uuid),
            Ended::Add { uuid, result, stuck, caller } => {
                if let Some(dir) = self.adding.remove(&uuid) {
                    self.leave(dir, stuck);
                }
                caller.answer(result.map(|added| self.adopt(added)).map_err(AddError::Failed));
            }
            Ended::Remove { uuid, dir, result } => {
                if let Ok(stuck) = result {
                    self.leave(dir, stuck);
                    self.forget(uuid);
                }
                for reply in self.removing.remove(&uuid).into_iter().flatten() {
                    let _ = reply.send(result.clone().map(|_| true));
                }
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

    /// Takes a removed store off the list; one of the same uuid that was added since stays.
    fn forget(&mut self, uuid: StoreUuid) {
        self.stores.send_if_modified(|stores| {
            let over = stores.get(&uuid).is_some_and(StoreHandle::is_over);
            over && Arc::make_mut(stores).remove(&uuid).is_some()
        });
    }

    fn adopt(&mut self, Added { store, record }: Added) -> Arc<StoreView> {
        let uuid = store.uuid;
        let (tools, stop) = (self.tools.clone(), self.stop.clone());
        let (handle, task) = StoreTask::new(tools, store, record, None, stop);
        let view = handle.view();
        self.serve(handle, task);
        if let Some(moved) = &self.tools.outbox {
            moved(uuid);
        }
        view
    }
}
