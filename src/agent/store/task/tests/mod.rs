//! A store task whose commits fail: the definition in memory stays the one on the disk.

mod stats;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::StoreTask;
use crate::agent::checks::running::CompletedCheck;
use crate::agent::store::example::example_store;
use crate::agent::{
    AgentContext, DaemonContext, SpaceIndex, StoreHandle, StoreSnapshot, TrialLogins,
};
use crate::common::{Clock, Random, Timestamp};
use crate::ledger::{LedgerChange, OpenedLedger, StateDir, open_ledger};
use crate::lifecycle::{
    CheckPolicy, DurableRecord, HistoryEvent, LoginOutcome, MeasuredSpace, ProbeOutcome,
    SpaceThresholds, StepInput, StoreRecord,
};
use crate::model::{
    Capacity, CapacityDay, Condition, DAY_SECONDS, DayFigures, Epoch, HostEvidence, HostIdentity,
    HostKey, MountLocation, NodeId, Secret, SshAddress, SshCredentials, Status, Store, StoreUuid,
    UsedRange, UtcDay,
};
use crate::probe::{DirectoryInspection, PreviousMarker, ProbeOptions, ProbeResult, Prober};
use crate::settings;
use crate::settings::{FilePolicy, HostKeyPolicy, Settings};
use crate::ssh::Verifier;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
}

impl Random for Fixed {
    fn bytes16(&self) -> [u8; 16] {
        [7; 16]
    }
}

fn opened(dir: &Path) -> (OpenedLedger, StateDir) {
    let lock = StateDir::open(dir, &FilePolicy::of_process()).unwrap();
    let state = settings::StateSettings { dir: dir.to_owned(), ..Settings::built_in().state };
    (open_ledger(&lock, &state, None, Fixed.now()).unwrap(), lock)
}

fn mount(device: &str) -> MountLocation {
    MountLocation {
        mount_point: "/srv/images".to_owned(),
        fs_type: "xfs".to_owned(),
        device: device.to_owned(),
        on_root_disk: false,
        part: None,
        quota_folder: None,
    }
}

/// A store whose host key and registry are not known yet.
fn store() -> Store {
    Store {
        address: address(),
        credentials_address: address(),
        created: Fixed.now(),
        changed: Fixed.now(),
        mount: mount("8:1"),
        had_registry: false,
        ..example_store()
    }
}

fn address() -> SshAddress {
    SshAddress { hostname: "::1".parse().unwrap(), port: 22.try_into().unwrap() }
}

fn key(name: &str) -> HostKey {
    HostKey {
        algorithm: "ssh-ed25519".to_owned(),
        blob: name.to_owned(),
        fingerprint: format!("SHA256:{name}"),
    }
}

fn durable_record() -> DurableRecord {
    DurableRecord {
        status: Status::Connected,
        ..DurableRecord::new_connecting(Epoch(5), Fixed.now())
    }
}

fn context(opened: &OpenedLedger) -> Arc<AgentContext> {
    Arc::new(AgentContext {
        daemon: Arc::new(DaemonContext {
            node: NodeId::from_u128(3),
            ledger: opened.ledger.clone(),
            clock: Arc::new(Fixed),
            random: Arc::new(Fixed),
        }),
        prober: Prober::new(ProbeOptions {
            allowed_roots: vec!["/srv".to_owned()],
            allow_root_disk: false,
            node_id: NodeId::from_u128(3),
        }),
        verifier: Verifier::new(&Settings::built_in().ssh),
        trial_logins: TrialLogins::new(opened.login_digest_key.clone(), Vec::new(), Fixed.now()),
        policy: CheckPolicy {
            probe_interval: Duration::from_secs(60),
            write_interval: None,
            login_interval: Duration::from_secs(60),
            start_spread: Duration::ZERO,
            fail_after: 3,
            recover_after: 2,
            auto_reconnect: true,
            space: SpaceThresholds {
                reserved: 0,
                near_full: 0.9,
                full: 0.95,
                filling_up: Some(Duration::from_secs(7 * 86_400)),
            },
            slow_probe_after: Duration::from_secs(1),
        },
        probe_timeout: Duration::from_secs(5),
        attempt_timeout: Duration::from_secs(5),
        host_key_policy: HostKeyPolicy::PinOnFirstUse,
        spaces: SpaceIndex::default(),
        stats: Arc::default(),
        outbox_signal: None,
        started: Instant::now(),
    })
}

fn task(opened: &OpenedLedger) -> (StoreHandle, Box<StoreTask>) {
    let record = StoreRecord::new(durable_record());
    StoreTask::new(context(opened), store(), record, None, None, CancellationToken::new())
}

fn probed() -> StepInput {
    probed_with(1000, 400)
}

fn probed_with(total: u64, available: u64) -> StepInput {
    let capacity = Capacity::new(total, available).unwrap();
    StepInput::Probed(ProbeOutcome {
        examined: Ok(MeasuredSpace { capacity, inodes: None }),
        written: None,
        took: Duration::from_millis(3),
    })
}

