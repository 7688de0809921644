//! Which figures are kept in the history: enough to see a store grow and fill, few enough to be
//! nothing beside the disk they tell of.

use std::time::Duration;

use super::{MeasuredSpace, StepTime, StoreRecord};

/// Time between two lines of figures that changed.
const RECORD_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Whether these figures are to be kept: at once when the filesystem has another size, else at most
/// every ten minutes, and only when they changed.
pub(super) fn should_record(r: &StoreRecord, measured: &MeasuredSpace, now: StepTime) -> bool {
    let Some(last) = r.standing.capacity else { return true };
    if last.total() != measured.capacity.total() {
        return true;
    }
    let changed = last != measured.capacity || r.standing.inodes != measured.inodes;
    let rested = r.sampled.is_none_or(|at| now.uptime.saturating_sub(at) >= RECORD_INTERVAL);
    changed && rested
}
