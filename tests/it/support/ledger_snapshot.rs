//! What a daemon has on disk of its stores, read beside it.

use std::path::PathBuf;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};

use super::agent::Agent;
use super::event_order::EventOrder;
use super::wait::until;

/// A daemon's ledger.
pub(crate) struct LedgerReader(PathBuf);

impl LedgerReader {
    pub(crate) fn of(agent: &Agent) -> Self {
        Self(agent.path("state/ledger.sqlite"))
    }

    fn query<T: FromSql>(&self, sql: &str, store: &str) -> T {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let ledger = Connection::open_with_flags(&self.0, flags).unwrap();
        ledger.query_row(sql, [store], |row| row.get(0)).unwrap()
    }

    fn durable(&self, store: &str, field: &str) -> String {
        let sql = "SELECT CAST(standing ->> '$FIELD' AS TEXT) FROM standings WHERE store = ?";
        self.query(&sql.replace("FIELD", &format!(".{field}")), store)
    }

    /// Waits until no notice of these stores waits and all are Connected.
    pub(crate) async fn until_all_delivered(&self, stores: &[String]) {
        let settled = |store: &String| {
            // In this order: a store that is Connected enqueues nothing more, whereas one whose outbox
            // is empty may become Connected, with a notice, before its status is read.
            self.durable(store, "status") == "Connected"
                && self.query::<u32>("SELECT count(*) FROM outbox WHERE store = ?", store) == 0
        };
        until("everything is told", async || stores.iter().all(settled)).await;
    }

    /// Sees that every transition there was has been told, and no other, and that what was told last is
    /// how each store is; how many there were.
    pub(crate) fn assert_matches(&self, events: &EventOrder, stores: &[String]) -> u32 {
        let sql = "SELECT count(entry ->> '$.event.changed') FROM history WHERE store = ?";
        let count = |store: &String| {
            let transitions: u32 = self.query(sql, store);
            assert_eq!(events.transition_count(store), transitions, "{store}");
            assert_eq!(
                events.last_status(store),
                Some(self.durable(store, "status").as_str()),
                "{store}"
            );
            let number = |field: &str| self.durable(store, field).parse::<u64>().unwrap();
            let place = (number("position.epoch"), number("position.seq"));
            assert_eq!(events.last_position(store), Some(place), "{store}");
            transitions
        };
        stores.iter().map(count).sum()
    }
}
