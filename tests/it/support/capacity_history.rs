//! A history of the use of stores, which no daemon had to record day by day.

use std::path::Path;

use imagestore_agent::common::{Clock as _, SystemClock};
use imagestore_agent::ledger::{LedgerChange, StateDir, open_ledger};
use imagestore_agent::model::{DAY_SECONDS, DayFigures, UsedRange, UtcDay};
use imagestore_agent::settings::{FilePolicy, Settings, StateSettings};
use nix::sys::statvfs::statvfs;

use super::agent::Agent;

/// Days of the history. A forecast needs three.
const DAYS: i64 = 10;

/// Writes that the bytes and the inodes of these stores have grown by `percent` of their totals a
/// day, to what is used now. The daemon does not run.
pub(crate) async fn grow_history(agent: &Agent, uuids: &[&str], percent: u64) {
    let dir = agent.path("state");
    let state_dir = StateDir::open(Path::new(&dir), &FilePolicy::of_process()).unwrap();
    let state = StateSettings { dir, ..Settings::built_in().state };
    let now = SystemClock.now();
    let opened = open_ledger(&state_dir, &state, None, now).unwrap();
    let today = UtcDay::of(now);
    for loaded in opened.stores {
        let store = loaded.store;
        if !uuids.contains(&store.uuid.to_string().as_str()) {
            continue;
        }
        let found = statvfs(store.image_dir.as_str()).unwrap();
        let unit = found.fragment_size();
        let bytes = (found.blocks() * unit, (found.blocks() - found.blocks_free()) * unit);
        let inodes = (found.files(), found.files() - found.files_free());
        let mut change = LedgerChange::new();
        for days_ago in (1..=DAYS).rev() {
            let grown = u64::try_from(days_ago).unwrap() * percent;
            let used = |(total, used): (u64, u64)| {
                let then = used.saturating_sub(total * grown / 100);
                UsedRange::new(total, then, then, then).unwrap()
            };
            let figures = DayFigures {
                day: today.plus(-days_ago),
                space: used(bytes),
                inodes: Some(used(inodes)),
                covered_seconds: DAY_SECONDS,
            };
            change = change.add_capacity(store.uuid, figures, store.mount.clone());
        }
        opened.ledger.commit(change).await.unwrap();
    }
    opened.writer.close_ledger().await;
}
