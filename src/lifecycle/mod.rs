//! Floor 1. The status machine.

mod standing;

pub use standing::{Cause, HistoryEntry, HistoryEvent, Standing};