fn logged_in() -> StepInput {
    let outcome = Ok(HostIdentity::verified_by(HostEvidence::BootId));
    StepInput::LoggedIn(LoginOutcome { outcome, took: Duration::from_millis(50) })
}

#[tokio::test]
async fn an_observation_is_in_memory_when_it_is_on_the_disk_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, lock) = opened(dir.path());
    let (handle, mut task) = task(&opened);

    // The ledger does not hold the store, so that it refuses to save its definition.
    task.pending.observe_mount(&task.store, &mount("8:2"), true);
    assert!(task.apply_input(probed()).await.is_err());
    task.pending.observe_host_key(&task.store, &key("first"));
    assert!(task.apply_input(logged_in()).await.is_err());
    for seen in [&*task.store, &*handle.snapshot().store] {
        assert_eq!(*seen, store());
    }
    assert_eq!(
        (task.record.durable.clone(), handle.snapshot().durable.clone()),
        (durable_record(), durable_record())
    );

    // Checks expect what was observed first, and a later key does not replace it.
    task.pending.observe_host_key(&task.store, &key("second"));
    let expected = Store {
        mount: mount("8:2"),
        had_registry: true,
        pinned_key: Some(key("first")),
        ..store()
    };
    assert_eq!(*task.pending.apply_to(&task.store), expected);

    let credentials = SshCredentials::password(Secret::new("hunter2".to_owned()));
    let change = LedgerChange::new().add_store(store(), credentials, durable_record());
    opened.ledger.commit(change).await.unwrap();
    task.apply_input(logged_in()).await.unwrap();
    for seen in [&*task.store, &*handle.snapshot().store] {
        assert_eq!(*seen, expected);
    }
    // A neighbour finds the store where it is now, and no longer where it was.
    let neighbour = |device: &str| {
        let uuid = StoreUuid::from_u128(77);
        let store = Arc::new(Store { uuid, mount: mount(device), ..store() });
        StoreSnapshot { store, ..(*handle.snapshot()).clone() }
    };
    let sharers = |device: &str| task.context.spaces.sharers_of(&neighbour(device)).to_string();
    assert_eq!((sharers("8:1"), sharers("8:2")), (String::new(), store().uuid.to_string()));
    let history = opened.ledger.history(store().uuid, 9).await.unwrap();
    let moves = |event: &HistoryEvent| *event == HistoryEvent::DirectoryMoved(mount("8:2"));
    assert_eq!(history.lines.iter().filter(|line| moves(&line.event)).count(), 1);

    // Once committed, nothing is pending: the next commit does not save the definition again.
    assert!(Arc::ptr_eq(&task.pending.apply_to(&task.store), &task.store));
    drop((handle, task));
    opened.writer.close_ledger().await;
    drop(lock);
    let (again, _lock) = self::opened(dir.path());
    assert_eq!(again.stores.first().map(|loaded| &loaded.store), Some(&expected));
}

#[tokio::test]
async fn figures_after_a_move_begin_a_series_without_those_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let credentials = SshCredentials::password(Secret::new("hunter2".to_owned()));
    let change = LedgerChange::new().add_store(store(), credentials, durable_record());
    opened.ledger.commit(change).await.unwrap();
    let (_handle, mut task) = task(&opened);
    let measured = |available| {
        let capacity = Capacity::new(1000, available).unwrap();
        let examined = Ok(MeasuredSpace { capacity, inodes: None });
        let took = Duration::from_millis(3);
        StepInput::Probed(ProbeOutcome { examined, written: None, took })
    };
    let days = async || {
        let days = opened.ledger.capacity_days(store().uuid, UtcDay(0)).await.unwrap();
        let used =
            |day: &CapacityDay| (day.series, day.figures.space.min(), day.figures.space.max());
        days.iter().map(used).collect::<Vec<_>>()
    };
    task.apply_input(measured(400)).await.unwrap();
    assert_eq!(days().await, [(1, 600, 600)]);
    // This figure makes no commit, and the directory moves before the next one does.
    task.apply_input(measured(350)).await.unwrap();
    assert_eq!(days().await, [(1, 600, 600)]);
    task.pending.observe_mount(&task.store, &mount("8:2"), false);
    task.apply_input(measured(990)).await.unwrap();
    task.pending.observe_mount(&task.store, &mount("8:3"), false);
    task.apply_input(StepInput::Probed(ProbeOutcome {
        examined: Ok(MeasuredSpace { capacity: Capacity::new(2000, 1970).unwrap(), inodes: None }),
        written: None,
        took: Duration::from_millis(3),
    }))
    .await
    .unwrap();
    // Each move has begun a series, and the day has only the figures of the last one.
    assert_eq!(days().await, [(3, 30, 30)]);
}

