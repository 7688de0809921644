//! The growth of a store, which the store task reads from the ledger once a day.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::agent::capacity::space_limits;
use crate::forecast::StoreGrowth;
use crate::ledger::Ledger;
use crate::lifecycle::{FillEvidence, MeasuredSpace, SpaceThresholds};
use crate::model::{StoreUuid, UtcDay};

/// Maximum duration of a read. A store without growth is served as every other one.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Time from a failed read to the next one. Each failure is a line in the log.
const RETRY_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// The growth of a store, and the read that replaces it.
#[derive(Debug, Default)]
pub(super) struct KnownGrowth {
    growth: Option<StoreGrowth>,
    /// At most one read.
    reading: JoinSet<Option<StoreGrowth>>,
    /// The time before which a read that has failed is not repeated.
    retry_at: Option<Instant>,
}

impl KnownGrowth {
    /// Starts to read the days of the store, unless those of today are known or being read.
    pub(super) fn refresh(&mut self, ledger: &Ledger, store: StoreUuid, today: UtcDay) {
        let is_known = self.growth.is_some_and(|growth| growth.today == today);
        let rests = self.retry_at.is_some_and(|at| Instant::now() < at);
        if is_known || rests || !self.reading.is_empty() {
            return;
        }
        let ledger = ledger.clone();
        self.reading.spawn(async move {
            let read = ledger.capacity_days(store, StoreGrowth::first_day(today));
            match timeout(READ_TIMEOUT, read).await {
                Ok(Ok(days)) => Some(StoreGrowth::of_days(&days, today)),
                Ok(Err(error)) => {
                    warn!(%store, %error, "capacity history read failed");
                    None
                }
                Err(_) => {
                    warn!(%store, "capacity history read timed out");
                    None
                }
            }
        });
    }

    /// Waits for the read. It waits forever if there is none.
    ///
    /// # Cancel safety
    /// The read goes on if the future is dropped, and the next call waits for it.
    pub(super) async fn next_read(&mut self) -> Option<StoreGrowth> {
        match self.reading.join_next().await {
            Some(read) => read.ok().flatten(),
            None => std::future::pending().await,
        }
    }

    /// Replaces the growth, unless the read has failed.
    pub(super) fn replace(&mut self, read: Option<StoreGrowth>) {
        self.retry_at = read.is_none().then(|| Instant::now() + RETRY_INTERVAL);
        self.growth = read.or(self.growth);
    }

    /// Forgets the growth, because the directory has moved to other space.
    pub(super) fn forget(&mut self) {
        (self.growth, self.retry_at) = (None, None);
        self.reading = JoinSet::new();
    }

    /// Returns the forecasts from figures, or `None` if the growth has not been read yet.
    pub(super) fn evidence(
        &self,
        measured: &MeasuredSpace,
        thresholds: SpaceThresholds,
    ) -> Option<FillEvidence> {
        let known = self.growth?;
        let MeasuredSpace { capacity, inodes } = *measured;
        Some(FillEvidence {
            now: known.growth.forecast(capacity, inodes, space_limits(thresholds)),
            day_before: known.forecast_of_day_before(space_limits(thresholds)),
        })
    }
}
