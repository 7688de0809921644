//! Durability of commits: they survive in order and completely.

use super::*;
use crate::ledger::{CommitError, OutboxDepth, StateDirError};
use crate::model::{MountedPart, ProcessId};
use crate::settings::FilePolicy;

#[tokio::test]
async fn a_record_reads_back_exactly_after_a_clean_stop_and_after_a_power_cut() {
    let place = TestStateDir::new();
    let first = place.open();
    let worker = ProcessId { pid: 42, start_time: 4242 };
    let change = added(1)
        .save_record(uuid(1), durable(Status::Disconnected))
        .enqueue(notice(1, 5, 1))
        .save_stuck_worker(uuid(1), worker)
        .add_history(uuid(1), entry(NOW.0));
    first.ledger.commit(change).await.unwrap();

    let after_cut = place.power_loss_copy();
    first.writer.close_ledger().await;
    for place in [after_cut, place] {
        let again = place.open();
        let [loaded] = &again.stores[..] else { panic!("one store") };
        assert_eq!(loaded.store, store(1));
        assert_eq!(loaded.stuck_worker, Some(worker));
        let expected = DurableRecord {
            position: Position::start_of(again.epoch),
            ..durable(Status::Disconnected)
        };
        assert_eq!(loaded.durable, expected);
        assert_eq!(again.ledger.pending_notices(uuid(1), 9).await.unwrap(), [notice(1, 5, 1)]);
        assert_eq!(again.ledger.history(uuid(1), 9).await.unwrap().lines, [entry(NOW.0)]);
        again.writer.close_ledger().await;
    }
}

#[tokio::test]
async fn a_conflict_undoes_its_own_change_and_no_other() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();

    let twice = added(2).enqueue(notice(2, 5, 1)).enqueue(notice(2, 5, 1));
    let (good, bad, also_good) =
        tokio::join!(ledger.commit(added(3)), ledger.commit(twice), ledger.commit(added(4)));
    good.unwrap();
    also_good.unwrap();
    assert!(matches!(bad, Err(CommitError::Conflict(_))), "{bad:?}");

    let same_dir = Store { uuid: uuid(9), ..store(1) };
    let change = LedgerChange::new().add_store(same_dir, credentials(), durable(Status::Connected));
    assert!(matches!(ledger.commit(change).await, Err(CommitError::Conflict(_))));
    let nobody = LedgerChange::new().save_record(uuid(77), durable(Status::Connected));
    assert!(matches!(ledger.commit(nobody).await, Err(CommitError::Conflict(_))));
    let nobody = LedgerChange::new().save_store(store(77));
    assert!(matches!(ledger.commit(nobody).await, Err(CommitError::Conflict(_))));
    opened.writer.close_ledger().await;

    let uuids: Vec<_> = place.open().stores.iter().map(|loaded| loaded.store.uuid).collect();
    assert_eq!(uuids, [uuid(1), uuid(3), uuid(4)]);
}

#[tokio::test]
async fn an_epoch_is_never_taken_twice_even_when_the_clock_goes_back() {
    let place = TestStateDir::new();
    let mut last = Epoch(0);
    for now in [NOW, NOW, Timestamp(NOW.0 - 3_600_000), Timestamp(-5), Timestamp(NOW.0 + 9_000)] {
        let opened = place.open_at(now).unwrap();
        assert!(opened.epoch > last && opened.epoch.0 >= now.unix_ms());
        last = opened.ledger.next_epoch(now).await.unwrap();
        assert!(last > opened.epoch);
        opened.writer.close_ledger().await;
    }
}

