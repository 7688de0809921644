//! The time until the use of a store's space reaches a limit, as a forecast gives it.

use super::UtcDay;

/// The time until a use reaches a limit, under one assumption. A later time is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitOutlook {
    /// The limit is reached now.
    Reached,
    /// The limit will be reached within this number of days, at least 1 and at most 365.
    Within {
        /// The number of days, rounded up.
        days: u32,
    },
    /// The use grows, but does not reach the limit within 365 days.
    NotWithinAYear,
    /// The use does not grow.
    NotGrowing,
}

/// The times until a use reaches a limit, under both assumptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOutlooks {
    /// The use goes on as it did, with its clean-ups.
    pub net: LimitOutlook,
    /// The use goes on as on the days without clean-ups.
    pub without_cleanups: LimitOutlook,
}

impl LimitOutlooks {
    /// Returns the sooner time.
    pub fn sooner(self) -> LimitOutlook {
        self.net.min(self.without_cleanups)
    }

    /// Returns the later time.
    pub fn later(self) -> LimitOutlook {
        self.net.max(self.without_cleanups)
    }
}

/// The forecast of the use of one resource: the bytes or the inodes of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseForecast {
    /// The use that the forecast begins with.
    pub used: u64,
    /// The total.
    pub total: u64,
    /// The use from which little is left, if there is such a limit.
    pub near_full: Option<UseLimit>,
    /// The use from which nothing is left.
    pub full: UseLimit,
    /// The days of the history that the forecast is made from.
    pub known_days: u32,
}

/// A limit of the use of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseLimit {
    /// The use from which the limit is reached.
    pub used: u64,
    /// The times until then, or `None` if there is too little history.
    pub outlooks: Option<LimitOutlooks>,
}

/// The forecast of a store's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceForecast {
    /// The day as of which the growth was computed.
    pub as_of: UtcDay,
    /// The bytes.
    pub bytes: UseForecast,
    /// The inodes, if the filesystem counts them.
    pub inodes: Option<UseForecast>,
}
