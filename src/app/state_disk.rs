//! The watch of the state disk: tests commits for `/readyz` and the condition `state_disk_trouble`,
//! periodically and as soon as the disk has refused a change.

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
            () = ledger.wait_refusal(), if current_error.borrow().is_none() => {}
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::common::Timestamp;
    use crate::ledger::{StateDir, open_ledger};
    use crate::settings::{FilePolicy, Settings};

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "moves the ledger of the test away and back")]
    async fn a_refused_change_is_known_before_the_next_periodic_check() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::built_in().state;
        settings.dir = dir.path().to_owned();
        let policy = FilePolicy::of_process();
        let state_dir = StateDir::open(dir.path(), &policy).unwrap();
        let opened = open_ledger(&state_dir, &settings, None, Timestamp(1)).unwrap();
        let file = dir.path().join("ledger.sqlite");
        let aside = dir.path().join("aside");
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to).unwrap();

        let (sender, mut error) = watch::channel(None);
        let stop = CancellationToken::new();
        rename(&file, &aside);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(watch_state_disk(opened.ledger.clone(), sender, stop.clone()));
        let long = CHECK_INTERVAL * 6;
        timeout(long, error.wait_for(Option::is_some)).await.unwrap().unwrap();
        rename(&aside, &file);
        timeout(long, error.wait_for(Option::is_none)).await.unwrap().unwrap();

        // A periodic check has just ended. The next one would be too late.
        rename(&file, &aside);
        opened.ledger.next_epoch(Timestamp(2)).await.unwrap_err();
        let soon = CHECK_INTERVAL / 5 * 4;
        timeout(soon, error.wait_for(Option::is_some)).await.expect("not known").unwrap();
        stop.cancel();
        tasks.join_all().await;
    }
}
