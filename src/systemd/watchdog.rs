//! The watchdog pings and the status text that systemd gets while the daemon runs.
//!
//! A ping comes from the runtime and covers only the runtime. It depends on neither the ledger nor
//! a store, because a hanging disk must not get the daemon killed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::agent::{Registry, StoreService as _};
use crate::systemd::{self, SystemdNotifications};

/// Maximum time between two updates of the status text. An operator sees a change within two
/// seconds.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// Sends pings, the status text and the states that systemd has not received, until `stop`. There
/// are at least three pings per watchdog interval.
pub(crate) async fn run_watchdog(
    notifications: SystemdNotifications,
    stores: Registry,
    stop: CancellationToken,
) {
    let watchdog = systemd::watchdog_interval();
    let mut ticks =
        interval(watchdog.map_or(STATUS_INTERVAL, |limit| STATUS_INTERVAL.min(limit / 3)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_text = String::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        notifications.send_waiting(watchdog.is_some());
        let statuses = stores.snapshots().iter().map(|view| view.durable.status.as_str()).collect();
        let text = status_summary(statuses);
        if text != last_text {
            notifications.set_status(&text);
            last_text = text;
        }
    }
}

/// Returns the number of stores, in total and for each status.
fn status_summary(statuses: Vec<&'static str>) -> String {
    let count = statuses.len();
    let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
    for status in statuses {
        *by_status.entry(status).or_default() += 1;
    }
    let parts: Vec<String> = by_status.iter().map(|(status, n)| format!("{n} {status}")).collect();
    match count {
        0 => "no store".to_owned(),
        1 => format!("1 store: {}", parts.join(", ")),
        n => format!("{n} stores: {}", parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_counted_by_status() {
        assert_eq!(status_summary(vec![]), "no store");
        assert_eq!(status_summary(vec!["Connected"]), "1 store: 1 Connected");
        let several = vec!["Disconnected", "Connected", "Connected"];
        assert_eq!(status_summary(several), "3 stores: 2 Connected, 1 Disconnected");
    }
}
