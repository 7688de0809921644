//! Timeouts around ledger commits and reads, so that a stalled state disk does not block callers;
//! plus a sleep until an optional deadline.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::faults;
use crate::ledger::{CommitError, Ledger, LedgerChange};
use crate::model::AttemptFailure;

/// Time after which a commit or a read counts as stalled. A commit takes less than a millisecond,
/// so 10 s mean that the disk hangs.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a stop waits for a commit before the callers are notified. 1 s is short enough
/// that they get the reply while the HTTP server still drains.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Commits a change. If the state disk hangs or the daemon stops, `early` notifies the callers
/// once. The commit is still awaited after that. A change that was handed over may yet be made, and
/// the daemon must know its outcome.
///
/// # Errors
/// [`CommitError`] if nothing of the change was made.
///
/// # Cancel safety
/// The change may still be made if the future is dropped.
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
        // On a healthy disk, this lets the last decisions of a store complete during the stop.
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

/// Waits until `time`. It waits forever if there is none.
pub(super) async fn sleep_until_some(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// Waits for a read of the ledger, which can safely be repeated.
///
/// # Errors
/// `state_disk_trouble` if the state disk hangs.
pub(super) async fn read_with_timeout<T>(
    asked: impl Future<Output = T>,
) -> Result<T, AttemptFailure> {
    timeout(COMMIT_TIMEOUT, asked)
        .await
        .map_err(|_| faults::state_disk_stalled(COMMIT_TIMEOUT).into())
}
