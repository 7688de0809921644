//! The checks of an attempt and of the monitor, and the code that runs them.

pub(super) mod attempt;
pub(super) mod running;