#[tokio::test]
async fn a_due_check_does_not_wait_for_a_disk_that_refuses_observations() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let (_handle, mut task) = task(&opened);
    task.pending.observe_mount(&task.store, &mount("8:2"), false);
    task.apply_input(StepInput::Due(task.checks.in_flight())).await.unwrap();
    assert!(task.retry.is_none(), "the decision was not committed");
    assert_eq!(*task.store, store());
    assert_eq!(task.pending.apply_to(&task.store).mount, mount("8:2"));
}

#[tokio::test]
async fn the_first_figures_after_a_move_begin_a_series_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    let credentials = SshCredentials::password(Secret::new("hunter2".to_owned()));
    let change = LedgerChange::new().add_store(store(), credentials, durable_record());
    opened.ledger.commit(change).await.unwrap();
    let (_handle, mut task) = task(&opened);
    let series = async || {
        let days = opened.ledger.capacity_days(store().uuid, UtcDay(i64::MIN)).await.unwrap();
        days.into_iter().map(|day| day.series).collect::<Vec<_>>()
    };
    task.apply_input(probed()).await.unwrap();
    assert_eq!(series().await, [1]);
    // The same figures are no new sample, so that only the move makes them due.
    task.apply_input(probed()).await.unwrap();
    task.pending.observe_mount(&task.store, &mount("8:2"), false);
    task.apply_input(probed()).await.unwrap();
    assert_eq!(series().await, [2]);
}

/// A finished probe of the monitor on the disk of the store.
fn probe_of(total: u64, available: u64) -> CompletedCheck {
    probe_at("8:1", total, available)
}

fn probe_at(device: &str, total: u64, available: u64) -> CompletedCheck {
    let inspection = DirectoryInspection {
        capacity: Capacity::new(total, available).unwrap(),
        inodes: None,
        place: mount(device),
        marker: None,
        previous_marker: PreviousMarker::default(),
        has_registry: false,
        created_folder: false,
    };
    let duration = Duration::from_millis(3);
    CompletedCheck::Probe(ProbeResult { inspection: Ok(inspection), write: None, duration })
}

/// Commits the store and 28 days that end yesterday, with a use that grows by 10 a day to 900 of
/// 1000.
async fn add_growing_store(opened: &OpenedLedger) {
    let credentials = SshCredentials::password(Secret::new("hunter2".to_owned()));
    let mut change = LedgerChange::new().add_store(store(), credentials, durable_record());
    let today = UtcDay::of(Fixed.now());
    for age in (1..=28_u8).rev() {
        let used = 910 - 10 * u64::from(age);
        let figures = DayFigures {
            day: today.plus(-i64::from(age)),
            space: UsedRange::new(1000, used, used, used).unwrap(),
            inodes: None,
            covered_seconds: DAY_SECONDS,
        };
        change = change.add_capacity(store().uuid, figures, store().mount);
    }
    opened.ledger.commit(change).await.unwrap();
}

fn is_filling_up(handle: &StoreHandle) -> bool {
    handle.snapshot().durable.conditions.contains_key(&Condition::FillingUp)
}

#[tokio::test]
async fn a_store_that_grows_is_filling_up_until_it_is_cleaned_up_or_grown() {
    for (total, available) in [(1000, 500), (2000, 1090)] {
        let dir = tempfile::tempdir().unwrap();
        let (opened, _lock) = opened(dir.path());
        add_growing_store(&opened).await;
        let (handle, mut task) = task(&opened);
        task.on_check_finished(probe_of(1000, 90)).await;
        assert!(!is_filling_up(&handle) && handle.snapshot().forecast.is_none());
        let growth = task.growth.next_read().await;
        task.on_growth_read(growth).await;
        assert!(is_filling_up(&handle), "{:?}", handle.snapshot().forecast);
        let forecast = handle.snapshot().forecast.unwrap();
        assert_eq!((forecast.bytes.used, forecast.bytes.known_days), (910, 27));
        // The next start knows the condition, and keeps it until the history has been read.
        let durable = handle.snapshot().durable.clone();
        drop((handle, task));
        let (handle, mut task) = StoreTask::new(
            context(&opened),
            store(),
            StoreRecord::new(durable),
            None,
            None,
            CancellationToken::new(),
        );
        task.on_check_finished(probe_of(1000, 90)).await;
        assert!(is_filling_up(&handle));
        let growth = task.growth.next_read().await;
        task.on_growth_read(growth).await;
        assert!(is_filling_up(&handle));
        task.on_check_finished(probe_of(total, available)).await;
        assert!(!is_filling_up(&handle), "{:?}", handle.snapshot().forecast);
    }
}

#[tokio::test]
async fn the_growth_of_other_space_says_nothing_after_a_move() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _lock) = opened(dir.path());
    add_growing_store(&opened).await;
    let (handle, mut task) = task(&opened);
    task.on_check_finished(probe_at("8:2", 1000, 90)).await;
    let growth = task.growth.next_read().await;
    task.on_growth_read(growth).await;
    let forecast = handle.snapshot().forecast.unwrap();
    assert_eq!((forecast.bytes.known_days, forecast.bytes.full.outlooks), (0, None));
    assert!(!is_filling_up(&handle));
}
