//! Sampling of capacity figures for the history. The samples show how a store grows and fills, but
//! take little disk space.

use std::time::Duration;

use super::{MeasuredSpace, StepTime, StoreRecord};

/// Minimum time between two samples of changed figures.
const RECORD_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Returns true if these figures belong in the history. A new filesystem size is recorded at once.
/// Other changes are recorded at most every ten minutes.
pub(super) fn should_record(r: &StoreRecord, measured: &MeasuredSpace, now: StepTime) -> bool {
    let Some(last) = r.standing.capacity else { return true };
    if last.total() != measured.capacity.total() {
        return true;
    }
    let changed = last != measured.capacity || r.standing.inodes != measured.inodes;
    let rested = r.sampled.is_none_or(|at| now.uptime.saturating_sub(at) >= RECORD_INTERVAL);
    changed && rested
}
