//! A ledger with many stores, which no daemon had to add one by one.

use std::path::Path;

use imagestore_agent::ledger::{LedgerChange, StateDir, open_ledger};
use imagestore_agent::settings::{FilePolicy, Settings, StateSettings};

use super::agent::Agent;
use super::fixtures::{NOW, credentials, durable_record, store};

/// Number of stores in one commit.
const BATCH: usize = 500;
/// Settings with which the daemon probes the stores as rarely as it can.
pub(crate) const RARE_PROBES: &str = "[monitor]\ninterval = \"1h\"\n";

/// Adds the stores with these numbers to the ledger of a daemon that does not run. All of them are
/// on one filesystem, and their directories do not exist.
pub(crate) async fn fill_ledger(agent: &Agent, numbers: std::ops::RangeInclusive<u128>) {
    let dir = agent.path("state");
    let state_dir = StateDir::open(Path::new(&dir), &FilePolicy::of_process()).unwrap();
    let state = StateSettings { dir, ..Settings::built_in().state };
    let opened = open_ledger(&state_dir, &state, None, NOW).unwrap();
    let numbers: Vec<u128> = numbers.collect();
    for batch in numbers.chunks(BATCH) {
        let add = |change: LedgerChange, number: &u128| {
            change.add_store(store(*number), credentials(), durable_record())
        };
        opened.ledger.commit(batch.iter().fold(LedgerChange::new(), add)).await.unwrap();
    }
    opened.writer.close_ledger().await;
}
