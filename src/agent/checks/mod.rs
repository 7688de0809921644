//! The checks of an attempt and of the monitor, as they run.

pub(super) mod attempt;
pub(super) mod running;
