//! Waiting: for the state disk, without keeping anybody else waiting, and for a time that may never come.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::faults;
use crate::ledger::{CommitError, Ledger, LedgerChange};
use crate::model::AttemptFailure;

/// A commit takes well under a millisecond: one that takes this long has met a disk that hangs.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stop waits for a commit before its callers are told: they are to be answered while the
/// server still drains.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Commits a change. Whoever waits for it is told through `early`, once, when the state disk hangs or
/// the daemon stops; the outcome is still waited for, because a change that was handed over may be
/// made yet and must not be made unknown to us.
///
/// # Errors
/// [`CommitError`]: nothing of the change was made.
///
/// # Cancel safety
/// The change may still be made.
pub(super) async fn commit_with_timeout(
    ledger: &Ledger,
    change: LedgerChange,
    stop: &CancellationToken,
    early: impl FnOnce(AttemptFailure),
) -> Result<(), CommitError> {
    let committing = ledger.commit(change);
    tokio::pin!(committing);
    let stopped = async {
        stop.cancelled().await;
        // The last decisions of a store are made at the stop, on a disk that is well.
        sleep(STOP_GRACE).await;
    };
    let fault = tokio::select! {
        biased;
        outcome = &mut committing => return outcome,
        () = stopped => faults::agent_stopping(),
        () = sleep(COMMIT_TIMEOUT) => faults::state_disk_stalled(COMMIT_TIMEOUT),
    };
    early(fault.into());
    committing.await
}

/// Waits until then; for ever, when there is no such time.
pub(super) async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Waits for the ledger's answer to something that may as well be asked again.
///
/// # Errors
/// `state_disk_trouble` when the state disk hangs.
pub(super) async fn read_with_timeout<T>(
    asked: impl Future<Output = T>,
) -> Result<T, AttemptFailure> {
    timeout(COMMIT_TIMEOUT, asked)
        .await
        .map_err(|_| faults::state_disk_stalled(COMMIT_TIMEOUT).into())
}
