//! A log that is damaged or cut off while another program reads the ledger.

use std::fs;
use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use super::*;
use crate::ledger::CommitError;

fn log_path(place: &TestStateDir) -> PathBuf {
    place.path().join("ledger.sqlite-wal")
}

fn log_length(place: &TestStateDir) -> u64 {
    fs::metadata(log_path(place)).unwrap().len()
}

/// Opens the ledger as an operator's `sqlite3` does, within a transaction that has read it.
fn open_reader(place: &TestStateDir) -> Connection {
    let reader = Connection::open(place.ledger()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM stores").unwrap();
    reader
}

#[tokio::test]
async fn a_log_without_its_head_takes_no_change_until_a_new_log_can_begin() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    let reader = open_reader(&place);
    // The head of the log has its magic number and its salts.
    let log = fs::OpenOptions::new().write(true).open(log_path(&place)).unwrap();
    log.write_all_at(&[0; 32], 0).unwrap();
    let refused = ledger.commit(added(2)).await.unwrap_err();
    let CommitError::Displaced(why) = &refused else { panic!("{refused}") };
    assert!(why.contains("while another program reads it"), "{why}");
    assert!(why.contains("ledger.sqlite-wal"), "{why}");
    drop(reader);
    // The refusal is no damage that stays.
    ledger.commit(added(3)).await.unwrap();
    // A crash now finds a log that begins with a head, and loses no confirmed change.
    let after_crash = place.power_loss_copy().open();
    let uuids: Vec<_> = after_crash.stores.iter().map(|loaded| loaded.store.uuid).collect();
    assert_eq!(uuids, [uuid(1), uuid(3)]);
    after_crash.writer.close_ledger().await;
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_log_that_sqlite_itself_cuts_off_is_not_taken_for_a_change_by_others() {
    const LIMIT: u64 = 8 << 20;
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    ledger.commit(added(1)).await.unwrap();
    // No new log can begin while this one is read.
    let reader = open_reader(&place);
    let lines = || (0..2000).fold(LedgerChange::new(), |all, n| all.add_history(uuid(1), entry(n)));
    while log_length(&place) <= LIMIT {
        ledger.commit(lines()).await.unwrap();
    }
    drop(reader);
    while log_length(&place) > LIMIT {
        ledger.commit(LedgerChange::new().add_history(uuid(1), entry(NOW.0))).await.unwrap();
    }
    assert_eq!(log_length(&place), LIMIT);
    // A verification would need a new log, which a reader prevents.
    let reader = open_reader(&place);
    ledger.commit(added(2)).await.unwrap();
    drop(reader);
    // A cut by another program is noticed, and the next change is refused.
    let log = fs::OpenOptions::new().write(true).open(log_path(&place)).unwrap();
    log.set_len(0).unwrap();
    assert!(matches!(ledger.commit(added(3)).await, Err(CommitError::Displaced(_))));
    opened.writer.close_ledger().await;
}
