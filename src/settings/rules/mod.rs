//! Rules for single values: durations, sizes, numbers and texts, with their ranges.

pub(super) mod numeric;
pub(super) mod rule;
pub(super) mod text;
