//! Jobs: what is committed with them, and what is read back.

use super::*;
use crate::model::{JobId, JobRequest, JobResult, StoredJob, StoredJobEnd};

pub(super) fn job(n: u128) -> JobRequest {
    JobRequest {
        job: JobId::from_u128(n),
        caller: [1; 32],
        request: [2; 32],
        began: Timestamp(NOW.0 + i64::try_from(n).unwrap()),
    }
}

pub(super) fn result(body: &str) -> JobResult {
    JobResult { succeeded: true, body: body.as_bytes().to_vec(), ended: Timestamp(NOW.0 + 100) }
}

async fn close(opened: OpenedLedger) {
    opened.writer.close_ledger().await;
}

#[tokio::test]
async fn a_job_and_its_first_result_survive_a_restart() {
    let place = TestStateDir::new();
    let opened = place.open();
    assert_eq!(opened.jobs, []);
    let ledger = &opened.ledger;
    for n in 1..=4 {
        ledger.commit(LedgerChange::new().add_job(job(n))).await.unwrap();
    }
    let first = job(1).job;
    assert_eq!(ledger.job_result(first).await.unwrap(), None);
    let change = LedgerChange::new().mark_job_change(job(2).job).finish_job(first, result("one"));
    ledger.commit(change).await.unwrap();
    let failed = JobResult { succeeded: false, ..result("two") };
    // The first result stays, and a job that is gone is no error.
    let change = LedgerChange::new()
        .finish_job(first, failed.clone())
        .mark_job_change(first)
        .remove_job(job(3).job)
        .remove_job(job(3).job)
        .mark_job_change(job(3).job)
        .finish_job(job(3).job, result("three"))
        .finish_job(job(4).job, JobResult { ended: NOW, ..failed.clone() });
    ledger.commit(change).await.unwrap();
    assert_eq!(ledger.job_result(first).await.unwrap(), Some(result("one")));
    assert_eq!(ledger.job_result(job(3).job).await.unwrap(), None);
    close(opened).await;

    let opened = place.open();
    let ended = |at: i64| Some(StoredJobEnd { at: Timestamp(NOW.0 + at), bytes: 3 });
    let stored =
        |n, changed_definition, ended| StoredJob { request: job(n), changed_definition, ended };
    let jobs = [stored(2, true, None), stored(4, false, ended(0)), stored(1, false, ended(100))];
    assert_eq!(opened.jobs, jobs);
    let read = opened.ledger.job_result(job(4).job).await.unwrap();
    assert_eq!(read, Some(JobResult { ended: NOW, ..failed }));
    close(opened).await;
}

#[tokio::test]
async fn an_id_is_added_once() {
    let place = TestStateDir::new();
    let opened = place.open();
    let add = || opened.ledger.commit(LedgerChange::new().add_job(job(1)));
    add().await.unwrap();
    assert!(matches!(add().await, Err(super::super::CommitError::Conflict(_))));
    let again = LedgerChange::new().remove_job(job(1).job).add_job(job(1));
    opened.ledger.commit(again).await.unwrap();
}

#[tokio::test]
async fn changes_are_made_in_the_order_in_which_they_are_queued() {
    let place = TestStateDir::new();
    let opened = place.open();
    let add = || opened.ledger.queue_commit(LedgerChange::new().add_job(job(1)));
    let remove = opened.ledger.queue_commit(LedgerChange::new().remove_job(job(1).job));
    let (first, second) = (add(), add());
    let again = opened.ledger.queue_commit(LedgerChange::new().remove_job(job(1).job));
    // The order of the waits does not matter.
    let third = add().await;
    let (again, second, first, remove) = (again.await, second.await, first.await, remove.await);
    assert!(remove.is_ok() && first.is_ok() && again.is_ok() && third.is_ok());
    assert!(matches!(second, Err(super::super::CommitError::Conflict(_))));
}

#[tokio::test]
async fn a_result_is_durable_with_the_change_that_it_reports() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(LedgerChange::new().add_job(job(1))).await.unwrap();
    opened.ledger.commit(added(1)).await.unwrap();
    // The second add of the same store is a conflict, and so nothing of the change is made.
    let both = || added(1).finish_job(job(1).job, result("added"));
    opened.ledger.commit(both()).await.unwrap_err();
    assert_eq!(opened.ledger.job_result(job(1).job).await.unwrap(), None);
    let change = added(2).finish_job(job(1).job, result("added"));
    opened.ledger.commit(change).await.unwrap();
    assert_eq!(opened.ledger.job_result(job(1).job).await.unwrap(), Some(result("added")));
}

#[tokio::test]
async fn a_damaged_job_prevents_no_change_of_a_store() {
    let place = TestStateDir::new();
    let opened = place.open();
    opened.ledger.commit(LedgerChange::new().add_job(job(1))).await.unwrap();
    let sqlite = rusqlite::Connection::open(place.ledger()).unwrap();
    sqlite.execute_batch("UPDATE jobs SET began = began + 1").unwrap();
    let change = added(1).finish_job(job(1).job, result("added")).mark_job_change(job(1).job);
    opened.ledger.commit(change).await.unwrap();
    opened.ledger.job_result(job(1).job).await.unwrap_err();
    close(opened).await;
    assert!(matches!(place.try_open(), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn the_key_of_the_digests_depends_on_the_master_key_alone() {
    let sign = |opened: &OpenedLedger| ring::hmac::sign(&opened.job_key, b"x").as_ref().to_vec();
    let (place, other) = (TestStateDir::new(), TestStateDir::new());
    let opened = place.open();
    let tag = sign(&opened);
    close(opened).await;
    assert_eq!(sign(&place.open()), tag);
    assert_ne!(sign(&other.open()), tag);
}
