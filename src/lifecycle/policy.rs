//! Policy of the checks: the rules that an operator can set.

use std::time::Duration;

/// Policy of the checks. See `[monitor]` and `[storage]` in `config/agent.toml`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckPolicy {
    /// Time between probes, and the first limit of the backoff between attempts.
    pub interval: Duration,
    /// Time between writing probes of a healthy store, or `None` if probes must not write.
    pub write_interval: Option<Duration>,
    /// Time between the monitor's logins to a healthy store.
    pub login_interval: Duration,
    /// Time over which the first probes after a start are spread.
    pub start_spread: Duration,
    /// Consecutive soft faults of one check that disconnect a store; at least 1.
    pub fail_after: u32,
    /// Consecutive good probes after a storage fault that start an attempt; at least 1.
    pub recover_after: u32,
    /// True if attempts start automatically.
    pub auto_reconnect: bool,
    /// Thresholds for low space.
    pub space: SpaceThresholds,
    /// Duration from which a probe is slow.
    pub slow: Duration,
}

/// Thresholds for low space. They are never subtracted from a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpaceThresholds {
    /// Available bytes below which a store is full.
    pub reserved: u64,
    /// Used share from which a store is near full; above 0, below `full`.
    pub near_full: f64,
    /// Used share from which a store is full; at most 1.
    pub full: f64,
}
