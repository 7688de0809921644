//! Reads the events of all stores for the API.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::faults;
use crate::common::Timestamp;
use crate::ledger::{Ledger, ReadError};
use crate::lifecycle::{EventPage, EventQuery};
use crate::model::{EventCursor, Fault};

/// Maximum duration of a read. 2 s is as long as an operator should wait for it.
const EVENT_READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Reader of the events of all stores. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventReader {
    ledger: Ledger,
}

impl EventReader {
    /// Creates a reader of this ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// Returns the events after a position, as [`Ledger::events_after`] does.
    ///
    /// # Errors
    /// `state_disk_trouble`, `agent_busy` or `agent_stopping` if they cannot be read.
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn read_page(&self, query: EventQuery) -> Result<EventPage, Fault> {
        within_limit(self.ledger.events_after(query)).await
    }

    /// Returns the position before the first event of this time or later.
    ///
    /// # Errors
    /// The same as for [`EventReader::read_page`].
    ///
    /// # Cancel safety
    /// This request only reads.
    pub async fn position_before(&self, since: Timestamp) -> Result<EventCursor, Fault> {
        within_limit(self.ledger.position_before(since)).await
    }

    /// Returns a receiver that changes after each commit with events, as
    /// [`Ledger::subscribe_events`] does.
    pub fn subscribe_events(&self) -> watch::Receiver<u64> {
        self.ledger.subscribe_events()
    }
}

async fn within_limit<T>(read: impl Future<Output = Result<T, ReadError>>) -> Result<T, Fault> {
    match timeout(EVENT_READ_TIMEOUT, read).await {
        Ok(read) => read.map_err(|error| {
            warn!(%error, "event read failed");
            faults::events_unreadable(&error)
        }),
        Err(_) => Err(faults::ledger_read_stalled(EVENT_READ_TIMEOUT)),
    }
}
