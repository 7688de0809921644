//! Web hooks: what is owed survives a restart, and ends with its turn or its job.

use super::jobs::{job, result};
use super::*;
use crate::model::{JobHook, JobRequest, OwedHook, StoredHook};

pub(super) const URL: &str = "http://192.0.2.7:8080/hook?key=invented";
pub(super) const DESTINATION: &str = "192.0.2.7:8080";

pub(super) fn hook() -> JobHook {
    JobHook { url: Secret::new(URL.to_owned()), destination: DESTINATION.to_owned() }
}

pub(super) fn stored(n: u128) -> StoredHook {
    StoredHook { job: job(n).job, destination: DESTINATION.to_owned() }
}

async fn owed(opened: &OpenedLedger, n: u128) -> Option<OwedHook> {
    opened.ledger.owed_hook(job(n).job).await.unwrap()
}

async fn commit(opened: &OpenedLedger, change: LedgerChange) {
    opened.ledger.commit(change).await.unwrap();
}

#[tokio::test]
async fn an_owed_hook_survives_a_restart_and_comes_with_the_result() {
    let place = TestStateDir::new();
    let opened = place.open();
    let change = LedgerChange::new().add_job(job(1)).add_job(job(2)).add_job(job(3));
    commit(&opened, change.owe_hook(&job(1), hook()).owe_hook(&job(2), hook())).await;
    assert!(owed(&opened, 1).await.unwrap().result.is_none());
    assert!(owed(&opened, 3).await.is_none());
    commit(&opened, LedgerChange::new().finish_job(job(1).job, result("{}"))).await;
    // A job that is gone owes nothing.
    commit(&opened, LedgerChange::new().owe_hook(&job(9), hook())).await;
    assert!(owed(&opened, 9).await.is_none());
    // Nor does another request under the id of a job.
    let (caller, request) = ([7; 32], [7; 32]);
    for other in [JobRequest { caller, ..job(3) }, JobRequest { request, ..job(3) }] {
        commit(&opened, LedgerChange::new().owe_hook(&other, hook())).await;
        assert!(owed(&opened, 3).await.is_none());
    }
    opened.writer.close_ledger().await;

    let opened = place.open();
    assert_eq!(opened.hooks, [stored(1), stored(2)]);
    let read = owed(&opened, 1).await.unwrap();
    assert_eq!(read.hook.url.expose_secret(), URL);
    assert_eq!((read.hook.destination.as_str(), read.turn), (DESTINATION, 1));
    assert_eq!(read.result, Some(result("{}")));
    // The foreign key removes it with its job.
    commit(&opened, LedgerChange::new().remove_job(job(1).job)).await;
    assert!(owed(&opened, 1).await.is_none());
    opened.writer.close_ledger().await;
    assert_eq!(place.open().hooks, [stored(2)]);
}

#[tokio::test]
async fn a_hook_that_is_owed_again_is_not_removed_by_its_earlier_turn() {
    let place = TestStateDir::new();
    let opened = place.open();
    let owe = || LedgerChange::new().owe_hook(&job(1), hook());
    commit(&opened, LedgerChange::new().add_job(job(1))).await;
    commit(&opened, owe()).await;
    commit(&opened, owe()).await;
    commit(&opened, LedgerChange::new().remove_hook(job(1).job, 1)).await;
    assert_eq!(owed(&opened, 1).await.unwrap().turn, 2);
    commit(&opened, LedgerChange::new().remove_hook(job(1).job, 2)).await;
    assert!(owed(&opened, 1).await.is_none());
    commit(&opened, owe()).await;
    assert_eq!(owed(&opened, 1).await.unwrap().turn, 1);
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn the_url_is_in_no_file_and_is_bound_to_its_job() {
    let place = TestStateDir::new();
    let opened = place.open();
    let change = LedgerChange::new().add_job(job(1)).add_job(job(2));
    let change = change.owe_hook(&job(1), hook()).owe_hook(&job(2), hook());
    assert!(!format!("{change:?}").contains("invented"));
    commit(&opened, change).await;
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"invented"));
    }
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    let sealed: Vec<u8> = {
        let sql = "SELECT sealed FROM hooks WHERE job = ?1";
        sqlite.query_row(sql, [job(1).job.expose_digits()], |row| row.get(0)).unwrap()
    };
    let digits = job(2).job.expose_digits();
    let columns: [&[u8]; 4] =
        [digits.as_bytes(), &1_u32.to_be_bytes(), DESTINATION.as_bytes(), &sealed];
    let sum = crate::ledger::tables::row_checksum(&columns);
    let sql = "UPDATE hooks SET sealed = ?1, sum = ?2 WHERE job = ?3";
    sqlite.execute(sql, rusqlite::params![sealed, sum, digits]).unwrap();
    let error = opened.ledger.owed_hook(job(2).job).await.unwrap_err().to_string();
    assert!(error.contains("cannot be decoded"), "{error}");
    assert!(error.contains("the sealed secret is damaged"), "{error}");
    opened.writer.close_ledger().await;
}
