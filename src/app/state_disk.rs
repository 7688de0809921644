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

/// Checks the state disk and keeps its current error in `trouble` until `stop`.
pub(super) async fn watch_state_disk(
    ledger: Ledger,
    trouble: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looked = timeout(CHECK_INTERVAL, ledger.check_writable()).await;
        let found = match looked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("state_disk_trouble: {error}")),
            Err(_) => Some("state_disk_trouble: the state disk does not answer".to_owned()),
        };
        let turned = trouble.send_if_modified(|known| {
            let turned = *known != found;
            known.clone_from(&found);
            turned
        });
        match found {
            Some(why) if turned => error!(why, "the state disk is in trouble"),
            None if turned => info!("the state disk is well again"),
            _ => {}
        }
    }
}
