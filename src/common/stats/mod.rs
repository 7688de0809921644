//! Counters that the modules keep about their work since the start, for metrics. They have no names
//! and no format. All begin at 0 with the process.

mod counter;
mod histogram;
mod last_time;

pub use counter::{Counter, CounterFamily};
pub use histogram::{Histogram, HistogramExemplar, HistogramSnapshot};
pub use last_time::LastTime;
