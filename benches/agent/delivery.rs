//! Measures the delivery of single transitions, and the cost of a backlog of a million notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use imagestore_agent::agent::{DaemonContext, OutboxSignal as _};
use imagestore_agent::catalog::Language;
use imagestore_agent::common::{SystemClock, SystemRandom};
use imagestore_agent::ledger::{Ledger, LedgerChange, OpenedLedger, StateDir, open_ledger};
use imagestore_agent::lifecycle::{HistoryEntry, HistoryEvent};
use imagestore_agent::management::{CallbackClient, RequestTimeouts};
use imagestore_agent::model::{AttemptId, NodeId, Notice, Position, StoreUuid};
use imagestore_agent::notifier::{NotifierContext, NotifierHandle, NotifierTask};
use imagestore_agent::settings::{CallbackSettings, FilePolicy, Settings, StateSettings};
use imagestore_agent::wire::{EventFormat, WebhookEvent};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::figures;
use crate::memory::resident;
use crate::requests::{Peer, connected};
use crate::support::agent::Agent;
use crate::support::filesystems::MountedFs;
use crate::support::fixtures::{NOW, credentials, durable_record, notice, store, uuid};
use crate::support::management_node::ManagementNode;
use crate::support::sshd::{Sshd, User};
use crate::support::wait::until;

const STORES: u128 = 8;
const EVENTS: usize = 200;
const DRAINED: u64 = 100_000;
const MILLION: u64 = 1_000_000;
/// Number of notices in one commit while the bench fills a backlog.
const BATCH: u64 = 500;

/// A ledger on the disk that holds the system's temporary files.
struct NotifierFixture {
    dir: tempfile::TempDir,
    _lock: StateDir,
    opened: OpenedLedger,
}

fn opened(dir: &std::path::Path) -> (StateDir, OpenedLedger) {
    let lock = StateDir::open(dir, &FilePolicy::of_process()).unwrap();
    let state = StateSettings { dir: dir.to_owned(), ..Settings::built_in().state };
    let opened = open_ledger(&lock, &state, None, NOW).unwrap();
    (lock, opened)
}

impl NotifierFixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (lock, opened) = opened(dir.path());
        for n in 1..=STORES {
            let change = LedgerChange::new().add_store(store(n), credentials(), durable_record());
            opened.ledger.commit(change).await.unwrap();
        }
        Self { dir, _lock: lock, opened }
    }

    fn ledger(&self) -> &Ledger {
        &self.opened.ledger
    }

    /// Starts a notifier that delivers to this receiver.
    fn notifier(&self, url: String) -> (NotifierHandle, JoinSet<()>) {
        let settings = CallbackSettings { urls: vec![url], ..Settings::built_in().callback };
        let client =
            CallbackClient::new(&settings, &FilePolicy::of_process(), RequestTimeouts::default())
                .unwrap()
                .unwrap();
        let means = NotifierContext {
            daemon: Arc::new(DaemonContext {
                node: NodeId::from_u128(7),
                ledger: self.ledger().clone(),
                clock: Arc::new(SystemClock),
                random: Arc::new(SystemRandom::default()),
            }),
            client,
            format: EventFormat::CloudEvents,
            language: Language::English,
            max_pending: 1_000_000,
            start_spread: Duration::ZERO,
            last_delivery_timeout: Duration::from_secs(5),
        };
        let (handle, notifier) = NotifierTask::new(means, CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(async { notifier.run_notifier().await.unwrap() });
        (handle, task)
    }
}

/// Puts `total` notices into the outbox, the same number for each store.
async fn fill(ledger: &Ledger, stores: &[StoreUuid], total: u64) {
    let each = total / u64::try_from(stores.len()).unwrap();
    for first in (1..=each).step_by(usize::try_from(BATCH).unwrap()) {
        for uuid in stores {
            let seqs = first..(first + BATCH).min(each + 1);
            let of = |seq| Notice { store: *uuid, ..notice(1, seq) };
            let change = seqs.fold(LedgerChange::new(), |change, seq| change.enqueue(of(seq)));
            ledger.commit(change).await.unwrap();
        }
    }
}

/// Measures the time from the commit of a transition, as a store's task makes it, to its arrival at
/// the receiver.
pub(crate) async fn one_event() {
    let fixture = NotifierFixture::new().await;
    let mut node = ManagementNode::answering([]).await;
    let (handle, _task) = fixture.notifier(node.url());
    let (mut durable, mut received) = (Vec::new(), Vec::new());
    for seq in 2..EVENTS + 2 {
        // The pause lets the disk and the connection become idle.
        tokio::time::sleep(Duration::from_millis(40)).await;
        let notice = notice(1, seq.try_into().unwrap());
        let (old, new) = (notice.old_status, notice.new_status);
        let event = HistoryEvent::StatusChanged { old, new, failure: notice.failure.clone() };
        let entry = HistoryEntry { at: NOW, attempt: AttemptId(1), event };
        let change = LedgerChange::new()
            .save_record(uuid(1), durable_record())
            .enqueue(notice)
            .add_history(uuid(1), entry);
        let begun = Instant::now();
        fixture.ledger().commit(change).await.unwrap();
        durable.push(begun.elapsed());
        handle.notify_changed(uuid(1));
        node.next().await;
        received.push(begun.elapsed());
    }
    let (durable, received) = (figures::spread(durable), figures::spread(received));
    println!("one transition, {EVENTS} of them");
    println!("    durable         {:?} ({:?} to {:?}); goal 2 ms", durable.1, durable.0, durable.2);
    println!(
        "    at the receiver {:?} ({:?} to {:?}); goal 10 ms",
        received.1, received.0, received.2
    );
}

