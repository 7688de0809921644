//! The rules an operator can set.

use std::time::Duration;

/// See `[monitor]` and `[storage]` in `config/agent.toml`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckPolicy {
    /// Time between probes, and the first limit of the backoff between attempts.
    pub interval: Duration,
    /// Time between probes that write, of a store that is well; none when nothing may be written.
    pub write_interval: Option<Duration>,
    /// Time between logins of the monitor, of a store that is well.
    pub login_interval: Duration,
    /// First probes after a start are spread over this time.
    pub start_spread: Duration,
    /// Soft faults of one check in a row that disconnect; at least 1.
    pub fail_after: u32,
    /// Good probes in a row after a storage fault that start an attempt; at least 1.
    pub recover_after: u32,
    /// Whether attempts start by themselves.
    pub auto_reconnect: bool,
    /// From when on space is short.
    pub space: SpaceThresholds,
    /// From when on a probe is slow.
    pub slow: Duration,
}

/// When space is short: thresholds alone, never subtracted from a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpaceThresholds {
    /// Available bytes below which a store is full.
    pub reserved: u64,
    /// Share in use from which a store is near full; above 0, below `full`.
    pub near_full: f64,
    /// Share in use from which a store is full; at most 1.
    pub full: f64,
}
