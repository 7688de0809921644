//! Reads what the ledger of a daemon says of its stores, while the daemon runs or after its end.
//!
//! # Guarantees
//! * Each statement that compares rows of several tables reads them in one snapshot of the
//!   database.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

use super::agent::Agent;
use super::event_order::EventOrder;
use super::wait::until;

/// Opens a ledger as an operator would, so that the daemon can go on.
pub(crate) fn open_read_only(ledger: &Path) -> Connection {
    Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// Returns the number that a statement selects from the ledger of a daemon.
pub(crate) fn count_rows(agent: &Agent, sql: &str) -> u32 {
    open_read_only(&agent.path("state/ledger.sqlite")).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The ledger of a daemon, opened read-only for each statement.
pub(crate) struct LedgerReader(PathBuf);

impl LedgerReader {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self(agent.path("state/ledger.sqlite"))
    }

    /// Runs one statement, which SQLite runs in one read transaction.
    fn query<T>(
        &self,
        sql: &str,
        store: &str,
        map_row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> T {
        open_read_only(&self.0).query_row(sql, [store], map_row).unwrap()
    }

    /// Waits until each of these stores is Connected and has no notice in the outbox.
    pub(crate) async fn until_all_delivered(&self, stores: &[String]) {
        // One statement: in two, a store could become Connected between them and enqueue a notice
        // that neither of them shows.
        let sql = "SELECT standing ->> '$.status' = 'Connected' \
             AND NOT EXISTS (SELECT 1 FROM outbox WHERE store = standings.store) \
             FROM standings WHERE store = ?";
        let is_settled = |store: &String| self.query(sql, store, |row| row.get::<_, bool>(0));
        until("every notice is delivered", async || stores.iter().all(is_settled)).await;
    }

    /// Checks that every transition in the history was delivered, that no other was, and that the
    /// last delivery has the status and the position of the store. Returns the number of
    /// transitions.
    pub(crate) fn assert_matches(&self, events: &EventOrder, stores: &[String]) -> u32 {
        let sql = "SELECT standing ->> '$.status', standing ->> '$.position.epoch', \
             standing ->> '$.position.seq', \
             (SELECT count(entry ->> '$.event.changed') FROM history WHERE store = standings.store) \
             FROM standings WHERE store = ?";
        let count = |store: &String| {
            let (status, epoch, seq, transitions): (String, i64, i64, u32) =
                self.query(sql, store, |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                });
            let position = (epoch.try_into().unwrap(), seq.try_into().unwrap());
            assert_eq!(events.transition_count(store), transitions, "{store}");
            assert_eq!(events.last_status(store), Some(status.as_str()), "{store}");
            assert_eq!(events.last_position(store), Some(position), "{store}");
            transitions
        };
        stores.iter().map(count).sum()
    }
}
