//! The durations of transactions.

use super::*;
use crate::ledger::CommitError;

#[tokio::test]
async fn each_transaction_with_changes_counts_and_no_read_does() {
    let place = TestStateDir::new();
    let opened = place.open();
    let ledger = &opened.ledger;
    let count = || ledger.stats().commits.snapshot().count;
    assert_eq!(count(), 0, "the open of the ledger counts");
    ledger.commit(added(1)).await.unwrap();
    assert_eq!(count(), 1);
    let unknown = LedgerChange::new().save_record(uuid(77), durable(Status::Connected));
    assert!(matches!(ledger.commit(unknown).await, Err(CommitError::Conflict(_))));
    assert_eq!(count(), 2, "a change that fails");
    ledger.next_epoch(NOW).await.unwrap();
    ledger.check_writable().await.unwrap();
    assert_eq!(count(), 4);
    ledger.pending_notices(uuid(1), 9).await.unwrap();
    ledger.history(uuid(1), 9).await.unwrap();
    ledger.credentials(&store(1)).await.unwrap();
    assert_eq!(count(), 4, "a read");
    assert!(ledger.stats().commits.snapshot().sum_seconds > 0.0);
    opened.writer.close_ledger().await;
    assert_eq!(place.open().ledger.stats().commits.snapshot().count, 0);
}
