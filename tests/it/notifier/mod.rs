//! The notifier between a real ledger and a real receiver.

mod failover;
mod network;
mod outage;
mod pending;
mod refusal;
mod restart;
mod stats;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imagestore_agent::agent::{DaemonContext, OutboxSignal as _};
use imagestore_agent::catalog::Language;
use imagestore_agent::ledger::{Ledger, LedgerChange, OpenedLedger, StateDir, open_ledger};
use imagestore_agent::management::{CallbackClient, RequestTimeouts};
use imagestore_agent::model::{NodeId, Notice, StoreUuid};
use imagestore_agent::notifier::{
    DeliveryStatus, DeliveryTaskPanicked, NotifierContext, NotifierHandle, NotifierStatus,
    NotifierTask,
};
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings, StateSettings};
use imagestore_agent::wire::EventFormat;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::fixtures::{
    FixedClock, NOW, SequenceRandom, credentials, durable_record, notice, store, uuid,
};
use crate::support::management_node::ManagementNode;

const TEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens a ledger with the stores 1 to `stores` in a temporary directory.
struct NotifierFixture {
    dir: tempfile::TempDir,
    _lock: StateDir,
    opened: OpenedLedger,
}

impl NotifierFixture {
    async fn with(stores: u128) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateDir::open(dir.path(), &FilePolicy::of_process()).unwrap();
        let state = StateSettings { dir: dir.path().to_owned(), ..Settings::built_in().state };
        let opened = open_ledger(&lock, &state, None, NOW).unwrap();
        for n in 1..=stores {
            let change = LedgerChange::new().add_store(store(n), credentials(), durable_record());
            opened.ledger.commit(change).await.unwrap();
        }
        Self { dir, _lock: lock, opened }
    }

    fn ledger(&self) -> &Ledger {
        &self.opened.ledger
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Enqueues these transitions of store `n` in one commit.
    async fn enqueue(&self, n: u128, seqs: impl IntoIterator<Item = u64>) {
        let enqueue = |change: LedgerChange, seq| change.enqueue(notice(n, seq));
        let change = seqs.into_iter().fold(LedgerChange::new(), enqueue);
        self.ledger().commit(change).await.unwrap();
    }

    async fn pending(&self, n: u128) -> Vec<Notice> {
        self.ledger().pending_notices(uuid(n), 1000).await.unwrap()
    }

    fn means(&self, node: &ManagementNode) -> NotifierContext {
        let settings = CallbackSettings { urls: vec![node.url()], ..Settings::built_in().callback };
        let limits =
            RequestTimeouts { total: Duration::from_secs(5), ..RequestTimeouts::default() };
        NotifierContext {
            daemon: Arc::new(DaemonContext {
                node: NodeId::from_u128(7),
                ledger: self.ledger().clone(),
                clock: Arc::new(FixedClock),
                random: Arc::new(SequenceRandom::default()),
            }),
            client: CallbackClient::new(&settings, &FilePolicy::of_process(), limits)
                .unwrap()
                .unwrap(),
            format: EventFormat::CloudEvents,
            language: Language::English,
            max_pending: 1000,
            start_spread: Duration::ZERO,
            last_delivery_timeout: Duration::from_secs(5),
        }
    }

    fn notifier(&self, node: &ManagementNode) -> RunningNotifier {
        RunningNotifier::new(self.means(node))
    }
}

/// A running notifier.
struct RunningNotifier {
    handle: NotifierHandle,
    stop: CancellationToken,
    task: JoinSet<Result<(), DeliveryTaskPanicked>>,
}

impl RunningNotifier {
    fn new(means: NotifierContext) -> Self {
        let stop = CancellationToken::new();
        let (handle, notifier) = NotifierTask::new(means, stop.clone());
        let mut task = JoinSet::new();
        task.spawn(notifier.run_notifier());
        Self { handle, stop, task }
    }

    /// Waits for a status that meets the condition.
    async fn until_status(&self, condition: impl FnMut(&NotifierStatus) -> bool) -> NotifierStatus {
        let mut status = self.handle.watch_status();
        let status = timeout(TEST_TIMEOUT, status.wait_for(condition)).await;
        status
            .unwrap_or_else(|_| panic!("still {:?}", self.handle.notifier_status()))
            .unwrap()
            .clone()
    }

    /// Waits until the delivery of a store meets the condition.
    async fn until_delivery(
        &self,
        n: u128,
        condition: impl Fn(&DeliveryStatus) -> bool,
    ) -> DeliveryStatus {
        let store = uuid(n);
        let status =
            self.until_status(|status| status.deliveries.get(&store).is_some_and(&condition)).await;
        status.deliveries[&store].clone()
    }

    /// Waits until no store has notices to deliver.
    async fn idle(&self, delivered: u64) {
        self.until_status(|status| status.delivered >= delivered && status.deliveries.is_empty())
            .await;
    }

    async fn stop(mut self) {
        self.stop.cancel();
        let ended = timeout(TEST_TIMEOUT, self.task.join_next()).await;
        ended.expect("the notifier does not stop").unwrap().unwrap().unwrap();
    }
}

fn id(n: u128, seq: u64) -> String {
    format!("{}.1.{seq}", uuid(n))
}

fn seqs(notices: &[Notice]) -> Vec<u64> {
    notices.iter().map(|notice| notice.position.seq.0).collect()
}

fn store_text(n: u128) -> String {
    let uuid: StoreUuid = uuid(n);
    uuid.to_string()
}