#[tokio::test]
async fn the_outbox_keeps_the_order_across_epochs_and_folds_from_the_front() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    ledger.commit(added(2)).await.unwrap();
    for (epoch, seq) in [(5, 10), (5, 2), (6, 1), (5, 9)] {
        ledger.commit(LedgerChange::new().enqueue(notice(1, epoch, seq))).await.unwrap();
    }
    ledger.commit(LedgerChange::new().enqueue(notice(2, 1, 1))).await.unwrap();
    let order = |pending: Vec<Notice>| -> Vec<(u64, u64)> {
        pending.iter().map(|n| (n.position.epoch.0, n.position.seq.0)).collect()
    };
    assert_eq!(
        order(ledger.pending_notices(uuid(1), 9).await.unwrap()),
        [(5, 2), (5, 9), (5, 10), (6, 1)]
    );
    assert_eq!(order(ledger.pending_notices(uuid(1), 2).await.unwrap()), [(5, 2), (5, 9)]);
    assert_eq!(ledger.stores_with_pending().await.unwrap(), [uuid(1), uuid(2)]);
    let newest = Some(Position { epoch: Epoch(6), seq: Seq(1) });
    let start = Position::default();
    assert_eq!(
        ledger.outbox_depth(uuid(1), start).await.unwrap(),
        OutboxDepth { count: 4, newest }
    );
    assert_eq!(ledger.outbox_depth(uuid(3), start).await.unwrap(), OutboxDepth::default());

    let second = Position { epoch: Epoch(5), seq: Seq(9) };
    ledger.commit(LedgerChange::new().acknowledge(uuid(1), second)).await.unwrap();
    ledger.commit(LedgerChange::new().acknowledge(uuid(1), second)).await.unwrap();
    let through = Position { epoch: Epoch(5), seq: Seq(10) };
    let fold = LedgerChange::new().coalesce(through, notice(1, 5, 10));
    ledger.commit(fold).await.unwrap();
    assert_eq!(order(ledger.pending_notices(uuid(1), 9).await.unwrap()), [(5, 10), (6, 1)]);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_removed_store_leaves_nothing_and_may_come_back() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let change = added(1).enqueue(notice(1, 5, 1)).add_history(uuid(1), entry(1));
    ledger.commit(change).await.unwrap();
    ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await.unwrap();
    assert_eq!(ledger.pending_notices(uuid(1), 9).await.unwrap(), []);
    assert_eq!(ledger.history(uuid(1), 9).await.unwrap().lines, []);
    let fault = ledger.credentials(&store(1)).await.unwrap_err();
    assert!(fault.details().contains("no longer contains a secret"), "{fault:?}");
    ledger.commit(added(1).enqueue(notice(1, 5, 1))).await.unwrap();
    ledger.check_writable().await.unwrap();
    opened.writer.close_ledger().await;
    let closed = ledger.commit(LedgerChange::new().remove_store(uuid(1), removed(NOW.0))).await;
    assert!(matches!(closed, Err(CommitError::Closed)));
    assert_eq!(place.open().stores.len(), 1);
}

#[tokio::test]
async fn the_folder_of_a_mount_and_its_quota_read_back() {
    for part in [Some(MountedPart::Whole), Some(MountedPart::Folder("/a b".to_owned())), None] {
        let place = TestStateDir::new();
        let opened = place.open();
        let mount = MountLocation {
            part,
            quota_folder: Some("/a b/\u{fffd}".to_owned()),
            ..store(1).mount
        };
        let expected = Store { mount, ..store(1) };
        let change = LedgerChange::new().add_store(
            expected.clone(),
            credentials(),
            durable(Status::Connected),
        );
        opened.ledger.commit(change).await.unwrap();
        opened.writer.close_ledger().await;
        let again = place.open();
        assert_eq!(again.stores[0].store, expected);
        again.writer.close_ledger().await;
    }
}

#[test]
fn a_second_daemon_is_rejected_with_the_pid_of_the_first() {
    let place = TestStateDir::new();
    let held = StateDir::open(place.path(), &FilePolicy::of_process()).unwrap();
    let unfinished = place.path().join(".node-id.new");
    std::fs::write(&unfinished, "the first daemon is writing this").unwrap();
    let refused = StateDir::open(place.path(), &FilePolicy::of_process()).unwrap_err();
    let StateDirError::Locked { pid, .. } = refused else { panic!("{refused}") };
    assert_eq!(pid, Some(std::process::id()));
    assert!(unfinished.exists(), "the files are those of the first daemon");
    drop(held);
    StateDir::open(place.path(), &FilePolicy::of_process()).unwrap();
    assert!(!unfinished.exists());
}

#[test]
fn a_lock_that_outlives_its_daemon_for_a_moment_is_waited_for() {
    let place = TestStateDir::new();
    let held = StateDir::open(place.path(), &FilePolicy::of_process()).unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| StateDir::open(place.path(), &FilePolicy::of_process()));
        // As a child of a killed daemon does at its exec.
        drop(held);
        second.join().unwrap().unwrap();
    });
}

#[test]
fn a_node_id_is_made_once_and_never_replaced() {
    struct Fixed(u8);
    impl crate::common::Random for Fixed {
        fn bytes16(&self) -> [u8; 16] {
            [self.0; 16]
        }
    }
    let place = TestStateDir::new();
    let dir = StateDir::open(place.path(), &FilePolicy::of_process()).unwrap();
    let id = dir.node_id(&Fixed(1)).unwrap();
    assert_eq!(dir.node_id(&Fixed(2)).unwrap(), id);
    let file = place.path().join("node-id");
    std::fs::write(&file, "something else").unwrap();
    assert!(matches!(dir.node_id(&Fixed(2)), Err(StateDirError::NodeId { .. })));
    assert_eq!(std::fs::read(&file).unwrap(), b"something else");
}

#[test]
fn a_start_waits_for_a_reader_longer_than_for_a_daemon() {
    let place = TestStateDir::new();
    drop(StateDir::open(place.path(), &FilePolicy::of_process()).unwrap());
    let lock = std::fs::File::open(place.path().join("lock")).unwrap();
    let reader = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockShared).unwrap();
    let (sender, opened) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let result = StateDir::open(place.path(), &FilePolicy::of_process());
            sender.send(result.is_ok()).unwrap();
        });
        // A daemon that holds the lock would have been reported by now.
        let early = opened.recv_timeout(std::time::Duration::from_millis(1500));
        assert_eq!(early, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        drop(reader);
        assert_eq!(opened.recv(), Ok(true));
    });
}