/// Sends the same requests by a client without a ledger, on as many connections as there are
/// stores.
async fn bare(address: SocketAddr, total: u64) -> Duration {
    let event = WebhookEvent::from_notice(
        &notice(1, 1),
        NodeId::from_u128(7),
        EventFormat::CloudEvents,
        Language::English,
    );
    let body = Bytes::from(event[0].body.clone());
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..STORES {
        let body = body.clone();
        clients.spawn(async move {
            let (mut sender, _driver) = connected(address).await;
            for _ in 0..total / u64::try_from(STORES).unwrap() {
                let request = Request::post("/events").header("host", "localhost");
                let request = request.body(Full::new(body.clone())).unwrap();
                let response = sender.send_request(request).await.unwrap();
                response.into_body().collect().await.unwrap();
            }
        });
    }
    clients.join_all().await;
    begun.elapsed()
}

/// Measures the delivery of a backlog to a receiver that answers as fast as hyper can.
pub(crate) async fn drain() {
    let fixture = NotifierFixture::new().await;
    let stores: Vec<StoreUuid> = (1..=STORES).map(uuid).collect();
    let receiver = Peer::start("");
    fill(fixture.ledger(), &stores, DRAINED).await;
    let peer = bare(receiver.address, DRAINED).await;
    let begun = Instant::now();
    let (handle, _task) = fixture.notifier(format!("http://{}/events", receiver.address));
    let mut status = handle.watch_status();
    let is_drained = |status: &imagestore_agent::notifier::NotifierStatus| {
        status.delivered >= DRAINED && status.deliveries.is_empty()
    };
    status.wait_for(is_drained).await.unwrap();
    let agent_times = begun.elapsed();
    let rate = |took: Duration| f64::from(u32::try_from(DRAINED).unwrap()) / took.as_secs_f64();
    println!("drain of {DRAINED} notices of {STORES} stores, beside a bare hyper client");
    println!("    agent {agent_times:?}, {:.0}/s, each acknowledged durably", rate(agent_times));
    println!("    peer  {peer:?}, {:.0}/s", rate(peer));
    println!("    ratio {:.3}", rate(agent_times) / rate(peer));
}

/// Measures a daemon that starts with a million notices and delivers them.
pub(crate) async fn million(sshd: &Sshd, user: &User) {
    let disk = MountedFs::of("ext4");
    let receiver = Peer::start("");
    let mut agent = Agent::installed(&disk.path(), "[monitor]\ninterval = \"1h\"\n");
    agent.start();
    let mut stores = Vec::new();
    for n in 0..STORES {
        let dir = disk.path().join(format!("store{n}"));
        std::fs::create_dir(&dir).unwrap();
        stores.push(agent.add(&dir, sshd, user).await.parse::<StoreUuid>().unwrap());
    }
    agent.terminate();
    {
        let (_lock, opened) = opened(&agent.path("state"));
        fill(&opened.ledger, &stores, MILLION).await;
        opened.writer.close_ledger().await;
    }
    let bytes = std::fs::metadata(agent.path("state/ledger.sqlite")).unwrap().len();
    // At first the receiver is down, so that all notices stay in the outbox.
    agent.configure(&format!(
        "{}[callback]\nurls = [\"http://127.0.0.1:9/events\"]\nmax_pending = 1000000\n\
         start_spread = \"0s\"\n",
        agent.settings()
    ));
    let mut ready = Vec::new();
    for _ in 0..7 {
        let begun = Instant::now();
        agent.start();
        ready.push(begun.elapsed());
        agent.kill();
    }
    agent.start();
    let path = format!("/imagestore/stores/{}/health", stores[0]);
    let counted = async || {
        let health = agent.http().send_request(hyper::Method::GET, &path, None).await.unwrap();
        health.body["delivery"]["pending"].as_u64().is_some_and(|pending| pending > 100_000)
    };
    until("the backlog is counted", counted).await;
    let waiting = resident(&agent);
    agent.terminate();
    agent.configure(&agent.settings().replace("127.0.0.1:9/", &format!("{}/", receiver.address)));
    let begun = Instant::now();
    agent.start();
    let mut most: f64 = 0.0;
    let ledger = agent.path("state/ledger.sqlite");
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(resident(&agent));
        let beside = rusqlite::Connection::open(&ledger).unwrap();
        let sql = "SELECT EXISTS (SELECT 1 FROM outbox)";
        if !beside.query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap() {
            break;
        }
    }
    let took = begun.elapsed();
    let (low, median, high) = figures::spread(ready);
    println!("a million notices of {STORES} stores, {} MiB of ledger", bytes >> 20);
    println!("    ready after a kill     {median:?} ({low:?} to {high:?}); goal 500 ms");
    println!("    resident while waiting {waiting:.1} MiB");
    println!("    resident, most while draining {most:.1} MiB; goal 32");
    println!("    drained in             {took:?}");
}
