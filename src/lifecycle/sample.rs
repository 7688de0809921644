//! Which figures are kept in the history: enough to see a store grow and fill, few enough to be
//! nothing beside the disk they tell of.

use super::{Measured, Record};
use crate::model::Timestamp;

/// Time between two lines of figures that changed, in milliseconds.
const EVERY: i64 = 10 * 60 * 1000;

/// Whether these figures are to be kept: at once when the filesystem has another size, else at most
/// every ten minutes, and only when they changed.
pub(super) fn is_due(r: &Record, measured: &Measured, now: Timestamp) -> bool {
    let Some(last) = r.standing.capacity else { return true };
    if last.total() != measured.capacity.total() {
        return true;
    }
    let changed = last != measured.capacity || r.standing.inodes != measured.inodes;
    // A clock that was set back must not end the keeping.
    let rested = r.sampled.is_none_or(|at| now.0.abs_diff(at.0) >= EVERY.unsigned_abs());
    changed && rested
}
