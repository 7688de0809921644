//! The counts of the ledger since the start of the daemon, for metrics.

use crate::common::Histogram;

/// Upper bounds of the durations of transactions, in seconds. One takes less than a millisecond in
/// the cache of a disk, and 10 s mean that the disk hangs.
const BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The counts of the ledger. All begin at 0 with the process.
#[derive(Debug)]
pub struct LedgerStats {
    /// The durations of the transactions with changes, successful or not, on the thread of the
    /// ledger. A transaction may have the changes of many callers. The wait in the queue is not
    /// part of it.
    pub commits: Histogram,
}

impl Default for LedgerStats {
    fn default() -> Self {
        Self { commits: Histogram::new(BOUNDS) }
    }
}
