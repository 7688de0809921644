//! The watch of the state disk: tests commits for `/readyz` and the condition `state_disk_trouble`.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::ledger::Ledger;

/// Interval between two checks of the state disk, and the maximum duration of one. Each check is
/// one small commit.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Checks the state disk and keeps its current error in `current_error` until `stop`.
pub(super) async fn watch_state_disk(
    ledger: Ledger,
    current_error: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let check = timeout(CHECK_INTERVAL, ledger.check_writable()).await;
        let error = match check {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("state_disk_trouble: {error}")),
            Err(_) => Some("state_disk_trouble: the state disk does not respond".to_owned()),
        };
        let has_changed = current_error.send_if_modified(|reported| {
            let has_changed = *reported != error;
            reported.clone_from(&error);
            has_changed
        });
        match error {
            Some(why) if has_changed => error!(why, "state disk not writable"),
            None if has_changed => info!("state disk writable again"),
            _ => {}
        }
    }
}
